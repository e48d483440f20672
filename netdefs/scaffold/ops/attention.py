"""Products of matrices, and attention."""

from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import is_tensor
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Arg, Value


@lowers("aten.matmul.default", "aten.bmm.default", "aten.mm.default")
def _matmul(op: Op) -> Value:
    a, b = list(op.given.values())[:2]
    if min(len(a.shape), len(b.shape)) < 2:
        return vectors(op, a, b)
    return op.layer("matmul", a, b)


def vectors(op: Op, a: Value, b: Value) -> Value:
    """A product with a vector: a column or row."""
    left, right = len(a.shape) == 1, len(b.shape) == 1
    if left:
        a = widened(op, a, 0, "row")
    if right:
        b = widened(op, b, 1, "column")
    sizes = [*op.shape[: len(op.shape) if right else -1], *([1] if left else []), *([1] if right else op.shape[-1:])]
    made = op.layer("matmul", a, b, part="matmul", sizes=sizes)
    gone = tuple(axis for axis, there in ((-2, left), (-1, right)) if there)
    return op.layer("squeeze", made, dim=gone[0] if len(gone) == 1 else gone)


def widened(op: Op, x: Value, dim: int, part: str) -> Value:
    """A vector as a matrix of one row or column."""
    sizes = (1, *x.shape) if dim == 0 else (*x.shape, 1)
    if is_tensor(x):
        return op.layer("unsqueeze", x, part=part, sizes=sizes, dim=dim)
    return op.array("{0}[None]" if dim == 0 else "{0}[:, None]", x, sizes=sizes)


@computes("aten.matmul.default", "aten.bmm.default", "aten.mm.default")
@computes("aten.mv.default", "aten.dot.default", "aten.vdot.default")
def _matmul_of_arrays(op: Op) -> Value:
    a, b = list(op.given.values())[:2]
    return op.array("{0} @ {1}", a, b)


@lowers("aten.outer.default", "aten.ger.default")
def _outer(op: Op) -> Value:
    a, b = list(op.given.values())[:2]
    return op.layer("mul", widened(op, a, 1, "column"), b)


@computes("aten.outer.default", "aten.ger.default")
def _outer_of_arrays(op: Op) -> Value:
    a, b = list(op.given.values())[:2]
    return op.array("np.outer({0}, {1})", a, b)


@lowers("aten.baddbmm.default")
def _baddbmm(op: Op) -> Value:
    product = op.layer("matmul", op["batch1"], op["batch2"], part="bmm")
    if op["alpha"] != 1:
        product = op.layer("mul", product, op["alpha"], part="scaled")
    if op["beta"] == 0:
        return product
    bias = op["self"]
    if op["beta"] != 1:
        bias = op.layer("mul", bias, op["beta"], part="bias", sizes=bias.shape)
    return op.layer("add", bias, product)


@lowers("aten.einsum.default")
def _einsum(op: Op) -> Value:
    return op.layer("einsum", op["equation"].replace(" ", ""), tuple(op["tensors"]))


@computes("aten.einsum.default")
def _einsum_of_arrays(op: Op) -> Value:
    tensors = op["tensors"]
    places = ", ".join(f"{{{i}}}" for i in range(len(tensors)))
    return op.array(f"np.einsum({{equation}}, {places})", *tensors, equation=op["equation"].replace(" ", ""))


@lowers("aten.scaled_dot_product_attention.default")
def _attention(op: Op) -> Value:
    if op["dropout_p"]:
        raise Unsupported("it drops values, as in training.")
    query, key, value = (op.tensor(op[name]) for name in ("query", "key", "value"))
    if op.given.get("enable_gqa") and query.shape[-3] != key.shape[-3]:
        raise Unsupported("attention with fewer heads of keys than of queries (enable_gqa) is not in the library.")
    options: dict[str, Arg] = {}
    if op["attn_mask"] is not None:
        options["mask"] = op["attn_mask"]
    if op["is_causal"]:
        options["is_causal"] = True
    usual = query.shape[-1] ** -0.5 if isinstance(query.shape[-1], int) else None
    scale = op["scale"]
    if scale is not None and (usual is None or not isinstance(scale, float | int) or abs(scale - usual) > 1e-9 * usual):
        options["scale"] = scale
    return op.layer("scaled_dot_product_attention", query, key, value, **options)


@lowers("aten._scaled_dot_product_flash_attention_for_cpu.default")
@lowers("aten._scaled_dot_product_efficient_attention.default", "aten._scaled_dot_product_attention_math.default")
def _attention_tuple(op: Op) -> Any:
    op.given.setdefault("attn_mask", op.given.get("attn_bias"))
    return _attention(op), None
