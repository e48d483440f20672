"""Arithmetic, comparisons, logic, choices and types."""

from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import is_float, is_tensor
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Raw, Value

# Operators of two values -> Network's method, and numpy's text.
BINARY = {
    "add": ("add", "{0} + {1}"),
    "sub": ("sub", "{0} - {1}"),
    "mul": ("mul", "{0} * {1}"),
    "div": ("div", "{0} / {1}"),
    "true_divide": ("div", "{0} / {1}"),
    "floor_divide": ("floor_divide", "{0} // {1}"),
    "remainder": ("remainder", "{0} % {1}"),
    "maximum": ("maximum", "np.maximum({0}, {1})"),
    "minimum": ("minimum", "np.minimum({0}, {1})"),
    "eq": ("eq", "{0} == {1}"),
    "ne": ("ne", "{0} != {1}"),
    "gt": ("gt", "{0} > {1}"),
    "lt": ("lt", "{0} < {1}"),
    "ge": ("ge", "{0} >= {1}"),
    "le": ("le", "{0} <= {1}"),
    "logical_and": ("logical_and", "{0} & {1}"),
    "logical_or": ("logical_or", "{0} | {1}"),
    "logical_xor": ("logical_xor", "{0} ^ {1}"),
    "bitwise_and": ("logical_and", "{0} & {1}"),
    "bitwise_or": ("logical_or", "{0} | {1}"),
    "bitwise_xor": ("logical_xor", "{0} ^ {1}"),
    "__and__": ("logical_and", "{0} & {1}"),
    "__or__": ("logical_or", "{0} | {1}"),
    "__xor__": ("logical_xor", "{0} ^ {1}"),
}
OVERLOADS = ("Tensor", "Scalar", "default", "Scalar_Tensor", "other")


def _joined(method: str, text: str) -> Any:
    def lowering(op: Op) -> Value:
        a, b = _operands(op)
        if op.is_known:
            return op.array(text, a, b)
        if "bitwise" in str(op.node.target) or "__" in str(op.node.target):
            _boolean(op)
        return op.layer(method, a, b)

    return lowering


def _operands(op: Op) -> tuple[Any, Any]:
    """Both operands, the second one times `alpha`."""
    a, b = list(op.given.values())[:2]
    alpha = op.given.get("alpha", 1)
    if alpha == 1:
        return a, b
    if not isinstance(b, Value):
        return a, b * alpha
    if is_tensor(b):
        return a, op.layer("mul", b, alpha, part="scaled", sizes=b.shape)
    return a, op.array("{0} * {alpha}", b, alpha=alpha, sizes=b.shape)


def _boolean(op: Op) -> None:
    if str(op.node.meta["val"].dtype) != "torch.bool":
        raise Unsupported("operators on the bits of integers have no layer.")


for _name, (_method, _text) in BINARY.items():
    _lowering = _joined(_method, _text)
    _targets = [f"aten.{_name}{end}.{kind}" for end in ("", "_") for kind in OVERLOADS]
    lowers(*_targets)(_lowering)
    computes(*_targets)(_lowering)


@lowers("aten.max.other")
def _maximum(op: Op) -> Value:
    return op.layer("maximum", op["self"], op["other"])


@lowers("aten.min.other")
def _minimum(op: Op) -> Value:
    return op.layer("minimum", op["self"], op["other"])


@lowers("aten.rsub.Tensor", "aten.rsub.Scalar")
def _rsub(op: Op) -> Value:
    x, other, alpha = op["self"], op["other"], op["alpha"]
    if alpha != 1:
        x = op.layer("mul", x, alpha, part="scaled")
    return op.layer("sub", other, x)


@computes("aten.rsub.Tensor", "aten.rsub.Scalar")
def _rsub_of_array(op: Op) -> Value:
    if op["alpha"] == 1:
        return op.array("{1} - {0}", op["self"], op["other"])
    return op.array("{1} - {alpha} * {0}", op["self"], op["other"], alpha=op["alpha"])


@lowers("aten.div.Tensor_mode", "aten.div_.Tensor_mode", "aten.div.Scalar_mode", "aten.div_.Scalar_mode")
@computes("aten.div.Tensor_mode", "aten.div_.Tensor_mode", "aten.div.Scalar_mode", "aten.div_.Scalar_mode")
def _div_mode(op: Op) -> Value:
    rounding = op["rounding_mode"]
    if rounding == "trunc" and not op.is_known:
        raise Unsupported("a division that rounds towards zero has no layer; rounding_mode='floor' has.")
    if op.is_known:
        text = {"trunc": "np.trunc({0} / {1})", "floor": "{0} // {1}"}.get(rounding, "{0} / {1}")
        return op.array(text, op["self"], op["other"])
    return op.layer("floor_divide" if rounding == "floor" else "div", op["self"], op["other"])


