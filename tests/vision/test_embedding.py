"""Distances of embeddings against a loop, and faces that are turned upright against least squares."""

import math

import cv2
import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision import align_face, cosine_distances
from netdefs.vision.faces import TEMPLATE, placement_of_face
from netdefs.vision.geometry import apply


def test_distances():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(3, 8)) * [[1], [100], [0.01]], rng.normal(size=(4, 8))
    found = cosine_distances(first, second)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            assert found[i, j] == pytest.approx(1 - a @ b / math.sqrt(a @ a) / math.sqrt(b @ b), abs=1e-6)
    assert cosine_distances(first, -first).diagonal() == pytest.approx(2, abs=1e-6)


def test_what_has_no_distance():
    good = np.ones((2, 4))
    with pytest.raises(InputError, match=r"4 features can't be compared with those of 5"):
        cosine_distances(good, np.ones((2, 5)))
    with pytest.raises(InputError, match="Embedding 1 of 2 is all zero"):
        cosine_distances(good, [[1, 0, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(InputError, match=r"\(things, features\) of numbers, not \(4,\)"):
        cosine_distances(good, good[0])
    with pytest.raises(InputError, match="1 NaN"):
        cosine_distances(good, [[1, 0, 0, np.nan]])


def test_the_best_turn_and_scale():
    rng = np.random.default_rng(1)
    for _ in range(20):
        landmarks = TEMPLATE @ rng.normal(size=(2, 2)) + rng.normal(0, 9, (5, 2)) + 200
        x, y = landmarks.T
        one, zero = np.ones(5), np.zeros(5)
        equations = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
        a, b, right, down = np.linalg.lstsq(equations, TEMPLATE.T.ravel(), rcond=None)[0]
        np.testing.assert_allclose(placement_of_face(landmarks), [[a, -b, right], [b, a, down]], atol=1e-9)


@pytest.mark.parametrize("size", [112, 224])
def test_a_turned_face_comes_upright(size):
    angle, scale = math.radians(35), 1.7
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    landmarks = TEMPLATE @ turn.T + (150, 60)
    image = np.zeros((400, 500, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(image, (round(x), round(y)), 5, (255, 255, 255), cv2.FILLED)
    face = align_face(image, np.column_stack([landmarks, np.ones(5)]), size)
    assert face.shape == (size, size, 3)
    for x, y in TEMPLATE * size / 112:
        assert face[round(y), round(x)].min() > 250
    np.testing.assert_allclose(apply(placement_of_face(landmarks, size), landmarks), TEMPLATE * size / 112, atol=1e-9)


def test_what_is_no_face():
    image = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(InputError, match="5 landmarks"):
        align_face(image, TEMPLATE[:4])
    with pytest.raises(InputError, match="missing"):
        align_face(image, TEMPLATE * [1, np.nan])
    with pytest.raises(InputError, match="all at one place"):
        align_face(image, np.ones((5, 2)))
    with pytest.raises(InputError, match="0 x 0"):
        align_face(image, TEMPLATE, 0)
