"""A tensor as a few kilobytes: some of its values, and its extremes, mean and size as a whole and by channel."""

import dataclasses
import math
from typing import Any

import numpy as np

from netdefs.debug.metrics import ELEMENT, Metrics, decibels, measure, ratio

LEAST, MOST = 16, 1 << 20  # how many values of a tensor one can ask for
FACTS = ("low", "high", "mean", "rms", "nan", "inf")  # the numbers of a `Sampled`
CHANNELS = 4096  # so many channels have a mean of their own, at most


@dataclasses.dataclass(frozen=True)
class Sampled:
    """What is kept of a tensor.

    Attributes:
        shape: of the tensor.
        values: some of its values, those at `positions`.
        low, high, mean, rms: of its finite values, all of them.
        nan, inf: how many there are.
        channels: the mean of each channel (axis 1); empty if there is none, or too many.
    """

    shape: tuple[int, ...]
    values: np.ndarray
    low: float
    high: float
    mean: float
    rms: float
    nan: int
    inf: int
    channels: np.ndarray

    @property
    def size(self) -> int:
        """How many values the tensor has."""
        return math.prod(self.shape)

    def of(self, array: np.ndarray) -> np.ndarray:
        """The values of another tensor of this shape at the same positions."""
        return np.asarray(array.reshape(-1)[positions(self.size, self.values.size)])

    def facts(self) -> dict[str, Any]:
        """All but the arrays, as a recording keeps it."""
        return {name: getattr(self, name) for name in FACTS}


def sample(array: np.ndarray, count: int) -> Sampled:
    """Keeps at most `count` values of an array."""
    flat = array.reshape(-1)
    finite = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    exact = finite.astype(np.float64)
    some = exact.size > 0
    return Sampled(
        shape=tuple(array.shape),
        values=flat[positions(flat.size, min(count, flat.size))],
        low=float(exact.min()) if some else 0.0,
        high=float(exact.max()) if some else 0.0,
        mean=float(exact.mean()) if some else 0.0,
        rms=math.sqrt(float(np.dot(exact, exact)) / exact.size) if some else 0.0,
        nan=int(np.count_nonzero(np.isnan(flat))) if flat.dtype.kind == "f" else 0,
        inf=int(np.count_nonzero(np.isinf(flat))) if flat.dtype.kind == "f" else 0,
        channels=channel_means(array),
    )


def channel_means(array: np.ndarray) -> np.ndarray:
    """The mean of each channel in float64; empty if there are none or too many, or values that are not finite."""
    if array.ndim < 3 or not 1 < array.shape[1] <= CHANNELS or not array.size or not np.isfinite(array).all():
        return np.zeros(0)
    return np.asarray(array.mean(axis=(0, *range(2, array.ndim)), dtype=np.float64))


def positions(size: int, count: int) -> np.ndarray:
    """`count` different places in a flat array of `size` values: spread evenly, each at random within its stretch.

    They follow from the two numbers alone, by arithmetic that is the same on every machine.
    """
    if count >= size:
        return np.arange(size)
    step = np.arange(count, dtype=np.uint64)
    first = (step * np.uint64(size)) // np.uint64(count)
    width = ((step + np.uint64(1)) * np.uint64(size)) // np.uint64(count) - first
    return np.asarray((first + _hashed(step + np.uint64(size)) % width).astype(np.int64))


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's finishing step (Steele, Lea, Flood 2014): numbers in a row become random ones."""
    with np.errstate(over="ignore"):
        x = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))


def measure_samples(expected: Sampled, actual: np.ndarray, tolerance: float, floor: float) -> Metrics:
    """The metrics of a tensor of which some values are known, and its extremes, mean and size.

    What the whole tensors' mean, size and channels differ by is a lower bound of the relative error, and what their
    extremes differ by one of the largest difference: these count where they say more than the values.
    """
    ours = sample(actual, LEAST)
    found = measure(expected.values, expected.of(actual), tolerance, floor)
    bounds = [abs(ours.mean - expected.mean), abs(ours.rms - expected.rms)]
    if ours.channels.size and ours.channels.size == expected.channels.size:
        bounds.append(math.sqrt(float(np.mean((ours.channels - expected.channels) ** 2))))
    extremes = [(abs(ours.low - expected.low), expected.low), (abs(ours.high - expected.high), expected.high)]
    needed = [ratio(bound - floor, expected.rms) for bound in bounds]
    needed += [ratio(off / ELEMENT - floor, abs(size) + expected.rms) for off, size in extremes]
    if (ours.nan, ours.inf) != (expected.nan, expected.inf):
        needed.append(math.inf)
    most = max(found.needed, *needed)
    relative = max(found.relative, *(ratio(bound, expected.rms) for bound in bounds))
    at = positions(expected.size, expected.values.size)[found.index[0]] if found.index else 0
    return dataclasses.replace(
        found,
        relative=math.inf if most == math.inf else relative,
        sqnr_db=-math.inf if most == math.inf else decibels(relative, 1.0),
        max_abs=max(found.max_abs, *(off for off, _ in extremes)),
        index=tuple(int(i) for i in np.unravel_index(at, expected.shape)) if expected.size else (),
        expected_nan=expected.nan,
        expected_inf=expected.inf,
        actual_nan=ours.nan,
        actual_inf=ours.inf,
        ok=most <= tolerance,
        needed=most,
    )
