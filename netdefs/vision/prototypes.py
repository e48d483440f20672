"""Masks of single things, as YOLACT and its kin have them: a weighted sum of prototypes, cut out along a box."""

import math
from collections.abc import Iterator

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision.instance import Mask

CHUNK = 32  # masks that are made of prototypes at once, for the memory's sake


def instance_masks(
    protos: np.ndarray,
    coefficients: np.ndarray,
    boxes: np.ndarray,
    placement: np.ndarray,
    size: tuple[int, int],
    shape: tuple[int, int],
) -> Iterator[Mask | None]:
    """The masks of instances, at the picture's resolution.

    The sums of prototypes are enlarged bilinearly by the smallest whole number that lets the part which shows the
    picture be cut out on whole pixels, that part is resized to the picture bilinearly, and what is above 0 and inside
    the box belongs to the thing. Only the pixels inside of boxes are computed.

    Args:
        protos: (C, h, w) float32; each cell covers a square of whole pixels of the input.
        coefficients: (n, C) float32.
        boxes: (n, 4) x1, y1, x2, y2 in the picture, where pixel i stretches from i to i + 1. As upstream has it, a
            pixel is inside a box if its upper left corner is.
        placement: (2, 3) from `netdefs.vision.placement`, without rotation.
        size: (height, width) of the input.
        shape: (height, width) of the picture.

    Yields:
        The masks in order; None for one that is empty.

    Raises:
        InputError: the shapes don't fit, or the input does not show the whole picture.

    Source: process_mask_native in ultralytics/utils/ops.py of ultralytics/ultralytics (AGPL-3.0), which its predictor
    calls if retina_masks is set.
    """
    channels, height, width = protos.shape
    if coefficients.shape != (len(boxes), channels):
        raise InputError(f"{channels} prototypes take {channels} coefficients a box, not {coefficients.shape}.")
    cell = size[0] // height
    if (height * cell, width * cell) != tuple(size):
        raise InputError(f"Prototypes of {height}x{width} don't divide an input of {size[0]}x{size[1]} evenly.")
    tall, wide = _part(placement[1], 1, shape[0], size[0]), _part(placement[0], 0, shape[1], size[1])
    factor = cell // math.gcd(cell, *tall, *wide)
    down, across = (
        _stretch(cells, factor, first * factor // cell, length * factor // cell, count)
        for cells, (first, length), count in ((height, tall, shape[0]), (width, wide, shape[1]))
    )
    for start in range(0, len(boxes), CHUNK):
        logits = coefficients[start : start + CHUNK] @ protos.reshape(channels, -1)
        for values, box in zip(logits.reshape(-1, height, width), boxes[start : start + CHUNK], strict=True):
            left, top, right, bottom = np.ceil(np.clip(box, 0, (*shape[::-1], *shape[::-1]))).astype(int).tolist()
            rows, columns = down[top:bottom], across[left:right]
            inside = _used(rows), _used(columns)
            pixels = rows[:, inside[0]] @ values[inside] @ columns[:, inside[1]].T > 0
            yield Mask(pixels, left, top, (shape[0], shape[1])) if pixels.any() else None


def _part(row: np.ndarray, axis: int, count: int, size: int) -> tuple[int, int]:
    """Of one axis of the input, the first pixel that shows the picture, and how many do."""
    scale = row[axis]
    first, length = row[2] - scale / 2 + 0.5, scale * count
    whole = round(first), round(length)
    near = abs(first - whole[0]) + abs(length - whole[1]) < 1e-3
    if row[1 - axis] or not near or whole[0] < 0 or whole[1] < 1 or sum(whole) > size:
        raise InputError(
            f"The picture lies at {first:.1f} to {first + length:.1f} of an input of {size} pixels: masks can only be "
            "cut out where it lies upright and whole. Use the fit 'letterbox', 'corner' or 'squeeze'."
        )
    return whole


def _stretch(cells: int, factor: int, first: int, length: int, count: int) -> np.ndarray:
    """(count, cells) float32: from cells to pixels, through `length` cells of those that are `factor` times as many."""
    return (_bilinear(length, count) @ _bilinear(cells, cells * factor)[first : first + length]).astype(np.float32)


def _bilinear(before: int, after: int) -> np.ndarray:
    """(after, before): the weights by which one axis is resized, as torch's without align_corners."""
    where = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    low = where.astype(np.int64)
    weights = np.zeros((after, before))
    weights[np.arange(after), low] = 1 - (where - low)
    weights[np.arange(after), np.minimum(low + 1, before - 1)] += where - low
    return weights


def _used(weights: np.ndarray) -> slice:
    """The cells that some pixels depend on."""
    used = np.flatnonzero(weights.any(0))
    return slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0)
