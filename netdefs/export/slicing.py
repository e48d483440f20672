"""Slice, in all its modes, and padding."""

from collections.abc import Callable
from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.types import BOOL, INT64

# A number for each axis: known now, or a tensor's name.
Value = np.ndarray | str

LOWEST = np.iinfo(np.int64).min
PAD_MODES = {"CLAMP": "edge", "REFLECT": "reflect"}


def padding(c: Context, layer: Any) -> None:
    """Zeros around the last two axes; negative padding trims, in ONNX too."""
    outer = [0] * (len(c.shape()) - len(layer.pre_padding_nd))
    pads = [*outer, *layer.pre_padding_nd, *outer, *layer.post_padding_nd]
    c.emit("Pad", c.inputs[0], c.constant("pads", np.array(pads, np.int64)))


def slicing(c: Context, layer: Any) -> None:
    """Slice. TensorRT gives start, size and stride; modes other than STRICT_BOUNDS may reach outside of the input."""
    axes = argument(c, 5, "axes")
    if axes is None:
        axes = np.arange(len(c.shape()))
    elif isinstance(axes, np.ndarray):
        axes = axes % max(len(c.shape()), 1)
    numbers = [argument(c, 1, "start"), argument(c, 2, "shape"), argument(c, 3, "stride")]
    start, size, stride = (np.zeros(0, np.int64) if value is None else value for value in numbers)
    mode = layer.mode.name
    if mode == "STRICT_BOUNDS":
        strict(c, c.inputs[0], start, size, stride, axes)
    elif mode == "FILL":
        filled(c, start, size, stride, axes)
    elif mode in ("CLAMP", "REFLECT", "WRAP"):
        outside(c, mode, start, size, stride, axes)
    else:
        raise c.error(f"the mode {mode} is not known.")


def argument(c: Context, index: int, attribute: str) -> Value | None:
    """An argument: an input's value or name, else the layer's own numbers (asked for only then: it logs)."""
    if not c.connected(index):
        dims = getattr(c.layer, attribute, None)
        return None if dims is None else np.array(list(dims), np.int64)
    value = c.known(c.inputs[index])
    return c.int64(index) if value is None else value.astype(np.int64).reshape(-1)


def strict(c: Context, x: str, start: Value, size: Value, stride: Value, axes: Value) -> None:
    """The layer's Slice node; and an Expand for strides of 0, which repeat one element: ONNX's Slice refuses them."""
    if isinstance(stride, str) or (stride == 0).any():
        once = calculate(c, "repeats", "Equal", np.equal, stride, np.array(0), BOOL)
        steps = choose(c, "stride.positive", once, np.array(1), stride)
        one = sliced(c, x, start, choose(c, "size.once", once, np.array(1), size), steps, axes, "once")
        c.emit("Expand", one, full_size(c, size, axes))
    else:
        sliced(c, x, start, size, stride, axes, None)


def sliced(c: Context, x: str, start: Value, size: Value, stride: Value, axes: Value, what: str | None) -> str:
    """A Slice with strides other than 0, as the helper `what`, or as the layer's node."""
    span = calculate(c, "span", "Mul", np.multiply, size, stride)
    end = calculate(c, "end", "Add", np.add, start, span)
    # A negative stride can end before the first element. ONNX counts negative ends from the back, so it becomes LOWEST.
    if isinstance(stride, str) or (stride < 0).any():
        below = calculate(c, "end.below", "Less", np.less, end, np.array(0), BOOL)
        end = choose(c, "end.lowest", below, np.array(LOWEST), end)
    arguments = (("start", start), ("end", end), ("axes", axes), ("stride", stride))
    inputs = [x, *(tensor(c, name, value) for name, value in arguments)]
    if what is not None:
        return c.helper(what, "Slice", *inputs)
    c.emit("Slice", *inputs)
    return c.outputs[0]


