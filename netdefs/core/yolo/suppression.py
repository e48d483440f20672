"""Non-maximum suppression inside a network: of boxes that show the same thing, only the best one stays.

`netdefs.vision` does the same on the host, and these networks give what it gives.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor
from netdefs.core.yolo.detection import rows_of

PLACES = ("host", "in_network")
APART = 7680.0  # pixels that upstream moves the boxes of one class away from those of the one before
MOST = 3840  # what TensorRT's top-k can choose


@dataclasses.dataclass(frozen=True)
class Suppression:
    """Which boxes stay.

    Attributes:
        score_threshold: scores are above it.
        iou_threshold: boxes of one class that stay overlap by no more than this.
        max_det: how many may stay, of all classes together.
    """

    score_threshold: float
    iou_threshold: float
    max_det: int


# What upstream's own code does unless it is told otherwise: cfg/default.yaml of ultralytics/ultralytics, detect.py of
# ultralytics/yolov5 and ultralytics/yolov3 (all AGPL-3.0).
ULTRALYTICS = Suppression(0.25, 0.7, 300)
YOLOV5 = Suppression(0.25, 0.45, 1000)


def suppression(
    net: Network,
    place: str,
    usual: Suppression | None,
    decode: str,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_det: int | None = None,
) -> Suppression | None:
    """What the arguments of a `define` ask for; None if suppression is left to the host.

    Args:
        net: for messages.
        place: "host" or "in_network".
        usual: counts for what is None; None itself if this network has no boxes that can be suppressed inside.
        decode: the outputs: "raw", "decoded" or "both".
        score_threshold: as in `Suppression`, and so are the others.
        iou_threshold: likewise.
        max_det: likewise.

    Raises:
        NetworkError: an argument can't be what it is, or would change nothing.
    """
    arguments = {"score_threshold": score_threshold, "iou_threshold": iou_threshold, "max_det": max_det}
    given: dict[str, Any] = {name: value for name, value in arguments.items() if value is not None}
    if place not in PLACES:
        raise NetworkError(f"nms={place!r}: it is one of {', '.join(map(repr, PLACES))}.")
    if place == "host":
        for name, value in given.items():
            raise NetworkError(
                f"{name}={value}: it is for nms='in_network'. On the host the thresholds are given when pictures are "
                "looked at: predict(threshold=..., iou=...), or --threshold and --iou."
            )
        return None
    if usual is None:
        raise NetworkError(
            f"{net.name} has no upright boxes, and those alone can be suppressed inside a network: leave out "
            "nms='in_network'."
        )
    if decode == "raw":
        raise NetworkError("nms='in_network' works on decoded boxes: it does not go with decode='raw'.")
    for name, value in given.items():
        if name != "max_det" and not 0 <= value <= 1:
            raise NetworkError(f"{name}={value}: it can be 0 to 1.")
    found = dataclasses.replace(usual, **given)
    if not 1 <= found.max_det <= MOST:
        raise NetworkError(f"max_det={max_det}: it can be 1 to {MOST}.")
    return found


def suppress(net: Network, boxes: Tensor, scores: Tensor, more: Sequence[Tensor], how: Suppression) -> Tensor:
    """The boxes that stay, best first: (N, max_det, 6 + more), rows of x1, y1, x2, y2, score, class and more.

    A box counts for its best class only, and suppresses boxes of that class only. Rows that are left over are 0, their
    score too. If there are fewer boxes than `max_det`, there are as many rows as boxes. TensorRT looks at the best 5000
    boxes above the threshold.

    Args:
        net: the place that the layers are named after.
        boxes: (N, A, 4), centre x, centre y, width, height in pixels.
        scores: (N, A, classes).
        more: (N, A, any) each: what else belongs to a box.
        how: which boxes stay.
    """
    trt, definition = net.trt, net.definition
    boxes, scores = net.cast(boxes, "boxes.cast", trt.float32), net.cast(scores, "scores.cast", trt.float32)
    more = [net.cast(x, f"more.{i}.cast", trt.float32) for i, x in enumerate(more)]
    total = int(scores.shape[1])

    centre, size = net.split(boxes, "boxes", 2, dim=2)
    half = net.mul(size, 0.5, "half")
    low, high = net.sub(centre, half, "low"), net.add(centre, half, "high")
    edges = net.concat([low, high], "edges", dim=2)
    score, label = net.topk(scores, "best", 1, dim=2)
    label = net.cast(label, "label", trt.float32)

    # Boxes of different classes never meet, as upstream has it. So all are of one class to TensorRT, which then gives
    # no more rows than wanted, and has 80 times fewer scores to look at.
    # A box of negative width or height overlaps nothing; TensorRT would take its corners the other way around.
    sound = net.concat([low, net.maximum(low, high, "high.sound")], "edges.sound", dim=2)
    moved = net.add(sound, net.mul(label, APART, "apart"), "moved")
    layer = definition.add_nms(moved, score, net.constant(np.array(how.max_det, np.int32), "max_det"))
    if layer is not None:
        layer.set_input(3, net.constant(rounded_down(how.iou_threshold), "iou_threshold"))
        layer.set_input(4, net.constant(np.array(how.score_threshold, np.float32), "score_threshold"))
        layer.bounding_box_format = trt.BoundingBoxFormat.CORNER_PAIRS
    found = net.layer(layer, "nms", moved, score)  # (rows, 3): of the batch, of the class, of the box

    # How many there are depends on the picture. As scores at their boxes' places, 0 elsewhere, their size is fixed.
    columns = net.constant(np.array([0, 2], np.int32), "columns")
    pairs = net.layer(definition.add_gather(found, columns, 1), "pairs", found, columns)
    flat = net.reshape(score, "scores", (0, total))
    kept = net.layer(definition.add_gather_v2(flat, pairs, trt.GatherMode.ND), "kept", flat, pairs)
    nothing = net.mul(flat, 0.0, "nothing")
    placed = definition.add_scatter(nothing, pairs, kept, trt.ScatterMode.ND)
    placed = net.layer(placed, "placed", nothing, pairs, kept)
    count = min(how.max_det, total)
    ranked, index = net.topk(placed, "ranked", count, dim=1)
    rows = rows_of(net, net.concat([edges, score, label, *more], "rows", dim=2), index, "chosen")
    there = net.gt(net.reshape(ranked, "ranked.column", (0, count, 1)), 0.0, "there")
    return net.where(there, rows, 0.0, "detections")


def rounded_down(threshold: float) -> np.ndarray:
    """The largest float32 that is not above a threshold: a float32 exceeds it if, and only if, it exceeds this."""
    bound = np.float32(threshold)
    return np.array(bound if float(bound) <= threshold else np.nextafter(bound, np.float32(-1)))
