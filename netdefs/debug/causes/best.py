"""The mistakes that are tried, and the one that explains a case best.

A cause counts only if the numbers agree with it to the tolerance. Of those that fit, the one with the least error is
reported; among equals the first. `HYPOTHESES` is the list, in the order in which it is tried.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from netdefs.core.errors import NetdefsError
from netdefs.debug.causes.activations import activations
from netdefs.debug.causes.case import Candidate, Case
from netdefs.debug.causes.joins import axes, branches, functions, joins
from netdefs.debug.causes.layers import layers
from netdefs.debug.causes.norms import norms
from netdefs.debug.causes.numbers import constants, factors, overflow, pictures, precision
from netdefs.debug.causes.orders import permutations, shuffles
from netdefs.debug.causes.windows import pools, resizes

HYPOTHESES: tuple[Callable[[Case], Iterator[Candidate]], ...] = (
    overflow,
    precision,
    pictures,
    norms,
    layers,
    activations,
    constants,
    joins,
    axes,
    pools,
    resizes,
    shuffles,
    branches,
    permutations,
    factors,
    functions,
)
# What PyTorch, numpy and ONNX Runtime raise where a mistake can't be made, or undone, with the shapes at hand.
UNFIT = (NetdefsError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
TRIED = 2000  # candidates of one family, at most
EQUAL = 0.05  # errors below this share of the tolerance are equally good
BETTER = 4.0  # by so much must a cause make the error smaller


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why a layer is wrong.

    Attributes:
        kind: a word for it, such as "bn_eps" or "concat_order"; "unknown" if nothing that was tried explains it.
        text: it in words.
        where: the tensor with the mistake.
        before: the relative error as it is; None if the shape is wrong.
        after: what is left of it: if the mistake is undone, or if PyTorch makes it too; None if the cause is unknown.
        modelled: `after` is the network against PyTorch's layer with the mistake, not the corrected layer against
            PyTorch's.
    """

    kind: str
    text: str
    where: str
    before: float | None
    after: float | None = None
    modelled: bool = False


def best(case: Case) -> Cause | None:
    """The cause that explains a case best; None if none does."""
    before = case.compare(case.expected, case.ours)
    limit = before.relative / BETTER if before is not None else np.inf
    for family in HYPOTHESES:
        fitting = list(_fitting(case, itertools.islice(_guarded(family(case)), TRIED), limit))
        if fitting:
            least = min(after for _, after in fitting)
            good = max(2 * least, EQUAL * case.tolerance)
            candidate, after = next((c, after) for c, after in fitting if after <= good)
            return Cause(
                candidate.kind,
                candidate.text,
                candidate.where or case.target,
                before.relative if before is not None else None,
                after,
                candidate.ours is not None,
            )
    return None


def _guarded(candidates: Iterator[Candidate]) -> Iterator[Candidate]:
    """The candidates of a family, up to the point where what there is does not suit it."""
    while True:
        try:
            yield next(candidates)
        except (StopIteration, *UNFIT):
            return


def _fitting(case: Case, candidates: Iterable[Candidate], limit: float) -> Iterator[tuple[Candidate, float]]:
    """The candidates that explain a case, each with the error that is left."""
    for candidate in candidates:
        try:
            if candidate.ours is not None:
                found = case.compare(candidate.ours(), case.ours)
            else:
                changed = candidate.values() if candidate.values is not None else {}
                found = case.compare(case.expected, case.with_values(changed)) if changed else None
        except UNFIT:
            continue  # it does not suit these shapes, so it is not the cause
        if found is not None and found.ok and found.relative <= limit:
            yield candidate, found.relative
