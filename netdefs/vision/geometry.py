"""Between a picture's pixels and a network's: affine maps, as (2, 3) matrices with pixel centres at whole numbers."""

import numpy as np

from netdefs.core.errors import InputError


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points: x' = matrix @ (x, y, 1).

    Args:
        matrix: (2, 3), or (..., 2, 3) with points of (..., K, 2).
        points: (..., 2) x and y.

    Returns:
        (..., 2) float64.
    """
    matrix, points = np.asarray(matrix, np.float64), np.asarray(points, np.float64)
    offset = matrix[..., 2] if matrix.ndim == 2 else matrix[..., None, :, 2]
    return np.asarray(points @ matrix[..., :2].swapaxes(-1, -2) + offset)


def invert(placement: np.ndarray) -> np.ndarray:
    """The map back: (..., 2, 3) float64.

    Raises:
        InputError: the map has none, because it flattens the plane or holds a number that is not finite.
    """
    placement = np.asarray(placement, np.float64)
    linear = placement[..., :2]
    determinant = np.linalg.det(linear)
    if not np.isfinite(placement).all() or (determinant == 0).any():
        raise InputError(f"The placement {placement.tolist()} can't be undone: it is not a map from plane to plane.")
    back = np.linalg.inv(linear)
    return np.concatenate([back, -back @ placement[..., 2:]], axis=-1)


def to_picture(points: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """Points of a network's input as points of the picture.

    Args:
        points: (..., 2) x and y in pixels of the input.
        placement: (2, 3) from `netdefs.vision.placement`, or (..., 2, 3) with points of (..., K, 2).

    Returns:
        (..., 2) float64, in pixels of the picture.
    """
    return apply(invert(placement), points)
