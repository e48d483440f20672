"""Reading a picture and bringing it into the form a network wants."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.core.preprocess import BOXED, FITS
from netdefs.vision.geometry import apply, invert

# How many times longer than the crop a picture may be once it is resized: beyond that it fills the memory for nothing.
LARGEST = 100
LARGEST_SEEN = 2**15 - 1  # pixels along a side, in OpenCV's warpAffine
CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 in BGR order, turned as its EXIF data says.

    Raises:
        InputError: the file is not there or is no picture that OpenCV can read, or it has too many pixels for it.
    """
    cv2 = require("cv2", "vision")
    if not Path(path).is_file():
        raise InputError(f"There is no picture {path}.")
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if Path(path).stat().st_size else None
    except cv2.error as error:  # a size that it refuses
        raise InputError(f"OpenCV can't read the picture {path}: {error.err or error}.") from error
    if image is None:
        raise InputError(f"{path} is not a picture that OpenCV can read (JPEG, PNG, BMP, WebP, TIFF ...).")
    return np.asarray(image)


def check_image(image: np.ndarray) -> None:
    """Raises InputError unless `image` is an array of (H, W, 3) uint8 and not empty."""
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"A picture is a numpy array of (height, width, 3) uint8, BGR, not a {type(image).__name__}: "
            "netdefs.vision.read_image makes one of a file."
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(f"A picture is (height, width, 3) of uint8, not {image.shape} of {image.dtype}.")


def placement(
    shape: Sequence[int], recipe: Mapping[str, Any], size: tuple[int, int], box: Sequence[float] | None = None
) -> np.ndarray:
    """Where `preprocess` puts a picture's pixels: the affine map from the picture to the input.

    Pixel centres are at whole numbers, as in OpenCV. For "box" the convention is that of the networks which are trained
    so: the middle of the box comes to (width / 2, height / 2), with one scale for both axes.

    Args:
        shape: (height, width) of the picture; what follows is ignored.
        recipe: the fields of `netdefs.core.preprocess.Preprocess`.
        size: (height, width) of the input.
        box: for the fits "box" and "stretch", (x1, y1, x2, y2) in the picture; by default the whole picture.

    Returns:
        (2, 3) float64.

    Raises:
        InputError: the fit is unknown, a size or the box can't be used, or the crop would show less than a hundredth of
            the picture.

    Source: "box" is get_affine_transform in lib/utils/transforms.py and _box2cs in lib/dataset/coco.py of
    leoxiaobin/deep-high-resolution-net.pytorch (MIT).
    """
    if recipe.get("fit") == "box":
        return _around(shape, size, (0, 0, shape[1], shape[0]) if box is None else box, recipe["margin"])
    if recipe.get("fit") == "stretch":
        left, top, right, bottom = _whole_pixels(shape, size, box)
        x, y = size[1] / (right - left), size[0] / (bottom - top)
        return np.array([[x, 0, (0.5 - left) * x - 0.5], [0, y, (0.5 - top) * y - 0.5]])
    if box is not None:
        raise InputError(
            f"A box is for networks that look into one (fit {' or '.join(map(repr, BOXED))}); this one's fit is "
            f"{recipe.get('fit')!r}."
        )
    (tall, wide), (top, left) = _resized(shape, recipe, size)
    x, y = wide / shape[1], tall / shape[0]
    return np.array([[x, 0, x / 2 - 0.5 + left], [0, y, y / 2 - 0.5 + top]])


