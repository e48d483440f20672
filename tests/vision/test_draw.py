"""What is drawn, read off the pixels."""

import cv2
import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision import Instance, draw
from netdefs.vision.instance import Mask
from netdefs.vision.names import Classes, Skeleton, palette, table

STICK = Skeleton("stick", ("a", "b", "c"), ((0, 1), (1, 2)), ())
PAIR = Classes(("cat", "dog"), ((0, 200, 0), (0, 0, 250)))


def black(height=100, width=100):
    return np.zeros((height, width, 3), np.uint8)


def stick(*points, score=1.0):
    return Instance(score, keypoints=np.array(points, np.float64))


def close(pixel, color):
    """An antialiased line of one pixel has nine tenths of its color."""
    return np.abs(np.int64(pixel) - color).max() <= 26


def drawn_boxes(image):
    ys, xs = np.nonzero(image.any(-1))
    return xs.min(), ys.min(), xs.max(), ys.max()


def test_limbs_have_their_colors_all_along_and_nothing_else_is_touched():
    first, second = palette(2)
    image = black(200, 300)
    out = draw(image, [stick((20, 30, 0.9), (120, 30, 0.9), (120, 180, 0.9))], STICK)
    assert all(close(out[30, x], first) for x in range(26, 114))
    assert all(close(out[y, 120], second) for y in range(36, 174))
    assert close(out[30, 20], palette(1)[0]), "keypoints have the instance's color"
    assert not image.any(), "the input is left alone"
    far = np.ones((200, 300), bool)
    far[24:37, 14:127] = far[24:187, 114:127] = False
    assert not out[far].any()


@pytest.mark.parametrize(
    "missing",
    [(120, 30, 0.0), (120, 30, 0.2), (np.nan, np.nan, 0.0), (120, 30, np.nan), (np.nan, 30, 0.9), (np.inf, 30, 0.9)],
)
def test_limbs_of_missing_keypoints_are_not_drawn(missing):
    out = draw(black(200, 300), [stick((20, 30, 0.9), missing, (120, 180, 0.9))], STICK)
    assert not out[30, 40:].any() and not out[40:170, 120].any()
    assert out[30, 20].any() and out[180, 120].any(), "the keypoints that are there"


def test_threshold():
    person = stick((20, 30, 0.5), (80, 30, 0.4), (80, 90, 0.1))
    assert draw(black(), [person], STICK, threshold=0.3)[30, 50].any()
    assert not draw(black(), [person], STICK, threshold=0.45)[30, 50].any()
    missing = stick((20, 30, 0.0), (80, 30, 0.0), (80, 90, 0.0))
    assert not draw(black(), [missing], STICK, threshold=0).any()


def test_what_lies_outside_is_cut_off_where_the_picture_ends():
    out = draw(black(), [stick((50, 50, 1), (50, -400, 1), (1e5, 50, 1))], STICK)
    assert out[:45, 50].any(-1).all(), "up to the border"
    assert not out[:, :45].any() and not out[56:].any()
    outside = draw(black(), [stick((-50, 50, 1), (-50, 150, 1), (-90, 150, 1))], STICK)
    assert not outside.any()
    assert not draw(black(), [stick((1e12, 1, 1), (1, -1e30, 1), (1e300, 1, 1))], STICK).any(), "nonsense is no place"


def test_boxes_and_labels_have_the_colors_of_their_class():
    instance = Instance(0.93, label=1, box=np.array([40, 60, 160, 140.0]))
    out = draw(black(200, 300), [instance], PAIR)
    assert all(close(out[y, x], PAIR.colors[1]) for x in range(42, 158) for y in (60, 140))
    assert all(close(out[y, x], PAIR.colors[1]) for y in range(62, 138) for x in (40, 160))
    assert not out[64:136, 44:156].any()
    plate = out[48:59, 41:60]  # above the box: filled, with letters on it
    assert close(np.median(plate, axis=(0, 1)), PAIR.colors[1])
    assert (plate.min(-1) > 128).any(), "white letters on the dark color"
    bright = draw(
        black(200, 300), [Instance(0.93, label=1, box=instance.box)], Classes(("a", "b"), ((0, 255, 255),) * 2)
    )
    assert (bright[48:59, 41:60].max(-1) < 128).any(), "black letters on the bright color"


