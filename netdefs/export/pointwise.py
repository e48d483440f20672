"""Layers that work value by value: activation, unary, elementwise, scale, parametric ReLU, select, cast, identity."""

import math
from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.reading import read_weights
from netdefs.export.types import BOOL, FLOATS

UNARY = {
    "EXP": "Exp",
    "LOG": "Log",
    "SQRT": "Sqrt",
    "RECIP": "Reciprocal",
    "ABS": "Abs",
    "NEG": "Neg",
    "SIN": "Sin",
    "COS": "Cos",
    "TAN": "Tan",
    "SINH": "Sinh",
    "COSH": "Cosh",
    "ASIN": "Asin",
    "ACOS": "Acos",
    "ATAN": "Atan",
    "ASINH": "Asinh",
    "ACOSH": "Acosh",
    "ATANH": "Atanh",
    "CEIL": "Ceil",
    "FLOOR": "Floor",
    "ERF": "Erf",
    "NOT": "Not",
    "SIGN": "Sign",
    "ROUND": "Round",  # both round halves to even
    "ISINF": "IsInf",
    "ISNAN": "IsNaN",
}

ELEMENTWISE = {
    "SUM": "Add",
    "PROD": "Mul",
    "MAX": "Max",
    "MIN": "Min",
    "SUB": "Sub",
    "DIV": "Div",  # of integers: both cut towards zero
    "POW": "Pow",
    "AND": "And",
    "OR": "Or",
    "XOR": "Xor",
    "EQUAL": "Equal",
    "GREATER": "Greater",
    "LESS": "Less",
}


def activation(c: Context, layer: Any) -> None:
    """An activation with its alpha and beta."""
    kind, x, alpha, beta = layer.type.name, c.inputs[0], layer.alpha, layer.beta
    if kind == "RELU" and c.dtype(x) in FLOATS:
        c.emit("Relu", x)
    elif kind == "RELU":
        c.emit("Max", x, c.constant("zero", 0, c.dtype(x)))
    elif kind == "SIGMOID":
        c.emit("Sigmoid", x)
    elif kind == "TANH":
        c.emit("Tanh", x)
    elif kind == "LEAKY_RELU":
        c.emit("LeakyRelu", x, alpha=alpha)
    elif kind == "ELU":
        c.emit("Elu", x, alpha=alpha)
    elif kind == "SELU":
        c.emit("Selu", x, alpha=alpha, gamma=beta)
    elif kind == "SOFTSIGN":
        c.emit("Softsign", x)
    elif kind == "SOFTPLUS":
        scaled_pair(c, "Softplus", alpha, beta)
    elif kind == "CLIP":
        # max(alpha, min(beta, x)): where the bounds cross, TensorRT gives alpha and ONNX beta.
        bounds = [c.constant("min", alpha, c.dtype(x)), c.constant("max", max(alpha, beta), c.dtype(x))]
        c.emit("Clip", x, *bounds)
    elif kind == "HARD_SIGMOID":
        c.emit("HardSigmoid", x, alpha=alpha, beta=beta)
    elif kind == "SCALED_TANH":
        scaled_pair(c, "Tanh", alpha, beta)
    elif kind == "THRESHOLDED_RELU":
        c.emit("ThresholdedRelu", x, alpha=alpha)
    elif kind in ("GELU_ERF", "GELU_TANH"):
        gelu(c, x, kind)
    else:
        raise c.error(f"the activation {kind} is not known.")


def scaled_pair(c: Context, op: str, alpha: float, beta: float) -> None:
    """alpha * op(beta * x)."""
    x, dtype = c.inputs[0], c.dtype(c.inputs[0])
    if beta != 1:
        x = c.helper("scaled", "Mul", x, c.constant("beta", beta, dtype))
    if alpha == 1:
        c.emit(op, x)
    else:
        c.emit("Mul", c.helper("unscaled", op, x), c.constant("alpha", alpha, dtype))


def gelu(c: Context, x: str, kind: str) -> None:
    """Gelu where the opset has it (20), else its parts.

    ONNX Runtime fuses the parts of the form with erf, which is as fast then. The form with tanh it does not: it is over
    three times slower, and asks for opset 20.
    """
    if kind == "GELU_TANH":
        c.prefer(20)
    if c.opset >= 20:
        c.emit("Gelu", x, approximate="none" if kind == "GELU_ERF" else "tanh")
        return
    dtype = c.dtype(x)

    def scalar(what: str, value: float) -> str:
        return c.constant(what, value, dtype)

    if kind == "GELU_ERF":
        inner = c.helper("erf", "Erf", c.helper("scaled", "Div", x, scalar("sqrt2", math.sqrt(2))))
    else:
        cubed = c.helper("cubic", "Mul", scalar("c", 0.044715), c.helper("cube", "Pow", x, scalar("three", 3)))
        inner = c.helper("sum", "Add", x, cubed)
        inner = c.helper("tanh", "Tanh", c.helper("scaled", "Mul", inner, scalar("sqrt2pi", math.sqrt(2 / math.pi))))
    gate = c.helper("gate", "Add", inner, scalar("one", 1))
    c.emit("Mul", c.helper("product", "Mul", x, gate), scalar("half", 0.5))


