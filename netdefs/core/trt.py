"""Which TensorRT: the one place that chooses between `tensorrt` and `tensorrt_rtx`, and that reads its log.

The two packages are the same API under two names. `tensorrt` needs a GPU even to define a network; `tensorrt_rtx` needs
none to define, check and compile. So full TensorRT is chosen only where a GPU answers; $NETDEFS_TENSORRT forces one.
"""

import collections
import ctypes
import functools
import importlib
import importlib.util
import logging
import os
from types import ModuleType
from typing import Any

from netdefs.core.errors import MissingPackageError, NetdefsError

PACKAGES = ("tensorrt", "tensorrt_rtx")
EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}
log = logging.getLogger("netdefs.tensorrt")

# CUdevice_attribute, as the driver's header numbers them.
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76

# What TensorRT-RTX logs on every call on a machine with no GPU; it says nothing about the network.
NOISE = ("cudaError 35", "CUDA driver version is insufficient", "Thread context has not been set", "has Int64 binding")


@functools.cache
def compute_capability() -> str | None:
    """The compute capability of the first GPU, such as "8.6"; None if no GPU answers. Needs no package."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return None
    numbers = []
    for attribute in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR):
        value = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0) != 0:
            return None
        numbers.append(str(value.value))
    return ".".join(numbers)


def choose() -> str:
    """The name of the TensorRT package to define networks with.

    Raises:
        NetdefsError: $NETDEFS_TENSORRT names something else.
        MissingPackageError: neither package is installed.
    """
    forced = os.environ.get("NETDEFS_TENSORRT")
    if forced:
        if forced not in PACKAGES:
            raise NetdefsError(f"NETDEFS_TENSORRT={forced!r}: it must be one of {', '.join(PACKAGES)}.")
        return forced
    installed = [name for name in PACKAGES if importlib.util.find_spec(name) is not None]
    if "tensorrt" in installed and compute_capability() is not None:
        return "tensorrt"
    if "tensorrt_rtx" in installed:
        return "tensorrt_rtx"
    if "tensorrt" in installed:
        raise NetdefsError(
            "tensorrt is installed, but no GPU answers, and it can't even define a network without one. "
            "On this machine use TensorRT-RTX: pip install 'netdefs[rtx]'."
        )
    raise MissingPackageError(
        "No TensorRT is installed: pip install 'netdefs[rtx]' (works without a GPU) or 'netdefs[tensorrt]'."
    )


def load(package: str | None = None) -> ModuleType:
    """The TensorRT module: `package`, or the one `choose` picks."""
    package = package or choose()
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"This needs the package {package!r}: pip install 'netdefs[{EXTRAS[package]}]' ({error})."
        ) from error


def module_of(handle: Any) -> ModuleType:
    """The TensorRT module that an object (a network definition, a tensor, a layer) came from."""
    package = type(handle).__module__.partition(".")[0].removesuffix("_bindings")
    return load(package)


class Log:
    """TensorRT's log, sent to Python's `netdefs.tensorrt` logger, its last lines kept for error messages."""

    def __init__(self, trt: ModuleType) -> None:
        levels = {
            trt.ILogger.INTERNAL_ERROR: logging.ERROR,
            trt.ILogger.ERROR: logging.ERROR,
            trt.ILogger.WARNING: logging.WARNING,
            trt.ILogger.INFO: logging.INFO,
            trt.ILogger.VERBOSE: logging.DEBUG,
        }
        self.complaints: collections.deque[str] = collections.deque(maxlen=32)

        class Bridge(trt.ILogger):  # type: ignore[name-defined]
            def __init__(bridge) -> None:
                trt.ILogger.__init__(bridge)

            def log(bridge, severity: Any, message: str) -> None:
                if any(part in message for part in NOISE):
                    return
                level = levels[severity]
                # An error is raised to the caller with these lines in it, so the logger need not shout as well.
                log.log(min(level, logging.INFO) if level == logging.ERROR else level, "%s", message)
                if level == logging.ERROR:
                    self.complaints.append(message.strip())

        self.bridge = Bridge()

    def take(self) -> str:
        """The errors logged since the last call, as one text, and forgets them."""
        lines = list(dict.fromkeys(self.complaints))
        self.complaints.clear()
        return "\n".join(lines)


@functools.cache
def logger_of(trt: ModuleType) -> Log:
    """The log of one TensorRT module. TensorRT keeps the first logger of a process for good, so there is one each."""
    return Log(trt)
