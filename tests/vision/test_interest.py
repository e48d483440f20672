"""Points of a heat map against all pairs of pixels, descriptors against PyTorch's grid_sample, pairs against a loop."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from netdefs.core.errors import InputError
from netdefs.vision import Points, match_points
from netdefs.vision.interest import find_points, heatmap_of, peaks_apart

SAME = np.array([[1.0, 0, 0], [0, 1, 0]])


def outputs(rows=5, columns=7, features=16, seed=0):
    rng = np.random.default_rng(seed)
    semi = 2 * rng.standard_normal((65, rows, columns), dtype=np.float32)
    desc = rng.standard_normal((features, rows, columns), dtype=np.float32)
    return semi, desc / np.linalg.norm(desc, axis=0)


def plain(heat, threshold, radius):
    """Greedy over all pairs: x, y, score; best first, equal ones row by row."""
    order = sorted(np.ndindex(heat.shape), key=lambda at: (-heat[at], at))
    kept = []
    for y, x in order:
        if heat[y, x] >= threshold and all(max(abs(y - v), abs(x - u)) > radius for v, u in kept):
            kept.append((y, x))
    return kept


def test_cells_become_pixels_row_by_row():
    semi, _ = outputs()
    expected = F.pixel_shuffle(torch.from_numpy(semi)[None].softmax(1)[:, :64], 8)[0]
    np.testing.assert_allclose(heatmap_of(semi), expected[0], rtol=1e-5)
    assert heatmap_of(expected.numpy()) == pytest.approx(expected[0].numpy())
    one = np.full((65, 2, 3), -50, np.float32)
    one[8 * 5 + 2, 1, 2] = 50  # in the last cell of the second row, the pixel in row 5 and column 2
    assert np.argwhere(heatmap_of(one) > 0.9).tolist() == [[8 + 5, 16 + 2]]


@pytest.mark.parametrize("levels", [1000, 3], ids=["", "many equal"])
def test_peaks_are_as_of_all_pairs(levels):
    heat = np.random.default_rng(1).integers(1, levels + 1, (30, 40)) / np.float32(levels)
    assert list(zip(*peaks_apart(heat, 0.5, 4), strict=True)) == plain(heat, 0.5, 4)
    assert len(peaks_apart(heat, 1.5, 4)[0]) == 0


def test_points_and_descriptors():
    semi, desc = outputs()
    found = find_points(semi, desc, SAME, threshold=0.05)
    heat = heatmap_of(semi)
    expected = [(x, y) for y, x in plain(heat, 0.05, 4) if 4 <= x < 56 - 4 and 4 <= y < 40 - 4]
    assert found.keypoints[:, :2].tolist() == [list(map(float, at)) for at in expected] and len(found) > 5
    assert found.keypoints[:, 2].tolist() == [heat[y, x] for x, y in expected]
    grid = torch.tensor(expected, dtype=torch.float32) / torch.tensor([56 / 2, 40 / 2]) - 1
    read = F.grid_sample(torch.from_numpy(desc)[None], grid[None, None], align_corners=False)[0, :, 0].T
    np.testing.assert_allclose(found.descriptors, F.normalize(read), atol=1e-5)


def test_points_are_in_pixels_of_the_picture():
    semi, desc = outputs()
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])  # a picture twice as large
    here, there = find_points(semi, desc, SAME), find_points(semi, desc, half)
    np.testing.assert_allclose(there.keypoints[:, :2], 2 * here.keypoints[:, :2] + 0.5)


def test_a_picture_without_points():
    semi, desc = outputs()
    semi[64] = 99
    found = find_points(semi, desc, SAME)
    assert len(found) == 0 and found.keypoints.shape == (0, 3) and found.descriptors.shape == (0, 16)
    pairs, distances = match_points(found, find_points(*outputs(), SAME))
    assert pairs.shape == (0, 2) and distances.shape == (0,)


def some(count, seed, features=3):
    rows = np.random.default_rng(seed).standard_normal((count, features), dtype=np.float32)
    return Points(np.zeros((count, 3), np.float32), rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_pairs_are_nearest_to_each_other():
    first, second = some(40, 0), some(30, 1)
    apart = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in second.descriptors] for a in first.descriptors])
    expected = [
        (i, j)
        for i in range(40)
        for j in range(30)
        if apart[i, j] == apart[i].min() == apart[:, j].min() and apart[i, j] < 0.2
    ]
    pairs, distances = match_points(first, second, threshold=0.2)
    assert list(map(tuple, pairs)) == expected and 5 < len(expected) < 30
    np.testing.assert_allclose(distances, [apart[pair] for pair in expected], atol=1e-3)
    same, nothing = match_points(first, first)
    assert same.tolist() == [[i, i] for i in range(40)] and nothing.max() < 1e-3


def test_what_can_not_be():
    semi, desc = outputs()
    with pytest.raises(InputError, match=r"cells in 'semi' are \(65, height, width\)"):
        find_points(semi[:64], desc, SAME)
    with pytest.raises(InputError, match="cells of 8 x 8 pixels, not"):
        find_points(np.zeros((1, 41, 56)), desc, SAME)
    with pytest.raises(InputError, match=r"Descriptors in 'desc' are \(features, 5, 7\)"):
        find_points(semi, desc[:, :4], SAME)
    with pytest.raises(InputError, match=r"threshold is 1\.5; it can be 0 to 1"):
        find_points(semi, desc, SAME, 1.5)
    with pytest.raises(InputError, match="3 features can't be compared with those of 4"):
        match_points(some(2, 0), some(2, 0, features=4))
    with pytest.raises(InputError, match="can't be below 0"):
        match_points(some(2, 0), some(2, 0), -0.1)
