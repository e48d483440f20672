import numpy as np
import pytest
import torch

from netdefs.core.errors import EngineError, InputError
from netdefs.engine.base import TensorInfo
from netdefs.engine.feeds import check_feeds, check_profile

FLOAT = np.dtype(np.float32)
IMAGE = {"input": TensorInfo((1, 3, 8, 8), FLOAT)}
DYNAMIC = {"input": TensorInfo((-1, 3, -1, 8), FLOAT)}
PROFILE = {"input": ((1, 3, 4, 8), (2, 3, 8, 8), (4, 3, 16, 8))}


def image(*shape, dtype=np.float32):
    return np.zeros(shape or (1, 3, 8, 8), dtype)


def refused(feeds, inputs=IMAGE, profile=None):
    with pytest.raises(InputError) as caught:
        check_feeds(feeds, inputs, profile or {})
    return str(caught.value)


def test_what_fits_passes_unchanged():
    array = image()
    assert check_feeds({"input": array}, IMAGE, {})["input"] is array


def test_non_contiguous_arrays_are_made_contiguous():
    array = np.arange(192, dtype=np.float32).reshape(1, 8, 8, 3).transpose(0, 3, 1, 2)
    checked = check_feeds({"input": array}, IMAGE, {})["input"]
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, array)


def test_feeds_come_back_in_the_inputs_order():
    inputs = {"a": TensorInfo((1,), FLOAT), "b": TensorInfo((1,), FLOAT)}
    assert list(check_feeds({"b": image(1), "a": image(1)}, inputs, {})) == ["a", "b"]


def test_an_unknown_name_brings_the_nearest():
    message = refused({"imput": image()})
    assert "'imput'" in message
    assert "Near: input" in message


def test_a_missing_input_is_named():
    assert "Nothing was given for the input input" in refused({})


def test_an_array_in_place_of_a_dict():
    message = refused(image())
    assert "run takes a dict" in message
    assert "numpy.ndarray" in message
    assert "input float32 (1, 3, 8, 8)" in message


def test_a_list_is_not_an_array():
    assert "is of type list, not an array" in refused({"input": [[1.0]]})


def test_float64_is_not_converted_silently():
    message = refused({"input": image(dtype=np.float64)})
    assert "must be float32, and this is float64" in message
    assert ".astype(np.float32)" in message


def test_uint8_hints_at_normalization():
    message = refused({"input": image(dtype=np.uint8)})
    assert "this is uint8" in message
    assert "normalized" in message


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 8, 8), "lacks the batch dimension"),
        ((1, 8, 8, 3), "transpose(0, 3, 1, 2)"),
        ((1, 1, 8, 8), "must be (1, 3, 8, 8), and this is (1, 1, 8, 8)."),
        ((2, 3, 8, 8), "must be (1, 3, 8, 8), and this is (2, 3, 8, 8)."),
        ((), "must be (1, 3, 8, 8), and this is ()."),
    ],
)
def test_a_wrong_shape_says_expected_and_got(shape, words):
    assert words in refused({"input": np.zeros(shape, np.float32)})


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (0, 3, 8, 8), (1, 3, 17, 8), (1, 3, 3, 8), (1, 4, 8, 8), (1, 3, 8)])
def test_outside_of_the_dynamic_range(shape):
    assert f"must be (1..4, 3, 4..16, 8), and this is {shape}" in refused({"input": image(*shape)}, DYNAMIC, PROFILE)


@pytest.mark.parametrize("shape", [(1, 3, 4, 8), (4, 3, 16, 8), (3, 3, 5, 8)])
def test_inside_of_the_dynamic_range(shape):
    assert check_feeds({"input": image(*shape)}, DYNAMIC, PROFILE)["input"].shape == shape


def test_dynamic_without_a_profile_takes_any_size():
    assert check_feeds({"input": image(9, 3, 99, 8)}, DYNAMIC, {})["input"].shape == (9, 3, 99, 8)
    assert "must be (?, 3, ?, 8)" in refused({"input": image(1, 3, 8, 9)}, DYNAMIC)


def test_torch_tensors_on_the_cpu_are_taken_without_a_copy():
    tensor = torch.arange(192.0).reshape(1, 3, 8, 8).requires_grad_()
    checked = check_feeds({"input": tensor}, IMAGE, {})["input"]
    assert isinstance(checked, np.ndarray)
    assert checked.ctypes.data == tensor.data_ptr()


def test_bfloat16_torch_tensors_say_what_to_do():
    assert ".float()" in refused({"input": torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16)})


def test_tensors_elsewhere_must_come_to_the_cpu():
    assert "pass input.cpu()" in refused({"input": torch.zeros(1, 3, 8, 8, device="meta")})


class OnGpu:
    """What the checks look at in a CUDA tensor."""

    is_cuda = True
    device = "cuda:0"

    def __init__(self, shape=(1, 3, 8, 8), dtype="torch.float32"):
        self.shape = shape
        self.dtype = dtype


def test_cuda_tensors_are_for_gpu_engines():
    tensor = OnGpu()
    assert "is on cuda:0, and this engine runs on the CPU: pass input.cpu()" in refused({"input": tensor})
    assert check_feeds({"input": tensor}, IMAGE, {}, accept_cuda=True)["input"] is tensor


@pytest.mark.parametrize(
    ("tensor", "words"),
    [(OnGpu(dtype="torch.float16"), ".to(torch.float32)"), (OnGpu((2, 3, 8, 8)), "this is (2, 3, 8, 8)")],
)
def test_cuda_tensors_are_checked_too(tensor, words):
    with pytest.raises(InputError) as caught:
        check_feeds({"input": tensor}, IMAGE, {}, accept_cuda=True)
    assert words in str(caught.value)


def test_bfloat16_inputs_take_float32_arrays_and_bfloat16_tensors():
    inputs = {"input": TensorInfo((1, 3, 8, 8), "bfloat16")}
    check_feeds({"input": image()}, inputs, {})
    check_feeds({"input": OnGpu(dtype="torch.bfloat16")}, inputs, {}, accept_cuda=True)
    assert "must be float32, and this is float16" in refused({"input": image(dtype=np.float16)}, inputs)


def test_a_profile_becomes_plain_tuples():
    given = {"input": [[1, 3, 4, 8], np.array([2, 3, 8, 8]), (4, 3, 16, 8)]}
    assert check_profile(DYNAMIC, given, required=True) == PROFILE


def test_a_profile_of_a_fixed_input_is_left_out():
    assert check_profile(IMAGE, {"input": [(1, 3, 8, 8)] * 3}, required=True) == {}


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({}, "'input' has none. Give profile="),
        ({"inptu": PROFILE["input"]}, "'inptu', which is not an input. Near: input"),
        ({"input": ((1, 3, 4, 8), (2, 3, 8, 8))}, "Give profile="),
        ({"input": 3}, "Give profile="),
        ({"input": ((1, 3, 4, 8), (2, 3, 8), (4, 3, 16, 8))}, "has the shape (2, 3, 8); the input is float32"),
        ({"input": ((1, 4, 4, 8), (2, 4, 8, 8), (4, 4, 16, 8))}, "has the shape (1, 4, 4, 8)"),
        ({"input": ((2, 3, 4, 8), (1, 3, 8, 8), (4, 3, 16, 8))}, "not in rising order"),
        ({"input": ((0, 3, 4, 8), (1, 3, 8, 8), (4, 3, 16, 8))}, "not in rising order"),
    ],
)
def test_a_wrong_profile_is_explained(profile, words):
    with pytest.raises(EngineError) as caught:
        check_profile(DYNAMIC, profile, required=True)
    assert words in str(caught.value)
