"""Quantize, dequantize, dynamic quantize."""

from typing import Any

import numpy as np
from onnx import TensorProto

from netdefs.export.context import Context
from netdefs.export.types import type_name

FLOAT = TensorProto.FLOAT
# The opset in which QuantizeLinear and DequantizeLinear came to know a quantized type.
OPSETS: dict[int, int] = {
    TensorProto.INT8: 13,
    TensorProto.FLOAT8E4M3FN: 19,
    TensorProto.INT4: 21,
    TensorProto.FLOAT4E2M1: 23,
}


def quantize(c: Context, layer: Any) -> None:
    """QuantizeLinear: round half to even, cut to the type's range, no zero point. ONNX's does the same."""
    kind = c.output_dtype()
    need(c, kind)
    scale, attributes = scaling(c, layer, c.dtype(c.inputs[0]))
    if c.opset >= 21:
        c.emit("QuantizeLinear", c.inputs[0], scale, output_dtype=kind, **attributes)
        return
    # Before opset 21 the zero point's type is the output's.
    count = size_of(c, scale)
    zeros = np.zeros(() if "axis" not in attributes else count, np.uint8 if kind != TensorProto.INT8 else np.int8)
    zero = c.graph.add_initializer(c.graph.unique(f"{c.name}/zero_point"), kind, zeros.shape, zeros.reshape(-1))
    c.emit("QuantizeLinear", c.inputs[0], scale, zero, **attributes)


def dequantize(c: Context, layer: Any) -> None:
    """DequantizeLinear: the values times the scale, in the scale's type."""
    need(c, c.dtype(c.inputs[0]))
    scale, attributes = scaling(c, layer, c.output_dtype())
    c.emit("DequantizeLinear", c.inputs[0], scale, **attributes)


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


def scaling(c: Context, layer: Any, dtype: int) -> tuple[str, dict[str, Any]]:
    """The scale in the type wanted, and the attributes that say how it applies: to the tensor, an axis, or blocks."""
    scale, shape, rank = c.cast(c.inputs[1], dtype), c.shape(1), len(c.shape(0))
    if int(np.prod(shape)) == 1:
        scalar = c.constant("scalar", np.zeros(0, np.int64))
        return (scale if shape == () else c.helper("scale", "Reshape", scale, scalar)), {}
    if len(shape) == 1:
        return scale, {"axis": layer.axis % rank}
    return blocks(c, scale, shape)


def blocks(c: Context, scale: str, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    """Blocks of values that share a scale: the scale has the input's rank."""
    c.require(21, "quantization by blocks")
    whole = c.shape(0)
    if len(whole) != len(shape) or min(*whole, *shape) < 0:
        raise c.error(f"a scale of shape {shape} for an input of shape {whole}.")
    blocked = [axis for axis, (n, m) in enumerate(zip(whole, shape, strict=True)) if n != m]
    for axis in blocked[1:]:  # ONNX blocks one axis; along the others each scale is repeated
        repeats = np.repeat(np.arange(shape[axis]), whole[axis] // shape[axis])
        scale = c.helper(f"scale.repeated{axis}", "Gather", scale, c.constant(f"repeats{axis}", repeats), axis=axis)
    axis = blocked[0] if blocked else 0
    return scale, {"axis": axis, "block_size": whole[axis] // shape[axis]}
