"""The heads of Ultralytics' networks: what finds classes, boxes, masks, keypoints and rotated boxes.

Upstream: ultralytics/ultralytics, ultralytics/nn/modules/head.py, and ultralytics/yolov5, models/yolo.py (both
AGPL-3.0). Values of all cells of all maps come in one row, the finest map first. Outputs are decoded in float32.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor
from netdefs.core.yolo.detection import (
    anchor_points,
    boxes_from_distances,
    check_decode,
    expected_distances,
    rotated_boxes,
    sizes_of_maps,
)
from netdefs.core.yolo.suppression import Suppression, suppress
from netdefs.core.yolo.ultralytics import EPS, conv, same

CLASSES = {"detect": 80, "seg": 80, "pose": 1, "obb": 15, "cls": 1000}  # of upstream's own checkpoints
MORE = {"detect": "", "seg": "mask_coefficient", "pose": "kpts", "obb": "angle"}  # what a box has besides its class
MASKS = 32  # coefficients of a box, and prototypes


@dataclasses.dataclass(frozen=True)
class Head:
    """What a head is like, apart from its class count.

    Attributes:
        task: "detect", "seg", "pose" or "obb".
        kpt_shape: for "pose", how many keypoints, and the 2 or 3 values of each; upstream's (17, 3) when None.
        bins: of the distribution of a distance; 1 is YOLO26, whose heads differ in more than that.
        legacy: classes by full 3x3 convolutions, as in YOLOv5u and YOLOv8, not by depthwise ones.
        proto_width: channels inside the prototypes' module.
        eps: of the batch norms, where the weights don't tell.
    """

    task: str
    kpt_shape: tuple[int, int] | None = None
    bins: int = 16
    legacy: bool = False
    proto_width: int = 256
    eps: float = EPS

    def __post_init__(self) -> None:
        if self.kpt_shape is not None and (self.kpt_shape[0] < 1 or self.kpt_shape[1] not in (2, 3)):
            raise NetworkError(
                f"kpt_shape={self.kpt_shape}: it is how many keypoints, and 2 (x, y) or 3 values of each."
            )

    @property
    def keypoints(self) -> tuple[int, int]:
        """`kpt_shape`, or upstream's."""
        return self.kpt_shape or (17, 3)


def classify(
    net: Network, place: Network, x: Tensor, num_classes: int | None, decode: str = "both", eps: float = 1e-5
) -> dict[str, Tensor]:
    """Classify: `conv`, the mean, `linear`. Gives, raw, `logits` and, decoded, `prob`, (N, classes) both."""
    check_decode(decode)
    x = conv(place / "conv", x, 1280, eps=eps)
    x = place.flatten(place.global_avg_pool(x, "pool"), "drop", start_dim=1)
    x = place.linear(x, "linear", place.class_count(num_classes, "linear.bias", CLASSES["cls"]))
    outputs = {"logits": net.output(x, "logits")} if decode != "decoded" else {}
    if decode != "raw":
        outputs["prob"] = net.output(place.softmax(x, "softmax", dim=1), "prob")
    return outputs


