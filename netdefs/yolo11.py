"""YOLO11: detection, segmentation, poses, rotated boxes and classification.

Upstream: https://github.com/ultralytics/ultralytics, ultralytics/cfg/models/11/*.yaml (AGPL-3.0). There is no paper.

Input and outputs as YOLOv8's.
"""

from functools import partial
from typing import Any

from netdefs.core.network import Network
from netdefs.core.scope import Tensor
from netdefs.core.yolo import ultralytics as blocks
from netdefs.core.yolo.suppression import suppression
from netdefs.core.yolo.ultralytics import upsample_concat
from netdefs.core.yolo.ultralytics_heads import Head, classify, detect
from netdefs.core.yolo.ultralytics_zoo import (
    SUPPRESSION,
    TASK_EPS,
    TASKS,
    Scale,
    check_arguments,
    recipes,
    recognize,
    variants,
)
from netdefs.core.zoo import Model, config_of

SCALES = {
    "n": Scale("n", 0.50, 0.25),
    "s": Scale("s", 0.50, 0.50),
    "m": Scale("m", 0.50, 1.00, 512),
    "l": Scale("l", 1.00, 1.00, 512),
    "x": Scale("x", 1.00, 1.50, 512),
}
VARIANTS: dict[str, dict[str, Any]] = variants("yolo11", SCALES, TASKS)


def define(
    net: Network,
    x: Tensor,
    variant: str = "yolo11n",
    num_classes: int | None = None,
    eps: float | None = None,
    decode: str = "both",
    kpt_shape: tuple[int, int] | None = None,
    sppf_act: str | None = None,
    nms: str = "host",
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_det: int | None = None,
) -> dict[str, Tensor]:
    """Adds a YOLO11 to `net` and returns its outputs; they and the arguments are those of `netdefs.yolov8.define`."""
    config = config_of(VARIANTS, variant)
    scale, task = config["scale"], config["task"]
    check_arguments(net, x, task, kpt_shape=kpt_shape, sppf_act=sppf_act)
    boxes = suppression(net, nms, SUPPRESSION.get(task), decode, score_threshold, iou_threshold, max_det)
    eps = TASK_EPS[task] if eps is None else eps
    c, n = scale.channels, scale.repeats
    conv, c3k2 = partial(blocks.conv, eps=eps), partial(blocks.c3k2, eps=eps)
    large = scale.size in ("m", "l", "x")  # has a C3k in every C3k2
    m = net / "model"

    x = conv(m / 0, x, c(64), 3, 2)
    x = conv(m / 1, x, c(128), 3, 2)
    x = c3k2(m / 2, x, c(256), n(2), large, 0.25)
    x = conv(m / 3, x, c(256), 3, 2)
    x = p3 = c3k2(m / 4, x, c(512), n(2), large, 0.25)
    x = conv(m / 5, x, c(512), 3, 2)
    x = p4 = c3k2(m / 6, x, c(512), n(2), True)
    x = conv(m / 7, x, c(1024), 3, 2)
    x = c3k2(m / 8, x, c(1024), n(2), True)
    if task == "cls":
        x = blocks.c2psa(m / 9, x, n(2), eps)
        return classify(net, m / 10, x, num_classes, decode, eps)
    x = blocks.sppf(m / 9, x, c(1024), act=sppf_act, eps=eps)
    p5 = blocks.c2psa(m / 10, x, n(2), eps)
    x = upsample_concat(m, 11, p5, p4)
    p4 = c3k2(m / 13, x, c(512), n(2), large)
    x = upsample_concat(m, 14, p4, p3)
    p3 = c3k2(m / 16, x, c(256), n(2), large)
    x = conv(m / 17, p3, c(256), 3, 2)
    x = m.concat([x, p4], "18", dim=1)
    p4 = c3k2(m / 19, x, c(512), n(2), large)
    x = conv(m / 20, p4, c(512), 3, 2)
    x = m.concat([x, p5], "21", dim=1)
    p5 = c3k2(m / 22, x, c(1024), n(2), True)
    head = Head(task, kpt_shape, proto_width=c(256), eps=eps)
    return detect(net, m / 23, [p3, p4, p5], head, num_classes, decode, boxes)


model = Model(__name__, define, VARIANTS, recognize=partial(recognize, repeats=2), **recipes(VARIANTS))
define_network, build_engine = model.define_network, model.build_engine
