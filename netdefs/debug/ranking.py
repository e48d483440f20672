"""Rows that are ranked by a score, as the detections a network chose: rounding swaps those that are next to equal."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from netdefs.debug.graph import Graph
from netdefs.debug.metrics import ELEMENT

MOST = 4096  # rows that are looked at; TensorRT's top-k gives 3840 at most
CLOSEST_FIRST = (1e-3, 1e-2, 1e-1, 1.0)  # of what a value may be off: with a wide tolerance many rows are alike


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The network's rows in PyTorch's order.

    Attributes:
        values: the network's; rows that only one side chose are PyTorch's.
        moved: how many rows are in another place.
        replaced: how many only one side chose. Their scores are as good as the last one's.
    """

    values: np.ndarray
    moved: int
    replaced: int


def is_ranked(graph: Graph | None, steps: Sequence[int]) -> bool:
    """Whether nodes choose by rank."""
    return graph is not None and any(graph.nodes[i].op_type == "TopK" for i in steps)


def ranked_as(expected: np.ndarray, actual: np.ndarray, tolerance: float) -> Ranked | None:
    """The rows of `actual` in the order of `expected`, both (..., rows, values) and ranked by one of the values.

    A row may be in another place, and at most half of them may be missing, if their score is the last one's, as far as
    the two sides agree in scores: both then chose among equals. Any other row that is nowhere is a difference.

    Args:
        expected: PyTorch's values.
        actual: the network's, of the same shape.
        tolerance: relative; a single value may be off by 10 times that.

    Returns:
        None if there is no such order, and the two tensors differ.
    """
    if expected.ndim < 2 or expected.shape != actual.shape or not 1 < expected.shape[-2] <= MOST:
        return None
    left, right = (x.astype(np.float64).reshape(-1, *x.shape[-2:]) for x in (expected, actual))
    if not np.isfinite(left).all() or not np.isfinite(right).all():
        return None
    falling = (np.diff(left, axis=1) <= 0).all((0, 1)) & (np.diff(right, axis=1) <= 0).all((0, 1))
    scores = np.flatnonzero(falling & (left[:, 0] > left[:, -1]).any(0))
    if not scores.size:
        return None
    found, moved, replaced = np.array(actual).reshape(left.shape), 0, 0
    for item, (e, a) in enumerate(zip(left, right, strict=True)):
        places = _places(e, a, tolerance)
        chosen = np.flatnonzero(places >= 0)
        spare = np.setdiff1d(np.arange(len(a)), places)
        theirs, ours = e[:, scores[0]], a[:, scores[0]]  # both fall, so that the two can be told apart without rows
        near = min(2 * np.abs(theirs - ours).max(), tolerance * (abs(theirs[-1]) + _rms(theirs)))
        strange = np.concatenate([theirs[places < 0], ours[spare]])
        if 2 * len(chosen) < len(e) or (np.abs(strange - theirs[-1]) > near).any():
            return None
        found[item, chosen] = a[places[chosen]]
        found[item, places < 0] = e[places < 0]
        moved += int((places[chosen] != chosen).sum())
        replaced += len(spare)
    return Ranked(found.reshape(expected.shape), moved, replaced)


def _places(expected: np.ndarray, actual: np.ndarray, tolerance: float) -> np.ndarray:
    """Where each of PyTorch's rows is among the network's, each of which counts once; -1 for those that are not."""
    size = np.minimum(_rms(expected), _rms(expected.reshape(-1)))  # a value counts by what the tensor holds
    limits = ELEMENT * tolerance * (np.abs(expected) + size)
    places, free = np.full(len(expected), -1), np.arange(len(actual))
    for part in CLOSEST_FIRST:
        allowed = part * limits
        same = free[places[free] < 0]
        same = same[(np.abs(actual[same] - expected[same]) <= allowed[same]).all(1)]
        places[same], free = same, np.setdiff1d(free, same)
        for row in np.flatnonzero(places < 0):
            off = np.abs(actual[free] - expected[row])
            fits = np.flatnonzero((off <= allowed[row]).all(1))
            if fits.size:
                best = fits[(off[fits] / np.where(limits[row] > 0, limits[row], 1.0)).max(1).argmin()]
                places[row], free = free[best], np.delete(free, best)
    return places


def _rms(rows: np.ndarray) -> np.ndarray:
    """Root mean square over the first axis: of each column."""
    return np.asarray(np.sqrt(np.mean(np.square(rows), axis=0)))
