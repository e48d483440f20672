"""Parts of values, and values made of parts."""

from collections.abc import Sequence
from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import END, axes, is_array
from netdefs.scaffold.ops.shaping import expanded
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Arg, Value


@lowers("<built-in function getitem>")
@computes("<built-in function getitem>")
def _element(op: Op) -> Any:
    values, index = op.arguments
    return values[index]


@lowers("aten.slice.Tensor")
@computes("aten.slice.Tensor")
def _slice(op: Op) -> Value:
    return sliced(op, op["self"], op["dim"], op["start"], op["end"], op["step"])


@lowers("aten.narrow.default")
@computes("aten.narrow.default")
def _narrow(op: Op) -> Value:
    return sliced(op, op["self"], op["dim"], op["start"], op["start"] + op["length"], 1)


def sliced(op: Op, x: Value, dim: int, start: Any, end: Any, step: Any) -> Value:
    """x[start:end:step] along an axis."""
    if op.shape == x.shape and step == 1:
        return x
    _whole_batch(op, x, dim)
    first, last, every = _bounds(op, x.shape[dim], start, end, step)
    if not is_array(x):
        named = {"start": first, "end": last, "step": every}
        usual = {"start": 0, "end": None, "step": 1}
        options = {key: value for key, value in named.items() if not _is(value, usual[key])}
        return op.layer("slice", x, dim=dim, **options)
    options = {"start": first, "end": last, "step": every}
    text, given = _slice_text(options)
    index = [*[":"] * (dim % len(x.shape)), text]
    return op.array(f"{{0}}[{', '.join(index)}]", x, **given)


def _is(value: Arg, usual: Arg) -> bool:
    return isinstance(value, int | None) and value == usual


def _bounds(op: Op, size: Any, start: Any, end: Any, step: Any) -> tuple[Arg, Arg, Arg]:
    first = 0 if start is None else op.size(start)
    whole = end is None or (isinstance(end, int) and end >= (size if isinstance(size, int) else END))
    last = None if whole or end == size else op.size(end)
    return first, last, op.size(step)


def _slice_text(bounds: dict[str, Arg]) -> tuple[str, dict[str, Arg]]:
    """A slice of numpy's as a template, and the options in it."""
    given = {key: value for key, value in bounds.items() if not _is(value, {"start": 0, "end": None, "step": 1}[key])}
    start, end, step = (f"{{{key}}}" if key in given else "" for key in ("start", "end", "step"))
    return f"{start}:{end}" + (f":{step}" if step else ""), given


def _whole_batch(op: Op, x: Value, dim: int) -> None:
    if op.is_batch(x.shape[dim]):
        raise Unsupported("it takes a part of the batch.")


@lowers("aten.select.int")
@computes("aten.select.int")
def _select(op: Op) -> Value:
    x, dim = op["self"], op["dim"]
    _whole_batch(op, x, dim)
    if not is_array(x):
        return op.layer("select", x, dim=dim, index=op.size(op["index"]))
    index = [*[":"] * (dim % len(x.shape)), "{index}"]
    return op.array(f"{{0}}[{', '.join(index)}]", x, index=op.size(op["index"]))


@lowers("aten.unbind.int")
@computes("aten.unbind.int")
def _unbind(op: Op) -> Any:
    x, dim = op["self"], op["dim"]
    _whole_batch(op, x, dim)
    if len(op.shapes) == 1:
        return (op.layer("squeeze", x, dim=dim) if not is_array(x) else op.array("{0}.squeeze({dim})", x, dim=dim),)
    if not is_array(x):
        return op.layer("unbind", x, results=len(op.shapes), **({"dim": dim} if dim else {}))
    if dim % len(x.shape) == 0:
        return op.array("{0}", x, results=len(op.shapes))
    return op.array("np.moveaxis({0}, {dim}, 0)", x, results=len(op.shapes), dim=dim)


