"""`Weights`: named arrays for a network, handed out with their shapes checked, every one accounted for."""

import copy
import difflib
import fnmatch
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.dtypes import as_numpy
from netdefs.core.errors import WeightsError
from netdefs.core.wts import load_wts

COUNTER = "num_batches_tracked"  # PyTorch's BatchNorm counts its training steps in it; inference never reads it
LISTED = 10  # how many names of a kind an error message spells out


def weights_sha256(arrays: Mapping[str, Any]) -> str:
    """A fingerprint of the float32 values and names of `arrays`, whatever file they came from.

    BatchNorm's step counters are left out: they are no part of the function.
    """
    digest = hashlib.sha256()
    for key in sorted(arrays):
        if key.rpartition(".")[2] != COUNTER:
            digest.update(key.encode() + b"\0")
            digest.update(np.ascontiguousarray(as_numpy(arrays[key], key), "<f4").data)
    return digest.hexdigest()


class Weights:
    """Named arrays, from a .wts or .safetensors file, a state_dict, or a dict of arrays.

    A network takes its weights out one by one with their shapes. What is missing or has another size is remembered, not
    raised at once, so that `problems` can name all of it in one message.

    Args:
        source: a path, or a mapping from names to numpy arrays or torch tensors.

    Raises:
        WeightsError: the source is not one of these, or its file is malformed.
    """

    def __init__(self, source: "str | os.PathLike[str] | Mapping[str, Any] | Weights") -> None:
        self._arrays: dict[str, np.ndarray]
        self.metadata: dict[str, Any] = {}
        self.source: str
        if isinstance(source, Weights):
            self._arrays, self.metadata, self.source = source._arrays, source.metadata, source.source
        elif isinstance(source, Mapping):
            # TensorRT reads the memory it is given as late as in the build: what the caller can still change is copied.
            self._arrays = {str(key): np.array(as_numpy(value, str(key))) for key, value in source.items()}
            self.source = f"a dict of {len(self._arrays)} arrays"
        elif isinstance(source, str | os.PathLike):
            self._arrays, self.metadata = _read(Path(source))
            self.source = str(source)
        else:
            hint = " Pass module.state_dict()." if hasattr(source, "state_dict") else ""
            raise WeightsError(
                f"Weights are a path or a mapping of names to arrays, not {type(source).__name__}.{hint}"
            )
        self._expected: dict[str, tuple[int, ...]] = {}
        self._ignored: list[str] = []
        self._renames: list[tuple[str, Callable[[str], str]]] = []
        self._repeats: dict[str, str] = {}
        self._inner: set[str] = set()
        self._sha256: str | None = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._stored(self._key(key)) in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, key: str) -> np.ndarray:
        """The array as it was read, without recording that it was used."""
        return self._arrays[self._stored(self._key(key))]

    def replaced(self, values: Mapping[str, np.ndarray]) -> "Weights":
        """A copy with other values for some of the keys that were taken.

        Raises:
            WeightsError: there is no such key, or its array has another size.
        """
        result = copy.copy(self)
        result._arrays, result._expected = dict(self._arrays), dict(self._expected)
        result._ignored, result._renames, result._sha256 = list(self._ignored), list(self._renames), None
        result._repeats, result._inner = dict(self._repeats), set(self._inner)
        for key, array in values.items():
            old = self._arrays.get(self._stored(key))
            if old is None or old.size != array.size:
                found = "which is not there" if old is None else f"which has {old.size}"
                raise WeightsError(f"{array.size} values can't replace {key}, {found}.")
            result._arrays[self._stored(key)] = np.array(array, np.float32).reshape(old.shape)
        return result

    def other_names(self, prefix: str, rename: Callable[[str], str]) -> None:
        """Says that a source may have the weights below `prefix` under other names: `rename(key)` instead of `key`.

        Both are without the prefix. A key that is there counts before its other name; messages use the source's names.
        """
        self._renames.append((self._key(prefix), rename))

    def repeated(self, module: str, of: str) -> None:
        """Says that `module` is another name of the module `of`: keys below it are those below `of`."""
        self._repeats[module] = of

    def inner(self, layer: str) -> None:
        """Says that keys of a layer `<module>.<layer>` are those of the module itself, where it has none of its own."""
        self._inner.add(layer)

    @property
    def sha256(self) -> str:
        """The fingerprint of all values, `weights_sha256`, under the names that they were taken by."""
        if self._sha256 is None:
            names = {self._stored(key): key for key in self._expected}
            self._sha256 = weights_sha256({names.get(key, key): array for key, array in self._arrays.items()})
        return self._sha256

    @property
    def taken(self) -> dict[str, tuple[int, ...]]:
        """Every key asked for so far, with the shape it was asked in."""
        return dict(self._expected)

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of an array where it is known: a bare .wts knows only the number of values."""
        key = self._stored(self._key(key))
        if key not in self._arrays:
            return None
        if key in self.metadata.get("shapes", {}):
            return self.metadata["shapes"][key]
        return None if self.metadata.get("flat") else self._arrays[key].shape

    def eps(self, module: str) -> float | None:
        """The BatchNorm eps that gen_wts found for a module, or None where the checkpoint did not tell."""
        stored = self._stored(self._key(f"{module}.running_var")).removesuffix(".running_var")
        return self.metadata.get("eps", {}).get(stored)

    def activation(self, conv: str) -> str | None:
        """The activation that gen_wts found behind a convolution, such as "SiLU", "Identity" or "LeakyReLU(0.1)"."""
        stored = self._stored(self._key(f"{conv}.weight")).removesuffix(".weight")
        return self.metadata.get("activation", {}).get(stored)

    def take(self, key: str, shape: tuple[int, ...]) -> np.ndarray:
        """The array `key` as read-only float32 of `shape`.

        If it is missing or has another shape, zeros of `shape` stand in for it and `problems` tells.
        """
        key, shape = self._key(key), tuple(int(n) for n in shape)
        if min(shape, default=1) < 1:
            raise WeightsError(f"{key} was asked for in the shape {shape}: sizes must be positive.")
        if key not in self._expected or key not in self or not self._mismatch(key, self._expected[key]):
            self._expected[key] = shape  # else an earlier shape did not fit, which `problems` must tell
        stored = self._stored(key)
        if stored != key:
            self._sha256 = None
        if stored not in self._arrays or self._mismatch(key, shape):
            return np.zeros(shape, np.float32)
        array = np.ascontiguousarray(self._arrays[stored], np.float32).reshape(shape)
        array.flags.writeable = False
        return array

    def ignore(self, pattern: str) -> None:
        """Says that keys matching the glob `pattern` are knowingly left unused."""
        self._ignored.append(self._key(pattern))

    def unused(self) -> list[str]:
        """Keys that were neither taken nor ignored."""
        taken = {self._stored(key) for key in self._expected}
        names = set(self._ignored)  # most are names, and globs are slow
        left = [key for key in self._arrays if key not in taken and key not in names]
        return [key for key in left if not any(fnmatch.fnmatchcase(key, pattern) for pattern in self._ignored)]

    def problems(self) -> str:
        """What is missing, of another size, or left over, as one text; empty if all is well."""
        renamed = any(self._stored(key) != key for key in self._expected)
        missing = [self._other(key) if renamed else key for key in self._expected if key not in self]
        wrong = [key for key, shape in self._expected.items() if key in self and self._mismatch(key, shape)]
        unused = self.unused()
        parts = []
        if missing:
            parts.append(_listing(f"missing, {len(missing)} of {len(self._expected)} keys", missing, self._nearest))
        if wrong:
            sizes = {self._stored(key): self._explain_size(key) for key in wrong}
            parts.append(_listing(f"of another size, {_keys(wrong)}", list(sizes), sizes.__getitem__))
        if unused:
            parts.append(_listing(f"not used by the network, {_keys(unused)}", unused, lambda key: ""))
        prefix = self._prefix(missing)
        if prefix:
            parts.append(
                f"Every missing name is there with the prefix {prefix!r}: strip it with gen_wts.py --prefix {prefix}"
            )
        elif missing or unused:
            parts.append(
                "`python tools/gen_wts.py CHECKPOINT --dry-run` lists a checkpoint's keys; --skip leaves some out."
            )
        return "\n".join(parts)

    def _key(self, key: str) -> str:
        """The key that a module's further calls and its first one share."""
        for module, of in reversed(self._repeats.items()):  # a call within a call was told after that one
            if key.startswith(f"{module}."):
                key = of + key.removeprefix(module)
        module, _, weight = key.rpartition(".")
        outer, _, layer = module.rpartition(".")
        return f"{outer}.{weight}" if layer in self._inner and key not in self._arrays else key

    def _stored(self, key: str) -> str:
        """The name that the source has for `key`; `key` if it has none."""
        other = key if key in self._arrays else self._other(key)
        return other if other in self._arrays else key

    def _other(self, key: str) -> str:
        for prefix, rename in self._renames:
            if key.startswith(prefix):
                return prefix + rename(key.removeprefix(prefix))
        return key

    def _mismatch(self, key: str, shape: tuple[int, ...]) -> bool:
        known = self.shape(key)
        if (
            known is None or len(known) <= 1
        ):  # flat arrays, as load_wts gives them, hold no shape; a scalar is () or (1,)
            return self[key].size != math.prod(shape)
        return known != shape

    def _nearest(self, key: str) -> str:
        near = difflib.get_close_matches(key, self.unused(), n=1, cutoff=0.8)
        return f" (the file has {near[0]})" if near else ""

    def _explain_size(self, key: str) -> str:
        shape, size, known = self._expected[key], self[key].size, self.shape(key)
        text = f": the network has {shape}, the file {known if known is not None else f'{size} values'}"
        flat = known is None or len(known) != len(shape)
        fits = size % math.prod(shape[1:]) == 0 if flat or known is None else known[1:] == shape[1:]
        if fits and size != math.prod(shape):
            text += f", which fits if the first dimension is {size // math.prod(shape[1:])}"
        return text

    def _prefix(self, missing: list[str]) -> str:
        if not missing:
            return ""
        for key in self._arrays:
            if key.endswith("." + missing[0]):
                prefix = key[: -len(missing[0])]
                if all(prefix + name in self._arrays for name in missing):
                    return prefix
        return ""


