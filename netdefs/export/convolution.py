"""Convolution and deconvolution."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.types import INT64


def convolution(c: Context, layer: Any) -> None:
    """Conv: TensorRT's kernels are KCRS, as ONNX's are."""
    window = tuple(layer.kernel_size_nd)
    x, attributes = windowing(c, layer, window)
    inputs = [x, *kernel_and_bias(c, layer, (layer.num_output_maps, -1, *window))]
    c.emit("Conv", *inputs, kernel_shape=window, group=layer.num_groups, **attributes)


def deconvolution(c: Context, layer: Any) -> None:
    """ConvTranspose: TensorRT's kernels are CKRS, as ONNX's are; padding is cut off the output."""
    window, stride, dilation = tuple(layer.kernel_size_nd), tuple(layer.stride_nd), tuple(layer.dilation_nd)
    if layer.padding_mode.name.startswith("SAME"):
        # TensorRT: the output is min(I * S, (I - 1) * S + DK), so DK - S is cut off where that is positive.
        totals = [max(d * (k - 1) + 1 - s, 0) for k, s, d in zip(window, stride, dilation, strict=True)]
        pads = split(totals, layer.padding_mode.name)
    else:
        pads = [*layer.pre_padding, *layer.post_padding]
    inputs = [c.inputs[0], *kernel_and_bias(c, layer, (-1, layer.num_output_maps // layer.num_groups, *window))]
    c.emit(
        "ConvTranspose",
        *inputs,
        kernel_shape=window,
        strides=stride,
        dilations=dilation,
        group=layer.num_groups,
        pads=pads,
    )


def kernel_and_bias(c: Context, layer: Any, shape: Sequence[int]) -> list[str]:
    """The kernel, which is the second input or the layer's own, and the bias if there is one."""
    if c.connected(1):
        inputs = [c.inputs[1]]
    else:
        size, known = np.size(layer.kernel) or layer.kernel.size, -math.prod(shape)
        inputs = [c.weight("weight", layer.kernel, [size // known if n < 0 else n for n in shape])]
    if c.connected(2):
        inputs.append(c.inputs[2])
    elif np.size(layer.bias) if isinstance(layer.bias, np.ndarray) else layer.bias.size:
        inputs.append(c.weight("bias", layer.bias, (layer.num_output_maps,)))
    return inputs


def windowing(c: Context, layer: Any, window: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """The input, padded if it must be, and ONNX's attributes for a convolution's strides, dilations and padding."""
    stride, dilation, mode = tuple(layer.stride_nd), tuple(layer.dilation_nd), layer.padding_mode.name
    extent = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    attributes: dict[str, Any] = {"strides": stride, "dilations": dilation}
    if mode.startswith("SAME"):
        totals = same_totals(c.shape()[2:], extent, stride)
        if totals is not None:
            return c.inputs[0], {**attributes, "pads": split(totals, mode)}
        if all(d == 1 for d in dilation):
            return c.inputs[0], {**attributes, "auto_pad": mode}
        return padded_to_same(c, extent, stride, mode), attributes  # ONNX Runtime's auto_pad takes no dilation
    post = [int(n) for n in layer.post_padding]
    if mode == "EXPLICIT_ROUND_UP":
        # ceil((M - DK) / S) + 1 windows: S - 1 more zeros at the end, of which what no window reaches is not read.
        post = [n + s - 1 for n, s in zip(post, stride, strict=True)]
    return c.inputs[0], {**attributes, "pads": [*layer.pre_padding, *post]}


def padded_to_same(c: Context, extent: Sequence[int], stride: Sequence[int], mode: str) -> str:
    """The input with the zeros around it that a SAME mode asks for, where its size is known only at run time."""
    rank = len(c.shape())

    def each_axis(what: str, values: Sequence[int]) -> str:
        return c.constant(what, np.array(values, np.int64))

    size = c.helper("shape", "Shape", c.inputs[0], dtype=INT64)
    step = each_axis("stride", [1, 1, *stride])
    covered = c.helper("before.last", "Sub", size, each_axis("one", [1] * rank))
    covered = c.helper("last", "Mul", c.helper("steps", "Div", covered, step), step)
    covered = c.helper("covered", "Add", covered, each_axis("extent", [1, 1, *extent]))
    total = c.helper("missing", "Max", c.helper("difference", "Sub", covered, size), each_axis("zero", [0] * rank))
    small = c.helper("smaller", "Div", total, each_axis("two", [2] * rank))
    large = c.helper("larger", "Sub", total, small)
    pads = (large, small) if mode == "SAME_LOWER" else (small, large)
    return c.helper("padded", "Pad", c.inputs[0], c.helper("pads", "Concat", *pads, axis=0))


def same_totals(sizes: Sequence[int], extent: Sequence[int], stride: Sequence[int]) -> list[int] | None:
    """The padding of each axis, both ends together, for ceil(size / stride) windows; None if a size is not known."""
    totals = []
    for size, reach, step in zip(sizes, extent, stride, strict=True):
        if size < 0 and step != 1:
            return None
        totals.append(reach - 1 if step == 1 else max((size - 1) // step * step + reach - size, 0))
    return totals


def split(totals: Sequence[int], mode: str) -> list[int]:
    """Begin and end padding, as ONNX lists them; SAME_LOWER puts the odd one at the start, SAME_UPPER at the end."""
    small, large = [n // 2 for n in totals], [n - n // 2 for n in totals]
    return [*large, *small] if mode == "SAME_LOWER" else [*small, *large]
