"""bfloat16, and what counts as an array of numbers."""

import struct

import numpy as np
import pytest
import torch

from netdefs.core.dtypes import as_numpy, bfloat16_to_float32, float32_to_bfloat16, to_float32
from netdefs.core.errors import WeightsError


def test_every_bfloat16_becomes_the_float32_that_torch_makes_of_it():
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert np.array_equal(bfloat16_to_float32(bits).view(np.uint32), expected.view(np.uint32))
    assert bfloat16_to_float32(bits.reshape(256, 256).T).shape == (256, 256)


def test_rounding_is_that_of_torch():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32)
    ties = (rng.integers(0, 1 << 16, 1000, dtype=np.uint32) << 16) | 0x8000
    values = np.concatenate([bits, ties, np.array([0, 0x7F7FFFFF, 0x7F800000, 0xFF800000], np.uint32)]).view(np.float32)
    values = values[~np.isnan(values)]
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(float32_to_bfloat16(values), expected)


def test_nan_stays_nan():
    nans = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(bfloat16_to_float32(float32_to_bfloat16(nans))).all()


def test_every_bfloat16_survives_the_round_trip():
    bits = np.arange(1 << 16, dtype=np.uint16)
    bits = bits[~np.isnan(bfloat16_to_float32(bits))]
    assert np.array_equal(float32_to_bfloat16(bfloat16_to_float32(bits)), bits)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_tensors_as_arrays(dtype):
    tensor = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    tensor.requires_grad_(dtype.is_floating_point)
    array = as_numpy(tensor)
    assert array.tolist() == [[0, 1], [1, 1]] and array.dtype.itemsize >= min(tensor.element_size(), 4)
    assert as_numpy(3).shape == () and as_numpy([[1, 2]]).shape == (1, 2)


def test_what_is_no_array_of_numbers():
    for value in ("text", None, [1j], object(), np.array(["a"]), torch.zeros(1, dtype=torch.complex64)):
        with pytest.raises(WeightsError, match="Tensor 'w' is not an array of real numbers"):
            as_numpy(value, "w")
    with pytest.raises(WeightsError, match="This can't be read as an array of numbers"):
        as_numpy([[1], [1, 2]])


def test_float32_as_struct_makes_it():
    values = [0.1, 2**24 + 1, 2**63 - 1, 2**60 + 2**36 + 1, -(2**31), True]
    for value in values:
        expected = struct.unpack("f", struct.pack("f", float(value)))[0]
        assert to_float32(np.array([value])).item() == expected, value
    single = np.ones(3, np.float32)
    assert to_float32(single) is single
    assert to_float32(np.array([np.inf, np.nan])).dtype == np.float32
    with pytest.raises(WeightsError, match=r"Tensor 'w' holds -1e\+39, which is too large for float32"):
        to_float32(np.array([1.0, -1e39]), "w")
