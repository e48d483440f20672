"""Histograms and the four methods, against plain loops over the values."""

import math

import numpy as np
import pytest

from netdefs import NetdefsError
from netdefs.quant.histogram import Histogram
from netdefs.quant.methods import METHODS, amax_of, check_method
from tests.quant import plain

RNG = np.random.default_rng(7)
VALUES = {
    "normal": RNG.standard_normal(1500) * 3,
    "behind a relu": np.maximum(RNG.standard_normal(2000), 0),
    "long tails": RNG.laplace(size=1500) ** 3,
    "one outlier": np.append(RNG.standard_normal(2000), 40.0),
    "a few": np.array([0.5, -2, 1, 0, 0, 0.3]),
    "one value": np.array([0.0, -1, -1, -1]),
    "tiny": RNG.standard_normal(500) * 1e-30,
    "huge": RNG.standard_normal(500) * 1e37,
}
PLAIN = {
    "entropy": plain.entropy,
    "percentile": lambda values: plain.percentile(values, 99.5),
    "mse": plain.mse,
    "max": plain.maximum,
}


def histogram_of(values, parts=5):
    histogram = Histogram()
    for part in np.array_split(np.random.default_rng(0).permutation(values).astype(np.float32), parts):
        if part.size:
            histogram.add(part)
    return histogram


# In plain loops, entropy and mse take a second for each.
@pytest.mark.parametrize(
    ("method", "kind"),
    [(m, k) for m in METHODS for k in VALUES if m in ("max", "percentile") or k not in ("tiny", "huge", "one value")],
)
def test_scales_equal_those_of_plain_loops(method, kind):
    values = VALUES[kind].astype(np.float32)
    ours = amax_of(histogram_of(values), method, 99.5)
    assert math.isclose(ours, PLAIN[method]([float(v) for v in values]), rel_tol=1e-6)


@pytest.mark.parametrize("kind", VALUES)
def test_histogram_is_that_of_one_pass_with_the_final_width(kind):
    values = VALUES[kind].astype(np.float32)
    ours = histogram_of(values)
    counts, width = plain.histogram_of([float(v) for v in values])
    assert ours.width == width
    assert ours.counts[: ours.used].tolist() == counts
    assert not ours.counts[ours.used :].any()
    assert (ours.total, ours.zeros, ours.low, ours.high) == (
        values.size,
        int((values == 0).sum()),
        values.min(),
        values.max(),
    )


def test_histogram_depends_on_neither_order_nor_parts():
    values = VALUES["long tails"]
    first, second = histogram_of(values, parts=1), histogram_of(values[::-1], parts=90)
    assert first.digest == second.digest
    assert first.digest != histogram_of(values[1:]).digest


def test_a_histogram_that_saw_zeros_only():
    histogram = histogram_of(np.zeros(10))
    assert [amax_of(histogram, method) for method in METHODS] == [0, 0, 0, 0]
    histogram.add(np.float32([3]))
    assert histogram.counts[0] == 10
    assert amax_of(histogram, "max") == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        Histogram().add(np.float32([1, bad, 2]))


def test_methods_differ_as_they_should():
    """An outlier widens the range of "max" only; "mse" lies between."""
    histogram = histogram_of(VALUES["one outlier"])
    found = {method: amax_of(histogram, method, 99.9) for method in METHODS}
    assert found["max"] == 40
    assert found["entropy"] < 5
    assert found["percentile"] < 5
    assert found["mse"] < 40


@pytest.mark.parametrize(
    ("method", "percentile", "said"),
    [("entropie", 99, "Near: entropy"), ("max", 101, "from 50 to 100"), ("max", "99", "from 50"), (None, 99, "None")],
)
def test_wrong_arguments(method, percentile, said):
    with pytest.raises(NetdefsError, match=said):
        check_method(method, percentile)
