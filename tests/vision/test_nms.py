"""Suppression against loops over pairs of boxes, and against answers that are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdefs.vision.nms import class_nms, nms, probiou, rotated_nms
from tests.vision import plain


def crowd(seed, count, classes, places=8, grid=False):
    """Boxes that pile up at a few places: (n, 4) x1, y1, x2, y2, scores, labels. On a grid there are many ties."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(40, 600, (places, 2))[rng.integers(0, places, count)] + rng.normal(0, 6, (count, 2))
    half = np.exp(rng.normal(3.4, 0.3, (count, 2)))
    boxes = np.concatenate([centres - half, centres + half], 1)
    scores = rng.random(count)
    if grid:
        boxes, scores = boxes.round(-1), scores.round(1)
    return boxes.astype(np.float32), scores.astype(np.float32), rng.integers(0, classes, count)


def rotated_crowd(seed, count, classes):
    boxes, scores, labels = crowd(seed, count, classes)
    angles = np.random.default_rng(seed).uniform(-math.pi / 4, 3 * math.pi / 4, (count, 1))
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + sides / 2, sides, angles], 1).astype(np.float32), scores, labels


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 0.6, 0.7, 1.0])
def test_crowds(threshold, grid):
    for seed in range(3):
        boxes, scores, _ = crowd(seed, 200, 1, grid=grid)
        assert nms(boxes, scores, threshold).tolist() == plain.nms(boxes, scores, threshold)


@pytest.mark.parametrize("grid", [False, True])
def test_crowds_of_many_classes(grid):
    for seed in range(3):
        boxes, scores, labels = crowd(seed, 250, 80, places=2, grid=grid)
        moved = plain.moved(boxes, labels, 7680)
        assert class_nms(boxes, scores, labels, 0.45, offset=7680.0).tolist() == plain.nms(moved, scores, 0.45)
        alone = plain.nms(boxes, scores, 0.45, apart=lambda i, j, labels=labels: labels[i] != labels[j])
        assert class_nms(boxes, scores, labels, 0.45).tolist() == alone


