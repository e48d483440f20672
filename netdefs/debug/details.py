"""Where in a tensor a difference is and how it is distributed: a few kilobytes, so that every layer can have them."""

import base64
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from netdefs.debug.metrics import Metrics

SIDE = 32  # rows and columns of a map at most
BINS = 40  # of a histogram
SAMPLE = 1 << 16  # values that a histogram counts at most
CHANNELS = 64  # groups of channels at most
ONE_SIDED = 255  # in a map of differences: NaN or an infinity, on one side only


@dataclasses.dataclass(frozen=True)
class Map:
    """A picture of a plane of a tensor, made smaller: 8 bits a value, from `low` (0) to `high` (254), base64.

    In one of differences each value is the largest of those that it stands for, and 255 is NaN or an infinity that
    only one side has. In one of values it is one of them.
    """

    rows: int
    columns: int
    low: float
    high: float
    data: str


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of values in equal steps from `low` to `high`; one list of counts for each of `of`."""

    low: float
    high: float
    counts: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Details:
    """How a tensor differs from PyTorch's. NaN and infinities are left out of all numbers.

    Attributes:
        expected_range: the smallest and the largest of PyTorch's values; None if none is finite.
        actual_range: of the network's.
        counted: how many values the histograms count: all, or a sample evenly spread.
        values: how PyTorch's values and the network's are distributed.
        difference: how the network's values less PyTorch's are.
        channels: for each channel (axis 1; the only axis of a vector) the L2 norm of the difference, relative to that
            of the whole tensor's values if these were spread evenly; the largest of each group where there are more
            than 64.
        channel_count: how many channels there are.
        plane: the leading indices of the plane (the last two axes) with the largest difference. None if there is none.
        map: the differences there, absolute.
        pictures: PyTorch's values there and the network's, on one scale; only if they don't agree.
    """

    expected_range: tuple[float, float] | None
    actual_range: tuple[float, float] | None
    counted: int
    values: Histogram | None
    difference: Histogram | None
    channels: tuple[float, ...]
    channel_count: int
    plane: tuple[int, ...] | None
    map: Map | None
    pictures: tuple[Map, ...]


def look_closer(expected: np.ndarray, actual: np.ndarray | str | None, metrics: Metrics | None) -> Details | None:
    """The details of two tensors; `metrics` are theirs.

    None without these: then their shapes differ, or the network's could not be computed.
    """
    if metrics is None or not isinstance(actual, np.ndarray):
        return None
    if not expected.size:
        return Details(None, None, 0, None, None, (), 0, None, None, ())
    wide = np.float32 if expected.dtype == actual.dtype == np.float32 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        difference = actual.astype(wide, copy=False) - expected.astype(wide, copy=False)
    if not math.isfinite(float(difference.sum())):
        difference[~np.isfinite(difference)] = 0
    channels, count = _channels(expected, difference)
    e, a, d = (_sample(array) for array in (expected, actual, difference))
    plane, picture, pictures = _planes(expected, actual, metrics)
    both = [_range(expected), _range(actual)]
    ends = [end for found in both if found is not None for end in found]
    return Details(
        expected_range=both[0],
        actual_range=both[1],
        counted=len(d),
        values=_histogram([e, a], min(ends), max(ends)) if ends else None,
        difference=_histogram([d], float(difference.min()), float(difference.max())),
        channels=channels,
        channel_count=count,
        plane=plane,
        map=picture,
        pictures=pictures,
    )


def _range(array: np.ndarray) -> tuple[float, float] | None:
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = array[np.isfinite(array)]
        if not finite.size:
            return None
        low, high = float(finite.min()), float(finite.max())
    return low, high


def _sample(array: np.ndarray) -> np.ndarray:
    """At most `SAMPLE` values, evenly spread but not in step with the rows, in float64."""
    flat = array.reshape(-1)
    if flat.size > SAMPLE:
        flat = flat[(np.arange(SAMPLE) * (flat.size / SAMPLE)).astype(np.intp)]
    return flat.astype(np.float64)


def _histogram(samples: Sequence[np.ndarray], low: float, high: float) -> Histogram:
    high = high if high > low else math.nextafter(low, math.inf)
    step = (high - low) / BINS
    counts = []
    for sample in samples:
        finite = sample[np.isfinite(sample)]
        at = ((finite - low) / step if step else np.zeros(finite.size)).astype(np.intp)
        counts.append(tuple(np.bincount(at.clip(0, BINS - 1), minlength=BINS).tolist()))
    return Histogram(low, high, tuple(counts))


def _channels(expected: np.ndarray, difference: np.ndarray) -> tuple[tuple[float, ...], int]:
    """The relative error of each channel, or group of channels, and how many channels there are."""
    shape = difference.shape
    count = shape[1] if len(shape) > 1 else difference.size
    planes = difference.reshape(shape[0] if len(shape) > 1 else 1, count, -1)
    sums = np.einsum("nci,nci->c", planes, planes).astype(np.float64)
    flat = expected.reshape(-1).astype(planes.dtype, copy=False)
    whole = float(np.dot(flat, flat))
    if not math.isfinite(whole):
        finite = flat[np.isfinite(flat)].astype(np.float64)
        whole = float(np.dot(finite, finite))
    errors = np.sqrt(sums * count / whole) if whole else np.sqrt(sums)
    starts = np.unique(np.linspace(0, count, min(count, CHANNELS), endpoint=False).astype(np.intp))
    return tuple(np.maximum.reduceat(errors, starts).tolist()), count


def _planes(
    expected: np.ndarray, actual: np.ndarray, metrics: Metrics
) -> tuple[tuple[int, ...] | None, Map | None, tuple[Map, ...]]:
    """The plane of the largest difference, a map of the differences there and, if they count, of the values."""
    if expected.ndim < 3 or max(expected.shape[-2:]) < 2:
        return None, None, ()
    plane = metrics.index[:-2]
    e, a = (array[plane].astype(np.float64) for array in (expected, actual))
    out = ~(np.isfinite(e) & np.isfinite(a))
    with np.errstate(invalid="ignore"):
        difference, one_sided = np.abs(a - e), out & ~((e == a) | (np.isnan(e) & np.isnan(a)))
    difference[out] = 0.0
    small, peak = _shrunk(difference), float(difference.max())
    data = _bytes(small, 0.0, peak)
    data[_shrunk(one_sided.astype(np.float64)) > 0] = ONE_SIDED
    picture = _map(data, 0.0, peak)
    if metrics.ok:
        return plane, picture, ()
    values = [_thinned(e), _thinned(a)]
    ends = [end for found in map(_range, values) if found is not None for end in found] or [0.0]
    return plane, picture, tuple(_map(_bytes(v, min(ends), max(ends)), min(ends), max(ends)) for v in values)


def _starts(size: int) -> np.ndarray:
    return np.linspace(0, size, min(size, SIDE), endpoint=False).astype(np.intp)


def _shrunk(plane: np.ndarray) -> np.ndarray:
    """The largest values of at most 32 × 32 tiles."""
    rows = np.maximum.reduceat(plane, _starts(plane.shape[0]), axis=0)
    return np.asarray(np.maximum.reduceat(rows, _starts(plane.shape[1]), axis=1))


def _thinned(plane: np.ndarray) -> np.ndarray:
    """One value of each of these tiles."""
    return plane[np.ix_(_starts(plane.shape[0]), _starts(plane.shape[1]))]


def _bytes(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (plane - low) * (254 / (high - low) if high > low else 0.0)
    return np.nan_to_num(scaled, nan=0.0, posinf=254.0, neginf=0.0).clip(0, 254).round().astype(np.uint8)


def _map(data: np.ndarray, low: float, high: float) -> Map:
    rows, columns = data.shape
    return Map(rows, columns, low, high, base64.b64encode(data.tobytes()).decode())
