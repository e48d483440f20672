"""What is read off TensorRT's objects: a layer's type and weights, a tensor's shape."""

import ctypes
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import helper

from netdefs.core.errors import ExportError
from netdefs.export.types import BITS, NUMPY_TYPES, onnx_type

# numpy type -> ONNX element type.
OF_NUMPY = {np.dtype(kind): dtype for dtype, kind in NUMPY_TYPES.items()}


def layer_type(layer: Any, trt: ModuleType) -> str:
    """The name of a layer's LayerType. Activation and pooling layers hide it behind a `type` of their own."""
    return str(trt.ILayer.type.fget(layer).name)


def dimensions(tensor: Any) -> tuple[int, ...]:
    """A TensorRT tensor's shape, -1 for a dynamic dimension.

    Raises:
        ExportError: TensorRT can't tell it: the layer that makes it is not valid.
    """
    try:
        shape = tensor.shape
        return tuple(shape[: len(shape)])  # as a loop this takes ten times as long
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"Tensor {tensor.name!r} has no shape: TensorRT refuses the layer that makes it.") from error


def axes_of(mask: int) -> list[int]:
    """The axes in one of TensorRT's bit masks."""
    return [axis for axis in range(32) if mask >> axis & 1]


def value_info(tensor: Any, named: bool = False) -> onnx.ValueInfoProto:
    """A tensor's name, type and shape. With `named`, a dynamic dimension that TensorRT has no name for is given one."""
    shape: list[int | str | None] = []
    for axis, size in enumerate(dimensions(tensor)):
        name = tensor.get_dimension_name(axis) if tensor.is_network_input else None
        shape.append(size if size >= 0 else name or (f"{tensor.name}_{axis}" if named else None))
    return helper.make_tensor_value_info(tensor.name, onnx_type(tensor.dtype), shape)


def read_weights(weights: Any) -> tuple[int, np.ndarray]:
    """A layer's weights as (ONNX element type, flat array on the same memory).

    The binding gives numpy arrays for the types that numpy has, `trt.Weights` for the rest: those come as their bits.
    """
    if isinstance(weights, np.ndarray):
        return OF_NUMPY[weights.dtype], weights.reshape(-1)
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
