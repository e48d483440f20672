"""YOLOv8: detection, segmentation, poses, rotated boxes and classification.

Upstream: https://github.com/ultralytics/ultralytics, ultralytics/cfg/models/v8/*.yaml (AGPL-3.0). There is no paper.

Input: (N, 3, H, W) RGB in 0..1, letterboxed to multiples of 32: 640 x 640, of rotated boxes 1024 x 1024; to classify,
cropped to 224 x 224. Outputs: see `define`.
"""

from dataclasses import replace
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
    "n": Scale("n", 0.33, 0.25),
    "s": Scale("s", 0.33, 0.50),
    "m": Scale("m", 0.67, 0.75, 768),
    "l": Scale("l", 1.00, 1.00, 512),
    "x": Scale("x", 1.00, 1.25, 512),
}
VARIANTS: dict[str, dict[str, Any]] = {
    **variants("yolov8", SCALES, TASKS[:-1]),
    **variants("yolov8", {size: replace(scale, most=1024) for size, scale in SCALES.items()}, ("cls",)),
}


def define(
    net: Network,
    x: Tensor,
    variant: str = "yolov8n",
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
    """Adds a YOLOv8 to `net` and returns its outputs.

    A = (H * W) / 64 + (H * W) / 256 + (H * W) / 1024 cells, the finest first. Decoded: `pred`, (N, 4 + classes + more,
    A): centre x, centre y, width and height in pixels, probabilities; then 32 mask coefficients, or x, y in pixels and
    visibility of each keypoint, or the angle in radians by which the box is turned. Raw: `box_logits` (N, 64, A),
    `cls_logits` (N, classes, A) and `mask_coefficient`, `kpts` or `angle`. Of masks always `proto`, (N, 32, H / 4,
    W / 4). To classify: decoded `prob` and raw `logits`, (N, classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell: by default 1e-3, to classify 1e-5.
        decode: which outputs: "raw", "decoded" or "both". Decoding needs a fixed height and width.
        kpt_shape: how many keypoints, and 2 (x, y) or 3 values of each; (17, 3) when None.
        sppf_act: the activation of the SPPF module's first convolution: "SiLU", or "Identity" if ultralytics from
            8.4.0 to before 8.4.150 built the model from its yaml file. When None the weights' own, or else SiLU.
        nms: "host", or "in_network": then there is `dets`, (N, max_det, 6 + more), the boxes that stay, best first:
            left, top, right and bottom in pixels, score, class, and more; rows left over are 0. `pred` is left out with
            decode="decoded". Not for rotated boxes.
        score_threshold: of boxes that stay, for nms="in_network": upstream's 0.25 when None.
        iou_threshold: how far those of one class may overlap, likewise: 0.7 when None.
        max_det: how many may stay, likewise: 300 when None.
    """
    config = config_of(VARIANTS, variant)
    scale, task = config["scale"], config["task"]
    check_arguments(net, x, task, kpt_shape=kpt_shape, sppf_act=sppf_act)
    boxes = suppression(net, nms, SUPPRESSION.get(task), decode, score_threshold, iou_threshold, max_det)
    eps = TASK_EPS[task] if eps is None else eps
    c, n = scale.channels, scale.repeats
    conv, c2f = partial(blocks.conv, eps=eps), partial(blocks.c2f, eps=eps)
    m = net / "model"

    x = conv(m / 0, x, c(64), 3, 2)
    x = conv(m / 1, x, c(128), 3, 2)
    x = c2f(m / 2, x, c(128), n(3), shortcut=True)
    x = conv(m / 3, x, c(256), 3, 2)
    x = p3 = c2f(m / 4, x, c(256), n(6), shortcut=True)
    x = conv(m / 5, x, c(512), 3, 2)
    x = p4 = c2f(m / 6, x, c(512), n(6), shortcut=True)
    x = conv(m / 7, x, c(1024), 3, 2)
    x = c2f(m / 8, x, c(1024), n(3), shortcut=True)
    if task == "cls":
        return classify(net, m / 9, x, num_classes, decode, eps)
    p5 = blocks.sppf(m / 9, x, c(1024), act=sppf_act, eps=eps)
    x = upsample_concat(m, 10, p5, p4)
    p4 = c2f(m / 12, x, c(512), n(3))
    x = upsample_concat(m, 13, p4, p3)
    p3 = c2f(m / 15, x, c(256), n(3))
    x = conv(m / 16, p3, c(256), 3, 2)
    x = m.concat([x, p4], "17", dim=1)
    p4 = c2f(m / 18, x, c(512), n(3))
    x = conv(m / 19, p4, c(512), 3, 2)
    x = m.concat([x, p5], "20", dim=1)
    p5 = c2f(m / 21, x, c(1024), n(3))
    head = Head(task, kpt_shape, legacy=True, proto_width=c(256), eps=eps)
    return detect(net, m / 22, [p3, p4, p5], head, num_classes, decode, boxes)


model = Model(__name__, define, VARIANTS, recognize=partial(recognize, repeats=6), **recipes(VARIANTS))
define_network, build_engine = model.define_network, model.build_engine