def unary(c: Context, layer: Any) -> None:
    """A function of one tensor."""
    c.emit(UNARY[layer.op.name], c.inputs[0])


def elementwise(c: Context, layer: Any) -> None:
    """A function of two tensors; sizes are equal or 1, as in ONNX."""
    kind = layer.op.name
    if kind == "FLOOR_DIV":
        floor_division(c)
    elif kind in ELEMENTWISE:
        c.emit(ELEMENTWISE[kind], *c.inputs)
    else:
        raise c.error(f"the operation {kind} is not known.")


def floor_division(c: Context) -> None:
    """Division rounded down: ONNX's integer Div cuts towards zero, so the remainder, of its sign, goes first."""
    a, b = c.inputs
    if c.dtype(a) in FLOATS:
        c.emit("Floor", c.helper("quotient", "Div", a, b))
    else:
        c.emit("Div", c.helper("multiple", "Sub", a, c.helper("remainder", "Mod", a, b)), b)


def scale(c: Context, layer: Any) -> None:
    """(x * scale + shift) ^ power.

    Per channel on axis 1 it is written as a BatchNormalization with mean 0, variance 1 and epsilon 0: the same numbers
    in one node, which ONNX Runtime folds into a convolution before it.
    """
    shape, axis = c.shape(), layer.channel_axis
    has = {what: weight_count(getattr(layer, what)) for what in ("scale", "shift", "power")}
    if layer.mode.name == "CHANNEL" and axis == 1 and has["scale"] and has["shift"] and trivial_power(layer):
        channels, dtype = has["scale"], read_weights(layer.scale)[0]
        weights = [c.weight("weight", layer.scale, (channels,)), c.weight("bias", layer.shift, (channels,))]
        mean, variance = c.constant("mean", np.zeros(channels), dtype), c.constant("var", np.ones(channels), dtype)
        c.emit("BatchNormalization", c.inputs[0], *weights, mean, variance, epsilon=0.0)
        return
    steps = []
    for what, name, op in (("scale", "weight", "Mul"), ("shift", "bias", "Add"), ("power", "power", "Pow")):
        if has[what] and not (what == "power" and trivial_power(layer)):
            weights_shape = scale_shape(c, layer.mode.name, shape, axis, has[what])
            steps.append((op, c.weight(name, getattr(layer, what), weights_shape)))
    x = c.inputs[0]
    for i, (op, operand) in enumerate(steps):
        if i == len(steps) - 1:
            c.emit(op, x, operand)
        else:
            x = c.helper(op.lower(), op, x, operand)
    if not steps:
        c.emit("Identity", x)


def weight_count(weights: Any) -> int:
    """How many weights there are; 0 where the layer has none."""
    return int(weights.size)


def trivial_power(layer: Any) -> bool:
    """True if the power is 1 everywhere."""
    power = layer.power
    return weight_count(power) == 0 or (isinstance(power, np.ndarray) and bool((power == 1).all()))


def scale_shape(c: Context, mode: str, shape: tuple[int, ...], axis: int, count: int) -> tuple[int, ...]:
    """The shape that makes a Scale layer's weights broadcast against its input."""
    if mode == "UNIFORM":
        return ()
    if mode == "CHANNEL":
        return (count, *[1] * (len(shape) - axis - 1))
    tail = shape[axis:]  # ELEMENTWISE: everything from the channel axis on
    if math.prod(tail) != count:
        raise c.error(f"{count} elementwise weights for an input of shape {shape}, channel axis {axis}.")
    return tail


def parametric_relu(c: Context, layer: Any) -> None:
    """PRelu: the slopes' sizes are the input's or 1."""
    c.emit("PRelu", *c.inputs)


def select(c: Context, layer: Any) -> None:
    """Where; of booleans, which ONNX Runtime's Where does not take, by logic."""
    condition, yes, no = c.inputs
    if c.dtype(yes) != BOOL:
        c.emit("Where", condition, yes, no)
        return
    both = c.helper("then", "And", condition, yes)
    c.emit("Or", both, c.helper("else", "And", c.helper("not", "Not", condition), no))


def cast(c: Context, layer: Any) -> None:
    """Cast: to integers both cut towards zero."""
    c.emit("Cast", c.inputs[0], to=c.output_dtype())


def identity(c: Context, layer: Any) -> None:
    """Identity; TensorRT 10 also converts types with it."""
    c.finish(c.inputs[0])
