"""YOLOv5: detection, segmentation and classification, with anchors, and the anchor-free models of the same backbone.

Upstream: https://github.com/ultralytics/yolov5, models/*.yaml, models/{hub,segment}/*.yaml, and for the variants that
end in "u" https://github.com/ultralytics/ultralytics, ultralytics/cfg/models/v5/*.yaml (both AGPL-3.0). There is no
paper.

Input: (N, 3, H, W) RGB in 0..1, letterboxed to multiples of 32: 640 x 640; of variants with a 6 to multiples of 64:
1280 x 1280; to classify, cropped to 224 x 224, ImageNet's mean and std. Outputs: see `define`.
"""

from functools import partial
from typing import Any

from netdefs.core.network import Network
from netdefs.core.scope import Tensor
from netdefs.core.yolo import ultralytics as blocks
from netdefs.core.yolo.suppression import YOLOV5, suppression
from netdefs.core.yolo.ultralytics import upsample_concat
from netdefs.core.yolo.ultralytics_anchors import detect_anchors
from netdefs.core.yolo.ultralytics_heads import Head, classify, detect
from netdefs.core.yolo.ultralytics_zoo import SUPPRESSION, Scale, check_arguments, recipes, recognize, variants
from netdefs.core.zoo import Model, config_of

SCALES = {
    "n": Scale("n", 0.33, 0.25),
    "s": Scale("s", 0.33, 0.50),
    "m": Scale("m", 0.67, 0.75),
    "l": Scale("l", 1.00, 1.00),
    "x": Scale("x", 1.33, 1.25),
}
VARIANTS: dict[str, dict[str, Any]] = {
    **variants("yolov5", SCALES, ("detect",), anchors=True),
    **variants("yolov5", SCALES, ("detect",), "6", anchors=True, p6=True),
    **variants("yolov5", SCALES, ("seg", "cls"), anchors=True),
    **variants("yolov5", SCALES, ("detect",), "u"),
    **variants("yolov5", SCALES, ("detect",), "6u", p6=True),
}


def define(
    net: Network,
    x: Tensor,
    variant: str = "yolov5n",
    num_classes: int | None = None,
    eps: float | None = None,
    decode: str = "both",
    sppf_act: str | None = None,
    nms: str = "host",
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_det: int | None = None,
) -> dict[str, Tensor]:
    """Adds a YOLOv5 to `net` and returns its outputs.

    Decoded: `pred`, (N, 3 * A, 5 + classes + more): rows of centre x, centre y, width and height in pixels, the
    probabilities of an object and of each class, 32 mask coefficients. A = (H * W) / 64 + (H * W) / 256 + ... cells,
    the finest first. Raw: `raw_p3`, `raw_p4` ..., (N, 3, H / stride, W / stride, 5 + classes + more). Of masks always
    `proto`, (N, 32, H / 4, W / 4). To classify: decoded `prob` and raw `logits`. Variants that end in "u" have YOLOv8's
    outputs.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell: by default 1e-3, in the module that classifies 1e-5.
        decode: which outputs: "raw", "decoded" or "both". Decoding needs a fixed height and width.
        sppf_act: the activation of the SPPF module's first convolution; when None the weights' own, or else SiLU.
        nms: "host", or "in_network": then there is `dets`, (N, max_det, 6 + more), the boxes that stay, best first:
            left, top, right and bottom in pixels, score, class, and more; rows left over are 0. `pred` is left out with
            decode="decoded".
        score_threshold: of boxes that stay, for nms="in_network": upstream's 0.25 when None.
        iou_threshold: how far those of one class may overlap, likewise: 0.45, or 0.7 of those with a "u", when None.
        max_det: how many may stay, likewise: 1000, or 300 of those with a "u", when None.
    """
    config = config_of(VARIANTS, variant)
    scale, task, anchors, p6 = config["scale"], config["task"], config.get("anchors"), config.get("p6")
    check_arguments(net, x, task, 64 if p6 else 32, sppf_act=sppf_act)
    usual = YOLOV5 if anchors and task != "cls" else SUPPRESSION.get(task)
    boxes = suppression(net, nms, usual, decode, score_threshold, iou_threshold, max_det)
    # Upstream's classifier is a detector's backbone, with a detector's eps, and a new module with PyTorch's.
    eps, last_eps = (1e-3, 1e-5) if eps is None else (eps, eps)
    c, n = scale.channels, scale.repeats
    conv, c3, sppf = partial(blocks.conv, eps=eps), partial(blocks.c3, eps=eps), partial(blocks.sppf, eps=eps)
    m = net / "model"

    x = conv(m / 0, x, c(64), 6, 2, 2)
    x = conv(m / 1, x, c(128), 3, 2)
    x = c3(m / 2, x, c(128), n(3))
    x = conv(m / 3, x, c(256), 3, 2)
    x = p3 = c3(m / 4, x, c(256), n(6))
    x = conv(m / 5, x, c(512), 3, 2)
    x = p4 = c3(m / 6, x, c(512), n(9))
    if p6:
        x = conv(m / 7, x, c(768), 3, 2)
        x = p5 = c3(m / 8, x, c(768), n(3))
        x = conv(m / 9, x, c(1024), 3, 2)
        x = c3(m / 10, x, c(1024), n(3))
        x = sppf(m / 11, x, c(1024), act=sppf_act)
        maps = pyramid(m, 12, [p3, p4, p5, x], [c(256), c(512), c(768), c(1024)], n(3), eps)
    else:
        x = conv(m / 7, x, c(1024), 3, 2)
        x = c3(m / 8, x, c(1024), n(3))
        if task == "cls":
            return classify(net, m / 9, x, num_classes, decode, last_eps)
        x = sppf(m / 9, x, c(1024), act=sppf_act)
        maps = pyramid(m, 10, [p3, p4, x], [c(256), c(512), c(1024)], n(3), eps)
    head = m / (33 if p6 else 24)
    if anchors:
        proto_width = c(256) if task == "seg" else None
        return detect_anchors(net, head, maps, num_classes, decode, proto_width, eps=eps, nms=boxes)
    return detect(net, head, maps, Head(task, legacy=True, eps=eps), num_classes, decode, boxes)


def pyramid(m: Network, first: int, maps: list[Tensor], channels: list[int], repeats: int, eps: float) -> list[Tensor]:
    """Upstream's `head` from module `first` on, but for the last: to the finest map, and back to the coarsest."""
    conv, c3 = partial(blocks.conv, eps=eps), partial(blocks.c3, repeats=repeats, shortcut=False, eps=eps)
    number, x = first, maps[-1]
    ways: list[Tensor] = []
    for i in range(len(maps) - 2, -1, -1):
        x = conv(m / number, x, channels[i])
        ways.insert(0, x)
        x = upsample_concat(m, number + 1, x, maps[i])
        x = c3(m / (number + 3), x, channels[i])
        number += 4
    out = [x]
    for i, way in enumerate(ways):
        x = conv(m / number, x, channels[i], 3, 2)
        x = m.concat([x, way], str(number + 1), dim=1)
        x = c3(m / (number + 2), x, channels[i + 1])
        out.append(x)
        number += 3
    return out


model = Model(__name__, define, VARIANTS, recognize=partial(recognize, repeats=6, kernel=6), **recipes(VARIANTS))
define_network, build_engine = model.define_network, model.build_engine
