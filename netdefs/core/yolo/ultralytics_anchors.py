"""The head of ultralytics/yolov5 and ultralytics/yolov3: boxes and masks from anchors.

Upstream: ultralytics/yolov5, models/yolo.py and models/common.py (AGPL-3.0).
"""

from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor
from netdefs.core.yolo.detection import boxes_from_anchors, check_decode, class_count, sizes_of_maps
from netdefs.core.yolo.suppression import Suppression, suppress
from netdefs.core.yolo.ultralytics import EPS, conv, same
from netdefs.core.yolo.ultralytics_heads import MASKS


def detect_anchors(
    net: Network,
    place: Network,
    maps: Sequence[Tensor],
    num_classes: int | None,
    decode: str = "both",
    proto_width: int | None = None,
    strides: Sequence[int] = (8, 16, 32, 64),
    eps: float = EPS,
    nms: Suppression | None = None,
) -> dict[str, Tensor]:
    """Detect and Segment with three anchors, or as many as the weights have, in each cell of each map.

    Args:
        net: the root, where the outputs get their names.
        place: the head's module. `anchors`, (maps, anchors, 2), are in cells.
        maps: (N, C, H, W), the finest first.
        num_classes: read off the weights when None.
        decode: which outputs: "raw", "decoded" or "both".
        proto_width: channels inside the prototypes' module; None if there are no masks.
        strides: of the maps, in pixels; there may be more than maps.
        eps: of the batch norms, where the weights don't tell.
        nms: which boxes stay, if that is decided inside.

    Returns:
        Decoded, `pred`: (N, anchors * A, 5 + classes + masks), rows of centre x, centre y, width and height in pixels,
        the probabilities of an object and of each class, and mask coefficients. Raw, `raw_p3`, `raw_p4` ...: (N,
        anchors, H / stride, W / stride, 5 + classes + masks). Of masks always `proto`, (N, 32, H / 4, W / 4). With
        `nms` there is `dets` as `suppress` has it, and `pred` only with decode="both".

    Raises:
        NetworkError: the weights hold other strides, or their head fits no class count.
    """
    check_decode(decode)
    strides = strides[: len(maps)]
    masks = 0 if proto_width is None else MASKS
    count = _anchor_count(place, len(maps))
    anchors = place.weights.take(place.path_of("anchors"), (len(maps), count, 2))
    values = 5 + class_count(place, num_classes, "m.0.bias", count, masks) + masks
    _check_strides(place, strides)
    raw = {}
    for i, x in enumerate(maps):
        y = place.permute(place.conv(x, f"m.{i}", count * values, 1), f"last.{i}", (0, 2, 3, 1))
        y = place.reshape(y, f"anchors.{i}", (0, 0, 0, count, values))
        level = f"raw_p{int(strides[i]).bit_length() - 1}"
        raw[level] = net.output(place.permute(y, f"permute.{i}", (0, 3, 1, 2, 4)), level)
    outputs = {}
    if decode != "raw":
        sizes_of_maps(maps)
        rows = [
            boxes_from_anchors(place / "decode" / i, x, anchors[i] * np.float32(strides[i]), strides[i], masks)
            for i, x in enumerate(raw.values())
        ]
        pred = place.concat(rows, "pred", dim=1)
        if nms is not None:
            outputs["dets"] = net.output(_suppressed(place, pred, masks, nms), "dets")
        if nms is None or decode == "both":
            outputs["pred"] = net.output(pred, "pred")
    if proto_width is not None:
        outputs["proto"] = net.output(_prototypes(place / "proto", maps[0], proto_width, eps), "proto")
    return outputs if decode == "decoded" else outputs | raw


def _suppressed(place: Network, pred: Tensor, masks: int, nms: Suppression) -> Tensor:
    """`dets`, (N, max_det, 6 + masks). A score is the product of the probabilities of an object and of its class."""
    classes = int(pred.shape[2]) - 5 - masks
    place.info["decode"] = {"num_classes": classes, "score_threshold": nms.score_threshold}
    boxes, objects, scores, *more = place.split(pred, "nms.part", (4, 1, classes, masks)[: 4 if masks else 3], dim=2)
    return suppress(place / "nms", boxes, place.mul(scores, objects, "nms.products"), more, nms)


def _prototypes(net: Network, x: Tensor, width: int, eps: float) -> Tensor:
    """Proto of ultralytics/yolov5: `cv1`, nearest `upsample`, `cv2`, `cv3`: (N, C, H, W) -> (N, 32, 2 H, 2 W)."""
    x = net.upsample(conv(net / "cv1", x, width, 3, eps=eps), "upsample", scale_factor=2)
    return same(net, conv(net / "cv3", conv(net / "cv2", x, width, 3, eps=eps), MASKS, eps=eps))


def _anchor_count(place: Network, maps: int) -> int:
    """How many anchors a cell has: as the weights say, or three."""
    key = place.path_of("anchors")
    size = int(place.weights[key].size) if key in place.weights else 0
    return size // (2 * maps) if size and size % (2 * maps) == 0 else 3


def _check_strides(place: Network, strides: Sequence[int]) -> None:
    """Compares the strides that tensorrtx's gen_wts.py writes; its anchors in pixels follow from them."""
    key = place.path_of("strides")
    if key in place.weights and place.weights[key].ravel().tolist() != list(strides):
        raise NetworkError(f"{key} is {place.weights[key].ravel().tolist()}, and {place.name} has {list(strides)}.")
    place.ignore("strides")
    place.ignore("anchor_grid")
