"""`from_onnx`: networks that NVIDIA's parser makes."""

import gc
import sys
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

import netdefs
from examples.seeded import seed_weights
from netdefs.core.errors import EngineError, FileError, NetworkError
from tests.core.onnx_models import INT64, floats, model, small, value, write
from tests.reference import MODELS


def run(network, feeds, **options):
    with netdefs.build(network, target="cpu", **options) as engine:
        return engine.run(feeds)


def same(found, expected, tolerance=1e-6):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert np.linalg.norm(found[name] - array) <= tolerance * np.linalg.norm(array), name


@pytest.mark.parametrize(
    ("module", "variant", "shape"),
    [
        ("lenet", "lenet5", (1, 1, 32, 32)),
        ("resnet", "resnet18", (1, 3, 64, 64)),
        ("hrnet", "hrnet_w18_small", (1, 3, 64, 64)),
    ],
)
def test_the_zoo_through_onnx_agrees_with_pytorch(module, variant, shape, tmp_path):
    """That nothing is lost on the way, of any variant, is tested in tests/export/test_round_trip.py."""
    torch_module = seed_weights(MODELS[variant](), input_shape=(2, *shape[1:]))
    first = getattr(netdefs, module).define_network(torch_module.state_dict(), variant, input_shape=shape)
    netdefs.to_onnx(first, tmp_path / "a.onnx")
    report = netdefs.compare(
        netdefs.from_onnx(tmp_path / "a.onnx"), torch_module, {"input": floats(*shape)}, mode="chained"
    )
    assert report.ok and "conv1" in [row.name for row in report.rows]


class Block(nn.Module):
    """What exporters fold and fuse: a ReLU used twice, a batch norm behind a convolution, a residual."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.drop(self.relu(self.conv2(self.relu(self.bn1(self.conv1(x)))) + x))


class Gate(nn.Module):
    """A block whose batch norm lies outside of it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.conv(torch.sigmoid(x))