def test_masks_are_mixed_with_the_picture():
    image = np.full((60, 80, 3), 100, np.uint8)
    pixels = np.ones((20, 30), bool)
    pixels[5:, :10] = False
    mask = Mask(pixels, 40, 30, (60, 80))
    out = draw(image, [Instance(0.9, label=1, mask=mask)], PAIR)
    whole = mask.whole()
    assert (out[~whole] == 100).all() and not whole[40, 45] and whole[40, 55]
    assert np.abs(np.int64(out[whole]) - (np.array(PAIR.colors[1]) + 100) / 2).max() <= 0.5
    assert (image == 100).all(), "the input is left alone"


def test_masks_lie_under_boxes_and_surer_ones_on_top():
    everything = Mask(np.ones((100, 100), bool), 0, 0, (100, 100))
    box = np.array([20, 40, 90, 90.0])
    sure, unsure = Instance(0.9, label=0, mask=everything), Instance(0.5, label=1, box=box, mask=everything)
    for instances in ([sure, unsure], [unsure, sure]):
        out = draw(black(), instances, PAIR)
        assert close(out[90, 50], PAIR.colors[1]), "a line of the box below"
        assert close(out[95, 95], np.array(PAIR.colors[0]) / 2 + np.array(PAIR.colors[1]) / 4)


def test_a_mask_of_another_picture():
    mask = Mask(np.ones((2, 2), bool), 0, 0, (60, 81))
    with pytest.raises(InputError, match="A mask of a picture of 60x81 can't be drawn onto one of 60x80"):
        draw(black(60, 80), [Instance(1, mask=mask)])


def test_rotated_boxes():
    """A diamond: its sides are drawn, the box around it is not, its label is."""
    corners = np.array([[150, 60], [210, 120], [150, 180], [90, 120]], np.float64)
    around = np.array([90, 60, 210, 180.0])
    out = draw(black(200, 300), [Instance(0.9, label=1, box=around, corners=corners)], PAIR)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        for share in (0.25, 0.5, 0.75):
            x, y = a + share * (b - a)
            assert close(out[round(y), round(x)], PAIR.colors[1])
    assert (
        not out[70:170, 90:95].any(-1)[[0, -1]].any() and not out[180, [100, 200]].any() and not out[115:125, 150].any()
    )
    assert close(np.median(out[47:58, 91:110], axis=(0, 1)), PAIR.colors[1]), "the label"
    bad = Instance(0.9, box=around, corners=np.full((4, 2), np.nan))
    assert draw(black(200, 300), [bad])[120, 90].any(), "without corners the box"
    far = Instance(0.9, box=around, corners=corners * 1e30)
    assert draw(black(200, 300), [far]).shape == (200, 300, 3)


def test_labels_say_class_and_score(monkeypatch):
    written = []
    monkeypatch.setattr(cv2, "putText", lambda image, text, *rest: written.append(text))
    box = np.array([10, 30, 90, 90.0])
    for names, label in [(PAIR, 1), ("", 1), ("", None), ("coco80", 16), ("coco17", None), (PAIR, None)]:
        draw(black(), [Instance(0.876, label=label, box=box)], names)
    assert written == ["dog 0.88", "1 0.88", "0.88", "dog 0.88", "person 0.88", "0.88"]


