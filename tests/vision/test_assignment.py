"""Assignments against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from netdefs.core.errors import InputError
from netdefs.vision.assignment import assign


def check(cost, unique):
    found = assign(cost)
    rows, columns = linear_sum_assignment(cost)
    given_away = np.flatnonzero(found >= 0)
    assert len(given_away) == min(cost.shape) and len(set(found[given_away])) == len(given_away)
    assert cost[given_away, found[given_away]].sum() == pytest.approx(cost[rows, columns].sum(), abs=1e-9)
    if unique:
        assert dict(zip(given_away, found[given_away], strict=True)) == dict(zip(rows, columns, strict=True))


@settings(max_examples=300)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_with_many_equal_costs(rows, columns, values, seed):
    check(np.random.default_rng(seed).integers(-values, values, (rows, columns)).astype(float), unique=False)


@pytest.mark.parametrize("shape", [(30, 30), (7, 30), (30, 7), (1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("spread", [1, 1e6])
def test_with_costs_that_all_differ(shape, spread):
    for seed in range(20):
        check(np.random.default_rng(seed).standard_normal(shape) * spread, unique=True)


def test_rows_that_all_want_the_same_column():
    check(np.add.outer(np.arange(30.0) ** 2, np.arange(30.0)) + np.outer(np.arange(30.0), np.arange(30.0)), unique=True)


@pytest.mark.parametrize("cost", [np.zeros(3), np.full((2, 2), np.nan), np.array([[1, np.inf]])])
def test_what_are_no_costs(cost):
    with pytest.raises(InputError, match=r"Costs are \(rows, columns\) of finite numbers"):
        assign(cost)
