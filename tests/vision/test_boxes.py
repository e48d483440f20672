"""Detections of every family against loops, on crowded scenes, and single boxes whose place is known."""

import math

import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision.boxes import FAMILIES, detect
from netdefs.vision.image import placement
from tests.vision import plain
from tests.vision.detectors import CLASSES, LETTERBOX, MORE, PAIRS, ROWS, SHAPE, SIZE, crowd, outputs_of, run

# Of each family's own code: threshold, iou, limit, how far classes are moved apart, a box for each of its classes.
DEFAULTS = {
    "boxes": (0.25, 0.7, 300, 7680, False),
    "masks": (0.25, 0.7, 300, 7680, False),
    "poses": (0.25, 0.7, 300, 7680, False),
    "rotated_boxes": (0.25, 0.7, 300, 7680, False),
    "boxes_objectness": (0.25, 0.45, 1000, 7680, False),
    "masks_objectness": (0.25, 0.45, 1000, 7680, False),
    "boxes_wongkinyiu": (0.4, 0.5, 300, 4096, True),
    "boxes_yolox": (0.3, 0.3, None, "torchvision", False),
    "boxes_darknet": (0.25, 0.45, None, None, True),
    "boxes_tianxiaomo": (0.4, 0.6, None, None, False),
}


def plain_detect(method, outputs, threshold, iou, limit, offset, several):
    """Loops over `outputs`: (score, label, box in the picture)."""
    found = []
    if method in PAIRS:
        rows = [(edges[0], list(scores)) for edges, scores in zip(outputs["boxes"], outputs["confs"], strict=True)]
    else:
        both = outputs.get("decoded", outputs.get("pred"))
        first = 5 if method in ROWS or method == "boxes_yolox" else 4
        rows = []
        for row in both if first == 5 else both.T:
            x, y, w, h = row[:4]
            half = w / np.float32(2), h / np.float32(2)
            scores = [p * row[4] if first == 5 else p for p in row[first : first + CLASSES]]
            rows.append(((x - half[0], y - half[1], x + half[0], y + half[1]), scores))
    for edges, scores in rows:
        best = scores.index(max(scores))
        for label, score in enumerate(scores):
            enough = score >= np.float32(threshold) if method == "boxes_yolox" else score > np.float32(threshold)
            if enough and (several or label == best):
                found.append((score, label, edges))
    boxes = np.array([edges for _, _, edges in found], np.float32).reshape(-1, 4)
    labels = [label for _, label, _ in found]
    if offset == "torchvision":  # of up to 1000 boxes it moves the classes apart, of more it looks at each by itself
        offset = boxes.max() + np.float32(1) if len(boxes) <= 1000 else None
    scores = [score for score, *_ in found]
    if offset is None:
        kept = plain.nms(boxes, scores, iou, apart=lambda i, j: labels[i] != labels[j])
    else:
        kept = plain.nms(plain.moved(boxes, labels, offset), scores, iou)
    results = []
    for i in kept[:limit]:
        x1, y1, x2, y2 = boxes[i] * (SIZE[1], SIZE[0], SIZE[1], SIZE[0]) if method in PAIRS else boxes[i]
        box = (*plain.to_picture(x1, y1, SHAPE, SIZE), *plain.to_picture(x2, y2, SHAPE, SIZE))
        visible = math.ceil(box[0]) < math.ceil(box[2]) and math.ceil(box[1]) < math.ceil(box[3])
        if visible or not method.startswith("masks"):  # where a box is in the letterbox alone, its mask is empty
            results.append((float(found[i][0]), labels[i], box))
    return results


def assert_same(instances, expected):
    assert [(each.score, each.label) for each in instances] == [row[:2] for row in expected]
    boxes = np.array([each.box for each in instances]).reshape(-1, 4)
    assert np.allclose(boxes, np.array([row[2] for row in expected]).reshape(-1, 4), rtol=0, atol=2e-4)


@pytest.mark.parametrize("method", [name for name in DEFAULTS if name != "rotated_boxes"])
def test_crowds(method):
    for seed in range(2):
        outputs = outputs_of(method, *crowd(seed, 300))
        expected = plain_detect(method, outputs, *DEFAULTS[method])
        assert len(expected) > 12
        assert_same(run(method, outputs), expected)
        _, _, *rest = DEFAULTS[method]
        assert_same(run(method, outputs, threshold=0.1, iou=0.2), plain_detect(method, outputs, 0.1, 0.2, *rest))


