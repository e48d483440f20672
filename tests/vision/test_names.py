"""The tables against what their sources say, and the palette by how far apart its colors look."""

import dataclasses

import cv2
import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision.names import TABLES, Classes, Skeleton, palette, table

# The annotation format of COCO: 1-based pairs. It adds the shoulders' distance to the ears.
COCO_SKELETON = [
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11)),
    *((2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
]
SKELETONS = [name for name, found in TABLES.items() if isinstance(found, Skeleton)]


def test_coco():
    limbs = table("coco17").limbs
    assert {frozenset(limb) for limb in limbs} == {frozenset((a - 1, b - 1)) for a, b in COCO_SKELETON}
    assert table("coco17").flip_pairs == tuple((i, i + 1) for i in range(1, 17, 2))


@pytest.mark.parametrize(
    ("name", "count", "limbs"), [("coco17", 17, 19), ("coco18", 18, 17), ("hand21", 21, 20), ("face5", 5, 5)]
)
def test_skeletons_are_whole(name, count, limbs):
    skeleton = table(name)
    assert len(skeleton.keypoints) == len(set(skeleton.keypoints)) == count
    assert len({frozenset(limb) for limb in skeleton.limbs}) == len(skeleton.limbs) == limbs
    assert {i for limb in skeleton.limbs for i in limb} == set(range(count)), "every keypoint has a limb"


@pytest.mark.parametrize("name", SKELETONS)
def test_a_mirror_keeps_the_skeleton(name):
    skeleton = table(name)
    other = {a: b for pair in skeleton.flip_pairs for a, b in (pair, pair[::-1])}
    for i, keypoint in enumerate(skeleton.keypoints):
        swapped = keypoint.replace("left_", "*").replace("right_", "left_").replace("*", "right_")
        assert skeleton.keypoints[other.get(i, i)] == swapped
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert {frozenset(other.get(i, i) for i in limb) for limb in limbs} == limbs


def test_openpose_has_a_neck_and_cocos_other_keypoints():
    coco, openpose = table("coco17"), table("coco18")
    assert openpose.keypoints[1] == "neck" and set(openpose.keypoints) - {"neck"} == set(coco.keypoints)
    assert openpose.keypoints[4] == "right_wrist" and openpose.keypoints[13] == "left_ankle"
    assert openpose.keypoints[14:] == ("right_eye", "left_eye", "right_ear", "left_ear")


@pytest.mark.parametrize(("name", "count"), [("cityscapes", 19), ("coco80", 80), ("dota15", 15)])
def test_classes(name, count):
    classes = table(name)
    assert len(classes.names) == len(set(classes.names)) == len(classes.colors) == len(set(classes.colors)) == count


def test_cityscapes_colors_are_the_official_ones_in_opencvs_order():
    color = dict(zip(table("cityscapes").names, table("cityscapes").colors, strict=True))
    assert color["road"] == (128, 64, 128) and color["person"] == (60, 20, 220) and color["rider"] == (0, 0, 255)
    assert color["car"] == (142, 0, 0) and color["sky"] == (180, 130, 70) and color["bicycle"] == (32, 11, 119)


def test_coco_classes_are_in_place():
    names = table("coco80").names
    assert [names[i] for i in (0, 2, 16, 24, 39, 79)] == ["person", "car", "dog", "backpack", "bottle", "toothbrush"]


def test_an_unknown_table():
    with pytest.raises(
        InputError, match="'coco19'; there are: cityscapes, coco17, coco18, coco80, dota15, face5, hand21"
    ):
        table("coco19")


def test_each_class_has_a_color():
    with pytest.raises(InputError, match="2 classes can't have 3 colors"):
        Classes(("a", "b"), palette(3))


def test_tables_are_frozen():
    with pytest.raises(TypeError):
        TABLES["coco17"] = TABLES["coco18"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        table("coco17").limbs = ()
    assert isinstance(hash(Classes(("a",), palette(1))), int)


@pytest.mark.parametrize(("count", "least"), [(10, 40), (20, 20), (80, 10)])
def test_colors_look_different(count, least):
    colors = np.float32([palette(count)]) / 255
    seen = cv2.cvtColor(colors, cv2.COLOR_BGR2Lab)[0]
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
    assert apart[~np.eye(count, dtype=bool)].min() > least
    assert seen[:, 0].min() > 30, "and none is taken for black"


def test_the_palette_is_stable_and_never_runs_out():
    assert palette(0) == ()
    assert palette(80)[:7] == palette(7)
    assert len(set(palette(1000))) == 1000
    many = palette(5000)
    assert len(many) == 5000 and len(set(many)) > 2000 and many[:1000] == palette(1000)
    assert all(isinstance(c, int) and 0 <= c <= 255 for color in palette(9) for c in color)
