"""Which layers to keep in higher precision: a greedy search for the fewest that reach a target."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from netdefs.core.errors import CalibrationError
from netdefs.quant.cost import decibels
from netdefs.quant.feeds import Feed
from netdefs.quant.mixture import Mixture
from netdefs.quant.pairing import Paired

Metric = Callable[[Any], float]  # an Engine -> how good it is; more is better
Confirm = Callable[[list[str]], float]  # layers to keep -> the score of the network that is defined so
CURVE = 9  # how many points the curve has at least
RUNS = 64  # at most so many groups of layers are tried: of 510 layers, 8 neighbours at a time


@dataclasses.dataclass(frozen=True)
class Point:
    """A mixture: how many layers are kept, the signal to noise that was expected of it, and its score."""

    kept: int
    expected: float
    score: float


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What to keep.

    Attributes:
        keep: the layers to keep, the worst first. If these are all layers, the target is out of reach.
        score: what a mixture reaches that keeps them, on the pictures of the search.
        confirmed: what the network reaches that is defined so, on all pictures; None if none was defined: nothing is
            kept, or all.
        target: what was asked for, in the same unit.
        unit: "dB", or "" for a metric of the user's.
        sensitivity: layer -> signal to noise of the worst output in dB, if this layer alone is in lower precision; of
            layers that were tried together, each counts alike. Empty if no layer need be kept, as is the next.
        order: all layers, in the order in which they would be kept.
        curve: mixtures that were tried, by the number of layers that they keep.
    """

    keep: list[str]
    score: float
    confirmed: float | None
    target: float
    unit: str
    sensitivity: dict[str, float]
    order: list[str]
    curve: list[Point]