class Small(nn.Module):
    """A network of lists and dicts of modules, some of them used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU())
        self.layers = nn.ModuleList([nn.Sequential(Block(8), Block(8))])
        self.layers.append(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1)))  # of two ReLUs in a row exporters make one
        self.layers.append(Gate())
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.ends = nn.ModuleDict({"mix": nn.Conv2d(8, 8, 1), "relu": nn.ReLU()})
        self.project = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        x = self.relu(self.norm(x))
        x = self.ends["mix"](self.ends["mix"](self.ends["relu"](x)))
        return self.fc(torch.tanh(self.project(x.flatten(2).transpose(1, 2))).mean(1))


@pytest.fixture(scope="module", params=[True, False], ids=["dynamo", "torchscript"])
def exported(request, tmp_path_factory):
    """A PyTorch module, and its export with a dynamic batch."""
    torch_module = seed_weights(Small(), input_shape=(2, 3, 16, 16))
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    batch = {"input": {0: "batch"}}
    shapes = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if request.param else {"dynamic_axes": batch}
    options = {"input_names": ["input"], "output_names": ["logits"], "dynamo": request.param, **shapes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is deprecated
        torch.onnx.export(torch_module, (torch.from_numpy(floats(2, 3, 16, 16)),), path, **options)
    return torch_module, path


def test_an_export_of_torch_gives_torchs_numbers(exported):
    torch_module, path = exported
    network = netdefs.from_onnx(path)
    assert (network.name, network.info["precision"], network.info["source"]) == ("small", "fp32", str(path))
    for batch in (1, 3):
        x = floats(batch, 3, 16, 16)
        with torch.no_grad():
            expected = torch_module(torch.from_numpy(x)).numpy()
        same(run(network, {"input": x}), {"logits": expected}, 1e-5)


def test_what_is_named_after_a_module_is_its_output(exported):
    torch_module, path = exported
    network = netdefs.from_onnx(path)
    modules = network.info["modules"]
    x = floats(2, 3, 16, 16)
    values = {}

    def look(name):
        return lambda module, args, output: values.setdefault(name, []).append(output.clone().numpy())

    hooks = [module.register_forward_hook(look(name)) for name, module in torch_module.named_modules() if name]
    with torch.no_grad():
        torch_module(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    found = run(network, {"input": x}, outputs=list(modules))
    named = {}
    for tensor, name in modules.items():
        if len(values[name]) == 1:  # compare takes no others
            np.testing.assert_allclose(found[tensor], values[name][0], rtol=1e-4, atol=1e-5, err_msg=name)
            named[name] = tensor
    assert named["fc"] == "logits"
    assert {"stem.2", "layers.0.0", "project"} <= set(named)
    # Batch norms were folded into these, so that their own output is nowhere.
    assert not {"stem.0", "layers.0.0.conv1", "layers.2", "layers.2.conv"} & set(named)
    folded = {"stem.0": "stem.1", "layers.2.conv": "norm"}
    folded |= {f"layers.0.{i}.conv1": f"layers.0.{i}.bn1" for i in range(2)}
    told = bool(onnx.load(path).graph.node[0].metadata_props)  # the older exporter tells nothing
    assert network.info["folded"] == (folded if told else {})


def test_dynamic_sizes(exported):
    _, path = exported
    open_network = netdefs.from_onnx(path)
    assert tuple(open_network.definition.get_input(0).shape) == (-1, 3, 16, 16)
    with pytest.raises(EngineError, match=r"range of each dynamic input, and 'input' has none. Give profile="):
        netdefs.build(open_network, target="tensorrt_rtx")
    ranged = netdefs.from_onnx(path, input_shape=((1, 2, 4), 3, 16, 16))
    assert ranged.profile == {"input": ((1, 3, 16, 16), (2, 3, 16, 16), (4, 3, 16, 16))}
    with netdefs.build(ranged, target="tensorrt_rtx", compute_capabilities="8.6") as engine:
        assert engine.profile == ranged.profile
    fixed = netdefs.from_onnx(path, input_shape={"input": (3, 3, 16, 16)})
    assert tuple(fixed.definition.get_output(0).shape) == (3, 5) and not fixed.profile


@pytest.mark.parametrize(
    ("input_shape", "words"),
    [
        ((1, 4, 16, 16), r"the model has \(-1, 3, 16, 16\), where only a -1 can be chosen"),
        ((1, 3, (16, 16, 32), 16), "only a -1"),
        ((1, 3, 16), "only a -1"),
        (((4, 2, 8), 3, 16, 16), "in rising order"),
        (((1, 2), 3, 16, 16), "in rising order"),
        ((0, 3, 16, 16), "in rising order"),
        (4, "4 is no shape"),
        ("1", "'1' is no shape"),
        ({"inptu": (1, 3, 16, 16)}, "no input 'inptu', but input. Near: input"),
    ],
)
def test_sizes_that_the_model_does_not_leave_open(input_shape, words, exported):
    with pytest.raises(NetworkError, match=words):
        netdefs.from_onnx(exported[1], input_shape=input_shape)


def test_several_inputs_and_sizes_that_do_not_go_together(tmp_path):
    nodes = [helper.make_node("Add", ["a", "b"], ["y"], name="sum")]
    path = write(tmp_path / "m.onnx", model(nodes, [value("a", ["n", 4]), value("b", ["m", 4])], [value("y")]))
    assert tuple(netdefs.from_onnx(path, input_shape={"a": (2, 4)}).definition.get_input(1).shape) == (-1, 4)
    with pytest.raises(NetworkError, match=r"has the inputs a, b: give input_shape as \{name: shape\}"):
        netdefs.from_onnx(path, input_shape=(2, 4))
    with pytest.raises(NetworkError, match=r"(?s)'y' would have none.*broadcast"):
        netdefs.from_onnx(path, input_shape={"a": (2, 4), "b": (3, 4)})


def test_integer_indices(tmp_path):
    nodes = [helper.make_node("Gather", ["table", "indices"], ["rows"], name="embedding")]
    table = floats(7, 4)
    made = model(nodes, [value("indices", [2, 3], INT64)], [value("rows")], [("table", table)])
    network = netdefs.from_onnx(write(tmp_path / "m.onnx", made))
    indices = np.array([[0, 6, 3], [5, 1, 1]])
    same(run(network, {"indices": indices}), {"rows": table[indices]}, 0)


def test_half_precision(tmp_path):
    torch_module = seed_weights(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())).half()
    example = torch.from_numpy(floats(1, 3, 8, 8)).half()
    torch.onnx.export(torch_module, (example,), tmp_path / "half.onnx", input_names=["x"], output_names=["y"])
    network = netdefs.from_onnx(tmp_path / "half.onnx")
    assert network.precision == network.info["precision"] == "fp16"
    with torch.no_grad():
        expected = torch_module.float()(example.float()).numpy().astype(np.float16)
    same(run(network, {"x": example.numpy()}), {"y": expected}, 2e-3)


# ------------------------------------------------------------------------------- a network like any other


def test_it_can_be_marked_and_extended(tmp_path):
    network = netdefs.from_onnx(small(tmp_path), name="small")
    assert netdefs.mark(network, "c*") == ["conv"]
    network.finish(network.sigmoid(network.tensor("y"), "gate"))
    with pytest.raises(NetworkError, match=r"'conv' is taken: it was added at .*m\.onnx"):
        network.relu(network.tensor("y"), "conv")
    found = run(network, {"x": floats(1, 3, 8, 8)})
    assert list(found) == ["y", "conv", "gate"]
    np.testing.assert_allclose(found["gate"], 1 / (1 + np.exp(-np.maximum(found["conv"], 0))), rtol=1e-6)
    assert network.info["modules"] == {}, "no exporter of torch wrote this model"


def test_a_name_that_looks_like_a_glob_stands_for_itself(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y[0]"]), helper.make_node("Sigmoid", ["y[0]"], ["y0"])]
    path = write(tmp_path / "m.onnx", model(nodes, [value("x", [2])], [value("y0")]))
    feeds = {"x": floats(2)}
    assert netdefs.mark(netdefs.from_onnx(path), "y[0]") == ["y[0]", "y0"]
    written = netdefs.to_onnx(netdefs.from_onnx(path), outputs=["y[0]"])
    assert {output.name for output in written.graph.output} == {"y[0]", "y0"}
    with netdefs.build(netdefs.from_onnx(path), target="cpu") as engine:
        assert set(engine.run(feeds, outputs="y[0]")) == {"y0", "y[0]"}
        with pytest.raises(EngineError, match=r"No layer's output matches 'y\[1\]'\. Near: y\[0\]"):
            engine.run(feeds, outputs="y[1]")


def test_its_weights_live_as_long_as_the_network(tmp_path):
    path = small(tmp_path)
    expected = run(netdefs.from_onnx(path), {"x": floats(1, 3, 8, 8)})
    definition = netdefs.from_onnx(path).definition
    path.unlink()
    gc.collect()
    same(run(definition, {"x": floats(1, 3, 8, 8)}), expected, 0)


def test_it_needs_no_onnx_package(tmp_path, monkeypatch):
    path = small(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    network = netdefs.from_onnx(path)
    assert network.definition.num_layers == 2 and "modules" not in network.info
    with netdefs.build(network, target="tensorrt_rtx", compute_capabilities="8.6") as engine:
        assert list(engine.outputs) == ["y"]


def test_weights_in_another_file(tmp_path):
    path = small(tmp_path)
    expected = run(netdefs.from_onnx(path), {"x": floats(1, 3, 8, 8)})
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0, convert_attribute=False
    )
    data = tmp_path / "m.data"
    network = netdefs.from_onnx(path)
    content = data.read_bytes()
    data.unlink()
    same(run(network, {"x": floats(1, 3, 8, 8)}), expected, 0)
    with pytest.raises(FileError, match=r"m\.onnx keeps its weights in another file, .*Failed to open file: .*m\.data"):
        netdefs.from_onnx(path)
    data.write_bytes(content[:-1])
    with pytest.raises(FileError, match=r"out of range for file: .*m\.data"):
        netdefs.from_onnx(path)
