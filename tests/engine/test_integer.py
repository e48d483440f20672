"""Int8 sessions: other integers and other places for ReLUs, and the same values."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from netdefs.engine.integer import quantizes, unsigned

RNG = np.random.default_rng(2)


def model_of(*, opset=13, skip=False, scale=0.05, between="Relu", outputs=("y",)):
    """A convolution, a ReLU, Quantize and Dequantize, another convolution and, if `skip`, the add of a shortcut."""
    weights = {"w1": (RNG.standard_normal((4, 3, 3, 3)) / 3).astype(np.float32)}
    weights["b1"] = RNG.standard_normal(4).astype(np.float32) / 10
    q2 = RNG.integers(-127, 128, (4, 4, 1, 1), dtype=np.int8)
    constants = {
        **weights,
        "s": np.float32(scale),
        "zero": np.int8(0),
        "q2": q2,
        "s2": np.full(4, 0.01, np.float32),
        "z2": np.zeros(4, np.int8),
    }
    old = opset < 21
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["x.q"]),
        helper.make_node("DequantizeLinear", ["x.q", "s", "zero"], ["x.dq"]),
        helper.make_node("Conv", ["x.dq", "w1", "b1"], ["conv1"], pads=[1, 1, 1, 1]),
        helper.make_node(between, ["conv1"], ["relu"]),
        helper.make_node(
            "QuantizeLinear",
            ["relu", "s", *(["zero"] if old else [])],
            ["relu.q"],
            **({} if old else {"output_dtype": TensorProto.INT8}),
        ),
        helper.make_node("DequantizeLinear", ["relu.q", "s", *(["zero"] if old else [])], ["relu.dq"]),
        helper.make_node("DequantizeLinear", ["q2", "s2", "z2"], ["w2"], axis=0),
        helper.make_node("Conv", ["relu.dq", "w2"], ["conv2"]),
        helper.make_node("Add", ["conv2", "relu.dq"], ["y"]) if skip else helper.make_node("Relu", ["conv2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        value_info=[
            helper.make_tensor_value_info("relu", TensorProto.FLOAT, [1, 4, 8, 8]),
            helper.make_tensor_value_info("relu.q", TensorProto.INT8, [1, 4, 8, 8]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(model, optimized):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)})


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("scale", [0.05, 0.003])  # the second one cuts off
def test_every_value_stays(opset, skip, scale):
    model = model_of(opset=opset, skip=skip, scale=scale)
    changed = unsigned(model)
    assert [node.op_type for node in changed.graph.node][2:5] == ["Conv", "QuantizeLinear", "Max"]
    np.testing.assert_array_equal(run(changed, optimized=False)[0], run(model, optimized=False)[0])


def test_kernels_of_float_convolutions_are_dequantized_in_advance():
    """The second convolution's result is not quantized: its kernel is a constant, and of the same values."""
    changed = unsigned(model_of())
    assert "w2" in {tensor.name for tensor in changed.graph.initializer}
    assert "w2" not in {name for node in changed.graph.node for name in node.output}


def test_the_convolution_becomes_an_integer_one(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    model = model_of()
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    kernel.CopyFrom(numpy_helper.from_array(RNG.integers(-127, 128, (4, 3, 3, 3), dtype=np.int8), "w1.q"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.01), "w1.s"))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["w1.q", "w1.s", "zero"], ["w1"]))
    onnxruntime.InferenceSession(unsigned(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx")
    assert "QLinearConv" in [node.op_type for node in optimized.graph.node]
    # The same within one step of what is quantized in between, times the second kernel.
    np.testing.assert_allclose(run(unsigned(model), True)[0], run(model, False)[0], atol=0.05 * 127 * 0.01 * 4)


def test_what_is_given_out_stays_where_it_is():
    model = model_of(outputs=("y", "relu"))
    changed = unsigned(model)
    assert "Max" not in [node.op_type for node in changed.graph.node]
    for ours, theirs in zip(run(changed, False), run(model, False), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_only_a_relu_moves():
    model = model_of(between="Sigmoid")
    assert "Max" not in [node.op_type for node in unsigned(model).graph.node]
    np.testing.assert_array_equal(run(unsigned(model), False)[0], run(model, False)[0])


def test_what_quantizes_nothing_is_left_alone():
    model = model_of()
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))
    assert not quantizes(model)
    assert unsigned(model) is model
