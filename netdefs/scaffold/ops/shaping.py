"""The same values in another shape or order of axes."""

from collections.abc import Sequence
from typing import Any

from netdefs.scaffold.ops.arrays import filled
from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import is_array
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Arg, Value


@lowers("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.unflatten.int")
@lowers("aten.view_as.default", "aten.reshape_as.default", "aten.ravel.default", "aten._reshape_alias.default")
@computes("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.unflatten.int")
@computes("aten.view_as.default", "aten.reshape_as.default", "aten.ravel.default", "aten._reshape_alias.default")
@computes("aten.flatten.using_ints")
def _reshape(op: Op) -> Value:
    x: Value = op["self"]
    if op.shape == x.shape:
        return x
    if is_array(x):
        return op.array("{0}.reshape({shape})", x, shape=op.sizes(op.shape))
    return op.layer("reshape", x, shape=op.shape_of(op.shape, x))


@lowers("aten.flatten.using_ints")
def _flatten(op: Op) -> Value:
    x: Value = op["self"]
    if op.shape == x.shape:
        return x
    usual = {"start_dim": 0, "end_dim": -1}
    rank = len(x.shape)
    options = {key: op[key] for key in usual if op[key] % rank != usual[key] % rank}
    return op.layer("flatten", x, **options)


@lowers("aten.permute.default")
@computes("aten.permute.default")
def _permute(op: Op) -> Value:
    x: Value = op["self"]
    rank = len(x.shape)
    return _permuted(op, x, [dim % rank for dim in op["dims"]])


def _permuted(op: Op, x: Value, dims: Sequence[int]) -> Value:
    if list(dims) == list(range(len(dims))):
        return x
    if is_array(x):
        return op.array("{0}.transpose({dims})", x, dims=tuple(dims))
    return op.layer("permute", x, dims=tuple(dims))


@lowers("aten.transpose.int", "aten.swapaxes.default", "aten.swapdims.default")
@lowers("aten.t.default", "aten.mT.default", "aten.adjoint.default", "aten.mH.default", "aten.t_.default")
@computes("aten.transpose.int", "aten.swapaxes.default", "aten.swapdims.default")
@computes("aten.t.default", "aten.mT.default", "aten.adjoint.default", "aten.mH.default", "aten.t_.default")
def _transpose(op: Op) -> Value:
    x: Value = op["self"]
    _, a, b = [*op.given.values(), -2, -1][:3] if len(op.given) == 1 else list(op.given.values())[:3]
    rank = len(x.shape)
    if rank < 2 or a % rank == b % rank:
        return x
    if not is_array(x):
        return op.layer("transpose", x, dim0=a, dim1=b)
    if rank == 2:
        return op.array("{0}.T", x)
    return op.array("{0}.swapaxes({a}, {b})", x, a=a, b=b)


@lowers("aten.numpy_T.default")
@computes("aten.numpy_T.default")
def _numpy_transpose(op: Op) -> Value:
    return _permuted(op, op["self"], list(range(len(op["self"].shape)))[::-1])


@lowers("aten.movedim.int", "aten.movedim.intlist", "aten.moveaxis.int", "aten.moveaxis.intlist")
@computes("aten.movedim.int", "aten.movedim.intlist", "aten.moveaxis.int", "aten.moveaxis.intlist")
def _movedim(op: Op) -> Value:
    x: Value = op["self"]
    rank = len(x.shape)
    source, target = (
        [dim % rank for dim in ([each] if isinstance(each, int) else each)]
        for each in (op["source"], op["destination"])
    )
    places = dict(zip(target, source, strict=True))
    rest = iter(axis for axis in range(rank) if axis not in source)
    return _permuted(op, x, [places[i] if i in places else next(rest) for i in range(rank)])


@lowers("aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims")
@computes("aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims")
def _squeeze(op: Op) -> Value:
    x: Value = op["self"]
    if op.shape == x.shape:
        return x
    given = op.given.get("dim")
    dims = [given] if isinstance(given, int) else given
    if dims is not None:
        dims = [dim for dim in dims if x.shape[dim] == 1]
    if is_array(x):
        gone = range(len(x.shape)) if dims is None else [dim % len(x.shape) for dim in dims]
        index = ["0" if axis in gone and x.shape[axis] == 1 else ":" for axis in range(len(x.shape))]
        return op.array(f"{{0}}[{', '.join(trimmed(index))}]", x)
    if dims is None:
        dims = [axis for axis, size in enumerate(x.shape) if isinstance(size, int) and size == 1]
    return op.layer("squeeze", x, dim=dims[0] if len(dims) == 1 else tuple(dims))


