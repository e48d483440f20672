"""Associative embedding against a plain implementation, and against crowds that are known."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from netdefs.core.errors import InputError
from netdefs.vision.grouping import COCO, TagRules, aggregate, decode_grouping, decode_peaks, group
from netdefs.vision.maps import resized
from netdefs.vision.peaks import Peaks, peaks
from tests.vision import plain_grouping as plain
from tests.vision.synthetic import COCO_PAIRS, Crowd, crowd, heatmaps, mirror, stages, tag_maps

EYE = np.eye(2, 3)
SIZE = (256, 256)
FIVE = TagRules(order=(3, 0, 4, 1, 2), people=6)


def noise(seed, tags, shape=(5, 19, 23), levels=None):
    """Maps of noise: peaks everywhere, of tags that are near or not."""
    rng = np.random.default_rng(seed)
    heat = rng.uniform(-0.3, 1, shape) if levels is None else rng.integers(-1, levels, shape) / levels
    return heat.astype(np.float32), (rng.standard_normal((tags, *shape)) * 2).astype(np.float32)


def check(heat, tags, rules):
    found = decode_grouping(heat, tags, EYE, heat.shape[1:], rules)
    expected = plain.decode(heat, tags, rules)
    np.testing.assert_allclose([one.score for one in found], [score for score, _ in expected], rtol=1e-5)
    for one, (_, joints) in zip(found, expected, strict=True):
        assert np.flatnonzero(one.found).tolist() == sorted(joints)
        np.testing.assert_array_equal(one.keypoints[one.found], np.float32([joints[k] for k in sorted(joints)]))
        np.testing.assert_array_equal(one.keypoints[~one.found, :2], np.nan)
    return found


@pytest.mark.parametrize("tags", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_detection_val": False},
        {"ignore_too_much": True, "people": 3},
        {"people": 2, "radius": 1},
        {"tag_threshold": 2.5, "detection_threshold": 0.8, "people": 20},
    ],
    ids=str,
)
def test_against_the_plain_implementation(changes, tags):
    for seed in range(8):
        check(*noise(seed, tags), dataclasses.replace(FIVE, **changes))


@pytest.mark.parametrize("shape", [(5, 1, 1), (5, 1, 40), (5, 33, 2), (5, 16, 16)])
def test_maps_of_any_size(shape):
    for seed in range(5):
        check(*noise(seed, 1, shape), FIVE)


def test_flat_tops_and_equal_scores():
    for seed in range(8):
        check(*noise(seed, 1, levels=3), dataclasses.replace(FIVE, people=40, detection_threshold=0.5))


def matched(keypoints, people, tolerance, refined=False):
    """Each person of the crowd is one of those found, and has exactly what is seen, where it is.

    After refinement it may have more: something is found for everyone.
    """
    assert len(keypoints) == len(people.points)
    apart = np.abs(keypoints[None, :, :, :2] - people.points[:, None]).max(-1)
    errors = np.where(people.seen[:, None], np.nan_to_num(apart, nan=np.inf), 0).max(-1)
    owner = errors.argmin(1)
    assert errors.min(1).max() <= tolerance
    assert sorted(owner) == list(range(len(keypoints))), "two people were found as one"
    there = keypoints[owner, :, 2] > 0
    assert (there >= people.seen).all() if refined else (there == people.seen).all()


def found_and_matched(heat, tags, people, tolerance):
    scale = people.size[1] / heat.shape[2], people.size[0] / heat.shape[1], 1
    before, _ = group(*peaks(heat, tags))
    matched(before * scale, people, tolerance)
    found = decode_grouping(heat, tags, EYE, people.size)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    matched(np.array([one.keypoints for one in found]), people, tolerance, refined=True)


def test_nobody():
    heat, tags = aggregate(stages(np.random.default_rng(0), Crowd(np.zeros((0, 17, 2)), np.zeros((0, 17), bool), SIZE)))
    assert decode_grouping(heat, tags, EYE, SIZE) == []
    assert decode_grouping(heat * 0, tags, EYE, SIZE) == []


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "people, hidden, tall", [(1, 0, 200), (1, 0.4, 200), (8, 0, 150), (30, 0, 100), (30, 0.3, 100)]
)
def test_a_crowd_is_found_as_it_is(people, hidden, tall, flip):
    """Keypoints lie within half a pixel of the finer map, which is half as large as the input."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        there = crowd(rng, people, (384, 384), tall, hidden, apart=14)
        outputs = stages(rng, there, tags=rng.permutation(people) * 1.3 - 5)
        flipped = mirror(outputs) if flip else None
        heat, tags = aggregate(outputs, there.size, flipped, COCO_PAIRS)
        assert heat.shape == (17, 384, 384) and tags.shape == (1 + flip, 17, 384, 384)
        found_and_matched(heat, tags, there, tolerance=1)


