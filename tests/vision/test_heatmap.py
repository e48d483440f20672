"""Heat maps of crops against loops, and against keypoints that are known."""

import cv2
import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision.heatmap import decode_heatmaps, merge_flipped, mirrored
from tests.vision.synthetic import bumps

SIZE = (256, 192)
NOWHERE = np.tile(np.eye(2, 3), (1, 1, 1))


def plain(heatmaps, placements, size):
    """Upstream's rule, pixel by pixel, in Python's numbers."""
    result = []
    for maps, placement in zip(heatmaps.tolist(), placements, strict=True):
        for heat in maps:
            height, width = len(heat), len(heat[0])
            score, y, x = max((heat[y][x], -y, -x) for y in range(height) for x in range(width))
            x, y = -x, -y
            if score <= 0:
                result.append((np.nan, np.nan, 0))
                continue
            px, py = float(x), float(y)
            if 1 < x < width - 1 and 1 < y < height - 1:
                px += 0.25 * np.sign(heat[y][x + 1] - heat[y][x - 1])
                py += 0.25 * np.sign(heat[y + 1][x] - heat[y - 1][x])
            target = np.array([px * size[1] / width, py * size[0] / height]) - placement[:, 2]
            result.append((*np.linalg.solve(placement[:, :2], target), score))
    return np.array(result).reshape(*heatmaps.shape[:2], 3)


def turned(rng, count):
    """Placements that turn, shift and scale."""
    angles, scales = rng.uniform(-3, 3, count), rng.uniform(0.2, 3, count)
    linear = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    return np.concatenate([linear * scales[:, None, None], rng.uniform(-300, 300, (count, 2, 1))], -1)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("shape", [(3, 17, 16, 12), (1, 1, 1, 1), (2, 5, 3, 4), (4, 2, 1, 9)])
