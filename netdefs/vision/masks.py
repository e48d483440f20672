"""Segmentation: the class of every pixel of a picture, and a picture with its classes laid over it."""

from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.vision.geometry import invert
from netdefs.vision.maps import checked, checked_placements, checked_size

# How many values of a class are worked on at once: they stay in the processor's cache.
PIECE = 1 << 17


def decode_mask(
    logits: Any,
    placement: np.ndarray,
    input_size: tuple[int, int],
    shape: tuple[int, ...],
    align_corners: bool = False,
) -> np.ndarray:
    """The class of every pixel of a picture: logits resized to it bilinearly, and the class with the highest one.

    Besides the logits and the result, it needs about 3 MB: the picture is made piece by piece, class by class.

    Args:
        logits: (C, h, w).
        placement: (2, 3) from `netdefs.vision.placement`; without rotation.
        input_size: (height, width) of the network's input.
        shape: (height, width) of the picture; what follows is ignored.
        align_corners: the outermost pixels of the logits lie on those of the input, as in torch's resize of this name.

    Returns:
        (height, width) uint8, or uint16 if there are more than 256 classes. Of equal classes it is the first.

    Raises:
        InputError: the shapes don't fit, the logits hold NaN or infinity, or the input shows but a part of the picture.
    """
    logits = checked("Logits", logits, ("classes", "height", "width"))
    if len(logits) > 1 << 16:
        raise InputError(f"Of {len(logits)} classes no mask can be made: there may be {1 << 16}.")
    placement, input_size = checked_placements(placement), checked_size("The input's size", input_size)
    invert(placement)  # raises an error, if it is no map at all
    if placement[0, 1] or placement[1, 0]:
        raise InputError(f"The placement {placement.tolist()} turns the picture; masks are made of upright ones only.")
    height, width = checked_size("The picture's size", shape[:2])
    vertical, horizontal = (input_size[0], logits.shape[1]), (input_size[1], logits.shape[2])
    top, bottom, down = _between(placement[1, 1], placement[1, 2], height, *vertical, align_corners)
    left, right, across = _between(placement[0, 0], placement[0, 2], width, *horizontal, align_corners)
    labels = np.zeros((height, width), np.uint8 if len(logits) <= 256 else np.uint16)
    sideways = logits.transpose(0, 2, 1)
    step = max(PIECE // width, 1)
    for start in range(0, height, step):
        rows = slice(start, start + step)
        # Turned by a quarter, so that what is repeated along x are whole rows in memory.
        winner = np.zeros((width, len(top[rows])), labels.dtype)
        best = np.full(winner.shape, -np.inf, np.float32)
        for label, plane in enumerate(sideways):
            stretched = _blend(plane[:, top[rows]], plane[:, bottom[rows]], down[rows])
            values = _blend(stretched[left], stretched[right], across[:, None])
            better = values > best
            np.copyto(winner, label, where=better)
            np.maximum(best, values, out=best)
        labels[rows] = winner.T
    return labels


def overlay(image: np.ndarray, labels: np.ndarray, palette: Any, opacity: float = 0.5) -> np.ndarray:
    """A picture with the colors of its classes laid over it.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) whole numbers, as `decode_mask` gives them.
        palette: (C, 3) in 0 .. 255, one color per class, its channels in the picture's order.
        opacity: of the colors: 0 leaves the picture as it is, 1 shows nothing else.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: the shapes don't fit, a class has no color, or the opacity is not in 0 .. 1.
    """
    cv2 = require("cv2", "vision")
    colors = np.asarray(palette)
    if image.shape != (*labels.shape, 3) or image.dtype != np.uint8 or labels.dtype.kind not in "ui":
        raise InputError(
            f"A mask of {labels.shape} of {labels.dtype} can't be laid over a picture of {image.shape} of "
            f"{image.dtype}: it takes (H, W) whole numbers and (H, W, 3) of uint8."
        )
    if colors.ndim != 2 or colors.shape[1] != 3 or colors.min(initial=0) < 0 or colors.max(initial=0) > 255:
        raise InputError(f"A palette is (classes, 3) of 0 to 255, not {colors.shape} of {colors.dtype}.")
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(colors):
        raise InputError(f"There are classes up to {labels.max()}, but only {len(colors)} colors.")
    if not 0 <= opacity <= 1:
        raise InputError(f"The opacity is {opacity}; it can be 0 to 1.")
    return np.asarray(cv2.addWeighted(image, 1 - opacity, colors.astype(np.uint8)[labels], opacity, 0))


def _between(
    scale: float, offset: float, count: int, input_size: int, cells: int, align_corners: bool
) -> tuple[np.ndarray, ...]:
    """For `count` pixels along one axis: the cells of the logits before and after, and how far along each pixel is."""
    where = np.arange(count) * scale + offset  # in the input
    if where.min() < -0.5 - abs(scale) or where.max() > input_size - 0.5 + abs(scale):
        raise InputError(
            f"The picture lies at {where.min():.1f} to {where.max():.1f} of an input of {input_size} pixels: there are "
            "no classes for what the network did not see. Use the fit 'squeeze', 'letterbox' or 'corner'."
        )
    if align_corners:
        where = where * ((cells - 1) / max(input_size - 1, 1))
    else:  # as cv2.resize has it too
        where = (where + 0.5) * cells / input_size - 0.5
    where = np.clip(where, 0, cells - 1)
    before = where.astype(np.int64)
    return before, np.minimum(before + 1, cells - 1), (where - before).astype(np.float32)


def _blend(before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    """before + (after - before) * share, in `after`'s memory: it is a copy already."""
    after -= before
    after *= share
    after += before
    return after
