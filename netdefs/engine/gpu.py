"""Runs a plan on the GPU."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.dtypes import bfloat16_to_float32, float32_to_bfloat16
from netdefs.core.errors import EngineError, InputError
from netdefs.engine import debugging
from netdefs.engine.base import BFLOAT16, Profile, TensorInfo
from netdefs.engine.cuda import Cuda, Memory
from netdefs.engine.debugging import Sink
from netdefs.engine.feeds import is_cuda
from netdefs.engine.tensorrt import tensor_info

# TensorRT wants the memory of inputs and outputs to start at a multiple of this many bytes.
ALIGNMENT = 256


class Runner:
    """A plan on a GPU, ready to run. One run at a time: further threads wait.

    Args:
        trt: the TensorRT module that made the plan.
        plan: the plan.
        cuda: the GPU; by default the one that is current in this thread.

    Raises:
        MissingPackageError: cuda-python is not installed.
        EngineError: CUDA does not start, or TensorRT refuses the plan; its own words are in the message.
    """

    def __init__(self, trt: ModuleType, plan: bytes, cuda: Cuda | None = None) -> None:
        self._trt = trt
        self._log = tensorrt.logger_of(trt)
        self._cuda = cuda or Cuda()  # before TensorRT, which takes the GPU that is current
        self._log.take()
        self._runtime = trt.Runtime(self._log.bridge)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"{trt.__name__} {trt.__version__} can't load this plan. It says:\n{self._log.take()}")
        self.inputs, self.outputs = _tensors(trt, self._engine)
        self.profile = _profile(self._engine, self.inputs)
        self._context = _make_context(trt, self._engine)
        if self._context is None:
            raise EngineError(f"{trt.__name__} can't prepare this plan to run. It says:\n{self._log.take()}")
        self._memory = {name: Memory(self._cuda) for name in (*self.inputs, *self.outputs)}
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Runs on checked feeds: all numpy arrays, or all torch tensors on this GPU.

        Returns:
            Output name -> numpy array, or torch tensor on the GPU, as the feeds are. The latter are ordered on torch's
            current stream, like the result of any torch operation.

        Raises:
            InputError: numpy arrays and GPU tensors are mixed, or a tensor can't be read in place.
            EngineError: TensorRT fails; its own words are in the message.
        """
        on_gpu = [name for name, value in feeds.items() if is_cuda(value)]
        if on_gpu and len(on_gpu) < len(feeds):
            host = next(name for name in feeds if name not in on_gpu)
            raise InputError(f"Input {on_gpu[0]!r} is on the GPU and {host!r} is not: bring them to one place.")
        with self._lock:
            self._cuda.activate()
            return self._run_torch(feeds) if on_gpu else self._run_numpy(feeds)

    def watch(self, feeds: Mapping[str, np.ndarray], sink: Sink) -> dict[str, np.ndarray]:
        """As `run` on numpy arrays; each debug tensor goes to `sink` the moment it is computed.

        Raises:
            EngineError: the plan has no debug tensors, or TensorRT fails.
        """
        with self._lock:
            self._cuda.activate()
            context = _make_context(self._trt, self._engine, graphs=False)
            if context is None:
                raise EngineError(f"{self._trt.__name__} can't prepare this plan to run. It says:\n{self._log.take()}")
            listener = debugging.listen(self._trt, context, self._cuda.read, sink)
            usual, self._context = self._context, context
            try:
                outputs = self._run_numpy(feeds)
            finally:
                self._context = usual
            listener.check()
            return outputs

    def close(self) -> None:
        """Frees the GPU's memory."""
        with self._lock:
            self._cuda.activate()
            self._cuda.synchronize()
            self._context = self._engine = self._runtime = None
            for memory in self._memory.values():
                memory.close()
            self._cuda.close()

    def _run_numpy(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            for name, array in feeds.items():
                self._set_shape(name, array.shape)
                bfloat16 = self.inputs[name].dtype == BFLOAT16
                self._memory[name].send(float32_to_bfloat16(array) if bfloat16 else array)
                self._set_address(name, self._memory[name].address)
            shapes = self._output_shapes()
            for name, shape in shapes.items():
                self._memory[name].reserve(int(np.prod(shape)) * _storage(self.outputs[name]).itemsize)
                self._set_address(name, self._memory[name].address)
            self._execute()
            for name in shapes:
                self._memory[name].fetch()
        finally:  # also after an error: until the stream is done it may read and write the buffers
            self._cuda.synchronize()
        results = {}
        for name, shape in shapes.items():
            info = self.outputs[name]
            array = self._memory[name].array(shape, _storage(info))
            results[name] = bfloat16_to_float32(array) if info.dtype == BFLOAT16 else array
        return results

    def _run_torch(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        for name, tensor in feeds.items():
            self._check_tensor(name, tensor)
            self._set_shape(name, tuple(tensor.shape))
            self._set_address(name, tensor.data_ptr())
        device = next(iter(feeds.values())).device
        results = {}
        for name, shape in self._output_shapes().items():
            results[name] = _empty(shape, str(self.outputs[name].dtype), device)
            self._set_address(name, results[name].data_ptr())
        with _ordered(self._cuda.handle, device, feeds):
            self._execute()
        return results

    def _check_tensor(self, name: str, tensor: Any) -> None:
        if tensor.device.index != self._cuda.device_id:
            raise InputError(f"Input {name!r} is on {tensor.device}, and the engine on cuda:{self._cuda.device_id}.")
        if not tensor.is_contiguous():
            raise InputError(f"Input {name!r} is not contiguous, and is read in place: pass {name}.contiguous().")
        if tensor.data_ptr() % ALIGNMENT:
            raise InputError(
                f"Input {name!r} starts inside of another tensor, at no multiple of {ALIGNMENT} bytes, and is "
                f"read in place: pass {name}.clone()."
            )

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(name, shape):
            raise EngineError(f"TensorRT refuses the shape {shape} of input {name!r}: {self._log.take()}")

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise EngineError(f"TensorRT refuses the memory of {name!r}: {self._log.take()}")

    def _output_shapes(self) -> dict[str, tuple[int, ...]]:
        """The outputs' shapes, once those of the inputs are set."""
        try:
            unknown = self._context.infer_shapes()
        except RuntimeError as error:
            raise EngineError(f"The inputs' shapes do not suit the network: {error} {self._log.take()}") from error
        if unknown:
            raise EngineError(f"TensorRT lacks the shape of {', '.join(unknown)}.")
        shapes = {name: tuple(int(n) for n in self._context.get_tensor_shape(name)) for name in self.outputs}
        for name, shape in shapes.items():
            if min(shape, default=0) < 0:
                raise EngineError(f"The shape of output {name!r} depends on values, {shape}: that is not supported.")
        return shapes

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._cuda.handle):
            raise EngineError(f"TensorRT could not run the network. It says:\n{self._log.take()}")


def _tensors(trt: ModuleType, engine: Any) -> tuple[dict[str, TensorInfo], dict[str, TensorInfo]]:
    """The inputs and the outputs of a deserialized engine."""
    inputs: dict[str, TensorInfo] = {}
    outputs: dict[str, TensorInfo] = {}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        where = engine.get_tensor_location(name)
        layout = engine.get_tensor_format(name)
        if where != trt.TensorLocation.DEVICE or layout != trt.TensorFormat.LINEAR:
            raise EngineError(
                f"The plan's tensor {name!r} is a shape tensor or not in plain row-major layout ({where}, {layout}): "
                "that is not supported."
            )
        side = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
        side[name] = tensor_info(name, engine.get_tensor_shape(name), engine.get_tensor_dtype(name))
    return inputs, outputs


def _profile(engine: Any, inputs: Mapping[str, TensorInfo]) -> Profile:
    """The (min, opt, max) shapes of the dynamic inputs, from the first optimization profile."""
    profile: Profile = {}
    for name, info in inputs.items():
        if -1 in info.shape:
            low, opt, high = (tuple(int(n) for n in shape) for shape in engine.get_tensor_profile_shape(name, 0))
            profile[name] = (low, opt, high)
    return profile


def _make_context(trt: ModuleType, engine: Any, graphs: bool = True) -> Any:
    """An execution context. TensorRT-RTX compiles the kernels for this GPU here; a CUDA graph can replay them."""
    if not graphs or not hasattr(trt, "CudaGraphStrategy"):
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def _storage(info: TensorInfo) -> np.dtype[Any]:
    """The numpy type that an output's bytes are read as: bfloat16 as its bits."""
    return np.dtype(np.uint16) if info.dtype == BFLOAT16 else np.dtype(info.dtype)


def _empty(shape: tuple[int, ...], dtype: str, device: Any) -> Any:
    """An uninitialized torch tensor on the GPU."""
    import torch  # it is there: a tensor of it was given

    return torch.empty(shape, dtype=getattr(torch, dtype), device=device)


@contextlib.contextmanager
def _ordered(handle: int, device: Any, feeds: Mapping[str, Any]) -> Iterator[None]:
    """Orders what the block puts on the stream `handle` after torch's work so far, and torch's further work after it.

    The engine keeps a stream of its own, because TensorRT synchronizes the whole GPU on the default stream, which torch
    uses unless told otherwise.
    """
    import torch

    ours, theirs = torch.cuda.ExternalStream(handle, device=device), torch.cuda.current_stream(device)
    ours.wait_stream(theirs)
    try:
        yield
    finally:
        theirs.wait_stream(ours)
        for tensor in feeds.values():
            tensor.record_stream(ours)  # the caller may drop it before it has been read