@lowers("aten.chunk.default", "aten.unsafe_chunk.default")
def _chunk(op: Op) -> Any:
    x, dim = op["self"], op["dim"]
    _whole_batch(op, x, dim)
    if len(op.shapes) == 1:
        return (x,)
    return op.layer("chunk", x, results=len(op.shapes), chunks=op["chunks"], dim=dim)


@lowers("aten.split.Tensor", "aten.unsafe_split.Tensor", "aten.split_with_sizes.default", "aten.split.sizes")
@lowers("aten.tensor_split.sections", "aten.tensor_split.indices", "aten.split_with_sizes_copy.default")
def _split(op: Op) -> Any:
    x, dim = op["self"], op["dim"]
    _whole_batch(op, x, dim)
    if len(op.shapes) == 1:
        return (x,)
    sizes = [shape[dim] for shape in op.shapes]
    size = op.size(sizes[0])
    even = all(each == sizes[0] for each in sizes[:-1]) and (
        sizes[-1] == sizes[0] or (isinstance(sizes[-1], int) and isinstance(sizes[0], int) and sizes[-1] < sizes[0])
    )
    return op.layer("split", x, results=len(sizes), split_size=size if even else op.sizes(sizes), dim=dim)


@computes("aten.chunk.default", "aten.unsafe_chunk.default", "aten.split.Tensor", "aten.split_with_sizes.default")
@computes("aten.split.sizes", "aten.tensor_split.sections", "aten.tensor_split.indices")
def _split_array(op: Op) -> Any:
    x, dim = op["self"], op["dim"]
    sizes = [shape[dim] for shape in op.shapes]
    if len(sizes) == 1:
        return (x,)
    if all(size == sizes[0] for size in sizes):
        return op.array("np.split({0}, {count}, {dim})", x, results=len(sizes), count=len(sizes), dim=dim)
    if not all(isinstance(size, int) for size in sizes):
        raise Unsupported("it cuts an array into parts of different sizes that follow from the input.")
    places = tuple(sum(sizes[: i + 1]) for i in range(len(sizes) - 1))
    return op.array("np.split({0}, {places}, {dim})", x, results=len(sizes), places=places, dim=dim)


@lowers("aten.cat.default", "aten.concat.default")
@computes("aten.cat.default", "aten.concat.default")
def _cat(op: Op) -> Value:
    tensors = [x for x in op["tensors"] if not (len(x.shape) == 1 and isinstance(x.shape[0], int) and x.shape[0] == 0)]
    if len(tensors) == 1:
        only: Value = tensors[0]
        return only
    if op.is_known:
        return op.array("np.concatenate({0}, {dim})", tuple(tensors), dim=op["dim"])
    _along_batch(op, tensors, op["dim"])
    return op.layer("concat", tuple(tensors), dim=op["dim"])


def _along_batch(op: Op, tensors: Sequence[Value], dim: int) -> None:
    if any(op.is_batch(x.shape[dim]) for x in tensors) and any(is_array(x) for x in tensors):
        raise Unsupported("it puts an array behind the batch.")


@lowers("aten.stack.default")
@computes("aten.stack.default")
def _stack(op: Op) -> Value:
    if op.is_known:
        return op.array("np.stack({0}, {dim})", tuple(op["tensors"]), dim=op["dim"])
    return op.layer("stack", tuple(op["tensors"]), **({"dim": op["dim"]} if op["dim"] else {}))


@lowers("aten.pad.default", "aten.constant_pad_nd.default", "aten.reflection_pad1d.default")
@lowers("aten.reflection_pad2d.default", "aten.replication_pad1d.default", "aten.replication_pad2d.default")
@lowers("aten._pad_circular.default", "aten._pad_enum.default")
def _pad(op: Op) -> Value:
    x: Value = op["self"]
    padding = op.sizes(op.given["pad" if "pad" in op.given else "padding"])
    if not any(padding):  # not by the shape: what is cut off on one side may be added on the other
        return x
    word = str(op.node.target).split(".")[1]
    known = {"reflection": "reflect", "replication": "replicate", "_pad_circular": "circular"}
    mode = next((known[start] for start in known if word.startswith(start)), op.given.get("mode", "constant"))
    if not isinstance(mode, str):
        mode = ("constant", "reflect", "replicate", "circular")[mode]
    while len(padding) > 2 and all(isinstance(n, int) and n == 0 for n in padding[-2:]):
        padding = padding[:-2]
    options: dict[str, Arg] = {} if mode == "constant" else {"mode": mode}
    if op.given.get("value"):
        options["value"] = op["value"]
    return op.layer("pad", x, padding=padding, **options)


