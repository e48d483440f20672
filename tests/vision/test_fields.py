"""Part-affinity fields against a plain implementation, and against crowds that are known."""

import dataclasses

import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision.fields import LIMBS, OPENPOSE, FieldRules, assemble
from netdefs.vision.names import TABLES
from tests.vision import plain_fields as plain
from tests.vision.synthetic import Crowd, bumps, crowd, fields, heatmaps

EYE = np.eye(2, 3)
SIZE = (200, 240)


def outputs(people, shape=None, heights=None, sigma=3.0, thickness=2.0):
    """What a faultless network gives for a crowd: (19, h, w) and (38, h, w)."""
    heat = heatmaps(people, shape or people.size, heights, sigma)
    return np.concatenate([heat, 1 - heat.max(0, keepdims=True)]), fields(
        people, shape or people.size, LIMBS, thickness
    )


def check(heat, vectors, size, rules=OPENPOSE):
    found = assemble(heat, vectors, EYE, size, rules=rules)
    expected = plain.assemble(heat, vectors, size, rules)
    np.testing.assert_allclose([one.score for one in found], [score for score, _ in expected], atol=1e-5)
    for one, (_, parts) in zip(found, expected, strict=True):
        assert np.flatnonzero(one.found).tolist() == sorted(parts)
        np.testing.assert_allclose(one.keypoints[one.found], [parts[k] for k in sorted(parts)], atol=1e-5)
        np.testing.assert_array_equal(one.keypoints[~one.found, :2], np.nan)
    return found


def connected(people):
    """What can be found of each person: groups of keypoints that are joined by limbs of which both ends are seen."""
    result = []
    for points, seen in zip(people.points, people.seen, strict=True):
        group = np.arange(18)
        for start, end, _ in LIMBS:
            if seen[start] and seen[end]:
                group[group == group[end]] = group[start]
        for which in np.unique(group[seen]):
            members = (group == which) & seen
            if members.sum() >= 4:
                result.append((points, members))
    return result


def matched(found, expected, tolerance):
    """Those found are those expected, one to one: the same keypoints, where they are."""
    assert len(found) == len(expected)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    keypoints = np.array([one.keypoints for one in found]).reshape(-1, 18, 3)
    owners = []
    for points, members in expected:
        off = np.abs(keypoints[:, :, :2] + 0.5 - points).max(-1)
        error = np.where(members, np.nan_to_num(off, nan=np.inf), 0).max(-1)
        owners.append(error.argmin())
        assert error.min() <= tolerance
        np.testing.assert_array_equal(keypoints[owners[-1], :, 2] > 0, members)
    assert sorted(owners) == list(range(len(found)))


def test_limbs_are_those_that_are_drawn():
    drawn = {frozenset(limb) for limb in TABLES["coco18"].limbs}
    assert {frozenset(limb[:2]) for limb in LIMBS[:17]} == drawn
    assert sorted(channel for *_, channel in LIMBS) == list(range(0, 38, 2))


@pytest.mark.parametrize("hidden", [0, 0.2])
@pytest.mark.parametrize("people, tall", [(1, 150), (6, 110), (12, 90)])
def test_against_the_plain_implementation(people, tall, hidden):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        there = crowd(rng, people, SIZE, tall, hidden, apart=14).openpose()
        heat, vectors = outputs(there)
        check(
            (heat + rng.uniform(0, 0.05, heat.shape)).astype(np.float32),
            vectors + rng.normal(0, 0.1, vectors.shape).astype(np.float32),
            SIZE,
        )


@pytest.mark.parametrize("seed", range(12))
def test_confused_networks(seed):
    """Peaks anywhere and fields that point anywhere: people are joined in all the ways that there are."""
    rng = np.random.default_rng(seed)
    count = 2 + seed % 4
    heat = np.array([bumps(rng.uniform(0, (80, 48), (count, 2)), (48, 80), (48, 80)) for _ in range(19)])
    vectors = rng.normal(0, 1, (38, 48, 80)).astype(np.float32)
    rules = FieldRules(along=-0.3, share=0.45, keypoints=2 + seed % 3, score=0.1, sigma=1.5)
    assert check(heat, vectors, (48, 80), rules)