def test_crowds_of_rotated_boxes():
    boxes, scores, _ = crowd(4, 200)
    angles = np.random.default_rng(4).uniform(-np.pi / 4, 3 * np.pi / 4, (200, 1)).astype(np.float32)
    outputs = outputs_of("rotated_boxes", boxes, scores, more=angles)
    rows = outputs["pred"].T
    rows = rows[rows[:, 4:10].max(1) > 0.25]
    best, labels = rows[:, 4:10].max(1), rows[:, 4:10].argmax(1)
    kept, near = plain.rotated_nms(np.column_stack([rows[:, :4], rows[:, 10]]), best, labels, 0.7)
    assert near > 2e-6 and 12 < len(kept) < len(rows)
    instances = run("rotated_boxes", outputs)
    assert [(each.score, each.label) for each in instances] == [(float(best[i]), labels[i]) for i in kept]
    (gain_x, gain_y), (left, top), _ = plain.letterbox(SHAPE, SIZE)
    for each, i in zip(instances, kept, strict=True):
        x, y, w, h = (rows[i, :4] - (left, top, 0, 0)) / (gain_x, gain_y, gain_x, gain_y)
        turn = np.exp(1j * rows[i, 10])
        corners = [x + 1j * y + turn * (a * w + 1j * b * h) / 2 for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
        assert np.allclose(each.corners, [(c.real, c.imag) for c in corners], rtol=0, atol=2e-3)
        assert np.array_equal(each.box, [*each.corners.min(0), *each.corners.max(0)])


def test_yolox_takes_classes_one_by_one_if_there_are_many_boxes():
    outputs = outputs_of("boxes_yolox", *crowd(9, 1100))
    rest = DEFAULTS["boxes_yolox"][2:]
    assert len(run("boxes_yolox", outputs, threshold=0.0, iou=1.0)) == 1100
    assert_same(run("boxes_yolox", outputs, threshold=0.0), plain_detect("boxes_yolox", outputs, 0.0, 0.3, *rest))


@pytest.mark.parametrize(("others", "kept"), [(0, 1), (998, 1), (999, 2)])
def test_yolox_moves_classes_apart_if_there_are_up_to_1000_boxes(others, kept):
    """Moved by 5 * 601 pixels, 597 - 4.5 / 4096 becomes 597 - 4 / 4096, and the overlap too much."""
    right = 597 - 4.5 / 4096
    boxes = [[595, 5, 10, 10], [(590 + right) / 2, 5, right - 590, 10], *[[300, 300, 4, 4]] * others]
    scores = np.zeros((2 + others, CLASSES))
    scores[:2, 5], scores[2:, 0] = (0.9, 0.8), 0.5
    found = run("boxes_yolox", outputs_of("boxes_yolox", boxes, scores), iou=0.699896)
    assert sum(each.label == 5 for each in found) == kept


@pytest.mark.parametrize("method", DEFAULTS)
def test_a_score_at_the_threshold(method):
    outputs = outputs_of(method, [[200, 160, 40, 40]], [[0, 0, 0.5, 0, 0, 0]])
    assert len(run(method, outputs, threshold=0.5)) == (method == "boxes_yolox")
    assert [each.label for each in run(method, outputs, threshold=0.4999)] == [2]


def test_the_letterbox_is_taken_off():
    """A picture of 1280 x 640 is half as large in an input of 640 x 640, below 160 rows of padding."""
    outputs = {"pred": np.array([[320, 320, 100, 50, 0.9], [2, 162, 20, 20, 0.8]], np.float32).T}
    inside, at_the_corner = run("boxes", outputs, (640, 1280), (640, 640))
    assert inside.box.tolist() == [540, 270, 740, 370] and inside.box.dtype == np.float32
    assert inside.score == pytest.approx(0.9) and inside.label == 0
    assert at_the_corner.box.tolist() == [0, 0, 24, 24], "cut off where the picture ends"
    whole = {"pred": np.array([[320, 320, 9999, 9999, 0.9]], np.float32).T}
    assert run("boxes", whole, (640, 1280), (640, 640))[0].box.tolist() == [0, 0, 1280, 640]


def test_an_uneven_letterbox():
    """333 x 500 comes to 426 x 640 in 640 x 640, with 107 rows above, and is not enlarged as much along both axes."""
    box = {"pred": np.array([[320, 107 + 213, 640, 426, 0.9]], np.float32).T}
    assert np.allclose(run("boxes", box, (333, 500), (640, 640))[0].box, [0, 0, 500, 333], atol=1e-4)
    # 426 x 640 comes to 277 x 416 in 320 x 416. Of the 43 rows that are left 21 are above.
    box = {"pred": np.array([[208, 159.5, 416, 277, 0.9]], np.float32).T}
    assert np.allclose(run("boxes", box, (426, 640), (320, 416))[0].box, [0, 0, 640, 426], atol=1e-3)


def test_keypoints():
    points = np.zeros((17, 3))
    points[0], points[1], points[2] = (320, 320, 0.7), (-50, 700, 0.2), (0.5, 160.5, 0.9)
    rows = np.concatenate([[320, 320, 100, 50, 0.9], points.ravel()])[:, None].astype(np.float32)
    (person,) = run("poses", {"pred": rows}, (640, 1280), (640, 640))
    assert person.keypoints.shape == (17, 3) and person.label == 0
    assert np.allclose(person.keypoints[:3], [(640, 320, 0.7), (0, 640, 0.2), (1, 1, 0.9)])
    assert person.box.tolist() == [540, 270, 740, 370]


def test_keypoints_without_visibility():
    rows = np.array([[320, 320, 100, 50, 0.2, 0.9, 320, 320, 330, 340, 0, 160]], np.float32).T
    (hand,) = run("poses", {"pred": rows}, (640, 1280), (640, 640), kpt_shape=(3, 2))
    assert hand.keypoints.tolist() == [[640, 320, 1], [660, 360, 1], [0, 0, 1]] and hand.label == 1
    with pytest.raises(InputError, match="A box has 12 values, which leaves no classes"):
        run("poses", {"pred": rows})


def test_corners_of_rotated_boxes():
    rows = np.array([[320, 320, 100, 50, 0.9, 0], [320, 320, 100, 50, 0.8, np.pi / 2]], np.float32)
    flat, upright = run("rotated_boxes", {"pred": rows.T}, (640, 1280), (640, 640), iou=1.0)
    assert flat.box.tolist() == [540, 270, 740, 370]
    assert flat.corners.tolist() == [[740, 370], [740, 270], [540, 270], [540, 370]]
    assert np.allclose(upright.box, [590, 220, 690, 420], atol=1e-3)
    assert np.allclose(upright.corners, [[590, 420], [690, 420], [690, 220], [590, 220]], atol=1e-3)


@pytest.mark.parametrize("more", ["", "mask", "keypoints", "angle"])
def test_networks_that_need_no_suppression(more):
    """Boxes over each other stay, in the network's order, if their score is high enough."""
    method = next(name for name, family in FAMILIES.items() if family.more == more)
    places = [[200, 150, 240, 190]] * 3 if more != "angle" else [[220, 170, 40, 40]] * 3
    extra = np.ones((3, MORE.get(method, 0)))
    outputs = {"dets": np.column_stack([places, [0.9, 0.26, 0.25], [2, 5, 1], extra]).astype(np.float32)}
    if more == "mask":
        outputs["proto"] = np.ones((4, 80, 104), np.float32)
    matrix = placement(SIZE, LETTERBOX, SIZE)
    found, classes = detect(outputs, {"method": method}, matrix, SIZE, SIZE)
    assert [each.label for each in found] == [2, 5] and classes is None
    assert detect(outputs, {"method": method, "num_classes": 9}, matrix, SIZE, SIZE)[1] == 9
    if more != "angle":
        assert found[0].box.tolist() == places[0]
    logits = outputs | {"one2one_cls_logits": np.zeros((6, 10), np.float32)}
    assert detect(logits, {"method": method}, matrix, SIZE, SIZE)[1] == 6
    with pytest.raises(InputError, match="needs no suppression of boxes: there is no iou"):
        detect(outputs, {"method": method}, matrix, SIZE, SIZE, iou=0.5)


def test_the_other_head_of_such_a_network():
    outputs = outputs_of("boxes", *crowd(0, 50))
    other = run("boxes", {"one2many_pred": outputs["pred"]})
    assert [each.score for each in other] == [each.score for each in run("boxes", outputs)]


@pytest.mark.parametrize("method", DEFAULTS)
def test_nothing_found(method):
    assert run(method, outputs_of(method, *crowd(0, 100)), threshold=1.0) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", DEFAULTS)
def test_nan_and_infinity(method, value):
    outputs = outputs_of(method, *crowd(0, 20))
    for name in outputs:
        bad = {**outputs, name: outputs[name].copy()}
        bad[name].flat[7] = value
        with pytest.raises(InputError, match=r"hold . NaN and . infinite values"):
            run(method, bad)


@pytest.mark.parametrize("method", DEFAULTS)
def test_outputs_that_are_not_there_or_of_another_shape(method):
    outputs = outputs_of(method, *crowd(0, 20))
    for name in outputs:
        with pytest.raises(InputError, match=f"There is no output '{name}'"):
            run(method, {"raw": np.zeros(3), **{other: array for other, array in outputs.items() if other != name}})
        with pytest.raises(InputError, match=r"are \(.*\) of numbers, not"):
            run(method, {**outputs, name: outputs[name].ravel()})


def test_arguments_that_mean_nothing():
    outputs = outputs_of("boxes", *crowd(0, 20))
    for name, value in [("threshold", -0.1), ("threshold", 1.1), ("iou", np.nan)]:
        with pytest.raises(InputError, match=f"The {name} is {value}; it can be 0 to 1"):
            run("boxes", outputs, **{name: value})
    with pytest.raises(InputError, match="A box has 4 values, which leaves no classes"):
        run("boxes", {"pred": np.zeros((4, 10), np.float32)})
