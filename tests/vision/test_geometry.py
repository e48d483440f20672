"""Affine maps against OpenCV's."""

import cv2
import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision.geometry import apply, invert, to_picture

RANDOM = np.random.default_rng(0)


def test_one_map_as_opencv_does_it():
    matrix = RANDOM.standard_normal((2, 3))
    points = RANDOM.standard_normal((4, 5, 2))
    expected = cv2.transform(points, matrix)
    np.testing.assert_allclose(apply(matrix, points), expected, atol=1e-12)
    np.testing.assert_allclose(apply(matrix, points[0, 0]), expected[0, 0], atol=1e-12)
    np.testing.assert_allclose(invert(matrix), cv2.invertAffineTransform(matrix), atol=1e-12)
    np.testing.assert_allclose(to_picture(expected, matrix), points, atol=1e-12)


def test_a_map_for_each_group_of_points():
    matrices = RANDOM.standard_normal((3, 2, 3))
    points = RANDOM.standard_normal((3, 5, 2))
    expected = np.stack([cv2.transform(p[None], m)[0] for p, m in zip(points, matrices, strict=True)])
    np.testing.assert_allclose(apply(matrices, points), expected, atol=1e-12)
    np.testing.assert_allclose(to_picture(expected, matrices), points, atol=1e-9)


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), [[1, 2, 3], [2, 4, 5]], [[1, 0, np.nan], [0, 1, 0]]])
def test_a_map_that_can_not_be_undone(matrix):
    with pytest.raises(InputError, match="can't be undone: it is not a map from plane to plane"):
        invert(np.array(matrix))
