"""Rectangles of text against areas and perimeters by hand, and turned lines that come out straight."""

import math

import cv2
import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision import placement, short_side_size, straighten
from netdefs.vision.textboxes import clockwise, find_text, mean_inside

SAME = np.array([[1.0, 0, 0], [0, 1, 0]])


def turned(middle, wide, tall, degrees):
    """The corners of a rectangle turned clockwise, from its own upper left one on."""
    along = np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    across = np.array([-along[1], along[0]])
    return np.array(
        [middle + x * wide / 2 * along + y * tall / 2 * across for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    )


def test_an_upright_line():
    """Pixels 40 to 139 and 20 to 49: an outline of 99 x 29 through their centres, 2871 of area, 256 around it."""
    binary = np.zeros((128, 256), np.float32)
    binary[20:50, 40:140] = 0.9
    by = 1.5 * 2871 / 256
    expected = np.array([(40 - by, 20 - by), (139 + by, 20 - by), (139 + by, 49 + by), (40 - by, 49 + by)])
    (line,) = find_text(binary, SAME, binary.shape)
    assert line.score == pytest.approx(0.9)
    np.testing.assert_allclose(line.corners, expected, atol=1e-3)
    np.testing.assert_allclose(line.box, [*expected[0], *expected[2]], atol=1e-3)
    recipe = {"fit": "squeeze"}
    (larger,) = find_text(binary, placement((256, 768), recipe, (128, 256)), (256, 768))
    np.testing.assert_allclose(larger.corners, expected * (3, 2), atol=1e-2)
    (cut,) = find_text(binary[:60, :150], SAME, (60, 150))  # no further than the picture
    assert cut.box.tolist() == pytest.approx([40 - by, 20 - by, 150, 60], abs=1e-3)


@pytest.mark.parametrize(("along", "across"), [((128, 96), (-15, 20)), ((144, -60), (10, 24)), ((108, 108), (-18, 18))])
def test_a_turned_line(along, across):
    """One whose corners are whole pixels, as Pythagoras's 3, 4 and 5 make them; what is drawn includes them."""
    along, across, start = np.array(along), np.array(across), np.array([90, 120])
    drawn = np.array([start, start + along, start + along + across, start + across])
    binary = np.zeros((300, 300), np.float32)
    cv2.fillPoly(binary, [drawn.astype(np.int32)], 0.95)
    (line,) = find_text(binary, SAME, binary.shape)
    wide, tall = np.hypot(*along), np.hypot(*across)
    by = 1.5 * wide * tall / (2 * (wide + tall))
    x, y = by * along / wide, by * across / tall
    expected = drawn + np.stack([-x - y, x - y, x + y, y - x])
    # Of two corners at the left, the upper one is the first; a line that rises or falls keeps its own.
    first = min(sorted(range(4), key=lambda k: expected[k, 0])[:2], key=lambda k: expected[k, 1])
    np.testing.assert_allclose(line.corners, np.roll(expected, -first, 0), atol=1.5)


def test_corners_begin_at_the_upper_left():
    upright = np.array([(5, 5), (9, 5), (9, 8), (5, 8)], np.float32)
    for start in range(4):
        assert clockwise(np.roll(upright, start, 0)).tolist() == upright.tolist()
    leaning = np.array([(4, 3), (10, 5), (9, 8), (3, 6)], np.float32)
    assert clockwise(leaning[::-1]).tolist() == leaning.tolist()


def test_what_is_left_out():
    binary = np.zeros((100, 200), np.float32)
    binary[10:20, 10:90] = 0.6  # not sure enough
    binary[30:33, 10:90] = 0.9  # too thin: an outline of 2 pixels
    binary[50:60, 10:90] = 0.29  # no outline at all
    binary[70:80, 10:90] = 0.8
    binary[70:80, 110:190] = 0.95
    found = find_text(binary, SAME, binary.shape)
    assert [line.score for line in found] == pytest.approx([0.95, 0.8])  # the surest first
    assert found[0].box[0] > found[1].box[0]
    assert len(find_text(binary, SAME, binary.shape, threshold=0.5)) == 3
    assert find_text(np.zeros((8, 8)), SAME, (8, 8)) == []


def test_the_score_is_the_mean_inside():
    values = np.random.default_rng(0).random((40, 60), dtype=np.float32)
    corners = np.array([(10.7, 5.2), (30.9, 5.9), (30.1, 20.4), (10.2, 20.8)], np.float32)
    assert mean_inside(values, corners) == pytest.approx(values[5:21, 10:31].mean(), rel=1e-5)
    outside = np.array([(-9, -9), (20, -9), (20, 9), (-9, 9)], np.float32)
    assert mean_inside(values, outside) == pytest.approx(values[:10, :21].mean(), rel=1e-5)


@pytest.mark.parametrize("degrees", [0, 25, -60])
def test_a_turned_line_comes_straight(degrees):
    wide, tall = 120, 40
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255)]  # of its quarters
    corners = turned(np.array([100.0, 100.0]), wide, tall, degrees)
    image = np.full((200, 200, 3), 90, np.uint8)
    for (x, y), color in zip(((0, 0), (1, 0), (1, 1), (0, 1)), colors, strict=True):
        along, across = corners[1] - corners[0], corners[3] - corners[0]
        start = corners[0] + x * along / 2 + y * across / 2
        part = np.array([start, start + along / 2, start + along / 2 + across / 2, start + across / 2])
        cv2.fillPoly(image, [np.rint(part - 0.5).astype(np.int32)], color)
    line = straighten(image, corners)
    assert line.shape == (tall, wide, 3)
    middles = line[tall // 4 :: tall // 2, wide // 4 :: wide // 2].reshape(4, 3).tolist()
    assert middles == [list(colors[i]) for i in (0, 1, 3, 2)]


def test_an_upright_cut_changes_no_pixel():
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    cut = straighten(image, [(5, 4), (25, 4), (25, 14), (5, 14)])
    np.testing.assert_array_equal(cut, image[4:14, 5:25])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1080, 1920), (736, 1312)), ((1920, 1080), (1312, 736)), ((500, 500), (736, 736)), ((100, 99, 3), (768, 736))],
)
def test_upstreams_size(shape, expected):
    assert short_side_size(shape) == expected


def test_what_can_not_be():
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(InputError, match=r"map 'binary' are \(height, width\)"):
        find_text(np.zeros((1, 8, 8)), SAME, (8, 8))
    with pytest.raises(InputError, match="threshold is -1; it can be 0 to 1"):
        find_text(np.zeros((8, 8)), SAME, (8, 8), -1)
    with pytest.raises(InputError, match=r"Corners are \(4, 2\) finite numbers"):
        straighten(image, np.full((4, 2), np.nan))
    with pytest.raises(InputError, match="on one line"):
        straighten(image, [(1, 1), (5, 5), (9, 9), (1, 9)])
    with pytest.raises(InputError, match="700 pixels is not made of multiples of the stride, 32"):
        short_side_size((10, 10), 700)
