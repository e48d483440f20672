import math

import numpy as np
import pytest

from netdefs.core.errors import CompareError
from netdefs.debug.metrics import DEFAULTS, PIECE, Tolerance, measure, rms, tolerance_for

NAN, INF = math.nan, math.inf


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def test_against_the_plain_formulas():
    expected = noise(3, 50_000)  # more than one piece, and not a whole number of them
    assert expected.size % PIECE
    actual = expected + 1e-2 * noise(3, 50_000, seed=1)
    found = measure(expected, actual, 1e-1)
    e, a = expected.astype(np.float64), actual.astype(np.float64)
    assert found.relative == pytest.approx(np.linalg.norm(a - e) / np.linalg.norm(e), rel=1e-9)
    assert found.cosine == pytest.approx((e * a).sum() / np.linalg.norm(e) / np.linalg.norm(a), rel=1e-12)
    assert found.sqnr_db == pytest.approx(10 * math.log10((e**2).sum() / ((a - e) ** 2).sum()), rel=1e-9)
    assert found.max_abs == np.abs(a - e).max()
    assert found.index == np.unravel_index(np.abs(a - e).argmax(), e.shape)
    assert (found.expected, found.actual) == (e[found.index], a[found.index])
    assert found.outside == 0
    assert found.ok


def test_share_out_of_tolerance():
    expected = np.ones(100_000, np.float32)
    actual = expected.copy()
    actual[::1000] += 0.5  # the bound at 1e-3: 10 * 1e-3 * (1 + 1)
    found = measure(expected, actual, 1e-3)
    assert found.outside == 1e-3
    assert not found.ok


def test_a_single_wrong_value_of_a_million_counts():
    expected = noise(1_000_000)
    actual = expected.copy()
    actual[123_456] += 0.05
    found = measure(expected, actual, 1e-4)
    assert found.relative < 1e-4
    assert found.outside == 1e-6
    assert found.index == (123_456,)
    assert not found.ok
    assert measure(expected, actual, 1e-2).ok


def test_small_errors_everywhere_count():
    expected = noise(10_000)
    found = measure(expected, expected * np.float32(1.0005), 1e-4)
    assert found.outside == 0
    assert found.relative == pytest.approx(5e-4, rel=1e-3)
    assert not found.ok


def test_equal_tensors():
    found = measure(noise(7), noise(7), 1e-9)
    assert (found.relative, found.sqnr_db, found.max_abs, found.ok) == (0.0, INF, 0.0, True)
    assert found.cosine == pytest.approx(1)


@pytest.mark.parametrize(
    ("expected", "actual", "relative", "cosine", "sqnr", "ok"),
    [
        ([0, 0], [0, 0], 0.0, 1.0, INF, True),
        ([0, 0], [0, 1], INF, 0.0, -INF, False),
        ([0, 1], [0, 0], 1.0, 0.0, 0.0, False),
        ([1, 0], [-1, 0], 2.0, -1.0, -20 * math.log10(2), False),
    ],
)
def test_zeros(expected, actual, relative, cosine, sqnr, ok):
    found = measure(np.float32(expected), np.float32(actual), 1e-4)
    assert (found.relative, found.cosine, found.ok) == (relative, cosine, ok)
    assert found.sqnr_db == pytest.approx(sqnr)


def test_rounding_of_what_a_value_is_computed_from_does_not_count():
    zero, noise_of_ones = np.zeros(4, np.float32), np.full(4, 1e-8, np.float32)
    assert not measure(zero, noise_of_ones, 1e-4).ok
    assert measure(zero, noise_of_ones, 1e-4, floor=2e-7).ok
    assert not measure(zero, np.full(4, 1e-5, np.float32), 1e-4, floor=2e-7).ok


@pytest.mark.parametrize("place", [0, PIECE + 5])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_not_finite_on_both_sides_agrees(place, value):
    expected = noise(PIECE + 10)
    expected[place] = value
    actual = expected + np.float32(1e-7)
    found = measure(expected, actual, 1e-4)
    assert found.ok
    assert 0 < found.relative < 1e-6
    assert found.max_abs < 1e-6
    counts = (found.expected_nan, found.expected_inf, found.actual_nan, found.actual_inf)
    assert counts == ((1, 0, 1, 0) if math.isnan(value) else (0, 1, 0, 1))
    assert not found.reference_finite


@pytest.mark.parametrize(
    ("ours", "theirs"), [(NAN, 1.0), (INF, 1.0), (1.0, NAN), (1.0, INF), (INF, -INF), (NAN, INF), (INF, NAN)]
)
def test_not_finite_on_one_side_never_agrees(ours, theirs):
    expected, actual = noise(1000), noise(1000)
    expected[17], actual[17] = theirs, ours
    found = measure(expected, actual, 1e6)
    assert not found.ok
    assert (found.relative, found.sqnr_db, found.max_abs) == (INF, -INF, INF)
    assert found.index == (17,)
    np.testing.assert_array_equal([found.expected, found.actual], [theirs, ours])
    assert found.outside == 1e-3


def test_types_and_shapes():
    assert measure(np.arange(5), np.arange(5, dtype=np.int32), 1e-4).ok
    assert not measure(np.array([True, False]), np.array([True, True]), 1e-4).ok
    assert measure(np.float32(3), np.float32(3), 1e-4).index == ()
    assert measure(np.zeros((0, 3)), np.zeros((0, 3)), 1e-4).ok
    columns = noise(64, 64).T  # not contiguous
    assert measure(columns, columns.copy(), 1e-4).relative == 0
    with pytest.raises(ValueError, match="shapes differ"):
        measure(noise(2, 3), noise(3, 2), 1e-4)


def test_rms():
    assert rms(np.float32([3, -4])) == pytest.approx(math.sqrt(12.5))
    assert rms(np.array([3, -4])) == pytest.approx(math.sqrt(12.5))
    assert rms(np.float32([3, NAN, INF, 3])) == pytest.approx(3 / math.sqrt(2))
    assert rms(np.zeros((0,), np.float32)) == 0
    with np.errstate(all="raise"):
        assert rms(np.full(4, 1e30, np.float32)) == pytest.approx(1e30)


def test_tolerances():
    assert tolerance_for("fp16", None) == DEFAULTS["fp16"]
    assert tolerance_for("fp16", 1) == Tolerance(1.0, 1.0)
    with pytest.raises(CompareError, match="a positive number such as 1e-4, or None"):
        tolerance_for("fp32", -1.0)
    with pytest.raises(CompareError, match="no default tolerance for the precision 'int4'"):
        tolerance_for("int4", None)
    assert tolerance_for("int4", 0.1) == Tolerance(0.1, 0.1)
