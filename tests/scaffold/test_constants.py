"""Constants as a person writes them, and the tables of windows, against loops over places."""

import itertools
import math

import numpy as np
import pytest

from netdefs.core import tables
from netdefs.scaffold.constants import expression


def places(height, width):
    return list(itertools.product(range(height), range(width)))


def swin_index(height, width):
    """Row by row, from where each pair of places lies."""
    return np.array(
        [
            [(a - c + height - 1) * (2 * width - 1) + b - d + width - 1 for c, d in places(height, width)]
            for a, b in places(height, width)
        ]
    )


def levit_index(height, width, stride):
    """As LeViT numbers distances: in the order in which it meets them."""
    numbers, rows = {}, []
    for a, b in places(height, width):
        for c, d in places(height, width):
            numbers.setdefault((abs(a - c), abs(b - d)), len(numbers))
    for a, b in itertools.product(range(0, height, stride), range(0, width, stride)):
        rows.append([numbers[abs(a - c), abs(b - d)] for c, d in places(height, width)])
    return np.array(rows)


def swin_mask(height, width, window, shift):
    """As Swin makes it: regions are numbered in a picture, which is cut into windows."""
    picture, number = np.zeros((height, width)), 0
    for rows in (slice(0, -window[0]), slice(-window[0], -shift[0] or None), slice(-shift[0], None)):
        for columns in (slice(0, -window[1]), slice(-window[1], -shift[1] or None), slice(-shift[1], None)):
            picture[rows, columns] = number
            number += 1
    windows = [
        picture[y : y + window[0], x : x + window[1]].reshape(-1)
        for y in range(0, height, window[0])
        for x in range(0, width, window[1])
    ]
    return np.array([[[0.0 if a == b else -100.0 for b in each] for a in each] for each in windows], np.float32)


@pytest.mark.parametrize("size", [(7, 7), (3, 5), (1, 4)])
def test_index_of_relative_positions(size):
    assert np.array_equal(tables.relative_position_index(*size), swin_index(*size))


def test_index_with_a_class_token():
    index, inner = tables.relative_position_index(3, 4, class_token=True), swin_index(3, 4)
    assert index.shape == (13, 13) and np.array_equal(index[1:, 1:], inner)
    assert inner.max() + 1 == index[0, 1:].min() == index[0, 1:].max()
    assert set(index[1:, 0]) == {inner.max() + 2} and index[0, 0] == inner.max() + 3


@pytest.mark.parametrize(("height", "width", "stride"), [(4, 4, 1), (5, 5, 2), (6, 6, 2)])
def test_index_of_distances(height, width, stride):
    assert np.array_equal(tables.relative_distance_index(height, width, stride), levit_index(height, width, stride))


@pytest.mark.parametrize(("size", "window", "shift"), [((14, 14), (7, 7), (3, 3)), ((8, 12), (4, 4), (2, 2))])
def test_mask_of_shifted_windows(size, window, shift):
    assert np.array_equal(tables.shifted_window_mask(*size, window, shift), swin_mask(*size, window, shift))


def test_mask_of_a_shift_along_one_axis():
    mask = tables.shifted_window_mask(4, 8, (4, 4), (0, 2), value=-1.0)
    side = np.array([0, 0, 1, 1] * 4)  # the last window: its left half was the last two columns before
    assert not mask[0].any()
    assert np.array_equal(mask[1], np.where(side[:, None] == side, 0.0, -1.0))


def test_places_on_a_scale_of_logarithms():
    found = tables.relative_places(2, 3)
    assert found.shape == (1, 3, 5, 2)
    third = math.log2(4 + 1) / math.log2(8)  # half of the longest way there
    np.testing.assert_allclose(found[0, 0, :, 1], [-math.log2(9) / 3, -third, 0, third, math.log2(9) / 3], rtol=1e-6)


TEXTS = [
    (np.float32(0.1), "0.1"),
    (np.array(3), "3"),
    (np.zeros((2, 3), np.float32), "np.zeros((2, 3))"),
    (np.ones(4, bool), "np.ones((4,), bool)"),
    (np.full((2, 2), -1e-5, np.float32), "np.full((2, 2), -1e-5)"),
    (np.arange(50), "np.arange(50)"),
    (np.arange(40, 0, -2), "np.arange(40, 0, -2)"),
    (np.arange(50).reshape(5, 10), "np.arange(50).reshape(5, 10)"),
    (np.arange(0.5, 20, dtype=np.float32), "np.arange(0.5, 20.5)"),
    (np.linspace(-1, 1, 33, dtype=np.float32), "np.linspace(-1.0, 1.0, 33)"),
    (np.array([[1, 2], [3, 5]]), "np.array([[1, 2], [3, 5]])"),
    (np.array([0.25, -0.5], np.float32), "np.array([0.25, -0.5])"),
    (np.indices((9, 8)), "np.indices((9, 8))"),
    (np.eye(9, dtype=np.float32), "np.eye(9)"),
    (np.tri(9, dtype=bool), "np.tri(9, dtype=bool)"),
    (np.triu(np.full((9, 9), -np.inf, np.float32), 1), 'np.triu(np.full((9, 9), -float("inf")), 1)'),
    (swin_index(7, 7), "relative_position_index(7, 7)"),
    (swin_index(7, 7).reshape(-1), "relative_position_index(7, 7).reshape(-1)"),
    (levit_index(14, 14, 1), "relative_distance_index(14, 14)"),
    (levit_index(14, 14, 2), "relative_distance_index(14, 14, 2)"),
    (swin_mask(14, 14, (7, 7), (3, 3)), "shifted_window_mask(14, 14, (7, 7), (3, 3))"),
    (
        swin_mask(8, 8, (4, 4), (2, 2))[None, :, None],
        "shifted_window_mask(8, 8, (4, 4), (2, 2)).reshape(1, 4, 1, 16, 16)",
    ),
]


@pytest.mark.parametrize(("array", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_texts(array, text):
    assert expression(array) == text


def test_a_grid_of_cells_is_written_by_its_axes():
    ys, xs = np.meshgrid(np.arange(20) + 0.5, np.arange(30) + 0.5, indexing="ij")
    grid = np.stack([xs, ys], -1).astype(np.float32)
    text = expression(grid)
    assert text is not None and "np.arange(0.5, 30.5)" in text
    assert np.array_equal(eval(text, {"np": np}), grid)


def test_what_follows_no_rule_has_no_text():
    values = np.random.default_rng(0).random((8, 8), np.float32)
    assert expression(values) is None
    index = swin_index(7, 7)
    index[3, 4] += 1
    assert expression(index) is None
    assert expression(np.arange(50.0).astype(np.float32) ** 2) is None
