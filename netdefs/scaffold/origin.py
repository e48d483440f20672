"""Where a draft comes from: the module that SOURCE names, ready to be traced and to be compared with."""

import dataclasses
import importlib.metadata
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.core.source import CATALOGS, load_module
from netdefs.core.torch_module import first_float, taken_by
from netdefs.scaffold.inputs import BATCH, Input, arrays, named
from netdefs.scaffold.seeding import seed_weights


@dataclasses.dataclass
class Origin:
    """A module that a draft is to be made of.

    Attributes:
        module: it, on the CPU and in eval mode.
        inputs: its inputs by name, in its order; the batch is one that it can run on.
        source: where it comes from, in words, for a docstring.
        seeded: its weights are made up.
    """

    module: Any
    inputs: dict[str, Input]
    source: str
    seeded: bool = False

    def tensors(self, seed: int = 0) -> dict[str, Any]:
        """Values for its inputs."""
        torch = require("torch", "torch")
        found = arrays(self.inputs, None, seed=seed)
        return dict(zip(found, taken_by(first_float(self.module), map(torch.from_numpy, found.values())), strict=True))


def open_origin(
    spec: str,
    inputs: Sequence[Input] = (),
    *,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    checkpoint: str | os.PathLike[str] | None = None,
    prefix: str = "",
    skip: Iterable[str] = (),
) -> Origin:
    """The module that `spec` names.

    Without a checkpoint its weights are made up, the same every time: a draft has none in it, and the check of it needs
    such as show a mistake.

    Args:
        spec: as `netdefs.core.source.load_module` takes it.
        inputs: what it is called with; a model of timm's has an input of its own.
        arguments: what the function or class is called with, by name.
        checkpoint: weights to load into it; every name must fit.
        prefix: stripped from the checkpoint's names.
        skip: glob patterns of the checkpoint's names to leave out.

    Raises:
        CheckpointError: the spec names no module, or the checkpoint does not fit.
        InputError: there are no inputs, or it can't run on them.
        MissingPackageError: torch, timm or torchvision is not installed.
    """
    torch = require("torch", "torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is random in a constructor may be no parameter
        module = load_module(spec, checkpoint, prefix=prefix, skip=skip, pretrained=False, arguments=arguments)
    found = Origin(module, {}, describe(spec, module), seeded=checkpoint is None)
    given = list(inputs) or _own_input(module)
    if not given:
        raise InputError(f"What is {spec} called with? Give --input, such as --input 1x3x224x224.")
    found.inputs = _runnable(spec, module, named(given, module))
    if found.seeded:
        seed_weights(module, lambda: _run(spec, found))
    return found


def describe(spec: str, module: Any) -> str:
    """Where a module comes from: the library with its version, or the file, and the class."""
    origin, _, name = spec.rpartition(":")
    kind = type(module)
    if origin not in CATALOGS:
        return f"{Path(origin).name if origin.endswith('.py') else origin}, {name}"
    place = kind.__module__.replace(".", "/")
    return f"{name} of {origin} {importlib.metadata.version(origin)}, {place}.py ({kind.__name__})"


def _own_input(module: Any) -> list[Input]:
    """The input that a module of timm's says that it takes."""
    size = getattr(module, "pretrained_cfg", {}).get("input_size")
    return [Input("", (1, *size))] if size else []


def _runnable(spec: str, module: Any, inputs: dict[str, Input]) -> dict[str, Input]:
    """Inputs with a batch that can be traced and runs: `BATCH` in place of 1, if the module takes that."""
    single = {each.shape[0] for each in inputs.values()} == {1}
    if single:
        larger = {name: dataclasses.replace(each, shape=(BATCH, *each.shape[1:])) for name, each in inputs.items()}
        try:
            _run(spec, Origin(module, larger, ""))
        except InputError:
            pass
        else:
            return larger
    _run(spec, Origin(module, inputs, ""))
    return inputs


def _run(spec: str, origin: Origin) -> Any:
    """What it gives.

    Raises:
        InputError: it can't run.
    """
    torch = require("torch", "torch")
    try:
        with torch.no_grad():
            return origin.module(*origin.tensors().values())
    except Exception as error:  # the module's own code
        sizes = ", ".join(map(str, origin.inputs.values()))
        text = " ".join(str(error).split())[:400]
        raise InputError(f"{spec} can't run on {sizes}: {type(error).__name__}: {text}") from error
