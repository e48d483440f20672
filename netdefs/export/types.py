"""TensorRT's data types in ONNX."""

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

INT64 = TensorProto.INT64
BOOL = TensorProto.BOOL
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