def size_of(shape: Sequence[int], recipe: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of a network's input of this shape: (N, H, W, 3) if the network normalizes, else (N, C, H, W)."""
    first = 1 if recipe.get("place") == "in_network" else 2
    return int(shape[first]), int(shape[first + 1])


def letterbox_size(shape: Sequence[int], largest: tuple[int, int], stride: int = 32) -> tuple[int, int]:
    """The smallest input for a picture that upstream's `auto` letterbox makes: as large a picture, and less padding.

        letterbox_size((1080, 1920), (640, 640))  # (384, 640): the picture is 360 rows of it

    Args:
        shape: (height, width) of the picture; what follows is ignored.
        largest: (height, width) of the input that the picture would be fitted into, multiples of the stride.
        stride: the network's.

    Returns:
        (height, width), multiples of the stride, for `input_shape` and `preprocess`.

    Raises:
        InputError: a size is not positive, or `largest` is no multiple of the stride.

    Source: LetterBox(auto=True) in ultralytics/data/augment.py.
    """
    _check_sizes(shape, largest)
    if stride < 1 or any(size % stride for size in largest):
        raise InputError(f"An input of {largest[0]}x{largest[1]} is not made of multiples of the stride, {stride}.")
    ratio = min(new / old for new, old in zip(largest, shape, strict=False))
    seen = [max(round(old * ratio), 1) for old in shape[:2]]
    height, width = (size - (size - part) // stride * stride for size, part in zip(largest, seen, strict=True))
    return height, width


def short_side_size(shape: Sequence[int], shortest: int = 736, stride: int = 32) -> tuple[int, int]:
    """The input that a DBNet's own code takes for a picture: its shorter side `shortest`, the longer one rounded up.

        short_side_size((1080, 1920))  # (736, 1312)

    Args:
        shape: (height, width) of the picture; what follows is ignored.
        shortest: pixels along the shorter side, a multiple of the stride.
        stride: the network's.

    Returns:
        (height, width), multiples of the stride, for `input_shape` and `preprocess`.

    Raises:
        InputError: a size is not positive, or `shortest` is no multiple of the stride.

    Source: resize_image in demo.py of MhLiao/DB (no licence).
    """
    _check_sizes(shape, (shortest, shortest))
    if stride < 1 or shortest % stride:
        raise InputError(f"A side of {shortest} pixels is not made of multiples of the stride, {stride}.")
    height, width = (math.ceil(shortest / min(shape[:2]) * size / stride) * stride for size in shape[:2])
    return (shortest, width) if shape[0] < shape[1] else (height, shortest)


def preprocess(
    image: np.ndarray, recipe: Mapping[str, Any], size: tuple[int, int], box: Sequence[float] | None = None
) -> np.ndarray:
    """A picture as a network's input.

    Args:
        image: (H, W, 3) uint8, BGR, as `read_image` gives it.
        recipe: the fields of `netdefs.core.preprocess.Preprocess`; an engine keeps them as `engine.info["preprocess"]`.
        size: (height, width) of the input.
        box: for the fits "box" and "stretch", (x1, y1, x2, y2) of what to look at, in pixels of the picture; by default
            all of it.

    Returns:
        (1, C, height, width) float32; (1, height, width, 3) uint8 if the network does the rest itself.

    Raises:
        InputError: the array is no such picture, the recipe's colors or fit are unknown, a size or the box can't be
            used, or the crop would show less than a hundredth of the picture.
    """
    check_image(image)
    matrix = placement(image.shape, recipe, size, box)
    if recipe["fit"] == "box":
        image = _warp(image, matrix, size, recipe["pad"])
    elif recipe["fit"] == "stretch":
        left, top, right, bottom = _whole_pixels(image.shape, size, box)
        image = _resize(image[top:bottom, left:right], *size, recipe["fit"])
    else:
        (tall, wide), (top, left) = _resized(image.shape, recipe, size)
        seen = _resize(image, tall, wide, recipe["fit"])[max(-top, 0) :, max(-left, 0) :][: size[0], : size[1]]
        image = np.full((*size, 3), recipe["pad"], np.uint8)
        top, left = max(top, 0), max(left, 0)
        image[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return np.ascontiguousarray(image[None]) if recipe.get("place") == "in_network" else _normalized(image, recipe)


def _normalized(image: np.ndarray, recipe: Mapping[str, Any]) -> np.ndarray:
    cv2 = require("cv2", "vision")
    color = recipe["color"]
    if color not in CHANNELS:
        raise InputError(f"There is no order of channels {color!r}; there are: {', '.join(CHANNELS)}.")
    mean, std = (np.asarray(recipe[key], np.float32) for key in ("mean", "std"))
    if {mean.shape, std.shape} != {(CHANNELS[color],)}:
        raise InputError(f"{color} has {CHANNELS[color]} channels, but mean is {recipe['mean']}, std {recipe['std']}.")
    planes = cv2.split(image) if color != "GRAY" else (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY),)
    # A byte has 256 values only: they are normalized once, and looked up.
    tables = ((np.arange(256, dtype=np.float32)[:, None] / 255 - mean) / std).T
    values = np.empty((1, len(planes), *image.shape[:2]), np.float32)
    for plane, table, normalized in zip(planes[:: -1 if color == "RGB" else 1], tables, values[0], strict=True):
        cv2.LUT(plane, np.ascontiguousarray(table), normalized)
    return values


def _around(shape: Sequence[int], size: tuple[int, int], box: Sequence[float], margin: float) -> np.ndarray:
    """The map that shows `box`, enlarged to the input's proportions and by `margin`."""
    x1, y1, x2, y2 = _checked_box(shape, size, box)
    height, width = size
    scale = min(width / (x2 - x1), height / (y2 - y1)) / margin
    return np.array([[scale, 0, (width - (x1 + x2) * scale) / 2], [0, scale, (height - (y1 + y2) * scale) / 2]])


def _whole_pixels(
    shape: Sequence[int], size: tuple[int, int], box: Sequence[float] | None
) -> tuple[int, int, int, int]:
    """A box as whole pixels of the picture, rounded down: left, top, right, bottom; one pixel at least."""
    x1, y1, x2, y2 = _checked_box(shape, size, (0, 0, shape[1], shape[0]) if box is None else box)
    left, top = int(max(x1, 0)), int(max(y1, 0))
    return left, top, max(int(min(x2, shape[1])), left + 1), max(int(min(y2, shape[0])), top + 1)


def _checked_box(
    shape: Sequence[int], size: tuple[int, int], box: Sequence[float]
) -> tuple[float, float, float, float]:
    """A box that shows something of the picture."""
    _check_sizes(shape, size)
    given = ", ".join(f"{number:g}" for number in box)
    if not (len(box) == 4 and np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
        raise InputError(f"A box is x1, y1, x2, y2 with x1 < x2 and y1 < y2, not {given}.")
    x1, y1, x2, y2 = (float(number) for number in box)
    if x2 <= 0 or y2 <= 0 or x1 >= shape[1] or y1 >= shape[0]:
        raise InputError(f"The box {given} lies outside of the picture, which is {shape[1]} wide and {shape[0]} high.")
    return x1, y1, x2, y2


def _resized(
    shape: Sequence[int], recipe: Mapping[str, Any], size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) that the whole picture is resized to, and (top, left) of its first pixel in the input."""
    _check_sizes(shape, size)
    fit = recipe.get("fit")
    if fit == "squeeze":
        return (size[0], size[1]), (0, 0)
    ratios = [new / old for new, old in zip(size, shape, strict=False)]
    if fit == "crop":
        # The smallest picture of the same proportions that still covers the crop with the margin around it.
        ratio = max(ratios) / recipe["crop_pct"]
        tall, wide = (max(round(n * ratio), m) for n, m in zip(shape, size, strict=False))
        if max(tall / size[0], wide / size[1]) > LARGEST:
            raise InputError(
                f"A picture of {shape[0]}x{shape[1]} is too long and narrow: the middle {size[0]}x{size[1]} "
                f"of {tall}x{wide} would be all that is seen of it. Cut out the part that matters."
            )
        return (tall, wide), (-round((tall - size[0]) / 2), -round((wide - size[1]) / 2))
    if fit == "letterbox":
        # Ultralytics' rule, in LetterBox of ultralytics/data/augment.py: of an odd rest, the smaller half comes first.
        tall, wide = (max(round(n * min(ratios)), 1) for n in shape[:2])
        return (tall, wide), (round((size[0] - tall) / 2 - 0.1), round((size[1] - wide) / 2 - 0.1))
    if fit == "corner":
        # YOLOX's rule, in preproc of yolox/data/data_augment.py: rounded down.
        tall, wide = (max(int(n * min(ratios)), 1) for n in shape[:2])
        return (tall, wide), (0, 0)
    raise InputError(f"There is no way {fit!r} to fit a picture into the input; there are: {', '.join(FITS)}.")


def _check_sizes(shape: Sequence[int], size: tuple[int, int]) -> None:
    if min(*shape[:2], *size) < 1:
        raise InputError(f"A picture of {shape[0]}x{shape[1]} can't be brought to {size[0]}x{size[1]} pixels.")


def _warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], pad: int) -> np.ndarray:
    cv2 = require("cv2", "vision")
    # OpenCV 4 warps no larger pictures, so only the part that is seen goes in, and a pixel or two around it.
    first, last = apply(invert(matrix), np.array([(0, 0), (size[1] - 1, size[0] - 1)]))
    left, top = np.clip(np.floor(first) - 1, 0, (image.shape[1] - 1, image.shape[0] - 1)).astype(int)
    right, bottom = np.maximum(np.ceil(last) + 2, (left + 1, top + 1)).astype(int)
    part = image[top:bottom, left:right]
    if max(part.shape) >= LARGEST_SEEN:
        raise InputError(
            f"The part of a picture in one box is at most {LARGEST_SEEN - 1} pixels long; resize it first."
        )
    matrix = np.column_stack([matrix[:, :2], apply(matrix, np.array([left, top]))])
    return np.asarray(cv2.warpAffine(part, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(pad,) * 3))


def _resize(image: np.ndarray, height: int, width: int, fit: str) -> np.ndarray:
    cv2 = require("cv2", "vision")
    if fit in ("crop", "squeeze"):
        # Averaging over areas comes closest to PIL's antialiased resize, which the networks were trained with. It is
        # for the sides that shrink: where one grows, OpenCV would turn to another rule for both.
        smaller = min(width, image.shape[1]), min(height, image.shape[0])
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
