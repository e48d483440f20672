"""Detections: from a detector's outputs to boxes, masks, keypoints and rotated boxes in the picture."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import repeat
from types import MappingProxyType
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.yolo.suppression import APART, ULTRALYTICS, YOLOV5, Suppression
from netdefs.vision.candidates import (
    Candidates,
    Outputs,
    from_columns,
    from_detections,
    from_pairs,
    from_rows,
    from_yolox,
    output_of,
)
from netdefs.vision.geometry import to_picture
from netdefs.vision.instance import Instance, Mask
from netdefs.vision.maps import checked, checked_share
from netdefs.vision.nms import class_nms, rotated_nms
from netdefs.vision.points import from_peaks, from_priors
from netdefs.vision.prototypes import instance_masks

MOST = 30_000  # candidates that go into suppression, the best ones; upstream's number
KEYPOINTS = (17, 3)  # of a pose, as COCO has them: so many, each x, y and a visibility
Suppress = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def _torchvision_nms(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou: float) -> np.ndarray:
    """What batched_nms in torchvision/ops/boxes.py of pytorch/vision (BSD-3-Clause) gives."""
    offset = boxes.max() + np.float32(1) if 0 < boxes.size <= 4000 else None
    return class_nms(boxes, scores, labels, iou, offset=offset)


@dataclasses.dataclass(frozen=True)
class Family:
    """How detectors of one family are decoded, and what their own code does unless it is told otherwise.

    Attributes:
        read: gives the candidates above a threshold.
        suppress: gives those that stay: boxes, scores, labels, iou -> positions, best first. None if all do.
        threshold: scores are above it.
        iou: boxes of one class that stay overlap by no more than this.
        more: what else belongs to a box: "mask", "keypoints", "angle", or "" for nothing.
        relative: boxes are in parts of the input's size.
        sized: reading takes the input's size.
    """

    read: Callable[..., Candidates]
    suppress: Suppress | None
    threshold: float
    iou: float
    more: str = ""
    relative: bool = False
    sized: bool = False


def _family(
    read: Callable[..., Candidates], how: Suppression, suppress: Callable[..., np.ndarray], **more: Any
) -> Family:
    suppress = partial(suppress, limit=how.max_det, offset=APART)
    return Family(read, suppress, how.score_threshold, how.iou_threshold, **more)


_ULTRALYTICS = _family(from_columns, ULTRALYTICS, class_nms)
_ROTATED = _family(partial(from_columns, rotated=True), ULTRALYTICS, rotated_nms, more="angle")
_YOLOV5 = _family(from_rows, YOLOV5, class_nms)

# "boxes", "masks", "poses", "rotated_boxes": YOLOv5u, v8, 11, 12 and 26: cfg/default.yaml and utils/nms.py of
# ultralytics/ultralytics (AGPL-3.0). "..._objectness": detect.py, segment/predict.py of ultralytics/yolov5 and yolov3
# (AGPL-3.0). "boxes_wongkinyiu": detect.py of WongKinYiu/PyTorch_YOLOv4 and ScaledYOLOv4 (GPL-3.0). "boxes_yolox":
# tools/demo.py and postprocess in yolox/utils/boxes.py of Megvii-BaseDetection/YOLOX (Apache-2.0). "boxes_darknet":
# src/detector.c of AlexeyAB/darknet (public domain). "boxes_tianxiaomo": demo.py, post_processing in tool/utils.py of
# Tianxiaomo/pytorch-YOLOv4 (Apache-2.0). "faces": detect.py of biubug6/Pytorch_Retinaface (MIT), which draws what is
# above its vis_thres. "centers": src/lib/opts.py, src/lib/detectors/ctdet.py of xingyizhou/CenterNet (MIT), likewise.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "boxes": _ULTRALYTICS,
        "masks": dataclasses.replace(_ULTRALYTICS, more="mask"),
        "poses": dataclasses.replace(_ULTRALYTICS, more="keypoints"),
        "rotated_boxes": _ROTATED,
        "boxes_objectness": _YOLOV5,
        "masks_objectness": dataclasses.replace(_YOLOV5, more="mask"),
        "boxes_wongkinyiu": Family(
            partial(from_rows, several=True), partial(class_nms, limit=300, offset=4096.0), 0.4, 0.5
        ),
        "boxes_yolox": Family(from_yolox, _torchvision_nms, 0.3, 0.3),
        "boxes_darknet": Family(partial(from_pairs, several=True), class_nms, 0.25, 0.45, relative=True),
        "boxes_tianxiaomo": Family(from_pairs, class_nms, 0.4, 0.6, relative=True),
        "faces": Family(from_priors, partial(class_nms, limit=750), 0.6, 0.4, more="keypoints", sized=True),
        "centers": Family(from_peaks, None, 0.3, 1.0),
    }
)


def detect(
    outputs: Outputs,
    how: Mapping[str, Any],
    placement: np.ndarray,
    size: tuple[int, int],
    shape: tuple[int, int],
    threshold: float | None = None,
    iou: float | None = None,
) -> tuple[list[Instance], int | None]:
    """What a detector found in one picture, best first.

    Boxes and keypoints are cut off where the picture ends, the corners of rotated boxes are not. Where there are masks,
    things whose mask is empty are left out.

    Args:
        outputs: by name, without the batch. `dets` goes before all others: they need no suppression.
        how: "method", one of `FAMILIES`; further "kpt_shape", how many keypoints a pose has and the 2 or 3 values of
            each, "num_classes", and "score_threshold", which `dets` were chosen with, where they are known.
        placement: (2, 3) from `netdefs.vision.placement`.
        size: (height, width) of the input.
        shape: (height, width) of the picture.
        threshold: scores are above it; by default the family's.
        iou: how far boxes of one class that stay may overlap; by default the family's.

    Returns:
        The instances, and how many classes the network tells apart, if that is known.

    Raises:
        InputError: an output is not there, of another shape, or holds NaN or infinity, or an argument can't be used.
    """
    for name, given in (("threshold", threshold), ("iou", iou)):
        if given is not None:
            checked_share(name, given)
    family = FAMILIES[how["method"]]
    kpt_shape = how.get("kpt_shape") or KEYPOINTS
    protos = np.zeros((0, 1, 1), np.float32)
    if family.more == "mask":
        protos = checked("Prototypes", output_of(outputs, "proto"), ("coefficients", "height", "width"))
    more = {"": 0, "mask": len(protos), "keypoints": math.prod(kpt_shape), "angle": 1}[family.more]
    if "dets" in outputs:
        found = _chosen(family, outputs, more, threshold, iou, how.get("score_threshold"))
    else:
        found = _kept(family, outputs, more, size, threshold, iou)
    classes = how.get("num_classes") if found.classes is None else found.classes
    if family.more == "angle":
        return _rotated(found, placement), classes
    edges = found.boxes * np.array([*size[::-1], *size[::-1]], np.float32) if family.relative else found.boxes
    boxes = _clipped(edges.reshape(-1, 2, 2), placement, shape).reshape(-1, 4)
    keypoints: Iterable[np.ndarray | None] = repeat(None)
    masks: Iterable[Mask | None] = repeat(None)
    if family.more == "keypoints":
        keypoints = _keypoints(found, kpt_shape, placement, shape)
    elif family.more == "mask":
        masks = instance_masks(protos, found.more, boxes, placement, size, shape)
    columns = zip(found.scores.tolist(), found.labels.tolist(), boxes, keypoints, masks, strict=False)
    instances = [Instance(score, label, box, points, mask=mask) for score, label, box, points, mask in columns]
    return [each for each in instances if each.mask is not None or family.more != "mask"], classes


def _kept(
    family: Family, outputs: Outputs, more: int, size: tuple[int, int], threshold: float | None, iou: float | None
) -> Candidates:
    """The candidates above the threshold that suppression leaves; `more` values follow the classes of each."""
    threshold = family.threshold if threshold is None else threshold
    options = ({"more": more} if more else {}) | ({"size": size} if family.sized else {})
    found = family.read(outputs, threshold, **options)
    found = found[np.argsort(-found.scores, kind="stable")[:MOST]]
    if family.suppress is None:
        _refuse(iou)
        return found
    boxes = np.concatenate([found.boxes, found.more], 1) if family.more == "angle" else found.boxes
    return found[family.suppress(boxes, found.scores, found.labels, family.iou if iou is None else iou)]


def _chosen(
    family: Family, outputs: Outputs, more: int, threshold: float | None, iou: float | None, least: float | None
) -> Candidates:
    """The detections of a network that suppresses boxes itself, or needs not to; it left out scores up to `least`."""
    _refuse(iou)
    if threshold is not None and least is not None and threshold < least:
        raise InputError(
            f"The threshold is {threshold}, and this network was defined with score_threshold={least}: it has left out "
            "what is below. Define it with a lower one."
        )
    if threshold is None:
        threshold = family.threshold if least is None else least
    return from_detections(outputs, threshold, more)


def _refuse(iou: float | None) -> None:
    if iou is not None:
        raise InputError(
            "This network needs no suppression of boxes: there is no iou to choose. One that was defined with "
            "nms='in_network' takes iou_threshold there."
        )


def _to_picture(points: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """(..., 2) points of the input as points of the picture, both counting pixel edges; a placement counts centres."""
    return to_picture(points - 0.5, placement) + 0.5


def _clipped(points: np.ndarray, placement: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`_to_picture`, and no further than the picture's borders: float32."""
    return np.clip(_to_picture(points, placement), 0, shape[::-1]).astype(np.float32)


