"""Reading a picture and bringing it into the form a network wants."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require

# How many times longer than the crop a picture may be once it is resized: beyond that it fills the memory for nothing.
LARGEST = 100


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 in BGR order, turned as its EXIF data says.

    Raises:
        InputError: the file is not there or is no picture that OpenCV can read.
    """
    cv2 = require("cv2", "vision")
    if not Path(path).is_file():
        raise InputError(f"There is no picture {path}.")
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if Path(path).stat().st_size else None
    if image is None:
        raise InputError(f"{path} is not a picture that OpenCV can read (JPEG, PNG, BMP, WebP, TIFF ...).")
    return np.asarray(image)


def preprocess(image: np.ndarray, recipe: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """A picture as a network's input.

    Args:
        image: (H, W, 3) uint8, BGR, as `read_image` gives it.
        recipe: the fields of `netdefs.core.preprocess.Preprocess`; an engine keeps them as `engine.info["preprocess"]`.
        size: (height, width) of the input.

    Returns:
        (1, C, height, width) float32.

    Raises:
        InputError: the array is no such picture, or the crop would show less than a hundredth of it.
    """
    cv2 = require("cv2", "vision")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(f"A picture is (height, width, 3) of uint8, not {image.shape} of {image.dtype}.")
    height, width = size
    if recipe["crop_pct"] is None:
        image = _resize(image, height, width)
    else:
        # The smallest picture of the same proportions that still covers the crop with the margin around it.
        ratio = max(height / image.shape[0], width / image.shape[1]) / recipe["crop_pct"]
        tall, wide = (max(round(n * ratio), m) for n, m in zip(image.shape[:2], size, strict=True))
        if max(tall / height, wide / width) > LARGEST:
            raise InputError(
                f"A picture of {image.shape[0]}x{image.shape[1]} is too long and narrow: the middle {height}x{width} "
                f"of {tall}x{wide} would be all that is seen of it. Cut out the part that matters."
            )
        top, left = round((tall - height) / 2), round((wide - width) / 2)
        image = _resize(image, tall, wide)[top : top + height, left : left + width]
    if recipe["color"] == "RGB":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    elif recipe["color"] == "GRAY":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[:, :, None]
    mean, std = (np.asarray(recipe[key], np.float32) for key in ("mean", "std"))
    values = (image.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    cv2 = require("cv2", "vision")
    shrinks = height < image.shape[0]
    # Averaging over areas comes closest to PIL's antialiased resize, which the networks were trained with.
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
