"""What the decoders share: checked maps, and a pixel of many maps at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require


def checked(what: str, array: Any, shape: Sequence[int | str]) -> np.ndarray:
    """An output of a network as float32, once its shape and its numbers are known to be usable.

    Args:
        what: how the error calls it, such as "Heat maps".
        array: the output.
        shape: of each dimension its length, or the name that the error gives it, such as "height".

    Raises:
        InputError: another shape, an empty one, no numbers, or NaN or infinity among them.
    """
    found = np.asarray(array)
    wrong = len(found.shape) != len(shape) or any(
        n != m for n, m in zip(found.shape, shape, strict=True) if isinstance(m, int)
    )
    if wrong or 0 in found.shape or found.dtype.kind not in "fiu":
        wanted = ", ".join(str(n) for n in shape)
        raise InputError(f"{what} are ({wanted}) of numbers, not {found.shape} of {found.dtype}.")
    found = np.ascontiguousarray(found, np.float32)
    if not np.isfinite(found).all():
        raise InputError(
            f"{what} hold {int(np.isnan(found).sum())} NaN and {int(np.isinf(found).sum())} infinite values of "
            f"{found.size}: nothing can be read off them. netdefs.compare shows which layer they come from."
        )
    return found


def checked_size(what: str, size: Sequence[int]) -> tuple[int, int]:
    """(height, width), once both are known to be whole numbers above 0.

    Raises:
        InputError: they are not.
    """
    if len(size) != 2 or any(n != int(n) or n < 1 for n in size):
        raise InputError(f"{what} is (height, width) in pixels, not {tuple(size)}.")
    return int(size[0]), int(size[1])


def checked_share(what: str, value: float) -> None:
    """Raises InputError unless `value` is 0 to 1; the message calls it `what`."""
    if not 0 <= value <= 1:
        raise InputError(f"The {what} is {value}; it can be 0 to 1.")


def checked_placements(placements: Any, *counts: int) -> np.ndarray:
    """(2, 3) float64, or (count, 2, 3), of `netdefs.vision.placement`.

    Raises:
        InputError: another shape.
    """
    found = np.asarray(placements, np.float64)
    if found.shape != (*counts, 2, 3):
        raise InputError(f"Placements of {counts[0] if counts else 1} are {(*counts, 2, 3)}, not {found.shape}.")
    return found


def resized(maps: np.ndarray, size: tuple[int, int], cubic: bool = False) -> np.ndarray:
    """(C, h, w) maps of another (height, width): bilinear as torch's without align_corners, or cubic as OpenCV's."""
    cv2 = require("cv2", "vision")
    if maps.shape[1:] == tuple(size):
        return maps
    method = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    result = np.empty((len(maps), *size), np.float32)
    for source, target in zip(maps, result, strict=True):
        cv2.resize(source, size[::-1], dst=target, interpolation=method)
    return result


def slopes(maps: np.ndarray, which: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much the maps rise across pixels, to the right and downwards: next neighbour less the one before.

    At a border the pixel itself stands for the neighbour that is missing.

    Args:
        maps: (C, h, w).
        which: which map each pixel is of, 0 .. C - 1; any shape.
        ys: its row, of the same shape.
        xs: its column.
    """
    height, width = maps.shape[1:]
    right = maps[which, ys, np.minimum(xs + 1, width - 1)] - maps[which, ys, np.maximum(xs - 1, 0)]
    down = maps[which, np.minimum(ys + 1, height - 1), xs] - maps[which, np.maximum(ys - 1, 0), xs]
    return right, down


def in_pixel(maps: np.ndarray, which: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the tops that these pixels of the maps are, where pixel i stretches from i to i + 1.

    That is the middle, moved by a quarter to the side of the higher neighbour, or left and up if they are equal: the
    rule of adjust and refine in lib/core/group.py of HRNet/HigherHRNet-Human-Pose-Estimation (MIT).
    """
    right, down = slopes(maps, which, ys, xs)
    return xs + np.where(right > 0, 0.75, 0.25), ys + np.where(down > 0, 0.75, 0.25)
