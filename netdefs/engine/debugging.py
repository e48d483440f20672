"""Debug tensors: values inside of a network that TensorRT hands out while it runs, without their being outputs."""

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from netdefs.core.dtypes import bfloat16_to_float32
from netdefs.core.errors import EngineError
from netdefs.engine.base import BFLOAT16
from netdefs.engine.tensorrt import tensor_info

Sink = Callable[[str, np.ndarray], None]
Read = Callable[[int, int, int], np.ndarray]  # the bytes at an address of the GPU, their number, on which stream

_name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def listen(trt: ModuleType, context: Any, read: Read, sink: Sink) -> Any:
    """Makes an execution context tell of its debug tensors; returns the listener, whose `check` is called after a run.

    Args:
        trt: the TensorRT module.
        context: without CUDA graphs, since a graph can't stop to be listened to.
        read: gets values from the GPU.
        sink: gets the name of each debug tensor and its value; bfloat16 as float32.

    Raises:
        EngineError: this TensorRT has no debug tensors.
    """
    if not (hasattr(trt, "IDebugListener") and hasattr(context, "set_all_tensors_debug_state")):
        raise EngineError(f"{trt.__name__} {trt.__version__} has no debug tensors: mark layers as outputs instead.")
    listener = _listener(trt, read, sink)
    if not context.set_debug_listener(listener) or not context.set_all_tensors_debug_state(True):
        raise EngineError(f"{trt.__name__} does not hand out the debug tensors of this plan.")
    if hasattr(context, "unfused_tensors_debug_state"):
        context.unfused_tensors_debug_state = True
    return listener


def _listener(trt: ModuleType, read: Read, sink: Sink) -> Any:
    class Listener(trt.IDebugListener):  # type: ignore[name-defined]
        """Copies each value before it returns: TensorRT uses the memory again."""

        def __init__(self) -> None:
            trt.IDebugListener.__init__(self)
            self.seen = 0
            self._error: Exception | None = None

        def process_debug_tensor(self, addr: Any, location: Any, type: Any, shape: Any, name: str, stream: int) -> bool:
            if self._error is None:  # TensorRT ignores what is raised here
                try:
                    self._take(addr, location, type, shape, name, stream)
                except Exception as error:
                    self._error = error
            return True

        def _take(self, addr: Any, location: Any, dtype: Any, shape: Any, name: str, stream: int) -> None:
            self.seen += 1
            try:
                info = tensor_info(name, shape, dtype)
            except EngineError:
                return  # of a type that only exists inside, such as float8
            kind = np.dtype(np.uint16 if info.dtype == BFLOAT16 else info.dtype)
            size = int(np.prod(info.shape)) * kind.itemsize
            if not size:
                return
            if location == trt.TensorLocation.HOST:
                memory = (ctypes.c_char * size).from_address(_address(addr))
                raw = np.frombuffer(memoryview(memory), np.uint8).copy()
            else:
                raw = read(_address(addr), size, int(stream))
            values = raw.view(kind).reshape(info.shape)
            sink(name, bfloat16_to_float32(values) if info.dtype == BFLOAT16 else values)

        def check(self) -> None:
            """Raises what went wrong while listening, or that nothing was heard.

            Raises:
                EngineError: a value could not be read, or the plan has no debug tensor.
            """
            if isinstance(self._error, EngineError):
                raise self._error
            if self._error is not None:
                raise EngineError(f"A debug tensor could not be read: {self._error}") from self._error
            if not self.seen:
                raise EngineError('No debug tensor was handed out: build with debug=("layer1.*",) or unfused=True.')

    return Listener()


def _address(pointer: Any) -> int:
    """Where a C pointer points to that Python got as a capsule, or as a number."""
    return pointer if isinstance(pointer, int) else int(_pointer_of(pointer, _name_of(pointer)))
