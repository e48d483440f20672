"""`scaffold`: a draft written to a file, and checked."""

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from netdefs.core.errors import InputError
from netdefs.core.files import atomic_write, check_output, save_npz
from netdefs.core.optional import require
from netdefs.core.source import CATALOGS
from netdefs.core.torch_module import evaluating
from netdefs.scaffold.inputs import INPUT, TYPES, Input, named
from netdefs.scaffold.origin import Origin
from netdefs.scaffold.verdict import Verdict


def scaffold(
    modules: Any,
    inputs: Any,
    path: str | os.PathLike[str],
    *,
    source: str = "",
    partial: bool = False,
    compiles: bool = True,
    force: bool = False,
) -> Verdict:
    """Writes the first draft of a network's definition, as source in the style of the zoo, and checks it.

    Args:
        modules: a torch.nn.Module, or several by the names of variants: one file then has them all. They are run in
            eval mode, with the weights that they have; a mistake shows only with weights that make a difference.
        inputs: an array or tensor that they are called with, or a dict of several by name. Only sizes and types count.
        path: the file to write, NAME.py; constants that are too large for text go to NAME.npz beside it.
        source: where the modules are from, for the docstring.
        partial: what can't be expressed becomes a gap in the draft, in place of an error.
        compiles: compile it ahead of time as well, where TensorRT-RTX is installed.
        force: replace a file that exists.

    Returns:
        The verdict: `clean`, and `text` that says what was checked and what is wrong. The file is written either way.

    Raises:
        GapsError: something can't be expressed; it has all of that, with the lines of PyTorch's source.
        ExportError: torch.export can't trace the module.
        FileError: the file exists, or can't be written.
        InputError: the name of the file is none for a Python module, or the inputs are of no use.
    """
    torch = require("torch", "torch")
    several = modules if isinstance(modules, Mapping) else {variant_of(type(modules).__name__): modules}
    for name, module in several.items():
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"{name} is a {type(module).__name__}: that is no torch.nn.Module.")
    if not several:
        raise InputError("There is no module to write a draft of.")
    first = next(iter(several.values()))
    taken = named([_input(name, value) for name, value in _by_name(inputs).items()], first)
    origins = {name: Origin(module, taken, source or type(module).__name__) for name, module in several.items()}
    return write(origins, path, partial=partial, compiles=compiles, force=force)


def write(
    origins: Mapping[str, Origin],
    path: str | os.PathLike[str],
    *,
    partial: bool = False,
    compiles: bool = True,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Verdict:
    """As `scaffold`, of modules that were looked up.

    Args:
        origins: variant -> where it comes from; all take the same inputs.
        path: as `scaffold`.
        partial: as `scaffold`.
        compiles: as `scaffold`.
        force: as `scaffold`.
        say: told what is done next.
    """
    require("onnxruntime", "cpu")  # the check runs the network
    from netdefs.scaffold.check import check
    from netdefs.scaffold.draft import draft

    path = Path(path)
    check_target(path, force)
    first = next(iter(origins.values()))
    for variant, origin in origins.items():
        if origin.inputs != first.inputs:
            sizes = " and ".join(", ".join(map(str, each.inputs.values())) for each in (first, origin))
            raise InputError(f"The variants of a draft take the same inputs, not {sizes} ({variant}). Give --input.")
    modules = {variant: origin.module for variant, origin in origins.items()}
    say(f"Tracing {', '.join(modules)}")
    with contextlib.ExitStack() as stack:
        for module in modules.values():
            stack.enter_context(evaluating(module))
        made = draft(
            modules,
            first.tensors(),
            name=path.stem,
            partial=partial,
            source="; ".join(dict.fromkeys(origin.source for origin in origins.values())),
        )
        with atomic_write(path) as file:
            file.write(made.text.encode())
        if made.arrays:
            save_npz(path.with_suffix(".npz"), made.arrays)
        return check(
            path,
            modules,
            first.inputs,
            layers=made.layers,
            dynamic=made.dynamic,
            gaps=made.gaps,
            compiles=compiles,
            say=say,
        )


def check_target(path: Path, force: bool) -> None:
    """Raises what `scaffold` does about the file to write, before any work is done."""
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise InputError(f"A draft is a Python module, NAME.py, which can be imported; {path.name} can't.")
    check_output(path, force)
    check_output(path.with_suffix(".npz"), force)


def variant_of(spec: str) -> str:
    """What a variant is called after its source: the model's name, or the function's or class's in lower case."""
    origin, _, name = spec.rpartition(":")
    name = name.rpartition(".")[2] if origin not in CATALOGS else name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name) if origin not in CATALOGS else name
    return re.sub(r"\W+", "_", words).strip("_").lower() or "net"


def _by_name(inputs: Any) -> Mapping[str, Any]:
    if isinstance(inputs, Mapping):
        return inputs
    if isinstance(inputs, tuple | list):
        raise InputError("Several inputs are a dict, name -> array or tensor.")
    return {INPUT: inputs}


def _input(name: str, value: Any) -> Input:
    shape, dtype = getattr(value, "shape", None), str(getattr(value, "dtype", "")).removeprefix("torch.")
    if shape is None or not len(shape) or dtype not in TYPES:
        what = f"{dtype} {tuple(shape)}" if shape is not None else type(value).__name__
        raise InputError(f"The input {name!r} is {what}: it must be an array or tensor (N, ...) of {', '.join(TYPES)}.")
    return Input(name, tuple(int(n) for n in shape), dtype)
