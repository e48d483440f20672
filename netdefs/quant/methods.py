"""From a histogram to the largest magnitude that is kept: what lies above is cut off, and all below gets finer steps.

INT8 here is TensorRT's: symmetric, 127 steps of amax / 127 on either side of zero.
"""

import functools

import numpy as np

from netdefs.core.errors import CalibrationError
from netdefs.core.quantize import LARGEST
from netdefs.core.scope import near
from netdefs.quant.histogram import BINS, Histogram

METHODS = ("entropy", "percentile", "mse", "max")
METHOD = "mse"  # the default: docs/quantize.md has what each gives
PERCENTILE = 99.99
LEVELS = int(LARGEST["int8"])
FIRST = 128  # the smallest number of bins that a range may have: below it, a bin would have more than one step
SAME = 1e-12  # divergences this close are equal: rounding shall not choose among them


def check_method(method: str, percentile: float = PERCENTILE) -> None:
    """Raises CalibrationError unless there is such a method, and the percentile is one."""
    if method not in METHODS:
        raise CalibrationError(
            f"There is no calibration method {method!r}; there are {', '.join(METHODS)}.{near(str(method), METHODS)}"
        )
    number = isinstance(percentile, int | float) and not isinstance(percentile, bool)
    if not number or not 50 <= percentile <= 100:
        raise CalibrationError(f"percentile={percentile!r}: it is a number from 50 to 100, such as {PERCENTILE}.")


def amax_of(histogram: Histogram, method: str, percentile: float = PERCENTILE) -> float:
    """The magnitude that int8's 127 shall stand for; 0 if all values are.

    Args:
        histogram: the tensor's.
        method: "entropy", "percentile", "mse" or "max".
        percentile: of the values, zeros among them, that "percentile" keeps.
    """
    if method == "max" or histogram.used < FIRST:  # so few bins has only what is next to nothing, below 2**-119
        return histogram.amax
    counts = histogram.counts[: histogram.used]
    if method == "percentile":
        # The bin in which the share is reached; its upper edge, as all of it is kept.
        kept = int(np.searchsorted(np.cumsum(counts), percentile / 100 * histogram.total)) + 1
    else:
        kept = (_entropy if method == "entropy" else _mse)(counts)
    return min(kept * histogram.width, histogram.amax)


def excess(histogram: Histogram, amax: float) -> float:
    """How many dB more noise int8 has with this range than with the whole one; negative if it has less."""
    middles = (np.arange(histogram.used) + 0.5) * histogram.width
    counts = histogram.counts[: histogram.used].astype(np.float64)
    counts[0] -= histogram.zeros
    noises = []
    for limit in (amax, histogram.amax):
        step = limit / LEVELS
        noises.append(float(np.sum(counts * (middles - step * np.minimum(np.rint(middles / step), LEVELS)) ** 2)))
    return 10 * float(np.log10(noises[0] / noises[1])) if min(noises) > 0 else 0.0


def _entropy(counts: np.ndarray) -> int:
    """How many bins to keep, so that int8 loses the least information: the Kullback-Leibler divergence.

    For each number i of bins: P is the first i, the last of which gets all that lies above. Q has 128 levels, each
    spread evenly over those of its bins that are not empty. The divergence of P from Q is least; among equals, i is the
    largest. As most values behind a ReLU are zeros, which any scale keeps, the first bin counts as much as the second.

    Source: Migacz, 8-bit Inference with TensorRT (GTC 2017), and pytorch_quantization/calib/histogram.py of
    NVIDIA/TensorRT (Apache-2.0). There every i takes a loop over its bins; here sums of whole levels are differences of
    running sums.
    """
    h = counts.astype(np.float64)
    h[0] = h[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(h > 0, h * np.log(h), 0.0)
        mass, filled, logs = (_running(values) for values in (h, h > 0, own))
        i = np.arange(FIRST, h.size + 1)
        edges = _edges()[: i.size]
        sums, widths = np.diff(mass[edges]), np.diff(filled[edges])
        level = np.log(np.where(sums > 0, sums / widths, 1.0))
        inside, last = mass[i], h[i - 1]
        above = mass[-1] - inside
        end = last + above
        p_log_p = logs[i] - own[i - 1] + np.where(end > 0, end * np.log(end), 0.0)
        divergence = (p_log_p - (sums * level).sum(1) - above * level[:, -1]) / mass[-1] + np.log(inside / mass[-1])
    # Q has nothing where P has all that was cut off: infinitely far.
    divergence[((last == 0) & (above > 0)) | (inside == 0)] = np.inf
    least = np.flatnonzero(divergence <= divergence.min() + SAME)
    return int(i[least[-1]])


def _mse(counts: np.ndarray) -> int:
    """How many bins to keep, so that the mean squared error of int8 is least; among equals the most.

    A bin's values count as its middle. The sum over levels k of steps s of (x - k s)^2 is taken apart into sums of
    x^2, x and 1, of which there are running sums.
    """
    h = counts.astype(np.float64)
    x = np.arange(h.size) + 0.5
    count, first, second = (_running(h * x**power) for power in range(3))
    i = np.arange(FIRST, h.size + 1)
    step = (i / LEVELS)[:, None]
    k = np.arange(LEVELS + 1)
    # Level k has what lies between k - 1/2 and k + 1/2 steps; the last one all above.
    edges = np.minimum(np.ceil((k[1:] - 0.5) * step - 0.5).astype(np.int64), h.size)
    edges = np.pad(edges, ((0, 0), (1, 1)))
    edges[:, -1] = h.size
    error = second[-1] - 2 * (step * k * np.diff(first[edges])).sum(1) + (step**2 * k**2 * np.diff(count[edges])).sum(1)
    least = np.flatnonzero(error <= error.min() + SAME * second[-1])
    return int(i[least[-1]])


def _running(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2 ... values."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


@functools.cache
def _edges() -> np.ndarray:
    """Where each of 128 levels begins among i bins, and where the last one ends: a row for every i from 128 on."""
    i = np.arange(FIRST, BINS + 1, dtype=np.int64)[:, None]
    return (-(-np.arange(FIRST + 1) * i // FIRST)).astype(np.int32)