@computes("aten.pad.default", "aten.constant_pad_nd.default")
def _pad_array(op: Op) -> Value:
    x: Value = op["self"]
    if op.given.get("mode", "constant") != "constant":
        return _pad(op)
    padding = op.sizes(op["pad"])
    pairs = [(padding[2 * i], padding[2 * i + 1]) for i in range(len(padding) // 2)]
    pairs += [(0, 0)] * (len(x.shape) - len(pairs))
    options = {"constant_values": op["value"]} if op.given.get("value") else {}
    text = ", ".join(["{0}", "{pairs}", *(f"{key}={{{key}}}" for key in options)])
    return op.array(f"np.pad({text})", x, pairs=tuple(reversed(pairs)), **options)


@lowers("aten.roll.default")
@computes("aten.roll.default")
def _roll(op: Op) -> Value:
    shifts = op.sizes(op["shifts"])
    dims = axes(op, op["dims"])
    options = {"shifts": shifts[0] if len(shifts) == 1 else shifts, **({} if dims is None else {"dims": dims})}
    if is_array(op["self"]):
        text = "np.roll({0}, {shifts})" if dims is None else "np.roll({0}, {shifts}, {dims})"
        return op.array(text, op["self"], **options)
    return op.layer("roll", op["self"], **options)


@lowers("aten.flip.default", "aten.fliplr.default", "aten.flipud.default")
@computes("aten.flip.default", "aten.fliplr.default", "aten.flipud.default")
def _flip(op: Op) -> Value:
    dims = axes(op, op.given.get("dims", [1 if "fliplr" in str(op.node.target) else 0]))
    if is_array(op["self"]):
        return op.array("np.flip({0}, {dims})", op["self"], dims=dims)
    return op.layer("flip", op["self"], dims=dims)


@lowers("aten.repeat_interleave.self_int")
@computes("aten.repeat_interleave.self_int")
def _repeat_interleave(op: Op) -> Value:
    options = {"repeats": op.size(op["repeats"]), **({} if op["dim"] is None else {"dim": op["dim"]})}
    if is_array(op["self"]):
        text = "np.repeat({0}, {repeats})" if op["dim"] is None else "np.repeat({0}, {repeats}, {dim})"
        return op.array(text, op["self"], **options)
    return op.layer("repeat_interleave", op["self"], **options)


@lowers("aten.slice_scatter.default")
def _slice_scatter(op: Op) -> Value:
    x, src, dim = op["self"], op["src"], op["dim"]
    if src.shape == x.shape and op["step"] == 1:
        same: Value = src
        return same
    start, end, step = _bounds(op, x.shape[dim], op["start"], op["end"], op["step"])
    named = {"start": None if _is(start, 0) else start, "end": end, "step": step}
    options = {key: value for key, value in named.items() if not _is(value, 1 if key == "step" else None)}
    return op.layer("slice_scatter", x, src, **({"dim": dim} if dim else {}), **options)


@lowers("aten.select_scatter.default")
def _select_scatter(op: Op) -> Value:
    return op.layer("select_scatter", op["self"], op["src"], dim=op["dim"], index=op.size(op["index"]))


@lowers("aten.copy.default", "aten.copy_.default", "aten.fill.Tensor", "aten.fill_.Tensor")
@computes("aten.copy.default", "aten.copy_.default", "aten.fill.Tensor", "aten.fill_.Tensor")
def _copy(op: Op) -> Value:
    source = op["src"] if "src" in op.given else op["value"]
    return expanded(op, source, op.shape)
