"""What people lack, against a search of every pixel."""

import numpy as np
import pytest

from netdefs.vision.grouping import decode_grouping, group
from netdefs.vision.peaks import peaks
from netdefs.vision.refine import refine
from tests.vision import plain_grouping as plain
from tests.vision.synthetic import bumps, crowd, heatmaps, tag_maps


@pytest.mark.parametrize("tags", [1, 2])
@pytest.mark.parametrize("background", ["noise", "zero", "levels", "negative"])
@pytest.mark.parametrize("shape", [(37, 23), (64, 48), (5, 7)])
def test_refine_finds_what_a_search_of_all_pixels_finds(shape, background, tags):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        heat = {
            "noise": rng.random(shape),
            "zero": bumps(rng.uniform(0, min(shape), (3, 2)), shape, shape) * (rng.random(shape) < 0.5),
            "levels": rng.integers(0, 3, shape) / 2,
            "negative": rng.uniform(-1, 0.01, shape),
        }[background].astype(np.float32)[None]
        tag = rng.integers(-3, 3, (tags, 1, *shape)) if seed % 2 else rng.uniform(-9, 9, (tags, 1, *shape))
        tag = tag.astype(np.float32)
        means = rng.uniform(-12, 12, (6, tags)) if seed % 3 else rng.integers(-3, 3, (6, tags)).astype(float)
        found = refine(heat, tag, np.tile(np.float32((np.nan, np.nan, 0)), (6, 1, 1)), means)
        for one, mean in zip(found[:, 0], means.astype(np.float32), strict=True):
            y, x = plain.best_pixel(heat[0], tag[:, 0], mean)
            score = heat[0, y, x]
            expected = (*plain.in_pixel(heat[0], y, x), score) if score > 0 else (np.nan, np.nan, 0)
            np.testing.assert_array_equal(one, np.float32(expected))


def test_a_weak_keypoint_is_found_by_its_tag():
    """Below the threshold it starts no person and joins none, but refine finds it for the person whose tag it has."""
    rng = np.random.default_rng(3)
    there = crowd(rng, 6, (256, 256), 120, apart=12)
    heights = np.where(rng.random(there.seen.shape) < 0.3, 0.08, 1.0)
    heat = heatmaps(there, (256, 256), heights)
    tags = tag_maps(there, (256, 256), np.arange(6) * 2.0, rng.uniform(20, 30, heat.shape))[None]
    found = decode_grouping(heat, tags, np.eye(2, 3), (256, 256))
    everything = np.array([one.keypoints for one in found])
    assert len(found) == 6 and ((everything[:, :, 2] < 0.1) == 0).sum() == (heights == 1).sum()
    for points in there.points:
        assert np.abs(everything[:, :, :2] - points).max((1, 2)).min() <= 0.5
    before, _ = group(*peaks(heat, tags))
    assert np.isnan(before[:, :, 0]).sum() == (heights < 1).sum()
    np.testing.assert_allclose(sorted(one.score for one in found), sorted(before[:, :, 2].mean(1)))
