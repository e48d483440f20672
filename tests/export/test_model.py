"""The model around the nodes: names, outputs, opset, metadata, files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import netdefs.export.save
from netdefs.core.errors import ExportError, FileError
from netdefs.core.version import __version__
from netdefs.export import to_onnx
from netdefs.export.table import LAYERS, LEFT_OUT
from tests.export.nets import Net, export, floats, run, trt

RELU, SUM = trt.ActivationType.RELU, trt.ElementWiseOperation.SUM


def block(net, x, name):
    """Convolution and ReLU, named."""
    conv = net.definition.add_convolution_nd(x, 4, (3, 3), floats(4, x.shape[1], 3, 3), floats(4))
    conv.name = conv.get_output(0).name = f"{name}.conv"
    conv.padding_nd = (1, 1)
    relu = net.definition.add_activation(conv.get_output(0), RELU)
    relu.name = relu.get_output(0).name = f"{name}.relu"
    return relu.get_output(0)


@pytest.fixture
def net():
    net = Net()
    x = net.input("input", (-1, 3, 8, 8))
    y = block(net, block(net, x, "layer1"), "layer2")
    net.definition.mark_output(y)
    net.definition.name = "two blocks"
    return net


def test_names_are_the_networks(net):
    model = export(net)
    assert [node.name for node in model.graph.node] == ["layer1.conv", "layer1.relu", "layer2.conv", "layer2.relu"]
    assert [node.output[0] for node in model.graph.node] == [node.name for node in model.graph.node]
    weights = [f"layer{i}.conv.{what}" for i in (1, 2) for what in ("weight", "bias")]
    assert [each.name for each in model.graph.initializer] == weights
    assert model.graph.name == "two blocks"
    assert [each.name for each in model.graph.output] == ["layer2.relu"]


def test_metadata(net):
    model = export(net)
    properties = {each.key: each.value for each in model.metadata_props}
    assert properties == {"netdefs": __version__, "tensorrt": f"{trt.__name__} {trt.__version__}"}
    assert (model.producer_name, model.producer_version) == ("netdefs", __version__)
    assert model.ir_version <= 10  # ONNX Runtime 1.20 reads up to that


def test_dynamic_dimensions_stay_dynamic():
    net = Net()
    x = net.input("x", (-1, 3, -1))
    x.set_dimension_name(0, "batch")
    net.output(net.definition.add_activation(x, RELU))
    model = export(net)
    dims = [each.dim_param or each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "x_2"]
    assert run(model, {"x": floats(5, 3, 7)})["y"].shape == (5, 3, 7)


def test_intermediate_tensors_carry_their_shapes(net):
    shapes = {each.name: each.type.tensor_type.shape for each in export(net).graph.value_info}
    assert [each.dim_value for each in shapes["layer1.relu"].dim] == [0, 4, 8, 8]


def test_any_tensor_can_be_an_output(net):
    model = export(net, outputs=("layer1.*", "layer2.conv"))
    names = ["layer2.relu", "layer1.conv", "layer1.relu", "layer2.conv"]
    assert [each.name for each in model.graph.output] == names
    assert set(run(model, {"input": floats(2, 3, 8, 8)})) == set(names)
    assert net.definition.num_outputs == 1  # the network is as it was


def test_an_output_that_matches_nothing_names_near_ones(net):
    with pytest.raises(ExportError, match=r"'layer1.cnov'.* Near: layer1.conv"):
        to_onnx(net.definition, outputs=["layer1.cnov"])


def test_a_path_object_works_too(net):
    class Path:
        definition = net.definition

    assert to_onnx(Path()) == to_onnx(net.definition)


def test_opset_is_the_lowest_unless_it_is_given(net):
    assert export(net).opset_import[0].version == 13
    assert export(net, opset=17).opset_import[0].version == 17
    with pytest.raises(ExportError, match="opset 12: this writes opset 13 to"):
        to_onnx(net.definition, opset=12)


def test_an_opset_that_is_too_low_names_the_layer():
    net = Net()
    net.output(net.definition.add_unary(net.input("x", (2,), trt.float16), trt.UnaryOperation.ISINF), "overflow")
    assert export(net).opset_import[0].version == 20
    with pytest.raises(
        ExportError, match=r"opset 19 is too low: Layer 'overflow' \(UNARY\): IsInf of float16 to bool needs 20"
    ):
        to_onnx(net.definition, opset=19)


def test_every_opset_gives_the_same_numbers():
    net = Net()
    x = net.input("x", (2, 3, 8, 8))
    y = block(net, x, "a")
    y = net.definition.add_reduce(y, trt.ReduceOperation.MAX, 12, True).get_output(0)
    y = net.definition.add_activation(y, trt.ActivationType.GELU_ERF).get_output(0)
    layer = net.definition.add_slice(y, (0, -1, 0, 0), (2, 6, 1, 1), (1, 1, 1, 1))
    layer.mode = trt.SampleMode.FILL
    net.output(layer)
    feeds = {"x": floats(2, 3, 8, 8)}
    expected = run(export(net), feeds)["y"]
    for opset in range(13, 22):
        np.testing.assert_allclose(run(export(net, opset=opset), feeds)["y"], expected, atol=1e-6)


def test_layers_are_sorted():
    net = Net()
    x = net.input("x", (2,))
    early = net.definition.add_elementwise(x, x, SUM)
    late = net.definition.add_activation(x, RELU)
    early.set_input(1, late.get_output(0))
    net.output(early)
    assert [node.op_type for node in export(net).graph.node] == ["Relu", "Add"]


def test_helper_names_give_way_to_the_networks_own():
    net = Net()
    x = net.input("y.weight", (1, 3, 8, 8))  # a tensor has the name that the weights would have
    net.output(net.definition.add_convolution_nd(x, 4, (3, 3), floats(4, 3, 3, 3)))
    model = export(net)
    assert [each.name for each in model.graph.initializer] == ["y.weight_1"]


@pytest.fixture
def unknown(monkeypatch):
    """A network with a layer type that the exporter does not know."""
    monkeypatch.delitem(LAYERS, "UNARY")
    net = Net()
    x = net.definition.add_activation(net.input("x", (2, 3)), RELU).get_output(0)
    net.output(net.definition.add_unary(x, trt.UnaryOperation.EXP), "mystery")
    return net


def test_an_unknown_layer_is_an_error(unknown, tmp_path):
    with pytest.raises(
        ExportError, match=r"Layer 'mystery' \(UNARY\) can't be written as ONNX: this layer type is not known"
    ):
        to_onnx(unknown.definition, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_every_layer_type_is_written_or_left_out_for_a_reason():
    assert set(trt.LayerType.__members__) <= set(LAYERS) | set(LEFT_OUT)
    assert not set(LAYERS) & set(LEFT_OUT)
    assert [entry.cls for entry in LAYERS.values() if not hasattr(trt, entry.cls)] == []


def test_an_unknown_layer_can_be_drawn(unknown):
    model = to_onnx(unknown.definition, strict=False)
    node = model.graph.node[-1]
    assert (node.domain, node.op_type, node.name, list(node.output)) == ("netdefs", "UNARY", "mystery", ["mystery"])
    assert {each.domain for each in model.opset_import} == {"", "netdefs"}
    onnx.checker.check_model(model)


def test_a_network_without_outputs_is_an_error(net):
    net.definition.unmark_output(net.definition.get_output(0))
    with pytest.raises(ExportError, match="has no output"):
        to_onnx(net.definition)
    assert [each.name for each in to_onnx(net.definition, outputs=["layer1.relu"]).graph.output] == ["layer1.relu"]


def test_an_invalid_layer_is_an_error():
    net = Net()
    layer = net.definition.add_slice(net.input("x", (2, 3)), (0,), (1,), (1,))
    layer.get_output(0).name = "broken"
    with pytest.raises(ExportError, match="'broken' has no shape"):
        to_onnx(net.definition)


def test_the_file_is_the_model(net, tmp_path):
    model = to_onnx(net.definition, tmp_path / "x.onnx")
    assert onnx.load(tmp_path / "x.onnx") == model == to_onnx(net.definition)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def external(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("limit", [False, True], ids=["asked for", "too large for one message"])
def test_external_data(tmp_path, monkeypatch, limit):
    net = Net()
    w = floats(64, 64, 3, 3)
    net.output(net.definition.add_convolution_nd(net.input("x", (1, 64, 8, 8)), 64, (3, 3), w, floats(64)))
    if limit:
        monkeypatch.setattr(netdefs.export.save, "LARGEST_MESSAGE", 1000)
    path = tmp_path / "x.onnx"
    model = to_onnx(net.definition, path, external_data=None if limit else True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.onnx", "x.onnx.data"]
    assert path.stat().st_size < 4000
    assert [each.name for each in model.graph.initializer if each.external_data] == ["y.weight"]
    onnx.checker.check_model(str(path), full_check=True)
    feeds = {"x": floats(1, 64, 8, 8)}
    assert (external(path).run(None, feeds)[0] == run(export(net), feeds)["y"]).all()
    assert (onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]) == w).all()


def test_one_file_can_not_hold_more_than_a_message(net, tmp_path, monkeypatch):
    monkeypatch.setattr(netdefs.export.save, "LARGEST_MESSAGE", 100)
    with pytest.raises(ExportError, match="do not fit into one file"):
        to_onnx(net.definition, tmp_path / "x.onnx", external_data=False)
    assert not list(tmp_path.iterdir())


def test_external_data_needs_a_path(net):
    with pytest.raises(ExportError, match="needs a path"):
        to_onnx(net.definition, external_data=True)


@pytest.mark.parametrize("external_data", [None, True])
def test_a_failed_write_leaves_what_was_there(net, tmp_path, monkeypatch, external_data):
    path = tmp_path / "x.onnx"
    to_onnx(net.definition, path, external_data=external_data)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        to_onnx(net.definition, path, external_data=external_data)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_folder_that_is_not_there(net, tmp_path):
    with pytest.raises(FileError, match="No such file"):
        to_onnx(net.definition, tmp_path / "nowhere" / "x.onnx")


MEMORY = """
import resource, sys
import numpy as np
from tests.export.nets import Net
from netdefs.export import to_onnx

net = Net()
x = net.input("x", (1, 512, 8, 8))
weights = [np.full((512, 512, 3, 3), i, np.float32) for i in range(16)]
for w in weights:
    layer = net.definition.add_convolution_nd(x, 512, (3, 3), w)
    layer.padding_nd = (1, 1)
    x = layer.get_output(0)
net.definition.mark_output(x)
size = sum(w.nbytes for w in weights)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
model = to_onnx(net.definition, sys.argv[1], external_data=sys.argv[2] == "True")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print((peak - before) / size)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize(("external_data", "limit"), [("False", 1.2), ("True", 0.2)])
def test_weights_are_copied_once(tmp_path, external_data, limit):
    """The network's own arrays are there before; the model adds one copy, external data none."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "x.onnx"), external_data]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert float(found.stdout) < limit