def detect(
    net: Network,
    place: Network,
    maps: Sequence[Tensor],
    head: Head,
    num_classes: int | None,
    decode: str = "both",
    nms: Suppression | None = None,
) -> dict[str, Tensor]:
    """Detect, Segment, Pose and OBB of YOLOv5u, v8, 11 and 12.

    Args:
        net: the root, where the outputs get their names.
        place: the head's module.
        maps: (N, C, H, W) of the strides 8, 16, 32 ...
        head: what it is like.
        num_classes: read off the weights when None.
        decode: which outputs: "raw", "decoded" or "both".
        nms: which boxes stay, if that is decided inside.

    Returns:
        Decoded, `pred`: (N, 4 + classes + more, A), centre x, centre y, width and height in pixels, probabilities, then
        mask coefficients, keypoints in pixels or the angle. Raw: `box_logits`, (N, 64, A), `cls_logits`, and
        `mask_coefficient`, `kpts` or `angle`. Of masks always `proto`, (N, 32, H / 4, W / 4). With `nms` there is
        `dets` as `suppress` has it, and `pred` only with decode="both".
    """
    check_decode(decode)
    classes = place.class_count(num_classes, "cv3.0.2.bias", CLASSES[head.task])
    values = raw_values(place, maps, head, classes)
    names = {"boxes": "box_logits"}
    raw = {name: net.output(x, names.get(name, name)) for name, x in values.items()}
    outputs = {}
    if decode == "raw":
        place.ignore("dfl.conv.weight")
    else:
        parts = decoded_values(place, raw, maps, head)
        if nms is not None:
            outputs["dets"] = net.output(suppressed(place, parts, nms), "dets")
        if nms is None or decode == "both":
            outputs["pred"] = net.output(place.concat(parts, "pred", dim=1), "pred")
    if head.task == "seg":
        outputs["proto"] = net.output(prototypes(place / "proto", maps[0], head), "proto")
    return outputs if decode == "decoded" else outputs | {names.get(name, name): x for name, x in raw.items()}


def raw_values(place: Network, maps: Sequence[Tensor], head: Head, classes: int, prefix: str = "") -> dict[str, Tensor]:
    """`boxes`, (N, 4 * bins, A), `cls_logits`, (N, classes, A), and what `MORE` there is, of one head."""
    first = int(maps[0].shape[1])
    fine, eps = first // 4, head.eps
    # The rows of `dets` don't tell how many classes there are, and those of poses not what keypoints are made of.
    place.info["decode"] = {"num_classes": classes} | ({"kpt_shape": head.keypoints} if head.task == "pose" else {})
    values = {
        "boxes": towers(place, maps, f"{prefix}cv2", max(16, fine, 4 * head.bins), 4 * head.bins, eps),
        "cls_logits": class_towers(place, maps, f"{prefix}cv3", max(first, min(classes, 100)), classes, head),
    }
    if head.task == "seg":
        values["mask_coefficient"] = towers(place, maps, f"{prefix}cv4", max(fine, MASKS), MASKS, eps)
    elif head.task == "obb":
        angle = towers(place, maps, f"{prefix}cv4", max(fine, 1), 1, eps)
        values["angle"] = angle if head.bins == 1 else angle_of(place / "angle", angle)
    elif head.task == "pose":
        count, each = head.keypoints
        inside = count * (each + 2 if head.bins == 1 else each)
        last = f"{prefix}cv4_kpts" if head.bins == 1 else None
        values["kpts"] = towers(place, maps, f"{prefix}cv4", max(fine, inside), count * each, eps, last)
    return values


def towers(
    place: Network, maps: Sequence[Tensor], name: str, inside: int, out: int, eps: float, last: str | None = None
) -> Tensor:
    """Two 3x3 convolutions and one 1x1 for each map; all maps' values in a row, (N, out, A).

    The last one is called `name.i.2`, or `last.i`.
    """
    rows = []
    for i, x in enumerate(maps):
        tower = place / name / i
        y = conv(tower / 0, x, inside, 3, eps=eps)
        y = conv(tower / 1, y, inside, 3, eps=eps)
        y = same(tower, tower.conv(y, "2", out, 1) if last is None else y)
        y = y if last is None else place.conv(y, f"{last}.{i}", out, 1)
        rows.append(tower.flatten(y, "flat", start_dim=2))
    return place.concat(rows, f"{name}.concat", dim=2)