def full_size(c: Context, size: Value, axes: Value) -> str:
    """A size for every axis, for Expand: 1, which keeps what is there, on those that are not sliced."""
    rank = len(c.shape())
    if isinstance(axes, np.ndarray) and list(axes) == list(range(rank)):
        return tensor(c, "size", size)
    ones = c.constant("ones", np.ones(rank, np.int64))
    return c.helper("full.size", "ScatterElements", ones, tensor(c, "size.axes", axes), tensor(c, "size", size))


def filled(c: Context, start: Value, size: Value, stride: Value, axes: Value) -> None:
    """A slice with a fill value outside: the input is padded as far as the slice reaches, then sliced."""
    low, high = reach(c, start, size, stride)
    there = sizes(c, axes)
    before = calculate(c, "before", "Max", np.maximum, negative(c, low), np.array(0))
    stop = calculate(c, "stop", "Add", np.add, high, np.array(1))
    beyond = calculate(c, "beyond", "Sub", np.subtract, stop, there)
    after = calculate(c, "after", "Max", np.maximum, beyond, np.array(0))
    fill = (
        [c.helper("fill", "Reshape", c.inputs[4], c.constant("scalar", np.zeros(0, np.int64)))]
        if c.connected(4)
        else []
    )
    x, rank = c.inputs[0], len(c.shape())
    if known := arrays(before, after, axes):
        pads = np.zeros((2, rank), np.int64)
        pads[:, known[2]] = known[:2]
        inputs = [x, c.constant("pads", pads.reshape(-1)), *fill]
    else:
        joined = c.helper("pads", "Concat", tensor(c, "before", before), tensor(c, "after", after), axis=0)
        inputs = [x, joined, *fill]
        if not (isinstance(axes, np.ndarray) and list(axes) == list(range(rank))):
            c.require(18, "dynamic padding of some axes")
            inputs = [x, joined, *(fill or [""]), tensor(c, "pad.axes", axes)]
    if known := arrays(low, high, stride, there):
        first, last, step, size_there = known
        if (first <= 0).all() and (last >= size_there - 1).all() and (step == 1).all():
            c.emit("Pad", *inputs)
            return
    padded = c.helper("padded", "Pad", *inputs)
    strict(c, padded, calculate(c, "start.padded", "Add", np.add, start, before), size, stride, axes)


def outside(c: Context, mode: str, start: Value, size: Value, stride: Value, axes: Value) -> None:
    """A slice that continues the input beyond its ends: ONNX's Pad where that is the same, else an index per axis."""
    if not isinstance(axes, np.ndarray):
        raise c.error(f"{mode} with axes that are known only at run time.")
    there = sizes(c, axes)
    known = arrays(start, size, stride, there)
    if mode in PAD_MODES and known and (pads := mirrored(mode, *known)) is not None:
        full = np.zeros((2, len(c.shape())), np.int64)
        full[:, axes] = pads
        c.emit("Pad", c.inputs[0], c.constant("pads", full.reshape(-1)), mode=PAD_MODES[mode])
        return
    steps = []
    for i, axis in enumerate(axes):
        parts = (("start", start), ("size", size), ("stride", stride), ("dim", there))
        first, count, step, dim = (pick(c, f"{what}{axis}", value, i) for what, value in parts)
        index = indices(c, mode, int(axis), first, count, step, dim)
        known = arrays(index, dim)
        if not known or not np.array_equal(known[0], np.arange(int(known[1]))):  # else this axis stays as it is
            steps.append((int(axis), tensor(c, f"index{axis}", index)))
    x = c.inputs[0]
    for axis, index in steps[:-1]:
        x = c.helper(f"gathered{axis}", "Gather", x, index, axis=axis)
    if steps:
        c.emit("Gather", x, steps[-1][1], axis=steps[-1][0])
    else:
        c.emit("Identity", x)


def mirrored(
    mode: str, start: np.ndarray, size: np.ndarray, stride: np.ndarray, there: np.ndarray
) -> list[np.ndarray] | None:
    """The padding, before and after, that such a slice amounts to; None if it is not just that."""
    before, after = -start, start + size - there
    if (stride != 1).any() or (before < 0).any() or (after < 0).any() or (there < 1).any():
        return None
    if mode == "REFLECT" and ((before >= there) | (after >= there)).any():
        return None  # ONNX's "reflect" reflects only once
    return [before, after]


