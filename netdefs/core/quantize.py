"""Symmetric quantization of arrays to int8 and to fp8 (E4M3), as TensorRT does it.

E4M3: OCP 8-bit floating point, https://arxiv.org/abs/2209.05433: 4 bits of exponent, 3 of mantissa, no infinities.
"""

from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError

LARGEST = {"int8": 127.0, "fp8": 448.0}  # what the clipping range is divided by


def scale_of(amax: np.ndarray | np.floating[Any], kind: str) -> np.ndarray:
    """The float32 scales of clipping ranges, any shape; where a range is 0 or vanishes, 1."""
    scale = (np.asarray(amax, np.float64) / LARGEST[kind]).astype(np.float32)
    return np.where(scale >= np.finfo(np.float32).tiny, scale, np.float32(1))


def quantize(x: np.ndarray, scale: np.ndarray, kind: str) -> np.ndarray:
    """x / scale as int8, or as the uint8 bits of fp8: rounded to the nearest, ties to even, what is beyond is cut off.

    Args:
        x: any shape, finite.
        scale: one, or an array that broadcasts to x.
        kind: "int8" or "fp8".
    """
    values = np.asarray(x) / np.asarray(scale)
    if kind == "int8":
        return np.clip(np.rint(values), -128, 127).astype(np.int8)
    return _e4m3_bits(values)


def dequantize(q: np.ndarray, scale: np.ndarray, kind: str) -> np.ndarray:
    """What quantized values stand for, float32; see `quantize`."""
    values = q.astype(np.float32) if kind == "int8" else E4M3[q]
    return values * np.asarray(scale, np.float32)


def fake_quantize(x: np.ndarray, scale: np.ndarray, kind: str) -> np.ndarray:
    """x after a pair of Quantize and Dequantize, float32."""
    return dequantize(quantize(np.asarray(x, np.float32), np.asarray(scale, np.float32), kind), scale, kind)


def quantize_weight(
    weight: np.ndarray, axis: int, kind: str, scale: np.ndarray | None = None, name: str = "weight"
) -> tuple[np.ndarray, np.ndarray]:
    """A weight quantized with one scale for each index of `axis`.

    Args:
        weight: any shape, float64 or float32.
        axis: of the output channels.
        kind: "int8" or "fp8".
        scale: (channels,) if they are known already, as from training with quantization.
        name: for messages.

    Returns:
        int8 values from -127 to 127, or the uint8 bits of fp8; and the float32 scales, (channels,).

    Raises:
        NetworkError: a weight is no finite number.
    """
    if not np.isfinite(weight).all():
        raise NetworkError(f"{name} holds {weight[~np.isfinite(weight)][0]}, which can't be quantized.")
    if scale is None:
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = scale_of(np.abs(weight).max(axis=others), kind)
    along = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    quantized = quantize(weight, along, kind)
    return (np.maximum(quantized, -127) if kind == "int8" else quantized), scale


def _e4m3_table() -> np.ndarray:
    """The float32 value of each of the 256 bit patterns."""
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    value = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    value = np.where(bits & 127 == 127, np.nan, value)
    return np.where(bits < 128, value, -value).astype(np.float32)


E4M3 = _e4m3_table()
E4M3_POSITIVE = E4M3[:127].astype(np.float64)  # rising, from 0 to 448: a pattern's bits are its index


def _e4m3_bits(values: np.ndarray) -> np.ndarray:
    """The bits of the E4M3 numbers nearest to values, ties to even, cut off at 448."""
    size = np.minimum(np.abs(values.astype(np.float64)), LARGEST["fp8"])
    above = np.searchsorted(E4M3_POSITIVE, size)  # the first that is not smaller
    below = np.maximum(above - 1, 0)
    middle = (E4M3_POSITIVE[above] + E4M3_POSITIVE[below]) / 2
    up = (size > middle) | ((size == middle) & (above % 2 == 0))
    bits = np.where(up, above, below).astype(np.uint8)
    return np.where(np.signbit(values), bits | np.uint8(128), bits)
