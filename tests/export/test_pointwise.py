import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from netdefs.core.dtypes import bfloat16_to_float32
from tests.export.nets import Net, close, evaluate, export, floats, rng, run, session, trt

ACTIVATIONS = {
    "RELU": (None, None, F.relu),
    "SIGMOID": (None, None, torch.sigmoid),
    "TANH": (None, None, torch.tanh),
    "LEAKY_RELU": (0.2, None, lambda x: F.leaky_relu(x, 0.2)),
    "ELU": (0.7, None, lambda x: F.elu(x, 0.7)),
    "SELU": (1.6732632423543772, 1.0507009873554805, F.selu),
    "SOFTSIGN": (None, None, F.softsign),
    "SOFTPLUS": (0.5, 3.0, lambda x: 0.5 * F.softplus(3 * x, threshold=1e9)),
    "CLIP": (-0.5, 1.25, lambda x: x.clamp(-0.5, 1.25)),
    "HARD_SIGMOID": (1 / 6, 0.5, F.hardsigmoid),
    "SCALED_TANH": (1.7, 0.6, lambda x: 1.7 * torch.tanh(0.6 * x)),
    "THRESHOLDED_RELU": (0.4, None, lambda x: F.threshold(x, 0.4, 0.0)),
    "GELU_ERF": (None, None, F.gelu),
    "GELU_TANH": (None, None, lambda x: F.gelu(x, approximate="tanh")),
}


def activation(name, alpha, beta, x, dtype=None, **options):
    net = Net()
    layer = net.definition.add_activation(net.input("x", x.shape, dtype), getattr(trt.ActivationType, name))
    if alpha is not None:
        layer.alpha = alpha
    if beta is not None:
        layer.beta = beta
    net.output(layer)
    return evaluate(net, {"x": x}, **options)["y"]


def test_every_activation_is_here():
    assert set(ACTIVATIONS) == set(trt.ActivationType.__members__)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    alpha, beta, function = ACTIVATIONS[name]
    x = floats(2, 3, 5) * 3
    close(activation(name, alpha, beta, x), function(torch.from_numpy(x)))


@pytest.mark.parametrize("name", ["GELU_ERF", "GELU_TANH"])
def test_gelu_is_one_node_where_the_opset_has_it(name):
    x = floats(2, 3, 5) * 3
    close(activation(name, None, None, x, opset=20), ACTIVATIONS[name][2](torch.from_numpy(x)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_in_half_precision(name):
    alpha, beta, function = ACTIVATIONS[name]
    x = floats(2, 3, 5).astype(np.float16)
    close(activation(name, alpha, beta, x, trt.float16), function(torch.from_numpy(x).float()), 5e-3)


def test_softplus_with_defaults_is_one_node():
    net = Net()
    layer = net.definition.add_activation(net.input("x", (2, 3)), trt.ActivationType.SOFTPLUS)
    layer.alpha = layer.beta = 1.0
    net.output(layer)
    assert [node.op_type for node in export(net).graph.node] == ["Softplus"]


def test_clip_whose_bounds_cross_gives_the_lower_one():
    close(activation("CLIP", 1.0, -1.0, floats(4)), np.ones(4))


UNARY = {
    "EXP": np.exp,
    "LOG": np.log,
    "SQRT": np.sqrt,
    "RECIP": lambda x: 1 / x,
    "ABS": np.abs,
    "NEG": np.negative,
    "SIN": np.sin,
    "COS": np.cos,
    "TAN": np.tan,
    "SINH": np.sinh,
    "COSH": np.cosh,
    "ASIN": np.arcsin,
    "ACOS": np.arccos,
    "ATAN": np.arctan,
    "ASINH": np.arcsinh,
    "ACOSH": np.arccosh,
    "ATANH": np.arctanh,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ERF": lambda x: np.vectorize(math.erf)(x),
    "SIGN": np.sign,
    "ROUND": np.round,
    "ISINF": np.isinf,
    "ISNAN": np.isnan,
    "NOT": np.logical_not,
}
DOMAIN = {"LOG": np.abs, "SQRT": np.abs, "ACOSH": lambda x: np.abs(x) + 1}


def unary(name, x, dtype=None):
    net = Net()
    net.output(net.definition.add_unary(net.input("x", x.shape, dtype), getattr(trt.UnaryOperation, name)))
    return evaluate(net, {"x": x})["y"]


def test_every_unary_is_here():
    assert set(UNARY) == set(trt.UnaryOperation.__members__)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", sorted(set(UNARY) - {"NOT"}))
def test_unary(name, dtype):
    x = rng().uniform(-0.99, 0.99, (3, 7)).astype(dtype)
    if name == "ROUND":
        x = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49]], dtype)
    if name in ("ISINF", "ISNAN"):
        x[0, :3] = np.inf, -np.inf, np.nan
    x = DOMAIN.get(name, lambda x: x)(x)
    close(unary(name, x, getattr(trt, dtype)), UNARY[name](x.astype(np.float32)), 1e-5 if dtype == "float32" else 4e-3)


