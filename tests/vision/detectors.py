"""Outputs that detectors of every family would give for boxes that are known."""

import dataclasses

import numpy as np

from netdefs.core.preprocess import Preprocess
from netdefs.vision.boxes import detect
from netdefs.vision.image import placement

LETTERBOX = dataclasses.asdict(Preprocess("RGB", (0.0,) * 3, (1.0,) * 3, fit="letterbox", pad=114))
SIZE, SHAPE = (320, 416), (250, 391)
CLASSES = 6
MORE = {"masks": 4, "masks_objectness": 4, "poses": 51, "rotated_boxes": 1}
ROWS = ("boxes_objectness", "masks_objectness", "boxes_wongkinyiu")  # the layouts other than YOLOv8's
PAIRS = ("boxes_darknet", "boxes_tianxiaomo")


def outputs_of(method, boxes, scores, objectness=None, more=None):
    """What a network of the family gives: (A, 4) centre x, centre y, width, height in the input, (A, classes).

    Unless `more` says something else, masks fill their boxes.
    """
    boxes, scores = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    more = np.ones((len(boxes), MORE.get(method, 0))) if more is None else more
    objectness = np.ones(len(boxes)) if objectness is None else objectness
    if method in PAIRS:
        edges = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        found = {"boxes": edges[:, None] / (*SIZE[::-1], *SIZE[::-1]), "confs": scores * objectness[:, None]}
    elif method == "boxes_yolox":
        found = {"decoded": np.column_stack([boxes, objectness, scores])}
    elif method in ROWS:
        found = {"pred": np.column_stack([boxes, objectness, scores, more])}
    else:
        found = {"pred": np.column_stack([boxes, scores, more]).T}
    if method.startswith("masks"):
        found["proto"] = np.ones((4, SIZE[0] // 4, SIZE[1] // 4))
    return {name: value.astype(np.float32) for name, value in found.items()}


def crowd(seed, count):
    """Boxes that pile up at a few places, also half outside, with one or two likely classes each."""
    rng = np.random.default_rng(seed)
    where = rng.integers(0, 12, count)
    centres = rng.uniform(0, SIZE[::-1], (12, 2))[where] + rng.normal(0, 4, (count, 2))
    sides = np.exp(rng.normal(3.5, 0.7, (12, 2)))[where] * rng.uniform(0.85, 1.15, (count, 2))
    scores = rng.random((count, CLASSES)) * 0.3
    scores[np.arange(count), where % CLASSES] = rng.random(count)
    scores[np.arange(count), (where + 1) % CLASSES] = rng.random(count)
    return np.concatenate([centres, sides], 1), scores, rng.random(count)


def run(method, outputs, shape=SHAPE, size=SIZE, threshold=None, iou=None, **how):
    """The instances alone."""
    matrix = placement(shape, LETTERBOX, size)
    return detect(outputs, {"method": method, **how}, matrix, size, shape, threshold, iou)[0]