def _keypoints(
    found: Candidates, kpt_shape: tuple[int, int], placement: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """(n, K, 3): x, y and how sure it is that the point can be seen: 1, if the network does not say."""
    values = found.more.reshape(-1, *kpt_shape)
    seen = values[..., 2:] if kpt_shape[1] == 3 else np.ones_like(values[..., :1])
    return np.concatenate([_clipped(values[..., :2], placement, shape), seen], -1)


def _rotated(found: Candidates, placement: np.ndarray) -> list[Instance]:
    """Instances with corners: the centre moves to the picture, and the sides get as much longer as the picture is."""
    centres = _to_picture(found.boxes[:, :2], placement)
    half = found.boxes[:, 2:] / placement.diagonal() / 2
    cos, sin = np.cos(found.more.astype(np.float64)), np.sin(found.more.astype(np.float64))
    along = half[:, :1] * np.concatenate([cos, sin], 1)
    across = half[:, 1:] * np.concatenate([-sin, cos], 1)
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    corners = np.stack([centres + a * along + b * across for a, b in signs], 1).astype(np.float32)
    around = np.concatenate([corners.min(1), corners.max(1)], 1)
    return [
        Instance(score, label, box=box, corners=points)
        for score, label, box, points in zip(found.scores.tolist(), found.labels.tolist(), around, corners, strict=True)
    ]