@lowers("aten.unsqueeze.default", "aten.unsqueeze_.default")
@computes("aten.unsqueeze.default", "aten.unsqueeze_.default")
def _unsqueeze(op: Op) -> Value:
    x, dim = op["self"], op["dim"]
    if not is_array(x):
        return op.layer("unsqueeze", x, dim=dim)
    if dim == -1:
        return op.array("{0}[..., None]", x)
    index = [*[":"] * (dim % (len(x.shape) + 1)), "None"]
    return op.array(f"{{0}}[{', '.join(index)}]", x)


def trimmed(index: Sequence[str]) -> list[str]:
    """An index of numpy's without what it need not say."""
    found = list(index)
    while len(found) > 1 and found[-1] == ":":
        found.pop()
    return found


@lowers("aten.expand.default", "aten.expand_as.default", "aten.broadcast_to.default")
@computes("aten.expand.default", "aten.expand_as.default", "aten.broadcast_to.default")
def _expand(op: Op) -> Value:
    return expanded(op, op["self"], op.shape)


def expanded(op: Op, x: Value, shape: Sequence[Any]) -> Value:
    """A value, its axes of size 1 and new ones in front repeated."""
    if tuple(shape) == tuple(x.shape) or _broadcasts(op):
        return x
    if x.fixed is not None and not x.shape:
        return filled(op, "np.full({shape}, {value})", value=x.fixed.item())
    if not any(op.is_batch(size) for size in shape) and is_array(x):
        return op.array("np.broadcast_to({0}, {shape})", x, shape=op.sizes(shape))
    new = len(shape) - len(x.shape)
    wanted: list[Arg] = []
    like = None
    for axis, size in enumerate(shape):
        if axis >= new and x.shape[axis - new] == size:
            wanted.append(-1)
        elif op.is_batch(size):
            found = op.with_batch(size, axis)
            if like is not None and like.shape[axis : axis + 1] != (size,):
                raise Unsupported("two axes of its shape depend on the batch.")
            like = like or found
            wanted.append(0)
        else:
            wanted.append(op.size(size))
    if like is None:
        return op.layer("expand", op.tensor(x), shape=tuple(wanted))
    return op.layer("expand", x, shape=tuple(wanted), like=like)


# Operators that broadcast what they are given.
BROADCASTING = {
    *("add", "sub", "mul", "div", "pow", "rsub", "maximum", "minimum", "where", "masked_fill"),
    *("eq", "ne", "gt", "lt", "ge", "le"),
}


def _broadcasts(op: Op) -> bool:
    """Whether all that uses its result would repeat it itself, beside what has the whole shape."""
    for user in op.node.users:
        word = str(user.target).split(".")[1].rstrip("_") if str(user.target).startswith("aten.") else ""
        if word not in BROADCASTING:
            return False
        others = [arg for arg in user.args if hasattr(arg, "meta") and arg is not op.node]
        shapes = [arg.meta["val"].shape for arg in others if hasattr(arg.meta.get("val"), "shape")]
        if not any(list(shape) == list(op.node.meta["val"].shape) for shape in shapes):
            return False
    return bool(op.node.users)


@lowers("aten.repeat.default", "aten.tile.default")
@computes("aten.repeat.default", "aten.tile.default")
def _repeat(op: Op) -> Value:
    x: Value = op["self"]
    counts = list(op.given.values())[1]
    if op.shape == x.shape:
        return x
    if not any(op.is_batch(n) for n in counts):
        if is_array(x):
            return op.array("np.tile({0}, {repeats})", x, repeats=op.sizes(counts))
        counts = [1] * (len(op.shape) - len(counts)) + list(counts)
        return op.layer("repeat", x, repeats=op.sizes(counts))
    # As often as there are pictures: of what is one long, that is what expand does.
    sizes = [1] * (len(counts) - len(x.shape)) + list(x.shape)
    if any(size != 1 for size, n in zip(sizes, counts, strict=True) if not (isinstance(n, int) and n == 1)):
        raise Unsupported("what is longer than 1 can't be repeated as often as there are pictures.")
    return expanded(op, x, op.shape)


@lowers("aten.view.dtype", "aten.as_strided.default", "aten.view_as_complex.default", "aten.view_as_real.default")
def _no_view(op: Op) -> Any:
    raise Unsupported("TensorRT can't look at memory in another way.")
