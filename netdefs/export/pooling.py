"""Pooling.

ONNX's `ceil_mode` is never used: it drops a last window that starts in the padding, and its averages differ between
versions. TensorRT counts every window, so rounding up is written as padding at the end.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.convolution import same_totals, split
from netdefs.export.types import INT64


def pooling(c: Context, layer: Any) -> None:
    """MaxPool, AveragePool, or a blend of the two."""
    kind = layer.type.name
    if kind == "MAX":
        maximum(c, layer, None)
    elif kind == "AVERAGE":
        average(c, layer, None)
    else:  # MAX_AVERAGE_BLEND: (1 - f) * max + f * average
        dtype, factor = c.dtype(c.inputs[0]), layer.blend_factor
        largest = c.helper("max", "Mul", maximum(c, layer, "max.pool"), c.constant("max.share", 1 - factor, dtype))
        mean = c.helper("average", "Mul", average(c, layer, "average.pool"), c.constant("average.share", factor, dtype))
        c.emit("Add", largest, mean)


def maximum(c: Context, layer: Any, what: str | None) -> str:
    """Max pooling as the helper `what`, or as the layer's node."""
    window = Window(c, layer)
    if window.auto_pad:
        return window.write("MaxPool", c.inputs[0], what, auto_pad=window.auto_pad)
    before, after = window.before, [a + b for a, b in zip(window.after, window.extra, strict=True)]
    if window.fits(before, after):
        return window.write("MaxPool", c.inputs[0], what, pads=[*before, *after])
    # ONNX Runtime refuses padding as large as the window. What TensorRT makes of a window of padding is not documented.
    padded = c.pad("padded", c.inputs[0], [0, 0, *before], [0, 0, *after], -math.inf)
    return window.write("MaxPool", padded, what)


def average(c: Context, layer: Any, what: str | None) -> str:
    """Average pooling as the helper `what`, or as the layer's node.

    The divisor is how much of the window lies in the input, or in the padded input; what rounding up adds never counts.
    """
    window, exclusive = Window(c, layer), layer.average_count_excludes_padding
    if window.auto_pad:
        return window.write(
            "AveragePool", c.inputs[0], what, auto_pad=window.auto_pad, count_include_pad=int(not exclusive)
        )
    rounded = [a + b for a, b in zip(window.after, window.extra, strict=True)]
    if not any(window.extra) and window.fits(window.before, window.after):
        pads = [*window.before, *window.after]
        return window.write("AveragePool", c.inputs[0], what, pads=pads, count_include_pad=int(not exclusive))
    if exclusive and window.fits(window.before, rounded):
        return window.write("AveragePool", c.inputs[0], what, pads=[*window.before, *rounded])
    return counted_average(c, window, exclusive, rounded, what)


def counted_average(c: Context, window: "Window", exclusive: bool, after: Sequence[int], what: str | None) -> str:
    """The average as a sum over each window by how much of it counts: for what AveragePool can't count.

    Both are convolutions with ones. A window that holds nothing that counts gives 0; TensorRT refuses it where it can.
    (A Pad before an AveragePool would do for some, but ONNX Runtime 1.20 merges the two and then counts otherwise.)
    """
    x, dtype, channels = c.inputs[0], c.dtype(c.inputs[0]), c.shape()[1]
    if channels < 0:
        raise c.error("an average that takes a count of its own, and channels known only at run time.")
    kernel = c.constant("ones.kernel", np.ones((channels, 1, *window.size)), dtype)
    padding = [*window.before, *after]
    total = c.helper("total", "Conv", x, kernel, pads=padding, strides=window.stride, group=channels)
    spatial = [*range(2, 2 + len(window.size))]
    size = c.helper(
        "size", "Gather", c.helper("shape", "Shape", x, dtype=INT64), c.constant("spatial", np.array(spatial))
    )
    size = c.helper("plane", "Concat", c.constant("one.each", np.array([1, 1])), size, axis=0)
    ones = c.helper("ones", "Expand", c.constant("one", 1, dtype), size)
    if not exclusive:
        ones = c.pad("ones.padded", ones, [0, 0, *window.before], [0, 0, *window.after], 1)
        padding = [*[0] * len(window.size), *window.extra]
    kernel = c.constant("one.kernel", np.ones((1, 1, *window.size)), dtype)
    count = c.helper("count", "Conv", ones, kernel, pads=padding, strides=window.stride)
    count = c.helper("divisor", "Max", count, c.constant("least", 1, dtype))
    if what is not None:
        return c.helper(what, "Div", total, count)
    c.emit("Div", total, count)
    return c.outputs[0]


class Window:
    """A pooling window: its size, stride and padding. `extra` is what rounding up adds to the end, beyond `after`."""

    def __init__(self, c: Context, layer: Any) -> None:
        self.c = c
        self.size = tuple(layer.window_size_nd)
        self.stride = tuple(layer.stride_nd)
        self.auto_pad = ""
        self.before = [int(n) for n in layer.pre_padding]
        self.after = [int(n) for n in layer.post_padding]
        self.extra = [0] * len(self.size)
        spatial, mode = c.shape()[-len(self.size) :], layer.padding_mode.name
        if mode.startswith("SAME"):
            totals = same_totals(spatial, self.size, self.stride)
            if totals is None:
                self.auto_pad = mode
            else:
                pads = split(totals, mode)
                self.before, self.after = pads[: len(self.size)], pads[len(self.size) :]
        elif mode == "EXPLICIT_ROUND_UP":
            padded = [n if n < 0 else n + a + b for n, a, b in zip(spatial, self.before, self.after, strict=True)]
            self.extra = [
                step - 1 if n < 0 else -(n - k) % step
                for n, k, step in zip(padded, self.size, self.stride, strict=True)
            ]

    def fits(self, before: Sequence[int], after: Sequence[int]) -> bool:
        """True if ONNX Runtime's pooling takes this padding: it must be smaller than the window."""
        return all(n < k for pads in (before, after) for n, k in zip(pads, self.size, strict=False))

    def write(self, op: str, x: str, what: str | None, **attributes: Any) -> str:
        """Writes a pooling node, as the helper `what` or as the layer's own."""
        attributes.update(kernel_shape=self.size, strides=self.stride)
        if what is not None:
            return self.c.helper(what, op, x, **attributes)
        self.c.emit(op, x, **attributes)
        return self.c.outputs[0]