def _keys(found: list[str]) -> str:
    return "1 key" if len(found) == 1 else f"{len(found)} keys"


def _listing(title: str, keys: list[str], comment: Any) -> str:
    lines = [f"  {key}{comment(key)}" for key in keys[:LISTED]]
    if len(keys) > LISTED:
        lines.append(f"  ... and {len(keys) - LISTED} more")
    return "\n".join([f"{title}:", *lines])


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if path.suffix == ".wts":
        arrays = load_wts(path)
        return arrays, {"flat": True, **_read_sidecar(path, arrays)}
    if path.suffix == ".safetensors":
        from netdefs.core.checkpoint import read_checkpoint  # not needed by those who have a .wts

        return read_checkpoint(path).state_dict, {}
    raise WeightsError(
        f"{path} is neither .wts nor .safetensors. Turn a checkpoint into a .wts first: "
        f"python tools/gen_wts.py {path} -o weights/{path.stem}.wts"
    )


def _read_sidecar(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What gen_wts wrote beside a .wts: shapes, eps and activations. A .wts from elsewhere has none."""
    sidecar = path.with_name(path.name + ".json")
    if not sidecar.exists():
        return {}
    advice = f"Run gen_wts again, or remove {sidecar.name} to use {path.name} as it is."
    try:
        found = json.loads(sidecar.read_text(encoding="utf-8"))
        told = found["weights_sha256"]
        found["shapes"] = {key: tuple(map(int, shape)) for key, shape in found["shapes"].items()}
        found["eps"] = {module: float(eps) for module, eps in found["eps"].items()}
        if not all(0 <= eps < math.inf for eps in found["eps"].values()):
            raise ValueError("an eps is negative or no number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{sidecar} is not what gen_wts writes ({error!r}). {advice}") from error
    if told != weights_sha256(arrays):
        raise WeightsError(f"{sidecar} describes other weights than those in {path.name}. {advice}")
    return dict(found)
