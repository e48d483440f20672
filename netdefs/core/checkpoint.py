"""From a checkpoint file to its state_dict, whatever wraps it, without torch and without running code from the file."""

import fnmatch
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core import module_tree
from netdefs.core.dtypes import as_numpy
from netdefs.core.errors import CheckpointError, FileError, NetdefsError
from netdefs.core.inert import Array, Stub, Tensor
from netdefs.core.optional import require
from netdefs.core.torchfile import read_object

# Under these names people save weights. Of several in one file the first in this order counts: an average of the
# weights over training (EMA) is what its author evaluated, and a plain state_dict comes before other things.
WRAPPINGS = (
    *("ema", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema"),
    *("state_dict", "model_state_dict", "model", "net_dict", "net", "network", "params"),
    *("state_dict_backbone", "backbone", "weights", "module"),
)
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile; never part of a network's own names
DEEPEST = 4  # wrappings within wrappings
LISTED = 8  # how many names a message spells out


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds of one network.

    Attributes:
        state_dict: name -> array in its own shape and type; bfloat16 as float32.
        dtypes: name -> the type it has in the file.
        eps: path of a BatchNorm -> its eps; empty unless the file holds a whole module.
        activation: path of a conv -> the activation behind it; likewise.
        source: where it comes from.
        wrapping: what it was found in, in words.
        notes: what else the reader of the file should know: other candidates, entries left out.
    """

    state_dict: dict[str, np.ndarray]
    dtypes: dict[str, str]
    eps: dict[str, float]
    activation: dict[str, str]
    source: str
    wrapping: str
    notes: tuple[str, ...]


def read_checkpoint(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    prefix: str = "",
    skip: Iterable[str] = (),
    unsafe_pickle: bool = False,
) -> Checkpoint:
    """Reads a PyTorch checkpoint, a safetensors file or a pickle of arrays.

    The prefixes of DataParallel and torch.compile are always stripped.

    Args:
        path: the file.
        key: which state_dict or module to take, as messages call it; by default the first of `WRAPPINGS` that is there,
            else the largest.
        prefix: stripped from the names that begin with it.
        skip: glob patterns of names (as they are after stripping) to leave out.
        unsafe_pickle: load with torch and run whatever code the file holds.

    Raises:
        FileError: the file is missing or can't be read.
        CheckpointError: it is not a checkpoint, or no state_dict is found in it.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            found = _load_unsafe(file) if unsafe_pickle else read_object(file, path)
            most = None if unsafe_pickle else 16 * path.stat().st_size + (1 << 30)
            return _extract(found, path.name, key, prefix, tuple(skip), most)
    except CheckpointError as error:
        raise CheckpointError(f"{path} can't be read as a checkpoint: {error}.") from error
    except NetdefsError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist. Check the name, or download the checkpoint first.") from error
    except OSError as error:
        raise FileError(f"Can't read {path}: {error.strerror or str(error).rstrip('.')}.") from error
    except Exception as error:  # what a file made to confuse can lead to
        raise CheckpointError(f"{path} can't be read as a checkpoint: it is damaged ({error!r}).") from error


def read_module(module: Any, source: str, *, prefix: str = "", skip: Iterable[str] = ()) -> Checkpoint:
    """What `read_checkpoint` gives, of a live `torch.nn.Module`.

    Raises:
        CheckpointError: nothing is left after stripping and skipping, or a tensor is of a kind that can't be read.
    """
    try:
        return _extract(module, source, None, prefix, tuple(skip), None)
    except CheckpointError as error:
        raise CheckpointError(f"{source} can't be turned into weights: {error}.") from error


def _load_unsafe(file: Any) -> Any:
    torch = require("torch", "torch")
    try:
        return torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:  # the file's own code may raise anything
        raise CheckpointError(f"torch.load says {type(error).__name__}: {error}") from error


def _extract(
    found: Any, source: str, key: str | None, prefix: str, skip: tuple[str, ...], most: int | None
) -> Checkpoint:
    """The checkpoint in an object that was read; `most` bounds the bytes of its arrays."""
    name, chosen, notes = _choose(_candidates(found), key, found)
    whole = module_tree.is_module(chosen)
    entries = module_tree.tensors(chosen) if whole else _entries(chosen)
    tensors = _tensors(entries)
    others = [_shown(entry) for entry in entries if entry not in tensors]
    if others:
        notes.append(f"Left out, being no tensors: {_listed(others)}.")
    wrapper = _common_prefix(tensors)
    prefix = prefix if not prefix or prefix.endswith(".") else prefix + "."
    renamed = _renamed(tensors, wrapper, prefix)
    skipped = {glob: {new for new in renamed if fnmatch.fnmatchcase(new, glob)} for glob in skip}
    notes += [f"No name matches --skip {glob}." for glob, names in skipped.items() if not names]
    kept = {new: old for new, old in renamed.items() if not any(new in names for names in skipped.values())}
    if not kept:
        raise CheckpointError("nothing of it is left to write")
    if most is not None and sum(8 * math.prod(tensors[old].shape) for old in kept.values()) > most:
        raise CheckpointError("its tensors claim to hold far more values than the file does")
    modules = {new.rpartition(".")[0] for new in kept}

    def described(values: Mapping[str, Any]) -> dict[str, Any]:
        paths = {path.removeprefix(wrapper).removeprefix(prefix): value for path, value in values.items()}
        return {path: value for path, value in paths.items() if path in modules}

    kind = f"a whole module ({_type_name(chosen)})" if whole else "a state_dict"
    return Checkpoint(
        state_dict={new: _read(tensors[old], new) for new, old in kept.items()},
        dtypes={new: str(tensors[old].dtype).removeprefix("torch.") for new, old in kept.items()},
        eps=described(module_tree.batch_norm_eps(chosen)) if whole else {},
        activation=described(module_tree.conv_activations(chosen)) if whole else {},
        source=source,
        wrapping=f"{kind} in {name!r}" if name else kind,
        notes=tuple(notes),
    )


def _candidates(value: Any, where: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """The state_dicts and modules in an object, by dotted name, the one to take first."""
    if module_tree.is_module(value):
        return [(".".join(where), value)]
    entries = _entries(value)
    known = [name for name in WRAPPINGS if name in entries]
    inside = []
    for name in known if len(where) < DEEPEST else ():
        inside += _candidates(entries[name], (*where, name))
    others = [(".".join((*where, _shown(name))), child) for name, child in entries.items() if name not in known]
    inside += sorted((pair for pair in others if _size(pair[1])), key=lambda pair: -_size(pair[1]))
    # Tensors beside a state_dict are a best accuracy or the like; but a state_dict may have some of its own beside it.
    if _size(value) > max((_size(child) for _, child in inside), default=0):
        return [(".".join(where), value), *inside]
    return inside


def _choose(candidates: list[tuple[str, Any]], key: str | None, found: Any) -> tuple[str, Any, list[str]]:
    """Name and value of the candidate to take, and a note about the others."""
    names = [name for name, _ in candidates]
    if not candidates:
        inside = _listed(f"{_shown(name)} ({_type_name(value)})" for name, value in _entries(found).items())
        raise CheckpointError(f"no state_dict is found in it. It holds {inside or 'a ' + _type_name(found)}")
    if key is not None and key not in names:
        raise CheckpointError(f"it has no state_dict or module {key!r}. It has {_listed(names)}")
    name, chosen = candidates[names.index(key) if key is not None else 0]
    others = [other for other in names if other != name]
    if key is not None or not others:
        return name, chosen, []
    taken = repr(name) if name else "The outermost dict"
    return name, chosen, [f"{taken} is taken; the file also has {_listed(others)} (--key takes another)."]


def _entries(value: Any) -> Mapping[Any, Any]:
    """What a mapping, list or stub of a mapping holds, by name; empty for all else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Stub):
        return value.stub_entries
    if isinstance(value, list | tuple):
        return {str(position): item for position, item in enumerate(value)}
    return {}


def _tensors(entries: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if isinstance(name, str) and _is_tensor(value)}


def _size(value: Any) -> int:
    """How many values a module or mapping holds in tensors of its own; none if it is something else."""
    if module_tree.is_module(value):
        entries: Mapping[Any, Any] = module_tree.tensors(value)
    else:
        entries = {} if isinstance(value, list | tuple) else _entries(value)
    return sum(math.prod(tensor.shape) for tensor in _tensors(entries).values())


def _is_tensor(value: Any) -> bool:
    """True for a tensor or array, described or live."""
    live = hasattr(value, "detach") and hasattr(value, "stride") and not isinstance(value, Stub)
    return live or isinstance(value, Tensor | Array | np.ndarray)


def _read(value: Any, name: str) -> np.ndarray:
    """The contiguous array of a tensor."""
    try:
        array = value.read() if isinstance(value, Tensor | Array) else as_numpy(value, name)
        return np.asarray(array, order="C")
    except CheckpointError:
        raise
    except Exception as error:  # an unsupported type, or a description that does not fit its data
        advice = f"Leave it out with --skip {name}, or save it as float32"
        raise CheckpointError(f"{name} can't be read: {error}. {advice}") from error


def _common_prefix(names: Iterable[str]) -> str:
    """The prefixes of wrappers that every name has, but for the counter of torch's AveragedModel."""
    names = [name for name in names if name != "n_averaged"]
    common = ""
    while more := [prefix for prefix in PREFIXES if names and all(name.startswith(common + prefix) for name in names)]:
        common += more[0]
    return common


def _renamed(names: Iterable[str], wrapper: str, prefix: str) -> dict[str, str]:
    """The names without the prefix of wrappers and without the given one -> the names in the file."""
    bare = {name.removeprefix(wrapper): name for name in names if name.startswith(wrapper)}
    if prefix and not any(name.startswith(prefix) for name in bare):
        raise CheckpointError(f"no name begins with {prefix!r}. The names are {_listed(bare)}")
    renamed = {name.removeprefix(prefix): original for name, original in bare.items()}
    if len(renamed) < len(bare):
        raise CheckpointError(f"two of its names are the same without the prefix {prefix!r}")
    return renamed


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _shown(name: Any) -> str:
    return name if isinstance(name, str) else _type_name(name)


def _type_name(value: Any) -> str:
    """What a value is, in a word or two, for messages."""
    if isinstance(value, Tensor | Array):
        return f"{value.dtype} {value.shape}"
    module = value.stub_module if isinstance(value, Stub) else type(value).__module__
    name = type(value).__name__ if module in ("builtins", "netdefs.core.inert") else f"{module}.{type(value).__name__}"
    return f"{name.lower()} of {len(value)}" if isinstance(value, dict | list | tuple | set) else name
