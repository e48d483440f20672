"""What the names in a pickle become: descriptions of tensors and arrays, and stubs for all other objects.

When a pickle calls, builds or fills them they keep what they are given, and do nothing else. `Tensor.read` and
`Array.read` make numpy arrays of the values, after unpickling.
"""

import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from netdefs.core.dtypes import bfloat16_to_float32

# torch's name of a type -> numpy's type of the same size.
TYPES = {
    **{name: name for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8")},
    **{name: name for name in ("uint64", "uint32", "uint16", "uint8")},
    "bfloat16": "uint16",
    "bool": "uint8",
}


class Stub:
    """An object of any class: what it was made from and given, and no behavior.

    Attributes of the original (`eps`, `_modules`) are read as attributes. A stub's class is a subclass of this one that
    has the original's name.
    """

    __slots__ = ("stub_attributes", "stub_entries")
    stub_module = ""
    stub_attributes: dict[Any, Any]
    stub_entries: dict[Any, Any]

    def __new__(cls, *arguments: Any, **keywords: Any) -> "Stub":  # noqa: D102
        stub = super().__new__(cls)
        stub.stub_attributes = {}
        stub.stub_entries = {}
        return stub

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # a tuple is (attributes, slots)
            if isinstance(part, dict):
                self.stub_attributes.update(part)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.stub_attributes:
            raise AttributeError(name)
        return self.stub_attributes[name]

    # What a pickle calls to fill mappings, lists and sets of classes of their own. Only mappings are looked into.
    def __setitem__(self, key: Any, value: Any) -> None:
        self.stub_entries[key] = value

    def append(self, item: Any) -> None:
        """Does nothing."""

    extend = add = append


class Function:
    """A function that a pickle may call, wrapped so that nothing else about it can be reached or changed."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:  # noqa: D102
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function is given a state")


class Dict(dict):
    """An OrderedDict or defaultdict. Attributes such as a state_dict's `_metadata` are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class Storage:
    """Memory that tensors are views of.

    Args:
        dtype: torch's name of the type of its values.
        read: returns its bytes, a flat uint8 array; called when a tensor is read, not before.
    """

    __slots__ = ("dtype", "read")

    def __init__(self, dtype: str, read: Callable[[], np.ndarray]) -> None:
        self.dtype, self.read = dtype, read

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a storage is given a state")


class Tensor:
    """A torch tensor: its `shape`, torch's name of its `dtype`, and `read` for its values."""

    __slots__ = ("_offset", "_storage", "_stride", "dtype", "shape")

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: str | None = None) -> None:
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, Storage) or len(shape) != len(stride):
            raise pickle.UnpicklingError("a tensor is not described as PyTorch does it")
        if not all(isinstance(number, int) and 0 <= number < 1 << 62 for number in numbers):
            raise pickle.UnpicklingError("a tensor's shape, stride or offset is not a natural number")
        self._storage, self._offset, self._stride = storage, offset, tuple(stride)
        self.shape, self.dtype = tuple(shape), dtype or storage.dtype

    def __setstate__(self, state: Any) -> None:
        pass  # attributes that Python code hung on a tensor

    def read(self) -> np.ndarray:
        """The values, in an array of `shape`; bfloat16 comes as float32. Tensors of one storage may share memory.

        Raises:
            ValueError: the type is not supported, or the tensor reaches beyond its storage.
        """
        if self.dtype not in TYPES:
            raise ValueError(f"tensors of type {self.dtype} are not supported")
        dtype = np.dtype(TYPES[self.dtype])
        data = self._storage.read()
        values = data[: data.size // dtype.itemsize * dtype.itemsize].view(dtype)
        if math.prod(self.shape) == 0:
            values = np.empty(self.shape, dtype)
        else:
            last = self._offset + sum((n - 1) * step for n, step in zip(self.shape, self._stride, strict=True))
            if last >= values.size:
                raise ValueError(f"it reaches to value {last + 1} of a storage that has {values.size}")
            steps = [step * dtype.itemsize for step in self._stride]
            values = np.lib.stride_tricks.as_strided(values[self._offset :], self.shape, steps)
        if self.dtype == "bfloat16":
            return bfloat16_to_float32(values)
        return values != 0 if self.dtype == "bool" else values


class Unsupported(Tensor):
    """A tensor of a kind that is not read."""

    __slots__ = ()

    def __init__(self, kind: str) -> None:
        self.shape, self.dtype = (), kind

    def read(self) -> np.ndarray:
        """Raises ValueError."""
        raise ValueError(f"{self.dtype} tensors are not supported")


class Array:
    """A numpy array: its `shape`, numpy's name of its `dtype`, and `read` for its values."""

    __slots__ = ("_data", "_fortran", "_type", "shape")

    def __init__(self, shape: Any = (), dtype: Any = None, fortran: Any = False, data: Any = b"") -> None:
        self.shape, self._type, self._fortran, self._data = tuple(shape), dtype, bool(fortran), data

    def __setstate__(self, state: Any) -> None:
        *_, shape, self._type, fortran, self._data = state
        self.shape, self._fortran = tuple(shape), bool(fortran)

    @property
    def dtype(self) -> str:
        """numpy's name of the type if it is one of numbers, else its code."""
        code = self._type.code if isinstance(self._type, Dtype) else "unknown"
        return np.dtype(code).name if re.fullmatch(r"[<>=|]?(f[248]|[iu][1248]|b1)", code) else code

    def read(self) -> np.ndarray:
        """The values, in an array of `shape`.

        Raises:
            ValueError: it does not hold numbers, or not as many as its shape says.
        """
        if self.dtype not in TYPES:
            raise ValueError(f"numpy arrays of type {self.dtype} are not supported")
        data = self._data.encode("latin-1") if isinstance(self._data, str) else self._data  # text: from Python 2
        values = np.frombuffer(data, np.dtype(self._type.code)).reshape(self.shape, order="F" if self._fortran else "C")
        return values.astype(values.dtype.newbyteorder("="))


class Dtype:
    """A numpy dtype: its `code`, such as "<f4"."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *flags: Any) -> None:
        self.code = str(code)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.code = state[1] + self.code.lstrip("<>=|")
