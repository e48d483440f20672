"""Weights and layers' settings as a capture holds them, and what stands in for PyTorch's modules when it is read."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.dtypes import as_numpy
from netdefs.core.errors import CompareError, NetdefsError
from netdefs.core.optional import require
from netdefs.core.weights import weights_sha256
from netdefs.debug.relations import ROUNDINGS
from netdefs.debug.writer import Writer

SIMPLE = (bool, int, float, str, type(None))
OWN = ("training", "T_destination", "dump_patches", "call_super_init")  # what every nn.Module has


class Fingerprint:
    """What is known of a weight whose values are not in the file.

    Attributes:
        shape: its shape.
        hashes: of its float32 values ("exact"), and of these rounded, by the precision.
    """

    def __init__(self, shape: Sequence[int], hashes: Mapping[str, str]) -> None:
        self.shape, self.hashes = tuple(shape), dict(hashes)

    @property
    def size(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape))

    def relation(self, array: np.ndarray) -> str | None:
        """ "" if an array is this weight, "float16" or "bfloat16" if one is the other rounded to that; else None."""
        array = np.ascontiguousarray(array, np.float32)
        if _hash(array) == self.hashes["exact"]:
            return ""
        with np.errstate(over="ignore"):
            for name, rounded in ROUNDINGS.items():
                if _hash(array) == self.hashes[name] or _hash(rounded(array)) == self.hashes["exact"]:
                    return name
        return None


class StoredState(dict[str, Any]):
    """A state_dict out of a capture: arrays, or `Fingerprint`s.

    Attributes:
        sha256: `weights_sha256` of the weights.
        whole: whether it holds their values.
    """

    sha256 = ""
    whole = True


def describe_weights(writer: Writer, state: Mapping[str, Any], keep: bool) -> dict[str, Any]:
    """The weights for the metadata; with `keep` their values are written."""
    keys: dict[str, Any] = {}
    for key, value in state.items():
        try:
            array = as_numpy(value, key)
        except Exception:  # what no network has: a quantized or complex buffer
            continue
        exact = np.ascontiguousarray(array, np.float32)
        with np.errstate(over="ignore"):
            hashes = {"exact": _hash(exact), **{name: _hash(rounded(exact)) for name, rounded in ROUNDINGS.items()}}
        keys[key] = {"shape": list(array.shape), "dtype": str(getattr(value, "dtype", array.dtype)), "hashes": hashes}
        if keep:
            keys[key]["values"] = writer.add(f"weights/{key}", array)
    known = {key: state[key] for key in keys}
    return {"sha256": weights_sha256(known), "keys": keys}


def describe_modules(module: Any) -> dict[str, Any]:
    """The modules for the metadata: their classes, and the settings and parameters of PyTorch's own layers."""
    found = {}
    for name, child in module.named_modules():
        kind = type(child)
        own = kind.__module__.startswith("torch.nn.modules")
        settings = {key: _plain(value) for key, value in vars(child).items() if key not in OWN} if own else {}
        found[name] = {
            "type": kind.__name__,
            "own": own,
            "children": list(dict(child.named_children())),
            "settings": {key: value for key, value in settings.items() if value is not NotImplemented},
            "parameters": {key: value is not None for key, value in child._parameters.items()},
            "buffers": {key: value is not None for key, value in child._buffers.items()},
        }
    return found


def stand_ins(modules: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in for the modules, by name."""
    found: dict[str, Stored] = {}
    for name in sorted(modules, key=len, reverse=True):  # children first
        about = modules[name]
        prefix = f"{name}." if name else ""
        arrays = {
            key: state.get(f"{prefix}{key}") if there else None
            for table in ("parameters", "buffers")
            for key, there in about[table].items()
        }
        children = [found[f"{prefix}{child}"] for child in about["children"] if f"{prefix}{child}" in found]
        found[name] = type(about["type"], (Stored,), {})(about, arrays, children)
    return {name: found[name] for name in modules}


def torch_module(module: Any) -> Any:
    """A module of PyTorch's: itself, or what a stand-in can be made into; None if that can't be done."""
    if not isinstance(module, Stored):
        return module
    try:
        return module.built()
    except NetdefsError:
        return None


class Stored:
    """Stands in for a module of PyTorch's: has its class's name, settings and weights, and needs no PyTorch for that.

    Where it is to compute something, PyTorch's own layer is made of these.
    """

    def __init__(self, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray | None], children: Sequence[Any]):
        self._about, self._arrays, self._inner = about, arrays, list(children)
        for key, value in about["settings"].items():
            setattr(self, key, _tuples(value))
        for key, array in arrays.items():
            setattr(self, key, None if array is None else Array(array))

    def children(self) -> Iterator[Any]:
        """The modules in it."""
        return iter(self._inner)

    def parameters(self) -> Iterator[Any]:
        """PyTorch's own."""
        return iter(self.built().parameters()) if self._about["parameters"] else iter(())

    def buffers(self) -> Iterator[Any]:
        """PyTorch's own."""
        return iter(self.built().buffers()) if self._about["buffers"] else iter(())

    def cpu(self) -> Any:
        """PyTorch's own layer."""
        return self.built()

    def __call__(self, *arguments: Any) -> Any:
        """What PyTorch's own layer gives."""
        return self.built()(*arguments)

    def __deepcopy__(self, memory: Any) -> "Stored":
        return self  # nothing of it is ever changed: `built` makes a new layer every time

    def built(self) -> Any:
        """A layer of PyTorch's with these settings and weights.

        Raises:
            CompareError: it is no layer of PyTorch's own.
            MissingPackageError: there is no torch.
        """
        torch = require("torch", "torch")
        kind = getattr(torch.nn, self._about["type"], None)
        if not self._about["own"] or kind is None:
            raise CompareError(f"A {self._about['type']} can't be made again without its source.")
        layer = kind.__new__(kind)
        torch.nn.Module.__init__(layer)
        for key, value in self._about["settings"].items():
            setattr(layer, key, _tuples(value))
        for key, array in self._arrays.items():
            tensor = None if array is None else torch.tensor(array)
            if key in self._about["buffers"]:
                layer.register_buffer(key, tensor)
            else:
                layer.register_parameter(key, None if tensor is None else torch.nn.Parameter(tensor, False))
        return layer.eval()


class Array:
    """A weight that is asked for its values as one asks a tensor."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape = values.shape
        self.dtype = values.dtype

    def detach(self) -> "Array":
        """Itself."""
        return self

    def cpu(self) -> "Array":
        """Itself."""
        return self

    def is_floating_point(self) -> bool:
        """Whether it holds no integers."""
        return self._values.dtype.kind == "f"

    def element_size(self) -> int:
        """Bytes of a value."""
        return self._values.itemsize

    def float(self) -> "Array":
        """In float32."""
        return Array(self._values.astype(np.float32, copy=False))

    def double(self) -> "Array":
        """In float64."""
        return Array(self._values.astype(np.float64))

    def numpy(self) -> np.ndarray:
        """The values."""
        return self._values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self._values, dtype)


def _hash(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array, "<f4").reshape(-1).data, digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """A setting as JSON has it; NotImplemented if it is none."""
    if isinstance(value, SIMPLE):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, SIMPLE) for item in value):
        return list(value)
    return NotImplemented


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