def indices(c: Context, mode: str, axis: int, start: Value, size: Value, stride: Value, there: Value) -> Value:
    """The input's index for every output position along one axis."""

    def step(what: str, op: str, function: Callable[..., Any], a: Value, b: Value) -> Value:
        return calculate(c, f"{what}{axis}", op, function, a, b)

    if isinstance(size, np.ndarray):
        positions: Value = np.arange(int(size))
    else:
        positions = c.helper(f"range{axis}", "Range", c.constant("zero", 0), size, c.constant("one", 1))
    index = step("index", "Add", np.add, start, step("offset", "Mul", np.multiply, positions, stride))
    last = step("last", "Sub", np.subtract, there, np.array(1))
    if mode == "CLAMP":
        return step("clamped", "Min", np.minimum, step("above", "Max", np.maximum, index, np.array(0)), last)
    if mode == "WRAP":
        return step("wrapped", "Mod", np.mod, index, there)
    # REFLECT: the mirrors stand on the first and last element; between them it repeats for ever.
    period = step("period", "Max", np.maximum, step("double", "Mul", np.multiply, last, np.array(2)), np.array(1))
    phase = step("phase", "Mod", np.mod, index, period)
    return step("reflected", "Min", np.minimum, phase, step("back", "Sub", np.subtract, period, phase))


def reach(c: Context, start: Value, size: Value, stride: Value) -> tuple[Value, Value]:
    """The lowest and highest index that a slice reads on each axis."""
    steps = calculate(c, "steps", "Sub", np.subtract, size, np.array(1))
    last = calculate(c, "last", "Add", np.add, start, calculate(c, "way", "Mul", np.multiply, steps, stride))
    if isinstance(stride, np.ndarray) and (stride > 0).all():
        return start, last
    return calculate(c, "low", "Min", np.minimum, start, last), calculate(c, "high", "Max", np.maximum, start, last)


def sizes(c: Context, axes: Value) -> Value:
    """The input's sizes along the axes."""
    shape = np.array(c.shape(), np.int64)
    if isinstance(axes, np.ndarray) and (shape[axes] >= 0).all():
        return shape[axes]
    return c.helper(
        "sizes", "Gather", c.helper("shape", "Shape", c.inputs[0], dtype=INT64), tensor(c, "sizes.axes", axes)
    )


def arrays(*values: Value) -> list[np.ndarray]:
    """The values if all are known, else nothing."""
    known = [value for value in values if not isinstance(value, str)]
    return known if len(known) == len(values) else []


def negative(c: Context, value: Value) -> Value:
    """-value."""
    return -value if isinstance(value, np.ndarray) else c.helper("negative", "Neg", value)


def pick(c: Context, what: str, value: Value, i: int) -> Value:
    """One element, as a scalar."""
    if not isinstance(value, str):
        return np.asarray(value[i])
    return c.helper(what, "Gather", value, c.constant(f"{what}.index", i))


def calculate(
    c: Context, what: str, op: str, function: Callable[..., Any], a: Value, b: Value, dtype: int = INT64
) -> Value:
    """A sum, product ... of two values: now if both are known, else as a node."""
    if not isinstance(a, str) and not isinstance(b, str):
        return np.asarray(function(a, b))
    return c.helper(what, op, tensor(c, f"{what}.a", a), tensor(c, f"{what}.b", b), dtype=dtype)


def choose(c: Context, what: str, condition: Value, a: Value, b: Value) -> Value:
    """`a` where the condition holds, else `b`: now if all are known, else as a node."""
    if known := arrays(condition, a, b):
        return np.asarray(np.where(*known))
    where = condition if isinstance(condition, str) else c.constant(f"{what}.where", condition)
    return c.helper(what, "Where", where, tensor(c, f"{what}.a", a), tensor(c, f"{what}.b", b), dtype=INT64)


def tensor(c: Context, what: str, value: Value) -> str:
    """A value as a tensor."""
    return value if isinstance(value, str) else c.constant(what, np.asarray(value, np.int64))
