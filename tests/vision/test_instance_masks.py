"""Masks of instances against loops over pixels, and how they are kept."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from netdefs.core.errors import InputError
from netdefs.core.preprocess import Preprocess
from netdefs.vision.boxes import detect
from netdefs.vision.image import placement
from netdefs.vision.instance import Instance, Mask
from netdefs.vision.prototypes import instance_masks
from tests.vision import plain

LETTERBOX = dataclasses.asdict(Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, fit="letterbox", pad=114))
SIZE = (64, 96)


def scene(seed, shape, count=6):
    """Smooth prototypes, coefficients, and boxes in the picture, some of them up to its border."""
    rng = np.random.default_rng(seed)
    protos = np.array([plain.resize(rng.normal(0, 1, (4, 6)).tolist(), 16, 24) for _ in range(3)], np.float32)
    first = rng.uniform(0, 0.6, (count, 2))
    last = np.minimum(first + rng.uniform(0.2, 0.7, (count, 2)), 1)
    boxes = (np.concatenate([first, last], 1) * (*shape[::-1], *shape[::-1])).astype(np.float32)
    return protos, rng.normal(0, 1, (count, 3)).astype(np.float32), boxes


# In the input the picture begins with a multiple of 4, of 2, or with neither; it is enlarged, or made smaller.
@pytest.mark.parametrize("shape", [(32, 48), (64, 64), (30, 48), (37, 50), (40, 48), (90, 131), (5, 60)])
def test_masks(shape):
    protos, coefficients, boxes = scene(1, shape)
    found = list(instance_masks(protos, coefficients, boxes, placement(shape, LETTERBOX, SIZE), SIZE, shape))
    sizes = []
    for mask, numbers, box in zip(found, coefficients, boxes, strict=True):
        expected, near = plain.mask(protos, numbers, box, shape, SIZE)
        assert near > 1e-6, "the scene is no test: rounding decides"
        assert np.array_equal(np.zeros(shape, bool) if mask is None else mask.whole(), expected)
        assert (mask is None) == (not expected.any())
        sizes.append(expected.sum())
    assert len(set(sizes)) > 3


def test_many_masks_are_the_same_as_each_alone():
    shape = (37, 50)
    protos, coefficients, boxes = scene(2, shape, 100)
    where = placement(shape, LETTERBOX, SIZE), SIZE, shape
    together = list(instance_masks(protos, coefficients, boxes, *where))
    assert len(together) == 100
    for i in range(0, 100, 7):
        (alone,) = instance_masks(protos, coefficients[i : i + 1], boxes[i : i + 1], *where)
        assert (alone is None) == (together[i] is None)
        assert alone is None or np.array_equal(alone.whole(), together[i].whole())


@pytest.mark.parametrize("fit", ["squeeze", "corner"])
def test_other_fits(fit):
    """A prototype that is positive in the right half of the picture."""
    shape = (48, 48)
    recipe = LETTERBOX | {"fit": fit}
    protos = np.full((1, 16, 24), -1, np.float32)
    protos[:, :, 8 if fit == "corner" else 12 :] = 1
    box = np.array([[0, 8, 48, 40]], np.float32)
    (mask,) = instance_masks(protos, np.ones((1, 1), np.float32), box, placement(shape, recipe, SIZE), SIZE, shape)
    assert (mask.left, mask.top, mask.pixels.shape) == (0, 8, (32, 48)), "no more than the box is kept"
    expected = np.zeros(shape, bool)
    expected[8:40, 24:] = True
    assert np.array_equal(mask.whole(), expected)


def test_pixels_that_begin_inside_of_the_box_belong_to_it():
    where = placement(SIZE, LETTERBOX, SIZE), SIZE, SIZE
    protos, one = np.ones((1, 16, 24), np.float32), np.ones((1, 1), np.float32)
    (mask,) = instance_masks(protos, one, np.array([[2.0, 3.1, 5.0, 6.1]], np.float32), *where)
    rows, columns = np.nonzero(mask.whole())
    assert sorted(set(columns.tolist())) == [2, 3, 4] and sorted(set(rows.tolist())) == [4, 5, 6]
    narrow = np.array([[2.1, 3, 2.9, 6], [96, 0, 96, 64], [5, 5, 4, 4]], np.float32)
    assert list(instance_masks(protos, one.repeat(3, 0), narrow, *where)) == [None] * 3


def test_things_without_a_mask_are_left_out():
    """Two boxes, of which one lies where the prototype is negative."""
    protos = np.full((1, 16, 24), -1, np.float32)
    protos[:, :, :12] = 1
    pred = np.array([[20, 30, 10, 10, 0.9, 1], [80, 30, 10, 10, 0.8, 1], [80, 30, 10, 10, 0.7, -1]], np.float32).T
    found, classes = detect(
        {"pred": pred, "proto": protos}, {"method": "masks"}, placement(SIZE, LETTERBOX, SIZE), SIZE, SIZE, iou=1.0
    )
    assert [each.score for each in found] == pytest.approx([0.9, 0.7]) and classes == 1
    assert all(each.mask.pixels.all() and each.mask.pixels.shape == (10, 10) for each in found)


@pytest.mark.parametrize(
    ("protos", "coefficients", "fit", "message"),
    [
        ((3, 16, 24), (1, 2), "letterbox", r"3 prototypes take 3 coefficients a box, not \(1, 2\)"),
        ((3, 15, 24), (1, 3), "letterbox", "Prototypes of 15x24 don't divide an input of 64x96 evenly"),
        ((3, 16, 12), (1, 3), "letterbox", "Prototypes of 16x12 don't divide an input of 64x96 evenly"),
        ((3, 16, 24), (1, 3), "crop", "The picture lies at .* Use the fit 'letterbox'"),
    ],
)
def test_what_does_not_fit(protos, coefficients, fit, message):
    where = placement((50, 50), LETTERBOX | {"fit": fit}, SIZE), SIZE, (50, 50)
    with pytest.raises(InputError, match=message):
        list(instance_masks(np.ones(protos, np.float32), np.ones(coefficients, np.float32), np.ones((1, 4)), *where))


def test_a_picture_that_is_turned():
    turned = np.array([[0, 1, 0], [1, 0, 0]], np.float64)
    with pytest.raises(InputError, match="where it lies upright and whole"):
        list(instance_masks(np.ones((1, 8, 8)), np.ones((1, 1)), np.ones((1, 4)), turned, (32, 32), (32, 32)))


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5))),
    st.tuples(*[st.integers(0, 2)] * 4),
)
def test_run_lengths(pixels, margins):
    left, top, right, bottom = margins
    shape = (top + pixels.shape[0] + bottom, left + pixels.shape[1] + right)
    mask = Mask(pixels, left, top, shape)
    whole = mask.whole()
    assert whole.shape == shape and whole.sum() == pixels.sum()
    assert np.array_equal(whole[top : top + pixels.shape[0], left : left + pixels.shape[1]], pixels)
    assert mask.to_dict() == {"size": list(shape), "counts": plain.run_lengths(whole)}


def test_json():
    mask = Mask(np.ones((2, 3), bool), 1, 0, (4, 5))
    corners = np.array([[1, 2], [3, 4], [5, 6], [7, 8.5]], np.float32)
    instance = Instance(np.float32(0.5), np.int64(3), np.arange(4, dtype=np.float32), corners=corners, mask=mask)
    assert json.loads(json.dumps(instance.to_dict())) == {
        "score": 0.5,
        "label": 3,
        "box": [0, 1, 2, 3],
        "corners": [[1, 2], [3, 4], [5, 6], [7, 8.5]],
        "mask": {"size": [4, 5], "counts": [4, 2, 2, 2, 2, 2, 6]},
    }