def class_towers(place: Network, maps: Sequence[Tensor], name: str, inside: int, classes: int, head: Head) -> Tensor:
    """As `towers`; unless the head is a legacy one, of pairs of a depthwise 3x3 and a 1x1 convolution."""
    if head.legacy:
        return towers(place, maps, name, inside, classes, head.eps)
    rows = []
    for i, x in enumerate(maps):
        tower, y = place / name / i, x
        for stage in (0, 1):
            y = conv(tower / stage / 0, y, int(y.shape[1]), 3, groups=int(y.shape[1]), eps=head.eps)
            y = same(tower / stage, conv(tower / stage / 1, y, inside, eps=head.eps))
        rows.append(tower.flatten(same(tower, tower.conv(y, "2", classes, 1)), "flat", start_dim=2))
    return place.concat(rows, f"{name}.concat", dim=2)


def angle_of(net: Network, logits: Tensor) -> Tensor:
    """Angles in radians, from -pi / 4 to 3 pi / 4; named after the scope."""
    x = net.sigmoid(net.cast(logits, "cast", net.trt.float32), "sigmoid")
    return net.mul(net.sub(x, 0.25, "shift"), math.pi)


def decoded_values(
    place: Network, raw: dict[str, Tensor], maps: Sequence[Tensor], head: Head, corners: bool = False
) -> list[Tensor]:
    """Boxes, probabilities, and mask coefficients, keypoints or angles: what of a `pred` stands one after the other."""
    sizes = sizes_of_maps(maps)
    points, strides = anchor_points(sizes, [8 * 2**i for i in range(len(maps))])
    decode = place / "decode"
    distances = raw["boxes"] if head.bins == 1 else expected_distances(place / "dfl", raw["boxes"], head.bins)
    if head.task == "obb":
        boxes = rotated_boxes(decode, distances, raw["angle"], points, strides)
    else:
        boxes = boxes_from_distances(decode, distances, points, strides, corners)
    more = raw.get(MORE[head.task])
    if head.task == "pose":
        more = keypoints_of(place / "keypoints", raw["kpts"], points, strides, head)
    return [boxes, decode.sigmoid(raw["cls_logits"], "prob")] + ([] if more is None else [more])


def suppressed(place: Network, parts: Sequence[Tensor], nms: Suppression) -> Tensor:
    """`dets`, (N, max_det, 6 + more), of what `decoded_values` gives."""
    boxes, scores, *more = (place.permute(x, f"rows.{i}", (0, 2, 1)) for i, x in enumerate(parts))
    place.info["decode"]["score_threshold"] = nms.score_threshold
    return suppress(place / "nms", boxes, scores, more, nms)


def keypoints_of(net: Network, x: Tensor, points: np.ndarray, strides: np.ndarray, head: Head) -> Tensor:
    """Keypoints in pixels and the probabilities that they are visible, in the order of x, (N, count * each, A)."""
    count, each = head.keypoints
    total = points.shape[2]
    x = net.reshape(x, "each", (0, count, each, total))
    xy, *seen = net.split(x, "part", (2, each - 2)[: each - 1], dim=2)
    if head.bins > 1:  # before YOLO26 they were twice as far, from the cell's corner
        xy, points = net.mul(xy, 2.0, "double"), points - np.float32(0.5)
    xy = net.add(xy, net.constant(points[:, None], "points", like=x), "cells")
    xy = net.mul(xy, net.constant(strides[:, None], "strides", like=x), "pixels")
    joined = net.concat([xy, *(net.sigmoid(part, "visible") for part in seen)], "joined", dim=2)
    return net.reshape(joined, "rows", (0, count * each, total))


def prototypes(net: Network, x: Tensor, head: Head) -> Tensor:
    """Proto: `cv1`, a deconvolution `upsample`, `cv2`, `cv3`: (N, C, H, W) -> (N, 32, 2 H, 2 W)."""
    x = conv(net / "cv1", x, head.proto_width, 3, eps=head.eps)
    x = net.deconv(x, "upsample", head.proto_width, kernel=2, stride=2)
    x = conv(net / "cv2", x, head.proto_width, 3, eps=head.eps)
    return same(net, conv(net / "cv3", x, MASKS, eps=head.eps))