def test_offsets_round_as_upstream_rounds_them():
    """At 79 * 7680 coordinates come in sixteenths of a pixel: that is part of what upstream computes."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 6.97, 10]], np.float32)  # 6.97 becomes 7
    scores, labels = np.array([0.9, 0.8], np.float32), np.array([79, 79])
    exact = class_nms(boxes, scores, labels, 0.699)
    offset = class_nms(boxes, scores, labels, 0.699, offset=7680.0)
    assert exact.tolist() == [0, 1] == plain.nms(boxes, scores, 0.699)
    assert offset.tolist() == [0] == plain.nms(plain.moved(boxes, labels, 7680), scores, 0.699)


def test_a_thousand_overlapping_boxes():
    """Each is a pixel further; those up to 3 pixels apart overlap by more than a half."""
    boxes = np.array([[i, 0, i + 10, 10] for i in range(1000)], np.float32)
    scores = np.linspace(1, 0.5, 1000, dtype=np.float32)
    assert nms(boxes, scores, 0.5).tolist() == list(range(0, 1000, 4))
    assert nms(boxes, scores[::-1], 0.5).tolist() == list(range(999, 0, -4))
    assert nms(boxes, scores, 0.5, limit=7).tolist() == list(range(0, 28, 4))
    same = np.repeat(boxes[:1], 1000, 0)
    assert nms(same, scores, 0.99).tolist() == [0]
    assert class_nms(same, scores, np.arange(1000) % 3, 0.5, limit=2).tolist() == [0, 1]


def test_of_equal_scores_the_first_box_wins():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 0, 60, 10], [50, 0, 60, 9]], np.float32)
    assert nms(boxes, np.full(4, 0.5, np.float32), 0.5).tolist() == [0, 2]
    assert nms(boxes[::-1], np.full(4, 0.5, np.float32), 0.5).tolist() == [0, 2]
    labels = np.array([1, 0, 1, 0])
    assert class_nms(boxes, np.full(4, 0.5, np.float32), labels, 0.5).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("height", "threshold", "kept"),
    [
        (5, 0.5, 2),  # no more than the threshold
        (5, 0.4999, 1),
        (7, 0.7, 2),  # 0.7 as float32 is less than 0.7
        (6, 0.6, 1),  # 0.6 as float32 is more than 0.6
    ],
)
def test_overlaps_that_equal_the_threshold(height, threshold, kept):
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, height]], np.float32)
    assert len(nms(boxes, np.array([0.9, 0.8], np.float32), threshold)) == kept


def test_boxes_without_area_stay():
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10], [3, 0, 3, 10]], np.float32)
    assert nms(boxes, np.array([0.9, 0.8, 0.7, 0.6], np.float32), 0.0).tolist() == [0, 1, 2, 3]


def test_nothing_and_one():
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert nms(*none[:2], 0.5).shape == class_nms(*none, 0.5).shape == (0,)
    assert class_nms(*none, 0.5, offset=7680.0).dtype == np.int64
    assert rotated_nms(np.zeros((0, 5), np.float32), *none[1:], 0.5).shape == (0,)
    one = np.array([[1, 2, 3, 4]], np.float32), np.array([0.3], np.float32), np.array([7])
    assert nms(*one[:2], 0.5).tolist() == class_nms(*one, 0.5).tolist() == [0]


def test_a_limit_counts_all_classes():
    boxes, scores, labels = crowd(0, 300, 20)
    every = class_nms(boxes, scores, labels, 0.6)
    assert len(every) > 60
    assert class_nms(boxes, scores, labels, 0.6, limit=50).tolist() == every[:50].tolist()
    assert nms(boxes, scores, 1.0, limit=100).tolist() == plain.best_first(scores)[:100]


@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 4, st.integers(0, 5)), max_size=25),
    st.sampled_from([0.1, 0.25, 0.5, 0.75]),
)
def test_what_stays_and_what_goes(numbers, threshold):
    """No two that stay overlap too much, and each one that goes has a better one that stays over it."""
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in numbers], np.float32).reshape(-1, 4)
    scores = np.array([score for *_, score in numbers], np.float32)
    kept = nms(boxes, scores, threshold).tolist()
    assert kept == sorted(kept, key=lambda i: (-scores[i], i))
    for i in range(len(boxes)):
        over = [j for j in kept if j != i and plain.overlap(boxes[j], boxes[i]) > threshold]
        if i in kept:
            assert not over
        else:
            assert any((-scores[j], j) < (-scores[i], i) for j in over)


@pytest.mark.parametrize("threshold", [0.1, 0.45, 0.7])
def test_crowds_of_rotated_boxes(threshold):
    for seed in range(3):
        boxes, scores, labels = rotated_crowd(seed, 150, 3)
        expected, near = plain.rotated_nms(boxes, scores, labels, threshold)
        assert near > 2e-6, "the scene is no test: rounding decides"
        assert rotated_nms(boxes, scores, labels, threshold, offset=7680.0).tolist() == expected
        assert rotated_nms(boxes, scores, labels, threshold, limit=5, offset=7680.0).tolist() == expected[:5]


def test_rotated_boxes_that_go_take_others_with_them():
    """The second lies over the first and goes; the third lies over the second only, and goes as well."""
    boxes = np.array([[x, 0, 40, 20, 0] for x in (0, 8, 16)], np.float32)
    scores, labels = np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, int)
    near, far = probiou(boxes[:1], boxes[1:])[0]
    threshold = float(near + far) / 2
    assert rotated_nms(boxes, scores, labels, threshold).tolist() == [0]
    assert rotated_nms(boxes, scores, np.array([0, 1, 0]), threshold, offset=7680.0).tolist() == [0, 1, 2]
    assert rotated_nms(boxes[[0, 2]], scores[:2], labels[:2], threshold).tolist() == [0, 1]


def test_probiou():
    boxes, _, _ = rotated_crowd(5, 40, 1)
    expected = [[plain.probiou(a, b) for b in boxes] for a in boxes]
    assert np.allclose(probiou(boxes, boxes[:30]), np.array(expected)[:, :30], atol=2e-3)
    square = np.array([[0, 0, 12, 12, 0.3]], np.float32)
    same = np.array([[0, 0, 12, 12, 0.3 + math.pi / 2], [500, 0, 12, 12, 0], [6, 0, 12, 12, 1]], np.float32)
    # A square has the variance 12^2 / 12 in every direction, however it is turned: 6 pixels are 6^2 / (8 * 12) away.
    assert probiou(square, same)[0] == pytest.approx([1, 0, 1 - math.sqrt(1 - math.exp(-36 / 96))], abs=1e-3)
