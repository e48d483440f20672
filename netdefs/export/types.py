"""TensorRT's data types in ONNX, and weights as they lie in memory."""

import ctypes
from typing import Any

import numpy as np
from onnx import TensorProto

from netdefs.core.errors import ExportError

# TensorRT DataType name -> ONNX element type.
ONNX_TYPES: dict[str, int] = {
    "FLOAT": TensorProto.FLOAT,
    "HALF": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "INT8": TensorProto.INT8,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "FP8": TensorProto.FLOAT8E4M3FN,
    "INT4": TensorProto.INT4,
    "FP4": TensorProto.FLOAT4E2M1,
    "E8M0": TensorProto.FLOAT8E8M0,
}

# ONNX element type -> bits of one element, for the types that TensorRT has.
BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.INT8: 8,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.UINT8: 8,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.FLOAT8E8M0: 8,
}

# The types that numpy has. The others are held as their bits: uint16 or uint8, two 4-bit values to a byte.
NUMPY_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT8: np.int8,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
    TensorProto.UINT8: np.uint8,
}

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT4E2M1}
)


def onnx_type(dtype: Any) -> int:
    """The ONNX element type of a TensorRT DataType.

    Raises:
        ExportError: ONNX has no such type.
    """
    try:
        return ONNX_TYPES[dtype.name]
    except KeyError:
        raise ExportError(f"TensorRT's type {dtype.name} has no counterpart in ONNX.") from None


def type_name(dtype: int) -> str:
    """An ONNX element type as ONNX's schemas write it: "float16"."""
    return str(TensorProto.DataType.Name(dtype)).lower()


def read_weights(weights: Any) -> tuple[int, np.ndarray]:
    """A layer's weights as (ONNX element type, flat array on the same memory).

    The binding gives numpy arrays for the types that numpy has, `trt.Weights` for the rest: those come as their bits.
    """
    if isinstance(weights, np.ndarray):
        known = {np.dtype(kind): dtype for dtype, kind in NUMPY_TYPES.items()}
        return known[weights.dtype], weights.reshape(-1)
    dtype = onnx_type(weights.dtype)
    count = -(-int(weights.size) * BITS[dtype] // 8)
    storage = np.dtype(np.uint16 if BITS[dtype] == 16 else np.uint8)
    if not count:
        return dtype, np.empty(0, storage)
    buffer = (ctypes.c_uint8 * count).from_address(_address(weights))
    return dtype, np.ctypeslib.as_array(buffer).view(storage)


def _address(weights: Any) -> int:
    """Where the values of a `trt.Weights` are.

    The binding has no accessor for it. A pybind11 object holds, right after Python's own header, a pointer to the C++
    object, and nvinfer1::Weights is {int32 type; const void* values; int64 count}. Type and count must agree.
    """
    header = ctypes.c_void_p.from_address(id(weights) + object.__basicsize__).value

    class Layout(ctypes.Structure):
        _fields_ = (("type", ctypes.c_int32), ("values", ctypes.c_void_p), ("count", ctypes.c_int64))

    held = Layout.from_address(header) if header else None
    if held is None or held.type != int(weights.dtype) or held.count != int(weights.size) or not held.values:
        raise ExportError(f"Can't find {weights.dtype.name} weights in memory: this binding lays them out differently.")
    return int(held.values)
