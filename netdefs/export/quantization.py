"""Quantize, dequantize, dynamic quantize."""

from typing import Any

import numpy as np
from onnx import TensorProto

from netdefs.core.quantize import LARGEST
from netdefs.export.context import Context
from netdefs.export.types import BOOL, type_name

FLOAT = TensorProto.FLOAT
# The opset in which QuantizeLinear and DequantizeLinear came to know a quantized type.
OPSETS: dict[int, int] = {
    TensorProto.INT8: 13,
    TensorProto.UINT8: 13,
    TensorProto.FLOAT8E4M3FN: 19,
    TensorProto.INT4: 21,
    TensorProto.FLOAT4E2M1: 23,
}


def quantize(c: Context, layer: Any) -> None:
    """QuantizeLinear: round half to even, add the zero point, cut to the type's range. ONNX's does the same."""
    kind = c.output_dtype()
    need(c, kind)
    x = c.inputs[0]
    if c.dtype(c.inputs[1]) == FLOAT:  # TensorRT divides in float32, and ONNX in the type of both
        x = c.cast(x, FLOAT)
    scale, attributes = scaling(c, layer, c.cast(c.inputs[1], c.dtype(x)), "scale")
    known = c.known(scale)
    if known is not None and known.ndim == 1 and (known == known[0]).all() and not c.connected(2):
        # Equal scales for all channels are one, and of one only do runtimes make integer kernels.
        scale, attributes = c.constant("scale", known[0], c.dtype(scale)), {}
    if zero := zero_point(c, layer, kind):
        c.emit("QuantizeLinear", x, scale, zero, **attributes)
        return
    if c.opset >= 21:
        c.emit("QuantizeLinear", x, scale, output_dtype=kind, **attributes)
        return
    # Before opset 21 the zero point's type is the output's.
    count = size_of(c, scale)
    zeros = np.zeros(() if "axis" not in attributes else count, np.uint8 if kind != TensorProto.INT8 else np.int8)
    zero = c.graph.add_initializer(c.graph.unique(f"{c.name}/zero_point"), kind, zeros.shape, zeros.reshape(-1))
    c.emit("QuantizeLinear", x, scale, zero, **attributes)


def dequantize(c: Context, layer: Any) -> None:
    """DequantizeLinear: the values less the zero point, times the scale, in the scale's type."""
    kind = c.dtype(c.inputs[0])
    need(c, kind)
    wide = c.dtype(c.inputs[1]) == FLOAT and c.output_dtype() != FLOAT  # the scale would lose digits in half precision
    scale, attributes = scaling(c, layer, c.cast(c.inputs[1], FLOAT if wide else c.output_dtype()), "scale")
    zero = zero_point(c, layer, kind)
    operands = [c.inputs[0], scale, *([zero] if zero else [])]
    if wide:
        c.finish(c.helper("wide", "DequantizeLinear", *operands, dtype=FLOAT, **attributes))
    else:
        c.emit("DequantizeLinear", *operands, **attributes)


def zero_point(c: Context, layer: Any, kind: int) -> str:
    """The zero point as it applies, or "" where there is none, or nothing but zeros."""
    if not c.connected(2):
        return ""
    value = c.known(c.inputs[2])
    if value is not None and not value.any():
        return ""
    if c.dtype(c.inputs[2]) != kind:
        given = type_name(c.dtype(c.inputs[2]))
        raise c.error(f"its zero point is {given}, the quantized values are {type_name(kind)}.")
    if c.shape(2) != c.shape(1):
        raise c.error(f"a zero point of shape {c.shape(2)} and a scale of shape {c.shape(1)}.")
    return scaling(c, layer, c.inputs[2], "zero_point")[0]


def need(c: Context, kind: int) -> None:
    """Asks for the opset that knows the quantized type."""
    if kind not in OPSETS:
        raise c.error(f"ONNX does not quantize to {type_name(kind)}.")
    c.require(OPSETS[kind], f"quantization to {type_name(kind)}")


def size_of(c: Context, scale: str) -> int:
    """How many scales there are."""
    value = c.known(scale)
    if value is not None:
        return int(value.size)
    sizes = c.shape(1)
    if min(sizes, default=1) < 0:
        raise c.error("a scale whose size is known only at run time.")
    return int(np.prod(sizes))


def scaling(c: Context, layer: Any, scale: str, what: str) -> tuple[str, dict[str, Any]]:
    """The scale, or the zero point, and the attributes that say how it applies: to the tensor, an axis, or blocks."""
    shape, rank = c.shape(1), len(c.shape(0))
    if int(np.prod(shape)) == 1:
        if shape == ():
            return scale, {}
        return c.helper(what, "Reshape", scale, c.constant(f"{what}.scalar", np.zeros(0, np.int64))), {}
    if len(shape) == 1:
        return scale, {"axis": layer.axis % rank}
    return blocks(c, scale, shape, what)


