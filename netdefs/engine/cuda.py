"""The few CUDA calls that running an engine takes, through cuda-python. All that touches the driver is here."""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np

from netdefs.core.errors import EngineError
from netdefs.core.optional import require


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    """Turns the driver's errors, which have no common base, into EngineErrors."""
    try:
        yield
    except Exception as error:
        raise EngineError(
            f"CUDA failed while {what}: {error}. Does nvidia-smi list the GPU, with memory free?"
        ) from error


class Memory:
    """A device buffer and a pinned host buffer of the same size, through which arrays go to the GPU and come back.

    Both only ever grow, so that runs after the first allocate nothing.
    """

    def __init__(self, cuda: "Cuda") -> None:
        self._cuda = cuda
        self._device: Any = None
        self._host: Any = None
        self._capacity = 0
        self._size = 0

    def reserve(self, size: int) -> None:
        """Makes room for `size` bytes."""
        self._size = size
        if self._device is None or size > self._capacity:
            self.close()
            self._capacity = max(size, 1)  # an output may be empty, an allocation may not
            self._device, self._host = self._cuda.allocate(self._capacity)

    @property
    def address(self) -> int:
        """Where the device buffer is."""
        return int(self._device.handle)

    def send(self, array: np.ndarray) -> None:
        """Copies an array to the device buffer. It may change once this returns; the copy itself ends later."""
        self.reserve(array.nbytes)
        self._view(array.dtype)[:] = array.reshape(-1)
        self._cuda.copy(self._part(self._device), self._part(self._host))

    def fetch(self) -> None:
        """Starts the copy of the device buffer to the host buffer."""
        self._cuda.copy(self._part(self._host), self._part(self._device))

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """What `fetch` brought, as an array of its own; after `Cuda.synchronize`."""
        return self._view(dtype).reshape(shape).copy()

    def close(self) -> None:
        """Frees both buffers."""
        for buffer in (self._device, self._host):
            if buffer is not None:
                buffer.close(self._cuda.stream)
        self._device = self._host = None
        self._capacity = 0

    def _view(self, dtype: np.dtype[Any]) -> np.ndarray:
        memory = (ctypes.c_char * self._size).from_address(int(self._host.handle))
        return np.frombuffer(memoryview(memory), dtype)

    def _part(self, buffer: Any) -> Any:
        """The part of a buffer that is in use: a copy takes two buffers of one size."""
        return self._cuda.view(buffer, self._size)


class Cuda:
    """One GPU, the one that is current in this thread, and a stream on it.

    Raises:
        MissingPackageError: cuda-python is not installed.
        EngineError: CUDA does not start.
    """

    def __init__(self) -> None:
        core = require("cuda.core", "gpu")
        self._buffer = core.Buffer
        self._foreign = core.Stream
        with _reported("starting"):
            self._device = core.Device()
            self._device.set_current()
            self.stream = self._device.create_stream()
            self._pinned = core.LegacyPinnedMemoryResource()  # works on every driver, unlike pools of host memory

    @property
    def device_id(self) -> int:
        """The GPU's number, as torch counts them."""
        return int(self._device.device_id)

    @property
    def handle(self) -> int:
        """The stream, as TensorRT and torch take it."""
        return int(self.stream.handle)

    def activate(self) -> None:
        """Makes this GPU the calling thread's current one: what CUDA does is per thread."""
        self._device.set_current()

    def allocate(self, size: int) -> tuple[Any, Any]:
        """A device buffer and a pinned host buffer of `size` bytes."""
        with _reported(f"allocating {size} bytes"):
            return self._device.allocate(size, stream=self.stream), self._pinned.allocate(size, stream=self.stream)

    def view(self, buffer: Any, size: int) -> Any:
        """The first `size` bytes of a buffer."""
        return self._buffer.from_handle(int(buffer.handle), size, owner=buffer)

    def copy(self, target: Any, source: Any) -> None:
        """Starts a copy between buffers of one size on the stream."""
        with _reported("copying"):
            source.copy_to(target, stream=self.stream)

    def read(self, address: int, size: int, stream: int) -> np.ndarray:
        """The bytes at an address on the GPU, after all that was started on a stream, which may be another's."""
        with _reported("reading a debug tensor"):
            where = self.stream if stream == self.handle else self._foreign.from_handle(stream)
            host = self._pinned.allocate(size, stream=self.stream)
            try:
                self._buffer.from_handle(address, size).copy_to(host, stream=where)
                where.sync()
                memory = (ctypes.c_char * size).from_address(int(host.handle))
                return np.frombuffer(memoryview(memory), np.uint8).copy()
            finally:
                host.close(self.stream)

    def synchronize(self) -> None:
        """Waits until all that was started on the stream is done."""
        with _reported("running the network"):
            self.stream.sync()

    def close(self) -> None:
        """Frees the stream."""
        self.stream.close()
