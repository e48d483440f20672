"""What fp16 can't hold is named, with the picture that did it."""

import numpy as np
import pytest

from netdefs.quant import Recording
from netdefs.quant.halves import root_mean_square, troubles

RNG = np.random.default_rng(1)


def recording(**tensors):
    found = Recording("net", None)
    for name, arrays in tensors.items():
        for i, array in enumerate(arrays):
            found.add(name, np.asarray(array, np.float32), f"{i}.png")
    return found


def test_overflow_is_named_with_its_picture():
    fine = RNG.standard_normal(100)
    found = troubles(recording(a=[fine, fine], b=[fine, fine * 1e5, fine], c=[[65504], [-65504]], d=[[1], [-65520]]))
    assert [(each.tensor, each.kind, each.picture) for each in found] == [
        ("b", "overflow", "1.png"),
        ("d", "overflow", "1.png"),
    ]
    assert "fp16 ends at 65504" in str(found[0])


def test_values_that_are_too_small():
    fine = RNG.standard_normal(1000)
    found = troubles(recording(a=[fine * 1e-3], b=[fine * 2e-6], zero=[[0, 0]]))
    assert [(each.tensor, each.kind) for each in found] == [("b", "range")]
    rounded = (fine * 2e-6).astype(np.float16)
    kept = -np.log2(np.std(rounded - fine * 2e-6) * np.sqrt(12) / 2e-6)
    assert f"keeps {kept:.0f} of 11 bits" in str(found[0])  # what rounding really leaves


@pytest.mark.parametrize("factor", [1e-20, 1.0, 1e20])
def test_root_mean_square(factor):
    values = np.maximum(RNG.standard_normal(5000), 0) * factor
    (histogram,) = recording(a=[values]).histograms.values()
    assert root_mean_square(histogram) == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-3)
