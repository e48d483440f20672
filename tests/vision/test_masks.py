"""Masks against torch and against a plain implementation, and colors laid over pictures."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from netdefs.core.errors import InputError
from netdefs.vision.masks import decode_mask, overlay


def logits(classes, height, width, seed=0):
    return np.random.default_rng(seed).standard_normal((classes, height, width), dtype=np.float32)


def plain(values, placement, input_size, shape, align_corners=False):
    """The values at every pixel of the picture, in float64: (C, H, W)."""
    _, height, width = values.shape
    result = np.zeros((len(values), *shape))
    for y in range(shape[0]):
        for x in range(shape[1]):
            u, v = placement @ (x, y, 1)
            if align_corners:
                u, v = u * (width - 1) / (input_size[1] - 1), v * (height - 1) / (input_size[0] - 1)
            else:
                u, v = (u + 0.5) * width / input_size[1] - 0.5, (v + 0.5) * height / input_size[0] - 0.5
            u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
            left, top = int(u), int(v)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            du, dv = u - left, v - top
            upper = values[:, top, left] * (1 - du) + values[:, top, right] * du
            lower = values[:, bottom, left] * (1 - du) + values[:, bottom, right] * du
            result[:, y, x] = upper * (1 - dv) + lower * dv
    return result


def same(labels, values):
    """The labels are the highest values', but where two are equal up to rounding."""
    best = values.max(0)
    chosen = np.take_along_axis(values, labels[None].astype(np.int64), 0)[0]
    assert (best - chosen).max() < 1e-5
    assert (labels != values.argmax(0)).mean() < 0.001


def squeezed(shape, size):
    y, x = size[0] / shape[0], size[1] / shape[1]
    return np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5]])


@pytest.mark.parametrize("shape", [(64, 128), (37, 211), (300, 190), (5, 7), (1, 1)])
def test_squeezed_pictures_against_torch(shape):
    values = logits(19, 16, 32)
    labels = decode_mask(values, squeezed(shape, (64, 128)), (64, 128), shape)
    resized = F.interpolate(torch.from_numpy(values)[None], size=shape, mode="bilinear", align_corners=False)
    assert labels.shape == shape and labels.dtype == np.uint8
    same(labels, resized[0].numpy())


@pytest.mark.parametrize(("cells", "size"), [((16, 32), (64, 128)), ((1, 9), (4, 33)), ((1, 1), (1, 1))])
def test_aligned_corners_against_torch(cells, size):
    """Upstream's last resize has the align_corners of the others; here the picture has the input's size, as there."""
    values = logits(19, *cells)
    labels = decode_mask(values, np.eye(2, 3), size, size, align_corners=True)
    resized = F.interpolate(torch.from_numpy(values)[None], size=size, mode="bilinear", align_corners=True)
    same(labels, resized[0].numpy())


def test_aligned_corners_of_a_picture_of_another_size():
    values, size, shape = logits(7, 9, 17), (33, 65), (50, 40)
    where = squeezed(shape, size)
    same(decode_mask(values, where, size, shape, align_corners=True), plain(values, where, size, shape, True))


@pytest.mark.parametrize(
    "placement",
    [
        [[0.8, 0, -0.1], [0, 0.8, -0.1]],  # in the corner
        [[0.8, 0, 11.4], [0, 0.8, 5.4]],  # in the middle
        [[0.5, 0, 1.25], [0, 0.9, -0.05]],
    ],
)
def test_placed_pictures_against_loops(placement):
    values = logits(5, 16, 20)
    size, shape = (64, 80), (66, 70)
    labels = decode_mask(values, np.array(placement), size, shape)
    same(labels, plain(values, np.array(placement), size, shape))


def test_the_answer_that_is_known():
    """Each half of the input is of one class, and the picture is its middle part."""
    values = np.zeros((3, 8, 8), np.float32)
    values[1, :, :4], values[2, :, 4:] = 1, 1
    labels = decode_mask(values, np.array([[1, 0, 8], [0, 1, 8]]), (32, 32), (16, 16))
    np.testing.assert_array_equal(labels, np.repeat([[1] * 8 + [2] * 8], 16, 0))


