"""Normalization layers."""

from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.reading import axes_of
from netdefs.export.types import INT64


def lrn(c: Context, layer: Any) -> None:
    """LRN: x / (k + alpha / size * (sum of squares over `size` channels)) ^ beta, in both."""
    c.emit("LRN", c.inputs[0], size=layer.window_size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)


def normalization(c: Context, layer: Any) -> None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, the mean over axes, or over axes and groups of channels."""
    shape, axes = c.shape(), axes_of(layer.axes)
    rank = len(shape)
    if layer.num_groups != 1:
        groups(c, layer)
    elif axes == list(range(2, rank)) and rank > 2 and per_channel(c, 1) and per_channel(c, 2):
        c.emit("InstanceNormalization", c.inputs[0], flat(c, 1), flat(c, 2), epsilon=layer.epsilon)
    elif axes == list(range(axes[0], rank)) and trailing(c, axes[0]):
        c.prefer(17)  # one node instead of nine
        if c.opset >= 17:
            whole = c.constant("normalized", np.array([shape[axis] for axis in axes]))
            scale, bias = (c.helper(what, "Reshape", c.inputs[i], whole) for i, what in ((1, "scale"), (2, "bias")))
            c.emit("LayerNormalization", c.inputs[0], scale, bias, axis=axes[0], epsilon=layer.epsilon)
        else:
            by_parts(c, layer, axes)
    else:
        by_parts(c, layer, axes)


def per_channel(c: Context, index: int) -> bool:
    """True if an input holds one number for each channel, which is axis 1."""
    shape, channels = c.shape(index), c.shape()[1]
    return channels > 0 and shape == (1, channels, *[1] * (len(shape) - 2))


def trailing(c: Context, axis: int) -> bool:
    """True if scale and bias have exactly the sizes of the normalized axes, the last ones."""
    wanted = (*[1] * axis, *c.shape()[axis:])
    return min(wanted) > 0 and c.shape(1) == wanted and c.shape(2) == wanted


def flat(c: Context, index: int) -> str:
    """An input as a vector."""
    return c.helper(("", "scale", "bias")[index], "Reshape", c.inputs[index], c.constant("flat", np.array([-1])))


def by_parts(c: Context, layer: Any, axes: list[int]) -> None:
    """The formula, operator by operator."""
    x, dtype = c.inputs[0], c.dtype(c.inputs[0])
    centered = c.helper("centered", "Sub", x, c.reduce("ReduceMean", x, axes, True, "mean"))
    variance = c.reduce("ReduceMean", c.helper("squares", "Mul", centered, centered), axes, True, "variance")
    spread = c.helper(
        "spread", "Sqrt", c.helper("positive", "Add", variance, c.constant("epsilon", layer.epsilon, dtype))
    )
    scaled = c.helper("scaled", "Mul", c.helper("normalized", "Div", centered, spread), c.inputs[1])
    c.emit("Add", scaled, c.inputs[2])


def groups(c: Context, layer: Any) -> None:
    """Group normalization: an instance normalization of the groups, with each group's channels and pixels in one row.

    add_normalization's scale and bias are one number for each group, add_normalization_v2's one for each channel.
    """
    x, dtype, count = c.inputs[0], c.dtype(c.inputs[0]), layer.num_groups
    if axes_of(layer.axes) != list(range(2, len(c.shape()))):
        raise c.error(f"groups of channels, with the mean over the axes {axes_of(layer.axes)}.")
    shape = c.helper("shape", "Shape", x, dtype=INT64)
    rows = c.helper("rows", "Reshape", x, c.constant("rows.shape", np.array([0, count, -1])))
    if per_channel(c, 1) and per_channel(c, 2):
        ones, zeros = c.constant("ones", np.ones(count), dtype), c.constant("zeros", np.zeros(count), dtype)
        rows = c.helper("normalized", "InstanceNormalization", rows, ones, zeros, epsilon=layer.epsilon)
        scaled = c.helper("scaled", "Mul", c.helper("restored", "Reshape", rows, shape), c.inputs[1])
        c.emit("Add", scaled, c.inputs[2])
    else:
        rows = c.helper("normalized", "InstanceNormalization", rows, flat(c, 1), flat(c, 2), epsilon=layer.epsilon)
        c.emit("Reshape", rows, shape)
