"""Reading pickles without running anything from them.

A pickle names classes and functions and says what to call. Here no name is ever imported: a few containers and helpers
are done by hand, and all others become stubs that do nothing (`netdefs.core.inert`).
"""

import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from netdefs.core.errors import CheckpointError
from netdefs.core.inert import Array, Dict, Dtype, Function, Stub, Tensor, Unsupported


def _rebuild_from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """torch's way of making a tensor of a class of its own."""
    if not isinstance(function, Function):
        raise pickle.UnpicklingError("a tensor is not rebuilt by a known function")
    return function(*arguments)


def _reconstruct(kind: Any, base: Any, state: Any) -> Any:
    """copyreg's way of making an object of a plain class."""
    if not (isinstance(kind, type) and issubclass(kind, Stub)):
        raise pickle.UnpicklingError("copyreg rebuilds something that is not an object")
    return kind()


def _bytes(data: Any = b"", encoding: Any = "latin1") -> bytes:
    """How pickle writes bytes in its older protocols: as text, or as nothing."""
    if isinstance(data, bytes):
        return data
    if not isinstance(data, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes are not encoded as pickle does it")
    return data.encode("latin-1")


def _type_name(dtype: Any) -> str:
    """torch's name of a type, which a pickle gives as the global `torch.uint16`: the class of a stub here."""
    return dtype.__name__ if isinstance(dtype, type) else "unknown"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": lambda *a: Tensor(*a[:4]),
    "torch._utils._rebuild_tensor_v2": lambda *a: Tensor(*a[:4]),
    "torch._utils._rebuild_tensor_v3": lambda *a: Tensor(a[0], a[1], a[2], a[3], _type_name(a[6])),
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._utils._rebuild_device_tensor_from_numpy": lambda data, *_: data,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": lambda data, *_: data,
    "torch._utils._rebuild_qtensor": lambda *_: Unsupported("quantized"),
    "torch._utils._rebuild_sparse_tensor": lambda *_: Unsupported("sparse"),
    "torch._utils._rebuild_nested_tensor": lambda *_: Unsupported("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": lambda *_: Unsupported("meta"),
    "torch._utils._rebuild_wrapper_subclass": lambda *_: Unsupported("wrapped"),
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "collections.OrderedDict": lambda entries=(): Dict(entries),
    "collections.defaultdict": lambda factory=None, entries=(): Dict(entries),
    "builtins.set": lambda items=(): set(items),
    "builtins.frozenset": lambda items=(): frozenset(items),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "numpy.core.multiarray._reconstruct": lambda *_: Array(),  # its __setstate__ is called next
    "numpy.core.numeric._frombuffer": lambda data, dtype, shape, order: Array(shape, dtype, order == "F", data),
    "numpy.dtype": Dtype,
    "copyreg._reconstructor": _reconstruct,
    "_codecs.encode": _bytes,
}
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "torch.tensor": "torch._tensor"}  # what old files say


class InertUnpickler(pickle.Unpickler):
    """Unpickles with every name an inert object.

    Args:
        file: at the start of the pickle.
        persistent_load: what makes a storage of one of PyTorch's persistent ids.
        functions: what the pickle may call, by dotted name.
    """

    def __init__(
        self, file: BinaryIO, persistent_load: Callable[[Any], Any] | None, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        super().__init__(file, encoding="latin-1")  # so that bytes written by Python 2 survive as text
        self._load_storage = persistent_load
        self._functions = functions
        self._globals: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The inert object that stands for a global."""
        module = RENAMED.get(module, module.replace("numpy._core", "numpy.core"))
        full = f"{module}.{name}"
        if full not in self._globals:
            if full in self._functions:
                self._globals[full] = Function(self._functions[full])
            else:
                self._globals[full] = type(name.rpartition(".")[2], (Stub,), {"__slots__": (), "stub_module": module})
        return self._globals[full]

    def persistent_load(self, identifier: Any) -> Any:
        """The storage that a persistent id names."""
        if self._load_storage is None:
            raise pickle.UnpicklingError("a plain pickle refers to a storage")
        return self._load_storage(identifier)


def unpickle(
    file: BinaryIO,
    persistent_load: Callable[[Any], Any] | None = None,
    extra: Mapping[str, Callable[..., Any]] | None = None,
) -> Any:
    """The object in a pickle, made of builtin containers and what `netdefs.core.inert` has.

    Args:
        file: seekable, at the start of the pickle; left behind its end.
        persistent_load: makes a storage of a persistent id.
        extra: functions that the pickle may call beyond `FUNCTIONS`, by dotted name.

    Raises:
        CheckpointError: it is not a pickle, is cut short, or does what no pickler does.
    """
    start = file.tell()
    try:
        _check_memo(file)
        file.seek(start)
        return InertUnpickler(file, persistent_load, {**FUNCTIONS, **(extra or {})}).load()
    except CheckpointError:
        raise
    except Exception as error:  # a broken pickle can raise anything, from IndexError to MemoryError
        raise CheckpointError(f"its pickle can't be read: {str(error) or type(error).__name__}") from error


def _check_memo(file: BinaryIO) -> None:
    """Refuses a memo index that the pickle can't have counted up to: Python allocates memory for all below it."""
    start = file.tell()
    for opcode, index, _ in pickletools.genops(file):
        if opcode.name in ("PUT", "LONG_BINPUT") and not 0 <= int(index or 0) <= file.tell() - start:
            raise pickle.UnpicklingError("a memo index is out of range")
