"""Arrays that are made of nothing but sizes: zeros, ranges, grids."""

from collections.abc import Sequence
from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Arg, Raw, Value


def of(op: Op) -> str:
    """The type of an array, as the end of numpy's call: none for the floating-point numbers that it gives itself."""
    dtype = str(op.node.meta["val"].dtype).removeprefix("torch.")
    if "float" in dtype:
        return ""
    if dtype.startswith("complex"):
        raise Unsupported("complex numbers are not in the library.")
    return ", bool" if dtype == "bool" else f", np.{dtype}"


@computes("aten.zeros.default", "aten.new_zeros.default", "aten.zeros_like.default", "aten.zero_.default")
@lowers("aten.new_zeros.default", "aten.zeros_like.default", "aten.zero_.default", "aten.zero.default")
@computes("aten.empty.memory_format", "aten.new_empty.default", "aten.empty_like.default", "aten.zero.default")
@lowers("aten.new_empty.default", "aten.empty_like.default")
def _zeros(op: Op) -> Value:
    return filled(op, "np.zeros({shape}" + of(op) + ")")


@computes("aten.ones.default", "aten.new_ones.default", "aten.ones_like.default")
@lowers("aten.new_ones.default", "aten.ones_like.default")
def _ones(op: Op) -> Value:
    return filled(op, "np.ones({shape}" + of(op) + ")")


@computes("aten.full.default", "aten.new_full.default", "aten.full_like.default", "aten.fill.Scalar")
@computes("aten.fill_.Scalar", "aten.scalar_tensor.default")
@lowers("aten.new_full.default", "aten.full_like.default", "aten.fill.Scalar", "aten.fill_.Scalar")
def _full(op: Op) -> Value:
    value = next(op.given[key] for key in ("fill_value", "value", "s") if key in op.given)
    return filled(op, "np.full({shape}, {value}" + of(op) + ")", value=value)


def filled(op: Op, text: str, **options: Arg) -> Value:
    """An array of one number; a tensor where its shape depends on the batch."""
    batch = [axis for axis, size in enumerate(op.shape) if op.is_batch(size)]
    if not batch:
        return op.array(text, shape=op.sizes(op.shape), **options)
    if len(batch) > 1:
        raise Unsupported("two axes of its shape depend on the batch.")
    (axis,) = batch
    like = op.with_batch(op.shape[axis], axis)
    sizes = [1 if i == axis else size for i, size in enumerate(op.shape)]
    array = op.array(text, shape=op.sizes(sizes), sizes=sizes, **options)
    shape: Sequence[Arg] = [0 if i == axis else -1 for i in range(len(sizes))]
    return op.layer("expand", array, shape=tuple(shape), like=like)


@computes("aten.arange.default", "aten.arange.start", "aten.arange.start_step")
def _arange(op: Op) -> Value:
    numbers = [op.given.get(key, usual) for key, usual in (("start", 0), ("end", None), ("step", 1))]
    start, end, step = (number if isinstance(number, float) else op.size(number) for number in numbers)
    words = ["{start}", "{end}", "{step}"]
    if isinstance(step, int) and step == 1:
        words.pop()
        if isinstance(start, int) and start == 0:
            words = ["{end}"]
    given = {"start": start, "end": end, "step": step}
    options: dict[str, Arg] = {key: given[key] for key in ("start", "end", "step") if f"{{{key}}}" in words}
    dtype = str(op.node.meta["val"].dtype)
    # Numpy counts in integers or floating-point numbers as it is given them; so does PyTorch, unless it is told to.
    wholes = all(not isinstance(number, float) for number in (start, end, step))
    more = ", dtype=np.float32" if "float" in dtype and wholes else ""
    return op.array(f"np.arange({', '.join(words)}{more})", **options)


@computes("aten.linspace.default")
def _linspace(op: Op) -> Value:
    start, end = (n if isinstance(n, float) else op.size(n) for n in (op["start"], op["end"]))
    return op.array("np.linspace({start}, {end}, {steps})", start=start, end=end, steps=op.size(op["steps"]))


@computes("aten.eye.default", "aten.eye.m")
def _eye(op: Op) -> Value:
    if "m" in op.given:
        return op.array("np.eye({n}, {m}" + of(op) + ")", n=op.size(op["n"]), m=op.size(op["m"]))
    dtype = of(op)
    return op.array("np.eye({n}" + (f", dtype={dtype[2:]}" if dtype else "") + ")", n=op.size(op["n"]))


@computes("aten.meshgrid.indexing", "aten.meshgrid.default")
def _meshgrid(op: Op) -> Any:
    tensors = op["tensors"]
    places = ", ".join(f"{{{i}}}" for i in range(len(tensors)))
    if op.given.get("indexing") == "xy":
        return op.array(f"np.meshgrid({places})", *tensors, results=len(tensors))
    return op.array(f"np.meshgrid({places}, indexing={{indexing}})", *tensors, results=len(tensors), indexing="ij")


@lowers("aten.meshgrid.indexing", "aten.meshgrid.default")
def _meshgrid_of_tensors(op: Op) -> Any:
    raise Unsupported("a grid of computed values is not in the library.")


@computes("aten.one_hot.default")
def _one_hot_array(op: Op) -> Value:
    return op.array("np.eye({count}, dtype=np.int64)[{0}]", op["self"], count=op.size(op.shape[-1]))


@lowers("aten.one_hot.default")
def _one_hot(op: Op) -> Value:
    count = op.shape[-1]
    kinds = op.array("np.arange({count})", sizes=(count,), count=op.size(count))
    each = op.layer("unsqueeze", op["self"], part="unsqueeze", sizes=(*op["self"].shape, 1), dim=-1)
    same = op.layer("eq", each, kinds, part="eq", holds="bool")
    return op.layer("cast", same, dtype=Raw("net.trt.int32"))
