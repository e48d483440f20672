"""`Report.repro`: a folder that shows one layer's or block's difference alone."""

import pickle
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import CompareError, FileError
from tests.debug.nets import Net, build, network, picture, seeded

HIDE = "import sys; sys.modules['torch'] = None; sys.modules['netdefs'] = None; "


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture(scope="module")
def report(module):
    return netdefs.compare(network(module, eps={"layer1.1.bn1": 1e-1}), module, picture())


def run(folder, bare=False):
    """The script's exit code and what it prints; `bare`: without PyTorch and netdefs, from another folder."""
    start = HIDE if bare else ""
    code = f"{start}import runpy; runpy.run_path({str(folder / 'repro.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder.parent, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("bare", [False, True])
def test_it_prints_the_numbers_of_the_isolated_row(report, tmp_path, bare):
    folder = report.repro("layer1.1.bn1", tmp_path / "repro")
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "network.onnx",
        "repro.py",
        "values.npz",
        "weights.npz",
    ]
    code, text = run(folder, bare)
    metrics = report.first_bad.isolated
    assert code == 1
    assert f"relative error      {metrics.relative:.3g}  (tolerance 2e-05)" in text
    assert f"({metrics.outside:.2%})" in text
    assert f"at {list(metrics.index)}: PyTorch {metrics.expected:.6g}, network {metrics.actual:.6g}" in text
    assert ("PyTorch is not installed" in text) == bare
    readme = (folder / "README.md").read_text()
    assert f"Relative error {metrics.relative:.3g}" in readme
    assert "nn.BatchNorm2d(8, eps=1e-05)" in readme
    assert len(readme.splitlines()) <= 12


def test_a_layer_that_agrees(report, tmp_path):
    code, text = run(report.repro("layer1.0.conv1", tmp_path / "repro"))
    assert (code, "They agree." in text) == (0, True)


def test_a_block_is_cut_out_whole(module, report, tmp_path):
    """Its number is that of a comparison of the blocks: an inner layer's fault shows at its end."""
    folder = report.repro("layer1.1", tmp_path / "repro")
    blocks = netdefs.compare(network(module, eps={"layer1.1.bn1": 1e-1}), module, picture(), layers="layer?.?")
    wanted = next(row for row in blocks.rows if row.name == "layer1.1").isolated
    code, text = run(folder)
    assert code == 1
    assert f"relative error      {wanted.relative:.3g}" in text
    assert not (folder / "weights.npz").exists()  # a Block can't be made from torch.nn: its result is stored
    assert "the stored one" in (folder / "README.md").read_text()
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["layer1.0"]


def test_a_sequence_of_layers_is_made_anew(report, tmp_path):
    folder = report.repro("layer2.0.downsample", tmp_path / "repro")
    assert (
        "nn.Sequential(nn.Conv2d(8, 16, kernel_size=(1, 1), stride=(2, 2), bias=False), nn.Batch"
        in (folder / "repro.py").read_text()
    )
    assert run(folder)[0] == 0


def test_outputs_and_inputs_of_the_network(report, tmp_path):
    assert run(report.repro("logits", tmp_path / "a"))[0] == 0
    assert run(report.repro("conv1", tmp_path / "b"))[0] == 0


def test_another_shape(tmp_path):
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()))
    net = build(
        lambda net, x: net.output(net.relu(net.conv(x, "0", 4, 3), "1"), "out"), module.state_dict(), (1, 3, 8, 8)
    )
    report = netdefs.compare(net, module, picture(1, 3, 8, 8))
    code, text = run(report.repro("0", tmp_path / "repro"))
    assert (code, "the network's shape is (1, 4, 6, 6), PyTorch's is (1, 4, 8, 8)" in text) == (1, True)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_and_large_weights(tmp_path, precision):
    module = seeded(nn.Sequential(nn.Conv2d(32, 64, 3), nn.ReLU()))
    weights = netdefs.Weights(module.state_dict())
    net = build(
        lambda net, x: net.output(net.relu(net.conv(x, "0", 64, 3), "1"), "out"),
        weights,
        (1, 32, 8, 8),
        precision=precision,
    )
    with torch.no_grad():
        module[0].bias += 0.5
    report = netdefs.compare(net, module, picture(1, 32, 8, 8))
    row = report.first_bad
    code, text = run(report.repro("0", tmp_path / "repro"), bare=True)
    assert (row.name, code) == ("0", 1)
    assert f"relative error      {row.isolated.relative:.3g}" in text