def test_enlarged_maps():
    for seed in range(2):
        there = crowd(np.random.default_rng(seed), 4, (184, 240), 120, 0.1, apart=36).openpose()
        heat, vectors = outputs(there, (23, 30), sigma=0.9, thickness=1)
        check(heat, vectors, (184, 240))


def test_nobody():
    assert assemble(np.zeros((19, 10, 10)), np.ones((38, 10, 10)), EYE, (80, 80)) == []
    there = crowd(np.random.default_rng(0), 3, SIZE, 120, apart=20).openpose()
    heat, vectors = outputs(there)
    assert assemble(heat, vectors * 0, EYE, SIZE) == [], "keypoints that no limb joins are no people"
    assert assemble(heat, -vectors, EYE, SIZE) == [], "limbs have a direction"


@pytest.mark.parametrize("people, tall, size", [(1, 180, SIZE), (5, 130, SIZE), (30, 110, (512, 512))])
def test_a_crowd_is_found_as_it_is(people, tall, size):
    for seed in range(2):
        there = crowd(np.random.default_rng(seed), people, size, tall, apart=16).openpose()
        matched(assemble(*outputs(there), EYE, size), connected(there), tolerance=0.5)


@pytest.mark.parametrize("hidden", [0.1, 0.3])
def test_of_the_partly_hidden_what_holds_together_is_found(hidden):
    fewer = 0
    for seed in range(4):
        there = crowd(np.random.default_rng(seed), 8, (368, 656), 150, hidden, apart=20).openpose()
        expected = connected(there)
        fewer += sum(members.sum() for _, members in expected) < there.seen.sum()
        matched(assemble(*outputs(there), EYE, there.size), expected, tolerance=0.5)
    assert fewer, "some keypoints should be alone"


def test_without_a_neck_the_ears_hold_head_and_arms_together():
    there = crowd(np.random.default_rng(0), 1, SIZE, 180, apart=20).openpose()
    there.seen[0, 1] = False
    expected = connected(there)
    assert [members.sum() for _, members in expected] == [11], "two arms and a head; the legs are three each"
    matched(assemble(*outputs(there), EYE, SIZE), expected, tolerance=0.5)


def test_two_people_one_before_the_other():
    one = crowd(np.random.default_rng(0), 1, SIZE, 170).openpose()
    both = Crowd(np.concatenate([one.points, one.points + np.array([18, 5])]), np.ones((2, 18), bool), SIZE)
    matched(assemble(*outputs(both, sigma=2), EYE, SIZE), connected(both), tolerance=0.5)


def test_the_way_from_the_network_to_the_picture():
    """Maps of an eighth of the input, which is half of the picture and moved: an eighth is as fine as it gets."""
    there = crowd(np.random.default_rng(1), 3, (368, 496), 240, apart=48).openpose()
    maps = outputs(there, (46, 62), sigma=0.9, thickness=1)
    placement = np.array([[0.5, 0, 30], [0, 0.5, -7]])
    in_picture = [((points - 0.5 - (30, -7)) * 2 + 0.5, members) for points, members in connected(there)]
    matched(assemble(*maps, placement, there.size), in_picture, tolerance=2 * 1.5)
    matched(assemble(*maps, placement, there.size, size=(736, 992)), in_picture, tolerance=2 * 1.5)


def test_a_finer_size_gives_finer_keypoints():
    there = crowd(np.random.default_rng(1), 1, SIZE, 180).openpose()
    maps = outputs(there, sigma=4)
    coarse, fine = (assemble(*maps, EYE, SIZE, size=size)[0].keypoints for size in (SIZE, (800, 960)))
    coarse, fine = (np.abs(found[:, :2] + 0.5 - there.points[0]).max() for found in (coarse, fine))
    assert 0.3 < coarse <= 0.5 and fine < 0.2