def blocks(c: Context, scale: str, shape: tuple[int, ...], what: str) -> tuple[str, dict[str, Any]]:
    """Blocks of values that share a scale: the scale has the input's rank."""
    c.require(21, "quantization by blocks")
    whole = c.shape(0)
    if len(whole) != len(shape) or min(*whole, *shape) < 0:
        raise c.error(f"a {what} of shape {shape} for an input of shape {whole}.")
    blocked = [axis for axis, (n, m) in enumerate(zip(whole, shape, strict=True)) if n != m]
    for axis in blocked[1:]:  # ONNX blocks one axis; along the others each scale is repeated
        repeats = np.repeat(np.arange(shape[axis]), whole[axis] // shape[axis])
        indices = c.constant(f"{what}.repeats{axis}", repeats)
        scale = c.helper(f"{what}.repeated{axis}", "Gather", scale, indices, axis=axis)
    axis = blocked[0] if blocked else 0
    return scale, {"axis": axis, "block_size": whole[axis] // shape[axis]}


# What tensors are quantized to by blocks, and the largest number of each.
BLOCKED: dict[int, float] = {TensorProto.FLOAT8E4M3FN: LARGEST["fp8"], TensorProto.FLOAT4E2M1: 6.0}


def dynamic_quantize(c: Context, layer: Any) -> None:
    """Quantizes by blocks whose scales are computed from their largest value, and gives the scales as second output.

    A block's scale is its largest magnitude by the largest number of the type, divided by the double-quantization scale
    if there is one, rounded to the scale's type; the values are divided by what that stands for.
    """
    x, kind, scale_kind = c.cast(c.inputs[0], FLOAT), c.output_dtype(0), c.output_dtype(1)
    if kind not in BLOCKED:
        raise c.error(f"ONNX does not quantize to {type_name(kind)}.")
    shape, block = c.shape(), block_shape(c, layer)
    if sum(n < 0 for n in shape) > 1:
        raise c.error("more than one dynamic dimension.")
    # Every axis is split into its blocks and what is in a block.
    split = [m for n, b in zip(shape, block, strict=True) for m in ((-1, 1) if n < 0 else (n // b, b))]
    rows = c.helper("blocks", "Reshape", x, c.constant("blocks.shape", np.array(split)))
    inner = list(range(1, 2 * len(shape), 2))
    largest = c.reduce("ReduceMax", c.helper("magnitude", "Abs", rows), inner, True, "largest")
    scale = c.helper("scale", "Div", largest, c.constant("most", BLOCKED[kind], FLOAT))
    double = c.cast(c.inputs[1], FLOAT) if c.connected(1) else ""
    if double:
        scale = c.helper("scale.divided", "Div", scale, double)
    used = c.cast(c.cast(scale, scale_kind), FLOAT)
    if double:
        used = c.helper("scale.used", "Mul", used, double)
    # A block of zeros has the scale 0: it is divided by 1, and stays 0.
    empty = c.helper("empty", "Equal", used, c.constant("zero", 0, FLOAT), dtype=BOOL)
    divisor = c.helper("divisor", "Where", empty, c.constant("one", 1, FLOAT), used, dtype=FLOAT)
    most = (c.constant(what, n, FLOAT) for what, n in (("lowest", -BLOCKED[kind]), ("highest", BLOCKED[kind])))
    values = c.helper("clipped", "Clip", c.helper("values", "Div", rows, divisor), *most)
    whole = c.helper("whole", "Reshape", values, c.constant("whole.shape", np.array(shape)))
    c.emit("Cast", whole, outputs=c.outputs[:1], to=kind)
    squeezed = c.helper("scale.squeezed", "Squeeze", scale, c.constant("inner", np.array(inner)))
    c.graph.add_node("Cast", [squeezed], [c.outputs[1]], f"{c.name}/scales", c.owner, to=scale_kind)


def block_shape(c: Context, layer: Any) -> list[int]:
    """The size of a block along every axis: given as a shape (-1 is all), or as a size along one axis."""
    shape = c.shape()
    given = list(layer.block_shape) if hasattr(layer, "block_shape") else []
    if not given:
        given = [layer.block_size if axis == layer.axis % len(shape) else 1 for axis in range(len(shape))]
    block = [n if b == -1 else b for n, b in zip(shape, given, strict=True)]
    if any((n < 0 and b != 1) or (n >= 0 and n % b) for n, b in zip(shape, block, strict=True)):
        raise c.error(f"blocks of {tuple(block)} in an input of shape {shape}.")
    return block