def test_unary_not():
    x = np.array([True, False, True])
    assert (unary("NOT", x, trt.bool) == ~x).all()


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", ["ABS", "NEG", "SIGN"])
def test_unary_of_integers(name, dtype):
    x = np.array([-3, 0, 5], dtype)
    assert (unary(name, x, getattr(trt, dtype)) == UNARY[name](x)).all()


ELEMENTWISE = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "SUB": np.subtract,
    "DIV": np.divide,
    "POW": np.power,
    "FLOOR_DIV": np.floor_divide,
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}
LOGIC = ["AND", "OR", "XOR"]


def elementwise(name, a, b):
    net = Net()
    inputs = [net.input(n, v.shape, getattr(trt, str(v.dtype))) for n, v in (("a", a), ("b", b))]
    net.output(net.definition.add_elementwise(*inputs, getattr(trt.ElementWiseOperation, name)))
    return evaluate(net, {"a": a, "b": b})["y"]


def test_every_elementwise_is_here():
    assert set(ELEMENTWISE) == set(trt.ElementWiseOperation.__members__)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64"])
@pytest.mark.parametrize("name", sorted(set(ELEMENTWISE) - set(LOGIC)))
def test_elementwise_with_broadcasting(name, dtype):
    a = rng(0).integers(-9, 10, (2, 3, 4))
    b = rng(1).integers(1, 4, (2, 1, 4)) * (1 if name == "POW" else rng(2).choice([-1, 1], (2, 1, 4)))
    a.flat[0] = b.flat[0]
    a, b = a.astype(dtype), b.astype(dtype)
    if name == "DIV" and dtype.startswith("int"):
        expected = np.trunc(a / b)  # TensorRT's integer division cuts towards zero
    else:
        expected = ELEMENTWISE[name](a.astype(np.float64), b.astype(np.float64))
    close(elementwise(name, a, b), expected, 1e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("name", [*LOGIC, "EQUAL"])
def test_elementwise_of_booleans(name):
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert (elementwise(name, a, b) == ELEMENTWISE[name](a, b)).all()


def scaled(x, mode, shift, scale, power, axis=1, dtype=None):
    net = Net()
    arguments = [None if v is None else np.ascontiguousarray(v).astype(x.dtype) for v in (shift, scale, power)]
    layer = net.definition.add_scale_nd(net.input("x", x.shape, dtype), getattr(trt.ScaleMode, mode), *arguments, axis)
    net.output(layer)
    return net


@pytest.mark.parametrize("parts", ["shift", "scale", "power", "scale+shift", "scale+shift+power", "scale+shift+one"])
@pytest.mark.parametrize(
    ("mode", "axis"), [("UNIFORM", 1), ("CHANNEL", 1), ("CHANNEL", 0), ("CHANNEL", 3), ("ELEMENTWISE", 1)]
)
def test_scale(mode, axis, parts):
    x = np.abs(floats(2, 3, 4, 5))
    shape = {"UNIFORM": (1,), "CHANNEL": (x.shape[axis],), "ELEMENTWISE": x.shape[axis:]}[mode]
    shift, scale, power = (np.abs(floats(*shape, seed=i)) + 0.1 for i in (1, 2, 3))
    if parts.endswith("one"):
        power = np.ones(shape)
    elif "power" not in parts:
        power = None
    shift, scale = shift if "shift" in parts else None, scale if "scale" in parts else None
    net = scaled(x, mode, shift, scale, power, axis)
    spread = (-1, *[1] * (3 - axis)) if mode == "CHANNEL" else shape
    expected = x.astype(np.float64) * (1 if scale is None else scale.reshape(spread))
    expected = (expected + (0 if shift is None else shift.reshape(spread))) ** (
        1 if power is None else power.reshape(spread)
    )
    close(evaluate(net, {"x": x})["y"], expected)


def test_scale_without_weights_is_the_identity():
    x = floats(2, 3, 4)
    assert (evaluate(scaled(x, "UNIFORM", None, None, None), {"x": x})["y"] == x).all()


def test_channel_scale_is_one_exact_batch_normalization():
    x, shift, scale = floats(2, 3, 4, 5), floats(3, seed=1), floats(3, seed=2)
    net = scaled(x, "CHANNEL", shift, scale, None)
    model = export(net)
    assert [node.op_type for node in model.graph.node] == ["BatchNormalization"]
    assert {"y.weight", "y.bias"} < {each.name for each in model.graph.initializer}
    y = run(model, {"x": x})["y"]
    expected = x.astype(np.float64) * scale.reshape(3, 1, 1) + shift.reshape(3, 1, 1)
    assert np.abs(y - expected).max() <= np.spacing(np.float32(np.abs(expected).max()))  # epsilon 0 adds no error


def test_channel_scale_disappears_into_a_convolution(tmp_path):
    import onnx
    import onnxruntime

    net = Net()
    x = net.input("x", (1, 3, 8, 8))
    conv = net.definition.add_convolution_nd(x, 4, (3, 3), floats(4, 3, 3, 3))
    bn = net.definition.add_scale_nd(conv.get_output(0), trt.ScaleMode.CHANNEL, floats(4), floats(4, seed=1), None, 1)
    net.output(net.definition.add_activation(bn.get_output(0), trt.ActivationType.RELU))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    model = export(net)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == ["FusedConv"]


def test_parametric_relu():
    x, slope = floats(2, 3, 4), floats(1, 3, 1, seed=1)
    net = Net()
    net.output(net.definition.add_parametric_relu(net.input("x", x.shape), net.constant(slope)))
    close(evaluate(net, {"x": x})["y"], np.where(x < 0, x * slope, x))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64", "bool"])
def test_select(dtype):
    condition = rng().integers(0, 2, (2, 1, 4)).astype(bool)
    a, b = (rng(i).integers(0, 9, (2, 3, 4)).astype(dtype) for i in (1, 2))
    net = Net()
    inputs = [net.input("c", condition.shape, trt.bool)]
    inputs += [net.input(n, v.shape, getattr(trt, dtype)) for n, v in (("a", a), ("b", b))]
    net.output(net.definition.add_select(*inputs))
    assert (evaluate(net, {"c": condition, "a": a, "b": b})["y"] == np.where(condition, a, b)).all()


@pytest.mark.parametrize("to", ["float32", "float16", "int32", "int64", "bool", "int8", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64", "bool", "uint8"])
def test_cast(dtype, to):
    x = np.array([0, 1, 2.7, 3.2, 9] if to in ("uint8", "bool") else [-2.7, -1, 0, 1.6, 9])
    x = np.abs(x).astype(dtype) if dtype == "uint8" else x.astype(dtype)
    net = Net()
    layer = net.definition.add_cast(net.input("x", x.shape, getattr(trt, dtype)), getattr(trt, to))
    if to == "int8" or (dtype == "uint8" and to not in ("float32", "float16", "int32", "int64")):
        pytest.skip("TensorRT casts to INT8 only by quantizing, and UINT8 only to and from numbers")
    net.output(layer)
    assert (evaluate(net, {"x": x})["y"] == x.astype(to)).all()


def test_cast_to_bfloat16_and_back():
    x = floats(50)
    net = Net()
    half = net.definition.add_cast(net.input("x", x.shape), trt.bfloat16)
    net.output(net.definition.add_cast(half.get_output(0), trt.float32))
    model = export(net)
    y = run(model, {"x": x}, optimize=False)["y"]
    assert (y.view(np.uint32) & 0xFFFF == 0).all()
    close(y, bfloat16_to_float32((x.view(np.uint32) >> 16).astype(np.uint16)), 1e-2)


def test_identity_and_names():
    net = Net()
    layer = net.definition.add_identity(net.input("x", (2, 3)))
    layer.metadata = "model.logits (model.py, line 3)"
    net.output(layer, "logits")
    model = export(net)
    (node,) = model.graph.node
    assert (node.name, node.output[0], node.doc_string) == ("logits", "logits", "model.logits (model.py, line 3)")
    assert session(model).get_inputs()[0].name == "x"
