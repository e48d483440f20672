"""PyTorch in the network's own precision, as a yardstick: how far that alone is from PyTorch in float32."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError, NetdefsError
from netdefs.core.optional import require
from netdefs.core.precision import QUANTIZED
from netdefs.debug.metrics import measure
from netdefs.debug.reference import Reference
from netdefs.debug.row import Row
from netdefs.debug.scan import Scan

BUDGET = 256 * 2**20  # bytes of PyTorch's values that are held at a time
HALVES = {"fp16": "float16", "bf16": "bfloat16"}
WORDS = {**HALVES, "tf32": "TF32"}
MUCH = 2.0  # so many times PyTorch's own error is no longer the same


def check_yardstick(precision: str, module: Any) -> None:
    """Checks whether there is a yardstick.

    Raises:
        CompareError: there is none for this precision, or PyTorch is not at hand, or is not in float32.
    """
    if precision in QUANTIZED:
        raise CompareError(
            f"yardstick=True: this network is in {precision}, and is compared with PyTorch's module in {precision} "
            "already: with the network's own scales, so that rounding is no difference. Leave it out."
        )
    if precision not in WORDS:
        raise CompareError(
            f"yardstick=True: PyTorch in the network's own precision is one for {', '.join(WORDS)}, and this network "
            f"is in {precision}. Leave it out."
        )
    torch = require("torch", "torch")
    if not isinstance(module, torch.nn.Module):
        raise CompareError("yardstick=True runs PyTorch's module in another precision: give the module itself.")
    kinds = {str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.is_floating_point()}
    if kinds - {"float32"}:
        raise CompareError(
            f"yardstick=True: the module computes in {', '.join(sorted(kinds))} itself, and the yardstick is how far "
            "that is from float32. Give the module in float32."
        )


def add_yardstick(
    rows: Sequence[Row],
    sources: Mapping[str, str],
    precision: str,
    reference: Reference,
    scan: Scan,
    inputs: Sequence[np.ndarray],
) -> None:
    """Notes in each row how far PyTorch's module in the network's precision is from itself in float32.

    PyTorch runs twice for every 256 MB of values, once in each precision. A copy of the module is made.

    Args:
        rows: of one input.
        sources: PyTorch's value of each row.
        precision: of the network.
        reference: PyTorch's side.
        scan: what is known of it.
        inputs: the module's arguments.

    Raises:
        CompareError: the module can't be copied, or can't run in that precision here.
    """
    word = WORDS[precision]
    try:
        rough = Reference(_in(precision, copy.deepcopy(reference.module)), inputs, scan)
    except Exception as error:
        raise CompareError(f"yardstick=True: the module can't be copied and made {word}: {error}") from error
    for part in _parts(rows):
        expected: dict[str, np.ndarray] = {}
        wanted = {sources[row.name] for row in part}
        reference.stream(wanted, expected.__setitem__)
        found: dict[str, float] = {}

        def compare(
            name: str, array: np.ndarray, to: dict[str, float] = found, by: Mapping[str, Any] = expected
        ) -> None:
            if name in by and by[name].shape == array.shape:
                to[name] = measure(by[name], array, 1.0).relative

        try:
            rough.stream(wanted, compare)
        except NetdefsError:
            raise
        except Exception as error:
            raise CompareError(f"yardstick=True: PyTorch can't run this module in {word} here: {error}") from error
        for row in part:
            row.yardstick = found.get(sources[row.name])


def in_words(rows: Sequence[Row], precision: str) -> str:
    """How exact the network is beside PyTorch in the same precision; empty if there is no yardstick."""
    measured = [(row, row.chained.relative, row.yardstick) for row in rows if row.chained and row.yardstick is not None]
    if not measured:
        return ""
    outputs = [each for each in measured if each[0].kind == "output"] or measured[-1:]
    word = WORDS[precision]
    row, ours, theirs = max(outputs, key=lambda each: _times(each[1], each[2]))
    numbers = f"{row.name} is off by {ours:.2g}, PyTorch in {word} by {theirs:.2g}"
    text = f"As exact as PyTorch in {word}: {numbers}."
    if not ours <= MUCH * theirs:
        text = f"Less exact than PyTorch in {word}: {numbers}. Rounding alone does not explain it."
    worse = [(row, ours, theirs) for row, ours, theirs in measured if not ours <= 2 * MUCH * theirs]
    if worse:
        row, ours, theirs = worse[0]
        count = f"{len(worse)} of {len(measured)} layers are" if len(worse) > 1 else "One layer is"
        text += f" {count} more than {2 * MUCH:g} times as far off, first {row.name}: {ours:.2g} against {theirs:.2g}."
    return text


def _times(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else float("inf" if ours else 0)


def _parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in parts of at most so many bytes of PyTorch's values."""
    part: list[Row] = []
    held = 0
    for row in rows:
        size = 4 * int(np.prod(row.shape))
        if part and held + size > BUDGET:
            yield part
            part, held = [], 0
        part.append(row)
        held += size
    if part:
        yield part


def _in(precision: str, module: Any) -> Any:
    torch = require("torch", "torch")
    if precision in HALVES:
        return module.to(getattr(torch, HALVES[precision]))
    kinds = tuple(getattr(torch.nn, f"{word}{n}d") for word in ("Conv", "ConvTranspose") for n in (1, 2, 3))
    factors: list[Any] = [child for child in module.modules() if isinstance(child, (*kinds, torch.nn.Linear))]
    for child in factors:
        child.weight.data = _tf32(child.weight.data)
        child.register_forward_pre_hook(_rounded)
    return module


def _rounded(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return (_tf32(arguments[0]), *arguments[1:])


def _tf32(tensor: Any) -> Any:
    """Float32 values rounded to the 10 bits that a GPU's TF32 multiplies; it adds up in float32."""
    torch = require("torch", "torch")
    bits = tensor.contiguous().view(torch.int32)
    rounded = (bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF
    return torch.where(tensor.isfinite(), rounded.view(torch.float32), tensor)
