"""Faces: cutting them out by their five landmarks, as networks that compare faces want them."""

from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.vision.image import check_image

# Where left eye, right eye, nose, left and right corner of the mouth come to in a face of 112 x 112.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
SIZE = 112


def align_face(image: np.ndarray, landmarks: Any, size: int = SIZE) -> np.ndarray:
    """A face turned upright, scaled and cut out of a picture: black where the picture ends.

        face = align_face(image, found.instances[0].keypoints)

    Args:
        image: (H, W, 3) uint8, BGR.
        landmarks: (5, 2) or (5, 3), x and y in the picture of the eye at the left of the picture, the other one, the
            nose, and the corners of the mouth, from left to right; a third value is not looked at.
        size: height and width of what is cut out.

    Returns:
        (size, size, 3) uint8, BGR.

    Raises:
        InputError: the picture or the landmarks can't be used: one is missing, or all are at one place.

    Source: norm_crop in python-package/insightface/utils/face_align.py of deepinsight/insightface (MIT); the best map
    that turns, scales and moves is Umeyama's, https://doi.org/10.1109/34.88573.
    """
    check_image(image)
    if size < 1:
        raise InputError(f"A face of {size} x {size} pixels can't be.")
    matrix = placement_of_face(landmarks, size)
    warped = require("cv2", "vision").warpAffine(image, matrix, (size, size))
    return np.asarray(warped)


def placement_of_face(landmarks: Any, size: int = SIZE) -> np.ndarray:
    """The map of `align_face` from the picture to what is cut out: (2, 3) float64.

    Raises:
        InputError: a landmark is missing, or all are at one place.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape not in ((5, 2), (5, 3)):
        raise InputError(f"A face has 5 landmarks, (5, 2) or (5, 3) numbers, not {points.shape}.")
    if not np.isfinite(points[:, :2]).all():
        raise InputError("A landmark of the face is missing: it is NaN or infinite.")
    # In the plane, turning and scaling is the product with a complex number.
    seen, wanted = points[:, 0] + 1j * points[:, 1], (TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]) * size / SIZE
    offset = seen - seen.mean()
    spread = (np.abs(offset) ** 2).sum()
    if spread == 0:
        raise InputError("The landmarks of the face are all at one place: nothing says how large it is.")
    turn = (offset.conj() * (wanted - wanted.mean())).sum() / spread
    move = wanted.mean() - turn * seen.mean()
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])
