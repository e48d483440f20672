"""Activations and other functions of one value."""

from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import differing
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Value

# Operators that take one tensor and nothing else -> Network's method.
PLAIN = {
    **dict.fromkeys(("relu", "relu6", "sigmoid", "tanh", "silu", "mish", "hardswish", "hardsigmoid"), ""),
    **dict.fromkeys(("exp", "log", "sqrt", "rsqrt", "abs", "neg", "erf", "sin", "cos", "tan", "atan"), ""),
    **dict.fromkeys(("floor", "ceil", "round", "reciprocal", "sign", "square", "selu", "logical_not"), ""),
    "log_sigmoid": "logsigmoid",
    "special_expit": "sigmoid",
}
# The same of arrays: numpy's text.
NUMPY = {
    **{word: f"np.{word}({{0}})" for word in ("exp", "log", "log2", "log10", "log1p", "expm1", "sqrt", "square")},
    **{word: f"np.{word}({{0}})" for word in ("sin", "cos", "tan", "tanh", "abs", "sign", "floor", "ceil")},
    "logical_not": "np.logical_not({0})",
    "atan": "np.arctan({0})",
    "round": "np.round({0})",
    "neg": "-{0}",
    "reciprocal": "1 / {0}",
    "rsqrt": "1 / np.sqrt({0})",
    "relu": "np.maximum({0}, 0)",
    "sigmoid": "1 / (1 + np.exp(-{0}))",
}


def _plain(method: str) -> Any:
    def lowering(op: Op) -> Value:
        return op.layer(method, next(iter(op.given.values())))

    return lowering


def _numpy(text: str) -> Any:
    def lowering(op: Op) -> Value:
        return op.array(text, next(iter(op.given.values())))

    return lowering


for _name, _method in PLAIN.items():
    lowers(f"aten.{_name}.default", f"aten.{_name}_.default")(_plain(_method or _name))
for _name, _method in NUMPY.items():
    computes(f"aten.{_name}.default", f"aten.{_name}_.default")(_numpy(_method))


def _with(method: str, **usual: Any) -> Any:
    """An operator whose further arguments are options of a method."""

    def lowering(op: Op) -> Value:
        found = {key: op[key] for key in usual if key in op.given}
        return op.layer(method, op["self"], **differing(usual, **found))

    return lowering


lowers("aten.gelu.default", "aten.gelu_.default")(_with("gelu", approximate="none"))
lowers("aten.leaky_relu.default", "aten.leaky_relu_.default")(_with("leaky_relu", negative_slope=0.01))
lowers("aten.celu.default", "aten.celu_.default")(_with("celu", alpha=1.0))
lowers("aten.softplus.default")(_with("softplus", beta=1, threshold=20))
lowers("aten.hardshrink.default")(_with("hardshrink", lambd=0.5))
lowers("aten.softshrink.default")(_with("softshrink", lambd=0.5))


@lowers("aten.elu.default", "aten.elu_.default")
def _elu(op: Op) -> Value:
    if op["scale"] == 1 and op["input_scale"] == 1:
        return op.layer("elu", op["self"], **differing({"alpha": 1}, alpha=op["alpha"]))
    if abs(op["scale"] - 1.0507009873554805) < 1e-9 and op["input_scale"] == 1:
        return op.layer("selu", op["self"])
    raise Unsupported("an ELU with other factors than SELU's.")


@lowers("aten.hardtanh.default", "aten.hardtanh_.default")
def _hardtanh(op: Op) -> Value:
    if (op["min_val"], op["max_val"]) == (0, 6):
        return op.layer("relu6", op["self"])
    options = differing({"min_val": -1, "max_val": 1}, min_val=op["min_val"], max_val=op["max_val"])
    return op.layer("hardtanh", op["self"], **options)


@lowers("aten.threshold.default", "aten.threshold_.default")
def _threshold(op: Op) -> Value:
    if op["threshold"] == 0 and op["value"] == 0:
        return op.layer("relu", op["self"])
    return op.layer("threshold", op["self"], threshold=op["threshold"], value=op["value"])


@lowers("aten.rrelu.default", "aten.rrelu_.default")
def _rrelu(op: Op) -> Value:
    return op.layer("leaky_relu", op["self"], negative_slope=(op["lower"] + op["upper"]) / 2)


@lowers("aten.log_sigmoid_forward.default")
def _log_sigmoid_tuple(op: Op) -> Any:
    return op.layer("logsigmoid", op["self"]), None


@lowers("aten.glu.default")
def _glu(op: Op) -> Value:
    return op.layer("glu", op["self"], dim=op["dim"])


@lowers("aten.softmax.int", "aten._softmax.default", "aten._safe_softmax.default")
def _softmax(op: Op) -> Value:
    return op.layer("softmax", op["self"], dim=op["dim"])


@lowers("aten.log_softmax.int", "aten._log_softmax.default")
def _log_softmax(op: Op) -> Value:
    return op.layer("log_softmax", op["self"], dim=op["dim"])


@computes("aten.softmax.int", "aten._softmax.default")
def _softmax_of_array(op: Op) -> Value:
    powers = op.array("np.exp({0} - {0}.max({dim}, keepdims=True))", op["self"], dim=op["dim"])
    return op.array("{0} / {0}.sum({dim}, keepdims=True)", powers, dim=op["dim"])


@lowers("aten.log1p.default")
def _log1p(op: Op) -> Value:
    return op.layer("log", op.layer("add", op["self"], 1, part="add"))


@lowers("aten.expm1.default")
def _expm1(op: Op) -> Value:
    return op.layer("sub", op.layer("exp", op["self"], part="exp"), 1)


@lowers("aten.dropout.default", "aten.dropout_.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
def _dropout(op: Op) -> Value:
    if op.given.get("train"):
        raise Unsupported("it drops values, as in training.")
    return _same(op)


@lowers("aten.native_dropout.default")
def _native_dropout(op: Op) -> Any:
    return _dropout(op), None


@lowers("aten.contiguous.default", "aten.detach.default", "aten.detach_.default", "aten.clone.default")
@lowers("aten.alias.default", "aten.lift_fresh_copy.default", "aten.lift.default", "aten.resolve_conj.default")
@lowers("aten.resolve_neg.default", "aten.lift_fresh.default", "aten.positive.default")
@computes("aten.contiguous.default", "aten.detach.default", "aten.detach_.default", "aten.clone.default")
@computes("aten.alias.default", "aten.lift_fresh_copy.default", "aten.lift.default", "aten.lift_fresh.default")
def _same(op: Op) -> Value:
    x: Value = next(iter(op.given.values()))
    return x
