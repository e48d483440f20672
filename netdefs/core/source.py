"""Live PyTorch models by name: a timm or torchvision model, or what a function in a module or a file returns."""

import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from netdefs.core.checkpoint import Checkpoint, read_checkpoint
from netdefs.core.errors import CheckpointError, FileError, MissingPackageError
from netdefs.core.optional import require

FORMS = "timm:NAME, torchvision:NAME, package.module:function or path/to/file.py:function"
CATALOGS = {"timm": "timm", "torchvision": "torchvision.models"}  # the modules that list and make models by name
LONGEST = 1000  # characters of PyTorch's message about what does not fit


def load_module(
    spec: str,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    prefix: str = "",
    skip: Iterable[str] = (),
    pretrained: bool = True,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """The `torch.nn.Module` that `spec` names, on the CPU and in eval mode.

    Args:
        spec: `timm:NAME`, `torchvision:NAME`, or a function or class to call: `package.module:function`,
            `path/to/file.py:function`, also with dots, as in `file.py:Net.small`. The current folder, or the file's,
            can be imported from.
        checkpoint: weights to load into it; every name must fit. Without it, models of timm and torchvision come with
            their pretrained weights.
        prefix: stripped from the checkpoint's names that begin with it.
        skip: glob patterns of the checkpoint's names to leave out.
        pretrained: False leaves models of timm and torchvision without their weights, which are then not fetched.
        arguments: what it is called with, by name.

    Raises:
        CheckpointError: the spec names no module, or the checkpoint does not fit.
        FileError: a file is missing.
        MissingPackageError: torch, timm or torchvision is not installed.
    """
    torch = require("torch", "torch")
    origin, colon, name = spec.rpartition(":")
    if not (colon and origin and name):
        raise CheckpointError(f"{spec!r} does not name a model. A model is {FORMS}.")
    if origin in CATALOGS:
        module = _from_library(origin, name, pretrained and checkpoint is None, arguments)
    else:
        with _importable(origin):
            module = _call(_import(origin, spec), name, spec, arguments)
    if not isinstance(module, torch.nn.Module):
        raise CheckpointError(f"{spec} gives an object of type {type(module).__name__}, not a torch.nn.Module.")
    module.cpu().eval()
    if checkpoint is not None:
        _load_weights(module, checkpoint, spec, prefix, skip)
    return module


def load_function(spec: str) -> Callable[..., Any]:
    """The function that `spec` names: `package.module:function` or `path/to/file.py:function`.

    Raises:
        CheckpointError: there is none.
        FileError: the file is missing.
    """
    origin, colon, name = spec.rpartition(":")
    if not (colon and origin and name):
        raise CheckpointError(f"{spec!r} names no function: package.module:function or path/to/file.py:function.")
    with _importable(origin):
        return _function(_import(origin, spec), name, spec)


@contextlib.contextmanager
def _importable(origin: str) -> Iterator[None]:
    """While this lasts, what lies in the current folder can be imported, and beside a file what lies there."""
    folder = str(Path(origin).resolve().parent if origin.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _from_library(library: str, name: str, pretrained: bool, arguments: Mapping[str, Any]) -> Any:
    try:
        catalog = importlib.import_module(CATALOGS[library])
    except ImportError as error:
        raise MissingPackageError(f"{library}:{name} needs {library}: pip install {library} ({error}).") from error
    names = catalog.list_models()
    if name.partition(".")[0] not in names:  # timm's may name their weights too: resnet50.a1_in1k
        near = ", ".join(difflib.get_close_matches(name, names, n=5)) or "nothing like it"
        raise CheckpointError(f"{library} has no model {name!r}. It has {near}.")
    try:
        if library == "timm":
            return catalog.create_model(name, pretrained=pretrained, **arguments)
        return catalog.get_model(name, weights="DEFAULT" if pretrained else None, **arguments)
    except Exception as error:  # downloads fail in many ways
        advice = " If it can't download the weights, name a file with --checkpoint." if pretrained else ""
        raise CheckpointError(f"{library} can't make {name!r}: {error}.{advice}") from error


def _import(origin: str, spec: str) -> ModuleType:
    """The module that a spec begins with: a package's, or a file."""
    if origin.endswith(".py"):
        return _import_file(Path(origin))
    try:
        return importlib.import_module(origin)
    except ImportError as error:
        advice = f"For a file that is not on Python's path: path/to/file.py:{spec.rpartition(':')[2]}"
        raise CheckpointError(
            f"{spec}: can't import {origin} ({error}). {_missing(error, origin) or advice}"
        ) from error
    except Exception as error:  # the module's own code
        raise CheckpointError(f"{spec}: importing {origin} raised {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileError(f"{path} does not exist. A model is {FORMS}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    known = sys.modules.setdefault(path.stem, module)  # dataclasses look up the module that they are in
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file's own code
        text = f"Running {path} raised {type(error).__name__}: {error}"
        raise CheckpointError(f"{text} {_missing(error)}".rstrip()) from error
    finally:
        if known is module:
            sys.modules.pop(path.stem, None)  # a package of that name is still another
    return module


def _missing(error: Exception, origin: str = "") -> str:
    """What to install, if an import failed for a package that is not there and is not `origin`'s own."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not package or package == origin.partition(".")[0]:
        return ""
    return f"It needs the package {package!r}, which is not installed: pip install {package}"


def _function(module: ModuleType, name: str, spec: str) -> Callable[..., Any]:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise CheckpointError(f"{spec}: no function or class is called {name!r}. There are: {', '.join(there[:8])}.")
    return found


def _call(module: ModuleType, name: str, spec: str, arguments: Mapping[str, Any]) -> Any:
    make = _function(module, name, spec)
    try:
        return make(**arguments)
    except Exception as error:  # the function's own code
        given = f"with {', '.join(arguments)}" if arguments else "without arguments"
        advice = _missing(error) or f"It is called {given}; write a function that needs no more and returns the model."
        raise CheckpointError(f"{spec} raised {type(error).__name__}: {error}. {advice}") from error


def _load_weights(module: Any, checkpoint: str | os.PathLike[str], spec: str, prefix: str, skip: Iterable[str]) -> None:
    torch = require("torch", "torch")
    found = read_checkpoint(checkpoint, prefix=prefix, skip=skip)
    state_dict = {name: torch.from_numpy(array.copy()) for name, array in found.state_dict.items()}
    try:
        module.load_state_dict(state_dict, strict=True)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
        raise CheckpointError(
            f"{checkpoint} ({found.wrapping}) does not fit {spec}.{_hint(module, found)} {text}"
        ) from error


def _hint(module: Any, found: Checkpoint) -> str:
    """What would make the names fit, if it is a prefix."""
    first = next(iter(module.state_dict()))
    for name in found.state_dict:
        if name.endswith(f".{first}"):
            prefix = name.removesuffix(first)
            others = [other for other in found.state_dict if not other.startswith(prefix)]
            skip = f" and --skip for what is not below it, such as {others[0]}" if others else ""
            return f" Its names begin with {prefix!r}: give --prefix {prefix}{skip}."
    return ""
