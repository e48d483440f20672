"""`netdefs.capture` and comparing with the file it writes: the same report as with the module itself."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn import functional as F

import netdefs
from netdefs.core.errors import CompareError, FileError, InputError
from netdefs.debug.samples import measure_samples, positions, sample
from tests.debug.nets import Net, build, network, picture, seeded

PLACES = [43, 265, 293, 456, 697, 856, 926]
FAULTS = ["", "order", "stride", "no relu", "upsample", "padding", "branch"]


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture(scope="module")
def captured(module, tmp_path_factory):
    path = tmp_path_factory.mktemp("capture") / "ref.safetensors"
    netdefs.capture(module, picture(), path)
    return path


@pytest.fixture(scope="module")
def sampled(module, tmp_path_factory):
    path = tmp_path_factory.mktemp("capture") / "sampled.safetensors"
    netdefs.capture(module, picture(), path, samples=256)
    return path


def row(report, name):
    return next(row for row in report.rows if row.name == name)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_report_is_that_of_the_module(module, captured, fault):
    net = network(module, fault)
    live, filed = netdefs.compare(net, module, picture()), netdefs.compare(net, captured)
    assert filed.verdict == live.verdict
    assert filed.answers == live.answers
    assert [r.to_dict() for r in filed.rows] == [r.to_dict() for r in live.rows]
    assert (filed.unmatched, filed.aliases, filed.modules) == (live.unmatched, live.aliases, live.modules)
    assert filed.notes[0].startswith("PyTorch's values are those of Net in ref.safetensors (torch ")
    assert filed.notes[1:] == live.notes


@pytest.mark.parametrize("options", [{"fold_bn": True}, {"precision": "fp16"}, {"eps": {"layer1.1.bn2": 1e-2}}])
def test_folded_half_and_a_wrong_eps(module, captured, options):
    net = network(module, "upsample", **options)
    live, filed = netdefs.compare(net, module, picture()), netdefs.compare(net, captured)
    assert [r.to_dict() for r in filed.rows] == [r.to_dict() for r in live.rows]


def test_what_feeds_a_layer_in_pytorch_is_told(tmp_path):
    """The network lacks an activation between two layers."""
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)))

    def define(net, x):
        return net.output(net.conv(net.conv(x, "0", 4, 1), "2", 2, 1), "out")

    net = build(define, module.state_dict(), (1, 3, 4, 4))
    netdefs.capture(module, picture(1, 3, 4, 4), tmp_path / "a.safetensors")
    live, filed = netdefs.compare(net, module, picture(1, 3, 4, 4)), netdefs.compare(net, tmp_path / "a.safetensors")
    assert row(filed, "2").given == row(live, "2").given == "1"
    assert filed.cause == live.cause
    assert filed.cause.kind == "activation_missing"


def test_an_engine_and_a_part_of_the_layers(module, captured):
    with netdefs.build(network(module, "upsample"), target="cpu") as engine:
        report = netdefs.compare(engine, str(captured), layers=["up", "mix"])
    assert [r.name for r in report.rows] == ["up", "mix", "logits"]
    assert report.cause.kind == "resize_mode"


def test_several_inputs(module, tmp_path):
    pictures = [picture(seed=i) for i in range(3)]
    netdefs.capture(module, pictures, tmp_path / "a.safetensors")
    net = network(module, "order")
    live, filed = netdefs.compare(net, module, pictures), netdefs.compare(net, tmp_path / "a.safetensors")
    assert [r.to_dict() for r in filed.rows] == [r.to_dict() for r in live.rows]
    assert row(filed, "cat").over.inputs == 3


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x, other):
        return {"out": x + self.conv(other)}


def two(module):
    def define(net, x):
        return net.output(net.add(x, net.conv(net.input("other", (1, 3, 4, 4)), "conv", 3, 1), "add"), "out")

    return build(define, module.state_dict(), (1, 3, 4, 4))


def test_inputs_go_by_name_or_by_order(tmp_path):
    module, path = seeded(Two()), tmp_path / "a.safetensors"
    a, b = picture(1, 3, 4, 4), torch.from_numpy(picture(1, 3, 4, 4, seed=1))
    for inputs in ((a, b), {"input": a, "other": b}):
        netdefs.capture(module, inputs, path)
        assert netdefs.compare(two(module), path).ok
    netdefs.capture(module, {"left": a, "right": b}, path)
    with pytest.raises(InputError, match=r"are left, right; the network's are input, other\. .*another network\?"):
        netdefs.compare(two(module), path)


def test_half_precision_and_training_are_told(module, tmp_path):
    half = seeded(Net()).half().train()
    netdefs.capture(half, picture(), tmp_path / "a.safetensors")
    assert half.training
    live = netdefs.compare(network(module, precision="fp16"), half, picture())
    filed = netdefs.compare(network(module, precision="fp16"), tmp_path / "a.safetensors")
    assert [r.to_dict() for r in filed.rows] == [r.to_dict() for r in live.rows]
    assert filed.weights == live.weights
    assert {"The module computes in float16.", *live.notes} <= set(filed.notes)


def test_samples(module, sampled, captured):
    report = netdefs.compare(network(module), sampled)
    assert report.ok
    assert report.samples == 256
    assert report.mode == "chained"
    assert "Errors are of 256 values of each tensor, its extremes, mean and size." in report.notes
    assert sampled.stat().st_size < captured.stat().st_size / 4
    bad = netdefs.compare(network(module, "upsample"), sampled)
    assert bad.first_bad.name == "up"
    assert "can't be told: the capture holds samples only" in bad.verdict
    exact = netdefs.compare(network(module, "upsample"), captured, mode="chained")
    assert row(bad, "up").chained.relative == pytest.approx(row(exact, "up").chained.relative, rel=0.3)
    assert [r.verdict for r in bad.rows] == [r.verdict for r in exact.rows]
    assert netdefs.compare(network(module, "stride"), sampled).first_bad.chained_shape == (2, 16, 16, 24)


def test_what_samples_can_not_tell_is_refused(module, sampled):
    net = network(module, "upsample")
    with pytest.raises(CompareError, match=r"mode='isolated': .* capture has 256 of each .* or use mode='chained'"):
        netdefs.compare(net, sampled, mode="isolated")
    with pytest.raises(CompareError, match="start= and end=: no layer can be fed PyTorch's values"):
        netdefs.compare(net, sampled, start="layer2")
    report = netdefs.compare(net, sampled)
    with pytest.raises(CompareError, match="can't be fed samples"):
        report.repro("up", "nowhere")


def test_one_wrong_value_and_one_wrong_channel_show_in_samples():
    x = picture(1, 16, 50, 50)
    kept = sample(x, 64)
    assert kept.values.size == 64
    assert measure_samples(kept, x, 1e-4, 0).ok
    for change in (lambda a: a.__setitem__((0, 3), a[0, 3] + 0.1), lambda a: a.__setitem__((0, 5, 7, 9), 50)):
        other = x.copy()
        change(other)
        found = measure_samples(kept, other, 1e-4, 0)
        assert not found.ok
        assert found.needed > 1e-3
    assert measure_samples(kept, np.where(x == x.max(), np.nan, x), 1e-4, 0).relative == np.inf


@pytest.mark.parametrize(("size", "count"), [(10, 20), (1000, 7), (10_000_000, 4096), (1, 16), (0, 16)])
def test_positions_are_spread_and_different(size, count):
    found = positions(size, count)
    assert len(set(found.tolist())) == len(found) == min(size, count)
    assert all(0 <= place < size for place in found.tolist())
    if count < size:
        stretches = found * count // size
        assert abs(stretches - np.arange(count)).max() <= 1


def test_positions_are_the_same_on_every_machine_and_for_ever():
    assert positions(1000, 7).tolist() == PLACES


def test_weights_are_known_by_their_hashes(module, tmp_path):
    path = tmp_path / "a.safetensors"
    netdefs.capture(module, picture(), path, weights=False)
    whole = tmp_path / "b.safetensors"
    netdefs.capture(module, picture(), whole)
    assert not [name for name in load_file(path) if name.startswith("weights/")]
    assert path.stat().st_size < whole.stat().st_size
    for change in (
        lambda w: w,
        lambda w: {key: value.half().float() for key, value in w.items()},
        lambda w: {**w, "fc1.weight": w["fc1.weight"] + 1},
        lambda w: {key: value for key, value in w.items() if key != "branches.unused.bias"},
    ):
        weights = change(dict(module.state_dict()))
        net = network(module)
        net.weights._arrays.update({key: np.asarray(value, np.float32) for key, value in weights.items()})
        live, filed = netdefs.compare(net, module, picture()), netdefs.compare(net, path)
        assert (filed.weights.status, filed.weights.text) == (live.weights.status, live.weights.text)
    report = netdefs.compare(network(module, "stride"), path)
    assert report.first_bad.name == "layer2.0.conv1"
    assert "Causes in a layer's weights or settings can't be told: the capture holds no weights." in report.notes
    with netdefs.build(network(module), target="cpu") as engine:
        assert netdefs.compare(engine, path).ok


def test_layers_restricts_what_is_written(module, tmp_path):
    path = tmp_path / "a.safetensors"
    netdefs.capture(module, picture(), path, layers=["layer2.*", "mix*"])
    report = netdefs.compare(network(module, "order"), path)
    assert report.first_bad.name == "mix"  # cat is not in the file
    assert report.first_bad.fed == ("layer2.1",)
    assert "cat" in report.first_bad.via
    reasons = {item.name: item.reason for item in report.unmatched}
    assert reasons["conv1"] == "was not captured (layers=layer2.*, mix*)"
    with pytest.raises(CompareError, match=r"layers='layer9\.\*' fits no module"):
        netdefs.capture(module, picture(), path, layers="layer9.*")


def test_the_file_is_an_ordinary_safetensors(module, captured):
    tensors = load_file(captured)
    with torch.no_grad():
        np.testing.assert_array_equal(tensors["0/conv1"], module.conv1(torch.from_numpy(picture())))
    np.testing.assert_array_equal(tensors["0/inputs/0"], picture())
    # What a module is given is another's output: nothing is written twice.
    assert not [name for name in tensors if "(given" in name and "layer1" in name]


def test_memory_does_not_grow_with_the_number_of_layers(tmp_path, monkeypatch):
    from netdefs.debug import capture, reference

    held, most = [], []
    real_copy, real_add = reference.copied, capture.Writer.add

    def copied(tensor):
        held.append(tensor.numel())
        return real_copy(tensor)

    def add(self, name, array):
        most.append(sum(held))
        held.clear()
        return real_add(self, name, array)

    monkeypatch.setattr(reference, "copied", copied)
    monkeypatch.setattr(capture.Writer, "add", add)
    module = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(20)])
    netdefs.capture(module, picture(1, 3, 8, 8), tmp_path / "a.safetensors")
    assert max(most) <= 2 * 3 * 8 * 8


def test_nothing_is_lost_if_it_fails(module, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(CompareError, match="can't run on these inputs"):
        netdefs.capture(module, picture(1, 5, 8, 8), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileError, match="Can't write"):
        netdefs.capture(module, picture(), tmp_path / "missing" / "a.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(FileError, match="it is a folder"):
        netdefs.capture(module, picture(), tmp_path / "folder.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, r"samples=0: it is how many values"),
        ({"samples": True}, r"samples=True"),
        ({"weights": "yes"}, r"weights='yes'"),
        ({"layers": 3}, r"layers=3: it is a name or a glob"),
        ({"inputs": []}, r"inputs is an empty list"),
        ({"inputs": "a.npy"}, r"inputs holds a str"),
        ({"module": {}}, r"needs a torch\.nn\.Module .* not dict"),
    ],
)
def test_wrong_arguments(module, tmp_path, options, message):
    given = {"module": module, "inputs": picture(), "path": tmp_path / "a.safetensors", **options}
    with pytest.raises(CompareError, match=message):
        netdefs.capture(**given)
    assert not list(tmp_path.iterdir())


def test_other_inputs_are_refused_and_a_module_needs_some(module, captured):
    with pytest.raises(InputError, match=r"inputs was given, and .*ref\.safetensors has the inputs"):
        netdefs.compare(network(module), captured, picture())
    with pytest.raises(InputError, match="There are no inputs to compare on"):
        netdefs.compare(network(module), module)


def test_files_that_are_no_captures(module, captured, tmp_path):
    net, path = network(module), tmp_path / "a.safetensors"
    with pytest.raises(FileError, match=r"There is no file .*a\.safetensors.* netdefs\.capture\(module"):
        netdefs.compare(net, path)
    path.write_bytes(b"not at all")
    with pytest.raises(CompareError, match=r"is no capture and no other \.safetensors, or it is cut off"):
        netdefs.compare(net, path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(CompareError, match=r"is a \.safetensors, but not a capture: it may hold weights"):
        netdefs.compare(net, path)
    path.write_bytes(captured.read_bytes()[:-1000])
    with pytest.raises(FileError, match="is cut off: 1000 bytes are missing at its end"):
        netdefs.compare(net, path)
    text = json.dumps({"format": 99, "netdefs": "7.0"})
    save_file({"a": np.zeros(3)}, path, metadata={"netdefs.capture": text})
    with pytest.raises(
        CompareError, match=r"written by netdefs 7\.0 in the format 99; this version reads the format 1"
    ):
        netdefs.compare(net, path)
    with pytest.raises(FileError, match="is a folder"):
        netdefs.compare(net, tmp_path)


def test_captures_of_something_else(module, captured, tmp_path):
    def define(net, x):
        return net.output(net.conv(x, "other", 4, 1), "out")

    weights = {"other.weight": np.zeros((4, 3, 1, 1)), "other.bias": np.zeros(4)}
    with pytest.raises(CompareError, match="No layer has the name of a PyTorch module: the network's are other"):
        netdefs.compare(build(define, weights, (2, 3, 32, 48)), captured)
    with pytest.raises(InputError, match=r"ref\.safetensors.*\(2, 3, 32, 48\)"):
        netdefs.compare(build(define, weights, (1, 3, 8, 8)), captured)


def test_a_random_module_is_said_to_be(tmp_path):
    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = nn.Conv2d(3, 4, 1), Dropping()

        def forward(self, x):
            return self.drop(self.conv(x))

    class Dropping(nn.Module):
        def forward(self, x):
            return F.dropout(x, training=True)

    module = seeded(Drops())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    netdefs.capture(module, picture(1, 3, 4, 4), tmp_path / "a.safetensors")
    text = "not the same twice on one input: drop is the first module that is random, and can't agree."
    assert any(text in note for note in netdefs.compare(net, tmp_path / "a.safetensors").notes)
    assert any(text in note for note in netdefs.compare(net, module, picture(1, 3, 4, 4)).notes)


def fresh(code, *blocked):
    """Runs code in a Python that lacks some packages."""
    lines = "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    code = f"import sys\n{lines}{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_capturing_takes_torch_numpy_and_safetensors_only(tmp_path):
    path = tmp_path / "a.safetensors"
    code = f"""
    import torch, netdefs
    netdefs.capture(torch.nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 4, 4), {str(path)!r})
    """
    fresh(code, "tensorrt", "tensorrt_rtx", "onnx", "onnxruntime", "cv2", "cuda")
    assert path.stat().st_size > 0


def test_comparing_takes_no_torch(module, captured, tmp_path):
    for fault in ("order", "stride"):
        with netdefs.build(network(module, fault), target="cpu") as engine:
            engine.save(tmp_path / f"{fault}.engine")
    with netdefs.build(network(module, eps={"layer1.0.bn1": 1e-2}), target="cpu") as engine:
        engine.save(tmp_path / "eps.engine")
    code = f"""
    import netdefs
    for name in ("order", "eps", "stride"):
        report = netdefs.compare(netdefs.load_engine(f"{tmp_path}/{{name}}.engine"), {str(captured)!r})
        print(report.first_bad.name, report.first_bad.verdict, report.cause.kind)
        assert any("there is no torch here" in note for note in report.notes)
    """
    assert fresh(code, "torch").splitlines() == [
        "cat own error concat_order",
        "layer1.0.bn1 own error bn_eps",
        "layer2.0.conv1 own error stride",
    ]
