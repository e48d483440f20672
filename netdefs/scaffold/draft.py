"""A draft: the source of a network's module, written from PyTorch's."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetdefsError
from netdefs.core.preprocess import Preprocess
from netdefs.scaffold.capture import capture
from netdefs.scaffold.functions import functions_of
from netdefs.scaffold.known import Known
from netdefs.scaffold.module_file import ModuleFile, Variant
from netdefs.scaffold.names import Names
from netdefs.scaffold.ops.op import OpenSize
from netdefs.scaffold.program import Call, Function, Unit
from netdefs.scaffold.unify import Mismatch
from netdefs.scaffold.units import Builder, Gap
from netdefs.scaffold.unused import unused_weights


@dataclasses.dataclass
class Draft:
    """A draft.

    Attributes:
        text: the Python source.
        arrays: constants that have no short text, for an .npz beside it.
        gaps: what could not be expressed.
        layers: how many statements it would have, were it written out for every module.
        dynamic: the axes of the input whose size may change: 0, or 0, 2, 3.
    """

    text: str
    arrays: dict[str, np.ndarray]
    gaps: list[Gap]
    layers: int
    dynamic: tuple[int, ...]


def draft(
    modules: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    name: str,
    partial: bool = False,
    source: str = "",
    preprocess: Mapping[str, Preprocess] | None = None,
) -> Draft:
    """The draft of one file for one or several variants of a network.

    Args:
        modules: variant -> torch.nn.Module.
        inputs: what its arguments are called -> tensors (N, ...), N at least 2. Only sizes and types count.
        name: what the file is called, without .py.
        partial: what can't be expressed becomes a gap, an input of the network.
        source: where the modules are from, for the docstring.
        preprocess: variant -> what it wants done to a picture, where that is known.

    Raises:
        GapsError: something can't be expressed.
        ExportError: torch.export can't trace a module.
        NetdefsError: the variants are not of one network.
    """
    variants = [_traced(variant, module, inputs, partial) for variant, module in modules.items()]
    roots = [each.root for each in variants]
    layers = max(_layers(each.root) for each in variants)
    try:
        functions, root, arguments = functions_of(roots, Known(roots, inputs))
    except Mismatch:
        raise NetdefsError(
            f"{', '.join(modules)} are not variants of one network: they differ in more than numbers and in what is "
            "left out. Write a draft of each."
        ) from None
    _no_clashes(functions, root)
    file = ModuleFile(variants, root, arguments, inputs, source, preprocess or {})
    text = file.text()
    dynamic = min((_dynamic(each) for each in variants), key=len)
    return Draft(text, file.constants.arrays, [gap for each in variants for gap in each.gaps], layers, dynamic)


def _traced(variant: str, module: Any, inputs: Mapping[str, Any], partial: bool) -> Variant:
    names = Names(module, list(inputs.values()))

    def built(open_sizes: bool) -> tuple[Builder, Unit]:
        builder = Builder(capture(module, inputs, open_sizes), names, partial)
        return builder, builder.build()

    try:
        builder, root = built(open_sizes=True)
    except OpenSize:  # with numbers for height and width no size is open
        builder, root = built(open_sizes=False)
    unused = unused_weights(builder.captured)
    return Variant(variant, module, builder.captured, root, builder.gaps, unused, builder.inner)


def _dynamic(variant: Variant) -> tuple[int, ...]:
    """The axes of the first input that were left open."""
    return tuple(axis for axis, size in enumerate(variant.root.inputs[0].shape) if not isinstance(size, int))


def _no_clashes(functions: Sequence[Function], root: Function) -> None:
    """Renames functions that are called as a block of the library that the draft uses."""

    def blocks(body: Sequence[Any]) -> Iterator[str]:
        for item in body:
            if not isinstance(item, Call):
                yield from blocks(item.body)
            elif item.block:
                yield item.block.rpartition(".")[2]

    used = {name for function in [*functions, root] for name in blocks(function.body)}
    for function in functions:
        if function.name in used:
            function.name = f"{function.name}_of_{function.kind.__module__.rpartition('.')[2]}"


def _layers(unit: Unit) -> int:
    """How many statements of the network there are in a unit and those inside of it."""
    return sum(_layers(item) if isinstance(item, Unit) else not item.array for item in unit.body)