@pytest.mark.parametrize("dx, dy", [(0.5, 0.5), (0, 0.5), (0.5, 0), (0, 0)])
def test_keypoints_just_between_pixels_make_no_second_person(dx, dy):
    there = crowd(np.random.default_rng(0), 1, SIZE, 170).openpose()
    there.points = np.round(there.points) + np.array([dx, dy])
    found = assemble(*outputs(there), EYE, SIZE)
    matched(found, connected(there), tolerance=0.5)


def test_keypoints_at_the_border():
    there = crowd(np.random.default_rng(0), 1, SIZE, 170).openpose()
    low, high = there.points.min((0, 1)), there.points.max((0, 1))
    there.points = 0.5 + (there.points - low) / (high - low) * (SIZE[1] - 1, SIZE[0] - 1)
    rules = dataclasses.replace(OPENPOSE, score=0.2)  # some limbs are longer than half the picture
    found = check(*outputs(there), SIZE, rules)
    keypoints = found[0].keypoints[found[0].found, :2]
    assert keypoints.min(0).tolist() == [0, 0] and keypoints.max(0).tolist() == [SIZE[1] - 1, SIZE[0] - 1]


def test_maps_with_peaks_everywhere():
    """Only the best of them are tried with each other; it would be 81 million pairs for each limb."""
    heat = np.full((19, 180, 180), 0.1, np.float32)
    heat[:, ::2, ::2] = np.random.default_rng(0).uniform(0.5, 1, (19, 90, 90))
    rules = FieldRules(sigma=0.3, along=-2)
    found = assemble(heat, np.ones((38, 180, 180), np.float32), EYE, (180, 180), rules=rules)
    keypoints = np.concatenate([one.keypoints for one in found])
    assert keypoints[keypoints[:, 2] > 0, 2].min() > np.sort(heat[:18].reshape(18, -1))[:, -128].min()


def test_thresholds():
    there = crowd(np.random.default_rng(0), 1, SIZE, 170).openpose()
    maps = outputs(there)
    alone = dataclasses.replace(OPENPOSE, keypoints=18)
    assert len(assemble(*maps, EYE, SIZE, rules=alone)) == 1
    assert assemble(*maps, EYE, SIZE, rules=dataclasses.replace(alone, keypoints=19)) == []
    assert assemble(*maps, EYE, SIZE, rules=dataclasses.replace(alone, score=2.0)) == []
    assert assemble(*maps, EYE, SIZE, rules=dataclasses.replace(alone, peak=1.0)) == []
    assert assemble(*maps, EYE, SIZE, rules=dataclasses.replace(alone, along=1.1)) == []


@pytest.mark.parametrize("which", [0, 1])
def test_numbers_that_are_none(which):
    maps = [np.zeros((19, 8, 8), np.float32), np.zeros((38, 8, 8), np.float32)]
    maps[which][5, 4, 3] = np.nan
    with pytest.raises(InputError, match="hold 1 NaN and 0 infinite values"):
        assemble(*maps, EYE, (64, 64))


def test_what_does_not_fit():
    with pytest.raises(InputError, match=r"Heat maps are \(19, height, width\) of numbers, not \(18, 8, 8\)"):
        assemble(np.zeros((18, 8, 8)), np.zeros((38, 8, 8)), EYE, (64, 64))
    with pytest.raises(InputError, match=r"The input's size is \(height, width\) in pixels, not \(-1, 64\)"):
        assemble(np.zeros((19, 8, 8)), np.zeros((38, 8, 8)), EYE, (-1, 64))
    for low in ({"sigma": 0}, {"peak": -1}, {"samples": 0}):
        with pytest.raises(InputError, match="can't be as low as in FieldRules"):
            FieldRules(**low)
    with pytest.raises(InputError, match=r"Part-affinity fields are \(38, 8, 8\) of numbers, not \(38, 8, 9\)"):
        assemble(np.zeros((19, 8, 8)), np.zeros((38, 8, 9)), EYE, (64, 64))