def test_many_classes():
    values = np.zeros((300, 4, 4), np.float32)
    values[299] = 1
    labels = decode_mask(values, squeezed((8, 8), (4, 4)), (4, 4), (8, 8))
    assert labels.dtype == np.uint16 and (labels == 299).all()
    assert decode_mask(values[44:], squeezed((8, 8), (4, 4)), (4, 4), (8, 8)).dtype == np.uint8


def test_of_equal_classes_the_first():
    assert (decode_mask(np.ones((4, 3, 3)), np.eye(2, 3), (3, 3), (3, 3)) == 0).all()
    assert (decode_mask(-np.ones((4, 3, 3)), np.eye(2, 3), (3, 3), (3, 3)) == 0).all()


def test_memory_stays_small():
    """All classes of a picture of this size would be 160 MB."""
    values, shape = logits(19, 128, 256), (1024, 2048)
    placement = squeezed(shape, (512, 1024))
    tracemalloc.start()
    labels = decode_mask(values, placement, (512, 1024), shape)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - labels.nbytes < 4e6


def test_what_can_be_no_mask():
    values = logits(3, 4, 4)
    with pytest.raises(InputError, match="Logits hold 1 NaN"):
        decode_mask(np.where(values == values.max(), np.nan, values), np.eye(2, 3), (4, 4), (4, 4))
    with pytest.raises(InputError, match=r"Logits are \(classes, height, width\)"):
        decode_mask(values[None], np.eye(2, 3), (4, 4), (4, 4))
    with pytest.raises(InputError, match="turns the picture"):
        decode_mask(values, np.array([[0, 1, 0], [1, 0, 0]]), (4, 4), (4, 4))
    with pytest.raises(InputError, match="can't be undone"):
        decode_mask(values, np.zeros((2, 3)), (4, 4), (4, 4))
    with pytest.raises(InputError, match="no classes for what the network did not see"):
        decode_mask(values, np.array([[1, 0, -3], [0, 1, 0]]), (4, 4), (4, 10))
    with pytest.raises(InputError, match=r"The picture's size is \(height, width\) in pixels, not \(0, 4\)"):
        decode_mask(values, np.eye(2, 3), (4, 4), (0, 4))


def test_sizes_and_placements_that_are_none():
    values = logits(3, 4, 4)
    with pytest.raises(InputError, match=r"The input's size is \(height, width\) in pixels, not \(-1, 4\)"):
        decode_mask(values, np.eye(2, 3), (-1, 4), (4, 4))
    with pytest.raises(InputError, match=r"Placements of 1 are \(2, 3\), not \(3, 3\)"):
        decode_mask(values, np.eye(3), (4, 4), (4, 4))


@pytest.mark.parametrize("opacity", [0, 0.3, 0.5, 1])
def test_colors_over_a_picture(opacity):
    rng = np.random.default_rng(0)
    image, labels = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), rng.integers(0, 4, (9, 7), dtype=np.uint16)
    palette = [(255, 0, 0), (0, 128, 255), (1, 2, 3), (77, 88, 99)]
    before = image.copy()
    found = overlay(image, labels, palette, opacity)
    expected = [
        [[(1 - opacity) * image[y, x, c] + opacity * palette[labels[y, x]][c] for c in range(3)] for x in range(7)]
        for y in range(9)
    ]
    assert found.dtype == np.uint8 and (image == before).all()
    np.testing.assert_allclose(found, expected, atol=0.5001)


def test_what_can_not_be_laid_over():
    image, labels = np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 2, np.uint8)
    with pytest.raises(InputError, match="There are classes up to 2, but only 2 colors"):
        overlay(image, labels, [(0, 0, 0)] * 2)
    with pytest.raises(InputError, match=r"A mask of \(4, 3\) of uint8 can't be laid over"):
        overlay(image, labels[:, :3], [(0, 0, 0)] * 3)
    with pytest.raises(InputError, match=r"A mask of \(4, 4\) of float64 can't be laid over"):
        overlay(image, labels * 1.0, [(0, 0, 0)] * 3)
    with pytest.raises(InputError, match=r"A palette is \(classes, 3\) of 0 to 255"):
        overlay(image, labels, [(0, 0, 256)] * 3)
    with pytest.raises(InputError, match=r"The opacity is 1\.5; it can be 0 to 1"):
        overlay(image, labels, [(0, 0, 0)] * 3, opacity=1.5)