@pytest.mark.parametrize("box", [(0, 0, 50, 50), (260, 150, 400, 400), (-30, -30, 20, 20), (280, -10, 290, 190)])
def test_labels_stay_in_the_picture(box, monkeypatch):
    places = []
    put = cv2.putText
    monkeypatch.setattr(cv2, "putText", lambda *given: places.append(given) or put(*given))
    draw(black(200, 300), [Instance(0.5, label=0, box=np.array(box, np.float64))], PAIR)
    ((_, text, (x, y), font, scale, _, weight, _),) = places
    (width, height), below = cv2.getTextSize(text, font, scale, weight)
    assert x >= 0 and x + width <= 300 and y - height >= 0 and y + below <= 200


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (1, 500), (37, 5), (2000, 30)])
@pytest.mark.parametrize("names", ["coco17", "coco80", ""])
def test_any_size_of_picture(shape, names):
    height, width = shape
    random = np.random.default_rng(0)
    keypoints = random.uniform(-2, 2, (17, 3)) * (width, height, 1)
    boxes = random.uniform(-2, 2, (5, 4)) * (width, height, width, height)
    instances = [Instance(0.5, label=i, box=box, keypoints=keypoints) for i, box in enumerate(boxes)]
    instances += [Instance(0.1, box=np.array([0, 0, width, height])), Instance(np.nan, box=np.full(4, np.nan))]
    out = draw(black(*shape), instances, names)
    assert out.shape == (*shape, 3) and out.any()
    assert draw(black(*shape), [Instance(0.1, box=np.array([-1e40, -1e40, 1e40, 1e40]))]).shape == (*shape, 3)


def test_lines_and_letters_grow_with_the_picture():
    def measures(factor):
        box = np.array([20, 40, 90, 90.0]) * factor
        out = draw(black(100 * factor, 100 * factor), [Instance(0.5, box=box)])
        line = (out[70 * factor :, 60 * factor].max(-1) > 128).sum()
        plate = drawn_boxes(out)[1]
        return line, int(box[1]) - plate

    (thin, low), (thick, high) = measures(5), measures(20)
    assert thin <= 3 and thick >= 8 and high == pytest.approx(4 * low, rel=0.25)


def test_what_is_surer_lies_on_top():
    box = np.array([20, 40, 90, 90.0])
    for order in (1, -1):
        instances = [Instance(0.9, label=1, box=box), Instance(0.4, label=0, box=box)][::order]
        assert close(draw(black(), instances, PAIR)[90, 50], PAIR.colors[1])


def test_instances_without_names_have_different_colors():
    out = draw(black(), [stick((20, 20, 1)), stick((80, 80, 1))])
    assert close(out[20, 20], palette(2)[0]) and close(out[80, 80], palette(2)[1])


def test_nothing_found_is_a_copy():
    image = np.full((20, 30, 3), 7, np.uint8)
    image.flags.writeable = False
    out = draw(image[:, ::-1], [], "coco17")
    assert (out == 7).all() and out.flags.writeable and out.flags.c_contiguous


@pytest.mark.parametrize(
    ("instance", "names", "message"),
    [
        (Instance(1, label=2), PAIR, "There are names for 2 classes, and an instance's class is 2"),
        (Instance(1, label=-1), PAIR, "There are names for 2 classes, and an instance's class is -1"),
        (stick((1, 1, 1)), "coco18", "The skeleton of a person has 18 keypoints; an instance has 1"),
        (stick((1, 1, 1)), "coco19", "no table of names 'coco19'"),
    ],
)
def test_what_does_not_fit_to_the_names(instance, names, message):
    with pytest.raises(InputError, match=message):
        draw(black(), [instance], names)


def test_what_is_no_picture():
    with pytest.raises(InputError, match=r"\(height, width, 3\) of uint8"):
        draw(np.zeros((8, 8)), [])


def test_a_person_of_coco():
    """Every limb has its own color in the middle, as no two cross there."""
    random = np.random.default_rng(3)
    points = np.concatenate([random.uniform(30, 970, (17, 2)), np.ones((17, 1))], 1)
    skeleton = table("coco17")
    for limb, color in zip(skeleton.limbs, palette(len(skeleton.limbs)), strict=True):
        alone = points.copy()
        alone[[i for i in range(17) if i not in limb], 2] = 0
        out = draw(black(1000, 1000), [Instance(1, keypoints=alone)], "coco17")
        x, y = alone[list(limb), :2].mean(0)
        assert close(out[round(y), round(x)], color)


def test_names_that_are_no_table():
    with pytest.raises(InputError, match=r"Names are a table .* not a list: Classes"):
        draw(np.zeros((9, 9, 3), np.uint8), [], ["cat", "dog"])
