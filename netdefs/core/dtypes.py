"""Number types: any array or tensor as numpy, and bfloat16, which numpy lacks."""

from typing import Any

import numpy as np

from netdefs.core.errors import WeightsError


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 numbers given as their uint16 bits; any shape, exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The uint16 bits of the bfloat16 numbers nearest to float32 values; any shape, ties to even, NaN stays NaN."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    # Adding just under half of the last kept place rounds to nearest; one more where it is odd makes ties go to even.
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    with np.errstate(over="ignore"):
        rounded = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    # A NaN's payload may lie in the bits that are cut off, and then the sum above would be an infinity.
    quiet = (bits >> np.uint32(16)).astype(np.uint16) | np.uint16(0x0040)
    return np.where(np.isnan(values), quiet, rounded)


def as_numpy(value: Any, name: str = "") -> np.ndarray:
    """A numpy array, torch tensor, number or list as a numpy array of numbers; torch's bfloat16 becomes float32.

    Args:
        value: what to convert; tensors may be on a GPU or need gradients.
        name: what to call it in an error.

    Raises:
        WeightsError: it holds something other than real numbers.
    """
    what = f"Tensor {name!r}" if name else "This"
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            short = value.is_floating_point() and value.element_size() < 4
            value = (value.float() if short else value).numpy()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # sparse or quantized tensors, lists of uneven length
        raise WeightsError(f"{what} can't be read as an array of numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise WeightsError(f"{what} is not an array of real numbers: it holds {array.dtype}.")
    return array


def to_float32(array: np.ndarray, name: str = "") -> np.ndarray:
    """An array of numbers as float32, converted as Python's `float` and `struct` would; float32 comes back as it is.

    Raises:
        WeightsError: a finite number is too large for float32.
    """
    if array.dtype.kind == "f" and array.dtype.itemsize <= 4:
        return array.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        # Integers go through float64, as `float` takes them: rounded twice, but the same everywhere.
        single = array.astype(np.float64).astype(np.float32)
    lost = np.isinf(single) & ~np.isinf(array)
    if lost.any():
        what = f"Tensor {name!r}" if name else "This"
        raise WeightsError(f"{what} holds {array[lost].flat[0]!s}, which is too large for float32.")
    return single