def search(
    paired: Paired,
    mixture: Mixture,
    feeds: Sequence[Feed],
    target: float,
    confirm: Confirm,
    metric: Metric | None = None,
    progress: bool = True,
) -> Proposal:
    """Finds the fewest layers to keep. If the target is reached with none, that is all.

    Every layer alone, or a few neighbours in a large network, is put into lower precision, which gives its share of the
    noise in each output. Noise adds up, so that of any mixture can be told about: the layer with the largest share in
    the worst output is kept first, then the next. How many of this order must be kept is found by bisection, every
    mixture run as a whole. The network that keeps them is then defined and confirmed: if it misses the target, more
    layers are kept, until it does not.

    Args:
        paired: the two networks.
        mixture: the engine of both.
        feeds: the pictures, which are run once for every layer and mixture: a few.
        target: the least signal to noise of the worst output in dB; with a metric, the largest drop against float32.
        confirm: gives the score of the network that keeps some layers, on all pictures that the target is about.
        metric: gets the engine and says how good it is; more is better.
        progress: show a progress bar on the error output, if that is a terminal.

    Raises:
        CalibrationError: the metric does not give a number, or float32 itself is not finite.
    """
    console = Console(stderr=True)
    groups = neighbours(paired.layers, RUNS)
    with Progress(console=console, transient=True, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task("searching", total=len(groups) + CURVE)
        reference = _outputs(mixture, feeds, paired.layers, paired.outputs)
        signal = np.array([np.sum(np.square(array, dtype=np.float64)) for array in reference])
        if not (np.isfinite(signal).all() and signal.all()):
            raise CalibrationError("In float32 an output is 0 or not finite: there is nothing to compare with.")
        names: list[str] = []
        tried: dict[int, float] = {}

        def score(count: int) -> float:
            if count not in tried:
                mixture.kept = names[:count]
                if metric is not None:
                    tried[count] = number(metric, mixture)
                else:
                    noise = _noise(reference, _outputs(mixture, feeds, mixture.kept, paired.outputs))
                    tried[count] = min(decibels(s, n) for s, n in zip(signal, noise, strict=True))
                bar.advance(task)
            return tried[count]

        unit = "dB" if metric is None else ""
        if metric is not None:
            mixture.kept = paired.layers
            target = number(metric, mixture) - target
        confirmed: dict[int, float] = {0: confirm([])}

        def really(count: int) -> float:
            if count not in confirmed:
                confirmed[count] = confirm(names[:count])
            return confirmed[count]

        if confirmed[0] >= target:  # nothing to search for
            point = Point(0, confirmed[0] if unit else math.nan, confirmed[0])
            return Proposal([], confirmed[0], None, target, unit, {}, [], [point])
        shares = []
        for group in groups:
            kept = [other for other in paired.layers if other not in group]
            noise = _noise(reference, _outputs(mixture, feeds, kept, paired.outputs))
            shares += [noise / signal / len(group)] * len(group)
            bar.advance(task)
        order, expected = rank(np.array(shares))
        names += [paired.layers[i] for i in order]
        least = confirmed_fewest(score, really, len(names), target)
        for count in spread(len(names), CURVE):
            score(count)
    sensitivity = {name: decibels(1.0, max(share)) for name, share in zip(paired.layers, shares, strict=True)}
    curve = [Point(count, expected[count], found) for count, found in sorted(tried.items())]
    return Proposal(names[:least], tried[least], confirmed.get(least), target, unit, sensitivity, names, curve)


def neighbours(layers: list[str], most: int) -> list[list[str]]:
    """The layers in order, in at most so many groups of equal size; the last one may be smaller."""
    size = math.ceil(len(layers) / most)
    return [layers[i : i + size] for i in range(0, len(layers), size)]


def rank(shares: np.ndarray) -> tuple[list[int], list[float]]:
    """The order in which to keep layers, and the signal to noise in dB of the worst output that each number leaves.

    Args:
        shares: (layers, outputs): noise to signal of each output with one layer in lower precision.
    """
    left = np.where(np.isfinite(shares), shares, np.finfo(np.float64).max / len(shares))
    remaining = list(range(len(shares)))
    order: list[int] = []
    expected = []
    while True:
        total = left[remaining].sum(0)
        worst = int(np.argmax(total))
        expected.append(decibels(1.0, float(total[worst])))
        if not remaining:
            return order, expected
        order.append(max(remaining, key=lambda i: left[i, worst]))
        remaining.remove(order[-1])


def fewest(score: Callable[[int], float], layers: int, target: float) -> int:
    """The smallest number of kept layers whose score reaches the target, by bisection; all of them reach it always."""
    low, high = -1, layers
    while high - low > 1:
        middle = 0 if low == -1 and high == layers else (max(low, 0) + high) // 2
        if score(middle) >= target:
            high = middle
        else:
            low = middle
    score(high)
    return high


def confirmed_fewest(score: Callable[[int], float], confirm: Callable[[int], float], layers: int, target: float) -> int:
    """As `fewest`, with another, dearer score that has the last word.

    Where it is less than the target, the other one must be so much more than it. What lies between the last number
    that failed and the first that did not is then bisected.

    Args:
        score: of a number of kept layers.
        confirm: the dearer one; not asked about all layers.
        layers: how many there are.
        target: what both are to reach.
    """
    failed, high = -1, fewest(score, layers, target)
    while high < layers and (found := confirm(high)) < target:
        failed, wanted = high, score(high) + target - found
        high = max(high + 1, fewest(score, layers, wanted) if math.isfinite(wanted) else layers)
    while failed >= 0 and high - failed > 1:
        middle = (failed + high) // 2
        failed, high = (failed, middle) if confirm(middle) >= target else (middle, high)
    score(high)
    return high


def spread(layers: int, points: int) -> list[int]:
    """Numbers of kept layers for a curve: closer together where few are kept."""
    return sorted({0, layers, *(round(layers * (i / (points - 1)) ** 2) for i in range(points))})


def _outputs(mixture: Mixture, feeds: Iterable[Feed], kept: Iterable[str], names: Sequence[str]) -> list[np.ndarray]:
    mixture.kept = list(kept)
    found = [mixture.run(feed.arrays) for feed in feeds]
    return [np.concatenate([outputs[name].reshape(-1) for outputs in found]) for name in names]


def _noise(reference: list[np.ndarray], found: list[np.ndarray]) -> np.ndarray:
    pairs = zip(found, reference, strict=True)
    return np.array([np.sum(np.square(a - b, dtype=np.float64)) for a, b in pairs])


def number(metric: Metric, engine: Any) -> float:
    """What a user's metric says of an engine.

    Raises:
        CalibrationError: it gives no number.
    """
    found = metric(engine)
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if math.isnan(value):
        raise CalibrationError(f"The metric gave {found!r}; it gets an engine and returns a number, more being better.")
    return value