def test_two_people_one_before_the_other():
    """The same figure a few pixels further: every keypoint of one lies among those of the other."""
    one = crowd(np.random.default_rng(0), 1, SIZE, 200)
    both = Crowd(np.concatenate([one.points, one.points + np.array([15, 4])]), np.ones((2, 17), bool), SIZE)
    rng = np.random.default_rng(1)
    for hidden in (0, 0.3):
        both.seen[:] = rng.random((2, 17)) >= hidden
        heat, tags = aggregate(stages(rng, both, tags=np.array([3.0, 4.1])), SIZE)
        found_and_matched(heat, tags, both, tolerance=1)


def test_keypoints_at_the_border():
    points = np.stack(np.meshgrid([0.5, 60, 127.5], [0.5, 50, 99.5]), -1).reshape(1, 9, 2)
    people = Crowd(points, np.ones((1, 9), bool), (100, 128))
    heat, tags = heatmaps(people, people.size), np.zeros((1, 9, *people.size))
    found = decode_grouping(heat, tags, EYE, people.size, TagRules(order=tuple(range(9))))
    matched(np.array([one.keypoints for one in found]), people, tolerance=0.5)


@pytest.mark.parametrize("x, y", [(60, 50), (60.5, 50), (60, 50.5), (60.5, 50.5)])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_keypoint_just_between_pixels_is_one(x, y, scale):
    """Also where bilinear enlargement makes a square of equal pixels out of one."""
    small = (100 // scale, 128 // scale)
    people = Crowd(np.array([[(x, y)]]) * 1.0, np.ones((1, 1), bool), (100, 128))
    heat = resized(heatmaps(people, small), people.size)
    best = peaks(heat, np.zeros((1, *heat.shape), np.float32))
    assert (best.scores[0] > 0).tolist() == [True] + [False] * 29
    assert max(abs(best.xs[0, 0] - x), abs(best.ys[0, 0] - y)) <= max(0.75, scale / 2)


def test_equal_tags_lose_nobody():
    """Upstream makes one person of two whose first tags are the same number, and loses the keypoints of one."""
    there = crowd(np.random.default_rng(0), 2, SIZE, 120, apart=12)
    heat = heatmaps(there, SIZE)
    found = decode_grouping(heat, np.ones((1, *heat.shape), np.float32), EYE, SIZE)
    assert [one.found.all() for one in found] == [True, True]
    for k in range(17):
        xs = sorted(one.keypoints[k, 0] for one in found)
        np.testing.assert_allclose(xs, np.sort(there.points[:, k, 0]), atol=0.5)


def test_equal_tags_keep_every_peak():
    rng = np.random.default_rng(0)
    for _ in range(30):
        scores, tags = rng.uniform(0, 1, (17, 12)), rng.integers(0, 4, (17, 12, 1))
        number = np.arange(scores.size).reshape(scores.shape)
        people, _ = group(scores, number, number, tags)
        there = people[:, :, 2] > 0
        np.testing.assert_array_equal(np.sort(people[:, :, 0][there]), number[scores > 0.1])
        assert (number[:, -1] >= np.nanmax(people[:, :, 0], 0)).all(), "each is with its own keypoint"


def test_a_peak_that_fits_no_one_pushes_no_one_away():
    """Of four people one hides the first keypoint and one the second. Upstream makes six of them: three steps of 1.3,
    rounded, are less than one of 3.9."""
    order = (0, 1)
    scores, xs = np.ones((2, 3)), np.array([[10, 20, 30], [20, 30, 40]])
    tags = np.array([[1.0, 2.3, 3.6], [2.3, 3.6, 4.9]])[:, :, None]
    people, means = group(scores, xs, xs, tags, TagRules(order=order))
    np.testing.assert_array_equal(people[:, :, 0], [(10, np.nan), (20, 20), (30, 30), (np.nan, 40)])
    np.testing.assert_allclose(means, [[1], [2.3], [3.6], [4.9]])


def test_the_surer_of_two_peaks_is_taken():
    scores = np.array([[0.5, 0], [0.3, 0.9]])
    tags = np.array([[2.0, 0], [2.0, 2.2]])[:, :, None]
    rules = TagRules(order=(0, 1))
    people, _ = group(scores, scores, scores, tags, rules)
    np.testing.assert_allclose(people[:, :, 2], [(0.5, 0.9), (0, 0.3)])
    people, _ = group(scores, scores, scores, tags, dataclasses.replace(rules, use_detection_val=False))
    np.testing.assert_allclose(people[:, :, 2], [(0.5, 0.3), (0, 0.9)])


def test_only_so_many_people():
    scores, tags = np.ones((2, 5)), np.arange(5.0)[None, :, None] * np.ones((2, 1, 1)) * 3
    few = TagRules(order=(0, 1), people=3)
    people, _ = group(scores, scores, scores, tags, few)
    assert (people[:, :, 2] > 0).tolist() == [[True, True]] * 3 + [[True, False]] * 2 + [[False, True]] * 2
    people, _ = group(scores, scores, scores, tags, dataclasses.replace(few, ignore_too_much=True))
    assert (people[:, :, 2] > 0).tolist() == [[True, False]] * 5


def test_in_pixels_of_the_picture():
    """Maps of half the input, which is the picture halved and moved."""
    there = crowd(np.random.default_rng(0), 3, (128, 128), 70, apart=10)
    heat = heatmaps(there, (64, 64))
    tags = tag_maps(there, (64, 64), np.arange(3) * 2.0, np.zeros(heat.shape))[None]
    found = decode_grouping(heat, tags, np.array([[0.5, 0, 10], [0, 0.5, -3]]), (128, 128))
    there.points = (there.points - (10, -3)) * 2
    matched(np.array([one.keypoints for one in found]), there, tolerance=2)


def test_peaks_of_the_network_itself():
    there = crowd(np.random.default_rng(0), 5, SIZE, 120, apart=12)
    heat = heatmaps(there, (128, 128))
    tags = tag_maps(there, (128, 128), np.arange(5) * 2.0, np.zeros(heat.shape))[None]
    best = peaks(heat, tags)
    assert best.scores.shape == best.xs.shape == best.ys.shape == (17, 30) and best.tags.shape == (17, 30, 1)
    found = decode_peaks(best, (128, 128), EYE, SIZE)
    for one, other in zip(found, decode_grouping(heat, tags, EYE, SIZE), strict=True):
        assert one.score == other.score
        np.testing.assert_array_equal(one.keypoints, other.keypoints)


def test_equal_peaks_of_the_network_itself():
    """Every keypoint as a square of four equal peaks, shuffled, as networks give them."""
    rng = np.random.default_rng(0)
    scores = np.repeat(rng.uniform(0.5, 1, (17, 5)), 4, axis=1)
    xs, ys = np.repeat(np.arange(5) * 9 + 4, 4) + [0, 1, 0, 1] * 5, np.tile([7, 7, 8, 8], 5)
    tags = np.repeat(np.arange(5) * 2.0, 4)
    order = rng.permuted(np.tile(np.arange(20), (17, 1)), axis=1)
    found = Peaks(np.take_along_axis(scores, order, 1), xs[order] + 0.75, ys[order] + 0.25, tags[order][:, :, None])
    people = decode_peaks(found, (64, 64), EYE, (64, 64))
    keypoints = np.array(sorted(one.keypoints.tolist() for one in people))
    np.testing.assert_array_equal(keypoints[:, :, 0], np.tile(np.arange(5) * 9 + 4.75, (17, 1)).T)
    np.testing.assert_array_equal(keypoints[:, :, 1], np.full((5, 17), 7.25))


def test_aggregation_is_what_torch_computes():
    rng = np.random.default_rng(0)
    outputs = [rng.standard_normal(shape, dtype=np.float32) for shape in ((34, 16, 12), (17, 32, 24))]
    flipped = [rng.standard_normal(each.shape, dtype=np.float32) for each in outputs]
    order = [0, *(k for pair in COCO_PAIRS for k in reversed(pair))]

    def resize(array, *size):
        return F.interpolate(torch.as_tensor(array)[None], size=size, mode="bilinear", align_corners=False)[0].numpy()

    def both(first, second):
        first = resize(first, 32, 24)
        return (first[:17] + second) / 2, first[17:]

    heat, tags = both(*outputs)
    other_heat, other_tags = (each[order][:, :, ::-1] for each in both(*flipped))
    for size in ((32, 24), (64, 48), (100, 80)):
        found, identity = aggregate(outputs, size)
        np.testing.assert_allclose(found, resize(heat, *size), atol=1e-5)
        np.testing.assert_allclose(identity, resize(tags, *size)[None], atol=1e-5)
        found, identity = aggregate(outputs, size, flipped, COCO_PAIRS)
        np.testing.assert_allclose(found, resize((heat + other_heat) / 2, *size), atol=1e-5)
        expected = [resize(each.copy(), *size) for each in (tags, other_tags)]
        np.testing.assert_allclose(identity, expected, atol=1e-5)
    assert aggregate(outputs)[0].shape == (17, 32, 24)


def test_float16_outputs():
    there = crowd(np.random.default_rng(0), 4, SIZE, 120, apart=12)
    outputs = [each.astype(np.float16) for each in stages(np.random.default_rng(0), there)]
    found_and_matched(*aggregate(outputs, SIZE), there, tolerance=1)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none(which, bad):
    maps = [np.zeros((17, 8, 8), np.float32), np.zeros((1, 17, 8, 8), np.float32)]
    maps[which][..., 3, 3] = bad
    with pytest.raises(InputError, match=r"(Heat maps|Tags) hold .*nothing can be read off them"):
        decode_grouping(*maps, EYE, SIZE)
    outputs = [np.zeros((34, 4, 4)), np.zeros((17, 8, 8))]
    outputs[which][3, 2, 1] = bad
    with pytest.raises(InputError, match=r"stage's heat maps.* hold .*nothing can be read off them"):
        aggregate(outputs)


def test_what_does_not_fit():
    heat, tags = np.zeros((17, 8, 8)), np.zeros((1, 17, 8, 8))
    with pytest.raises(InputError, match=r"Tags are \(tags, 17, 8, 8\) of numbers, not \(17, 8, 8\) of float64"):
        decode_grouping(heat, tags[0], EYE, SIZE)
    with pytest.raises(InputError, match=r"Heat maps are \(keypoints, height, width\) of numbers"):
        decode_grouping(heat[None], tags, EYE, SIZE)
    with pytest.raises(InputError, match=r"is not one of the numbers 0 to 15"):
        decode_grouping(heat[:16], tags[:, :16], EYE, SIZE)
    with pytest.raises(InputError, match=r"first stage's heat maps and tags are \(34, height, width\)"):
        aggregate([np.zeros((33, 4, 4)), heat])
    with pytest.raises(InputError, match=r"The mirrored input's outputs are \(17, 6, 8\), not \(17, 8, 8\)"):
        aggregate([np.zeros((34, 4, 4)), heat], flipped=[np.zeros((34, 3, 4)), heat[:, :6]])
    for size, placement in (((0, 8), EYE), (SIZE, np.eye(3))):
        with pytest.raises(InputError, match=r"The input's size is|Placements of 1 are"):
            decode_grouping(heat, tags, placement, size)
    with pytest.raises(InputError, match=r"The maps' size is \(height, width\) in pixels, not \(8,\)"):
        aggregate([np.zeros((34, 4, 4)), heat], size=(8,))
    for low in ({"people": 0}, {"radius": -1}, {"detection_threshold": -0.1}, {"tag_threshold": 0}):
        with pytest.raises(InputError, match="can't be as low as in TagRules"):
            TagRules(**low)
    found = Peaks(np.ones((17, 3)), np.ones((17, 3)), np.ones((17, 2)), np.ones((17, 3, 1)))
    with pytest.raises(InputError, match=r"The y of peaks are \(17, 3\) of numbers, not \(17, 2\)"):
        decode_peaks(found, (8, 8), EYE, SIZE, COCO)