@lowers("aten.pow.Tensor_Scalar", "aten.pow_.Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def _power(op: Op) -> Value:
    return op.layer("pow", op["self"], op["exponent"])


@computes("aten.pow.Tensor_Scalar", "aten.pow_.Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def _power_of_array(op: Op) -> Value:
    return op.array("{0} ** {1}", op["self"], op["exponent"])


@lowers("aten.clamp.default", "aten.clamp_.default", "aten.clamp.Tensor", "aten.clip.default", "aten.clip_.default")
@lowers("aten.clamp_min.default", "aten.clamp_min_.default", "aten.clamp_min.Tensor")
@lowers("aten.clamp_max.default", "aten.clamp_max_.default", "aten.clamp_max.Tensor")
def _clamp(op: Op) -> Value:
    bounds = {key: op.given.get(key) for key in ("min", "max")}
    return op.layer("clamp", op["self"], **{key: bound for key, bound in bounds.items() if bound is not None})


@computes("aten.clamp.default", "aten.clamp_.default", "aten.clamp_min.default", "aten.clamp_max.default")
def _clamp_of_array(op: Op) -> Value:
    low, high = op.given.get("min"), op.given.get("max")
    if high is None:
        return op.array("np.maximum({0}, {1})", op["self"], low)
    if low is None:
        return op.array("np.minimum({0}, {1})", op["self"], high)
    return op.array("np.clip({0}, {1}, {2})", op["self"], low, high)


@lowers("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def _where(op: Op) -> Value:
    return op.layer("where", op["condition"], op["self"], op["other"])


@computes("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def _where_of_arrays(op: Op) -> Value:
    return op.array("np.where({0}, {1}, {2})", op["condition"], op["self"], op["other"])


@lowers("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", "aten.masked_fill_.Scalar", "aten.masked_fill_.Tensor")
def _masked_fill(op: Op) -> Value:
    if is_tensor(op["self"]):
        return op.layer("masked_fill", op["self"], mask=op["mask"], value=op["value"])
    return op.layer("where", op["mask"], op["value"], op["self"])


@computes("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", "aten.masked_fill_.Scalar", "aten.masked_fill_.Tensor")
def _masked_fill_of_array(op: Op) -> Value:
    return op.array("np.where({1}, {2}, {0})", op["self"], op["mask"], op["value"])


@lowers("aten.bitwise_not.default")
def _bitwise_not(op: Op) -> Value:
    _boolean(op)
    return op.layer("logical_not", op["self"])


@computes("aten.bitwise_not.default")
def _bitwise_not_of_array(op: Op) -> Value:
    return op.array("~{0}", op["self"])


@lowers("aten.lerp.Scalar", "aten.lerp.Tensor")
def _lerp(op: Op) -> Value:
    difference = op.layer("sub", op["end"], op["self"], part="difference")
    return op.layer("add", op["self"], op.layer("mul", difference, op["weight"], part="weighted"))


@lowers("aten.addcmul.default", "aten.addcmul_.default", "aten.addcdiv.default", "aten.addcdiv_.default")
def _addcmul(op: Op) -> Value:
    word = "mul" if "addcmul" in str(op.node.target) else "div"
    made = op.layer(word, op["tensor1"], op["tensor2"], part=word)
    if op["value"] != 1:
        made = op.layer("mul", made, op["value"], part="scaled")
    return op.layer("add", op["self"], made)


@lowers("aten.to.dtype", "aten.to.dtype_layout", "aten._to_copy.default", "aten.to.device", "aten.to.other")
@lowers("aten.type_as.default", "aten.to.prim_Device", "aten.to.prim_dtype", "aten._autocast_to_full_precision.default")
def converted(op: Op) -> Value:
    """Precision is the network's affair: a conversion is a statement only between kinds of numbers."""
    x: Value = op["self"]
    dtype = str(op.node.meta["val"].dtype).removeprefix("torch.")
    if "complex" in dtype:
        raise Unsupported("complex numbers are not in the library.")
    if dtype == x.dtype or ("float" in dtype and is_float(x)) or ("int" in dtype and "int" in x.dtype):
        return x
    if dtype == "bool":
        return op.layer("ne", x, 0)
    return op.layer("cast", x, dtype=Raw("net.trt.float32" if "float" in dtype else "net.trt.int32"))


@computes("aten.to.dtype", "aten.to.dtype_layout", "aten._to_copy.default", "aten.to.device", "aten.to.other")
@computes("aten.type_as.default", "aten.to.prim_Device", "aten.to.prim_dtype")
def _converted_array(op: Op) -> Value:
    x: Value = op["self"]
    dtype = str(op.node.meta["val"].dtype).removeprefix("torch.")
    if "complex" in dtype:
        raise Unsupported("complex numbers are not in the library.")
    if dtype == x.dtype or ("float" in dtype and is_float(x)):
        return x
    if x.fixed is not None:
        found = op.folded()
        if found is not None:
            return found
    # Arrays have whatever precision numpy gives them: the network makes its own of it.
    return op.array(
        "{0}.astype(np." + ("float32" if "float" in dtype else "bool_" if dtype == "bool" else dtype) + ")", x
    )
