"""The model around the nodes: names, outputs, opset, metadata, which constants it holds."""

import numpy as np
import onnx
import onnxruntime
import pytest

from netdefs.core.errors import ExportError
from netdefs.core.version import __version__
from netdefs.export import to_onnx
from netdefs.export.table import LAYERS, LEFT_OUT
from tests.export.nets import Net, close, export, floats, run, trt

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


def test_constants_that_became_attributes_are_left_out():
    """The axis is a tensor in TensorRT; ONNX Runtime warns of an initializer that nothing takes."""
    net = Net()
    x = net.input("x", (2, 3))
    axis = net.constant(np.array([0], np.int32))
    axis.name = "axis"
    y = net.definition.add_unsqueeze(x, axis).get_output(0)
    net.output(net.definition.add_activation(y, RELU))
    assert "axis" not in {each.name for each in export(net).graph.initializer}
    assert run(export(net, outputs=["axis"]), {"x": floats(2, 3)})["axis"] == [0]
    net.definition.mark_output(axis)
    assert run(export(net), {"x": floats(2, 3)})["axis"] == [0]


def test_constants_that_only_a_loop_takes_stay():
    net = Net()
    loop = net.definition.add_loop()
    loop.add_trip_limit(net.constant(np.array(3, np.int32)), trt.TripLimit.COUNT)
    total = loop.add_recurrence(net.input("x", (2,)))
    step = net.constant(np.array([1, 10], np.float32))
    following = net.definition.add_elementwise(total.get_output(0), step, SUM).get_output(0)
    total.set_input(1, following)
    net.output(loop.add_loop_output(total.get_output(0), trt.LoopOutput.LAST_VALUE))
    assert run(export(net), {"x": np.zeros(2, np.float32)})["y"].tolist() == [3, 30]


def test_onnx_runtime_has_no_complaints(capfd):
    """NVIDIA's parser makes constants for shapes and axes, of types that ONNX does not take."""
    info = onnx.helper.make_tensor_value_info
    parameters = ("scale", "bias", "mean", "var")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("BatchNormalization", ["x", *parameters], ["y"])],
        "normalize",
        [info("x", 1, [2, 3, 5, 5]), *(info(name, 1, [3]) for name in parameters)],
        [info("y", 1, [2, 3, 5, 5])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8)
    net = Net()
    parser = trt.OnnxParser(net.definition, net.log.bridge)
    assert parser.parse(model.SerializeToString())
    exported = to_onnx(net.definition).SerializeToString()
    capfd.readouterr()
    runner = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""
    feeds = {name: np.full(3, value, np.float32) for name, value in zip(parameters, (2, 1, 4, 0.25), strict=True)}
    feeds["x"] = floats(2, 3, 5, 5)
    close(runner.run(None, feeds)[0], 2 * (feeds["x"] - 4) / np.sqrt(0.25 + 1e-5) + 1)