def test_nan_on_one_side(tmp_path):
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 1)))
    weights = {key: value.clone() for key, value in module.state_dict().items()}
    with torch.no_grad():
        module[0].bias[0] = float("nan")
    net = build(lambda net, x: net.output(net.conv(x, "0", 4, 1), "out"), weights, (1, 3, 4, 4))
    report = netdefs.compare(net, module, picture(1, 3, 4, 4))
    code, text = run(report.repro("0", tmp_path / "repro"), bare=True)
    assert (code, "relative error      inf" in text) == (1, True)
    assert f"({report.first_bad.isolated.outside:.2%})" in text


def test_the_worst_of_several_inputs(module, tmp_path):
    net = network(module, eps={"layer1.1.bn1": 1e-1})
    report = netdefs.compare(net, module, [picture(seed=0), 3 * picture(seed=1)])
    metrics = report.first_bad.isolated
    folder = report.repro("layer1.1.bn1", tmp_path / "repro")
    assert f"relative error      {metrics.relative:.3g}" in run(folder)[1]
    assert report.labels[report.first_bad.worst_input] in (folder / "README.md").read_text()


def test_refusals(module, report, tmp_path):
    with pytest.raises(CompareError, match=r"no row or block 'layer1\.9' in this report\. Near: layer1"):
        report.repro("layer1.9", tmp_path / "x")
    with pytest.raises(CompareError, match=r"'layer1\.0\.relu' in this report\. It is called more than once"):
        report.repro("layer1.0.relu", tmp_path / "x")
    with pytest.raises(CompareError, match=r"The block branches has no result of its own .* such as branches\.low"):
        report.repro("branches", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    with pytest.raises(FileError, match="is not empty"):
        report.repro("conv1", tmp_path / "full")
    assert report.repro("conv1", tmp_path / "full", force=True)
    assert (tmp_path / "full" / "mine").read_text() == "kept"
    with pytest.raises(FileError, match="a repro is a folder"):
        report.repro("conv1", tmp_path / "full" / "mine")
    again = pickle.loads(pickle.dumps(report))
    assert again.verdict == report.verdict
    with pytest.raises(CompareError, match="Call compare again"):
        again.repro("conv1", tmp_path / "y")


def test_an_engine(module, tmp_path):
    net = network(module)
    report = netdefs.compare(net, module, picture(), target="cpu")
    with pytest.raises(CompareError, match=r"errors of an engine for cpu.* Compare without target="):
        report.repro("conv1", tmp_path / "x")
    with netdefs.build(net, target="cpu") as engine:  # its layers can be cut out
        assert run(netdefs.compare(engine, module, picture()).repro("conv1", tmp_path / "x"))[0] == 0
    from tests.debug.test_compare import opaque

    report = netdefs.compare(opaque(netdefs.build(net, target="cpu")), module, picture())
    with pytest.raises(CompareError, match="can't be cut out of an engine on a GPU"):
        report.repro("logits", tmp_path / "y")


def test_no_values_are_kept(module):
    report = netdefs.compare(network(module), module, picture())

    def arrays(thing, seen):
        if id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            yield thing
        elif isinstance(thing, dict):
            for value in list(thing.values()):
                yield from arrays(value, seen)
        elif isinstance(thing, list | tuple | set | frozenset):
            for value in thing:
                yield from arrays(value, seen)
        elif type(thing).__module__.startswith("netdefs") and hasattr(thing, "__dict__"):
            yield from arrays(vars(thing), seen)

    shapes = {row.shape for row in report.rows if len(row.shape) == 4}
    held = [array for array in arrays(report, set()) if array.shape in shapes]
    assert held == []