def test_against_loops(shape, levels):
    """Noise, and noise of few levels: with equal highest pixels, with plateaus."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        heat = rng.standard_normal(shape) if levels is None else rng.integers(-1, levels, shape)
        heat = heat.astype(np.float32)
        placements = turned(rng, shape[0])
        found = decode_heatmaps(heat, placements, SIZE)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, plain(heat, placements, SIZE), rtol=1e-5, atol=1e-3)


def test_keypoints_are_within_half_a_pixel_of_the_map():
    rng = np.random.default_rng(0)
    placements = turned(rng, 8)
    truth = rng.uniform((0, 0), (SIZE[1] - 4, SIZE[0] - 4), (8, 17, 2))  # in the input
    # The rule's coordinates are those of pixel numbers, the bumps' are those of the pixels' left edges.
    heat = np.array([[bumps(point[None] + 2, (64, 48), SIZE) for point in crop] for crop in truth])
    found = decode_heatmaps(heat, placements, SIZE)
    back = np.einsum("nij,nkj->nki", placements[:, :, :2], found[..., :2]) + placements[:, None, :, 2]
    assert np.abs(back - truth).max() <= 0.5 * 4
    inner = ((truth > 8) & (truth < np.array([SIZE[1], SIZE[0]]) - 12)).all(-1)
    assert np.abs(back - truth)[inner].max() <= 0.25 * 4 + 0.01, "the quarter offset halves the error"
    assert found[..., 2].min() > 0.8


def test_centered_maps_against_their_enlargement():
    """OpenPose enlarges its maps as OpenCV does, where pixel centres are at whole numbers, and takes the highest pixel.

    Source: src/hand.py of Hzzone/pytorch-openpose.
    """
    rng, size = np.random.default_rng(3), (368, 368)
    middles = 8 * np.arange(46) + 3.5
    truth = rng.uniform(60, 300, (21, 2))
    distances = [(middles - x) ** 2 + (middles[:, None] - y) ** 2 for x, y in truth]
    heat = np.exp(-np.array(distances, np.float32)[None] / (2 * 7**2))
    found = decode_heatmaps(heat, NOWHERE, size, centered=True)[0, :, :2]
    large = [cv2.resize(each, size, interpolation=cv2.INTER_CUBIC) for each in heat[0]]
    highest = np.array([np.unravel_index(each.argmax(), size)[::-1] for each in large])
    assert np.abs(found - highest).max() <= 4, "half a pixel of the map"
    assert np.abs((found - truth).mean(0)).max() < 1, "on average it is where it is"


def test_a_keypoint_without_a_score_is_missing():
    heat = np.zeros((1, 3, 8, 8), np.float32)
    heat[0, 1] -= 1
    heat[0, 2, 4, 3] = 0.001
    found = decode_heatmaps(heat, NOWHERE, (8, 8))[0]
    np.testing.assert_array_equal(found[:2], [(np.nan, np.nan, 0)] * 2)
    np.testing.assert_array_equal(found[2], np.array([3, 4, 0.001], np.float32))


@pytest.mark.parametrize("x, expected", [(0, 0), (1, 1), (2, 2.25), (5, 5.25), (6, 6.25), (7, 7)])
def test_no_offset_at_the_border(x, expected):
    heat = np.zeros((1, 1, 9, 8), np.float32)
    heat[0, 0, 4, x] = 1
    heat[0, 0, 4, min(x + 1, 7)] += 0.5
    heat[0, 0, 5, x] = 0.5
    found = decode_heatmaps(heat, NOWHERE, (9, 8))[0, 0]
    assert found[:2].tolist() == [expected, 4.25 if 1 < x < 7 else 4]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad):
    heat = np.zeros((1, 2, 4, 4), np.float32)
    heat[0, 1, 2, 2] = bad
    with pytest.raises(InputError, match=r"Heat maps hold .* of 32: nothing can be read off them"):
        decode_heatmaps(heat, NOWHERE, SIZE)


def test_what_does_not_fit():
    with pytest.raises(
        InputError, match=r"Heat maps are \(crops, keypoints, height, width\) of numbers, not \(3, 4, 4\)"
    ):
        decode_heatmaps(np.zeros((3, 4, 4)), NOWHERE, SIZE)
    with pytest.raises(InputError, match=r"Placements of 2 are \(2, 2, 3\), not \(1, 2, 3\)"):
        decode_heatmaps(np.zeros((2, 3, 4, 4)), NOWHERE, SIZE)
    with pytest.raises(InputError, match=r"The input's size is \(height, width\) in pixels, not \(0, 4\)"):
        decode_heatmaps(np.zeros((1, 3, 4, 4)), NOWHERE, (0, 4))
    with pytest.raises(InputError, match="Heat maps of the mirrored crops are"):
        merge_flipped(np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 4, 5)), ())


@pytest.mark.parametrize("shift", [True, False])
def test_merging_against_loops(shift):
    rng = np.random.default_rng(0)
    heat, other = rng.random((2, 2, 5, 3, 7), np.float32)
    expected = np.zeros_like(heat)
    partner = {0: 0, 1: 3, 3: 1, 2: 4, 4: 2}
    for k in range(5):
        for x in range(7):
            source = max(x - 1, 0) if shift else x
            expected[:, k, :, x] = (heat[:, k, :, x] + other[:, partner[k], :, 6 - source]) / 2
    np.testing.assert_array_equal(merge_flipped(heat, other, [(1, 3), (4, 2)], shift), expected)


def test_a_mirrored_crop_adds_nothing_to_a_faultless_one():
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 170, (3, 2))
    heat = np.array([[bumps(point[None], (64, 48), SIZE) for point in points]])
    flipped = heat[:, [0, 2, 1], :, ::-1]
    np.testing.assert_allclose(merge_flipped(heat, flipped, [(1, 2)], shift=False), heat)


@pytest.mark.parametrize("pairs", [[(0, 5)], [(-1, 2)], [(1, 1)], [(0, 1), (1, 2)]])
def test_pairs_that_are_none(pairs):
    with pytest.raises(InputError, match="5 keypoints can't change places as"):
        mirrored(5, pairs)
