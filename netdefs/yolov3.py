"""YOLOv3 in darknet's form, and in that of ultralytics/yolov3.

Paper: https://arxiv.org/abs/1804.02767. Upstream of yolov3, yolov3-spp and yolov3-tiny: AlexeyAB/darknet,
cfg/yolov3*.cfg (public domain), with the names of Tianxiaomo/pytorch-YOLOv4, tool/darknet2pytorch.py (Apache-2.0):
`models.0.conv1.weight`. Upstream of yolov3-ultralytics: ultralytics/yolov3, models/yolov3.yaml (AGPL-3.0):
`model.0.conv.weight`; it has SiLU instead of LeakyReLU, another eps and YOLOv5's boxes.

Input: (N, 3, H, W) RGB, 0 to 1, H and W multiples of 32.
Outputs of darknet's form: raw, `raw_0`, `raw_1` ... (N, 3 * (5 + classes), h, w), one for each scale, the coarsest
first; decoded, `boxes` (N, boxes, 1, 4) and `confs` (N, boxes, classes), as
`netdefs.core.yolo.darknet_boxes.boxes_and_confs` has them. Of yolov3-ultralytics: raw, `raw_p3`, `raw_p4`, `raw_p5`
(N, 3, h, w, 5 + classes); decoded, `pred` (N, boxes, 5 + classes), as
`netdefs.core.yolo.detection.boxes_from_anchors` has it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode
from netdefs.core.scope import Tensor
from netdefs.core.weights import Weights
from netdefs.core.yolo.darknet_boxes import SQUEEZE, add_detector, darknet_outputs
from netdefs.core.yolo.darknet_layers import (
    TINY_ANCHORS,
    Anchors,
    Conv,
    Layer,
    Pool,
    Shortcut,
    cfg_names,
    detect,
    finer,
    last_bias,
    pairs,
    spp,
)
from netdefs.core.yolo.detection import check_multiple
from netdefs.core.yolo.ultralytics import conv, same, upsample_concat
from netdefs.core.yolo.ultralytics_anchors import detect_anchors
from netdefs.core.yolo.ultralytics_zoo import LETTERBOX
from netdefs.core.zoo import Model, config_of


def stage(filters: int, blocks: int) -> list[Layer]:
    """Half the resolution, then residual blocks."""
    return [Conv(filters, 3, 2), *[Conv(filters // 2, 1), Conv(filters, 3), Shortcut(-3)] * blocks]


def finer_heads() -> list[Layer]:
    """The heads at strides 16 and 8, behind the one at 32."""
    middle = [*finer(256, 61), *pairs(256, 3), *detect(ANCHORS[1], 16)]
    return [*middle, *finer(128, 36), *pairs(128, 3), *detect(ANCHORS[2], 8)]


ANCHORS: tuple[Anchors, ...] = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)

DARKNET53 = [Conv(32, 3), *stage(64, 1), *stage(128, 2), *stage(256, 8), *stage(512, 8), *stage(1024, 4)]
YOLOV3 = [*DARKNET53, *pairs(512, 3), *detect(ANCHORS[0], 32), *finer_heads()]
SPP = [*DARKNET53, *pairs(512, 1), Conv(512, 1), *spp(), *pairs(512, 2), *detect(ANCHORS[0], 32), *finer_heads()]
TINY = [
    *[layer for filters in (16, 32, 64, 128, 256) for layer in (Conv(filters, 3), Pool(2, 2))],
    *[Conv(512, 3), Pool(2, 1), Conv(1024, 3), *pairs(256, 1), *detect(TINY_ANCHORS[0], 32)],
    *[*finer(128, 8), Conv(256, 3), *detect(TINY_ANCHORS[1], 16)],
]
VARIANTS: dict[str, dict[str, Any]] = {
    "yolov3": {"layers": YOLOV3, "eps": 1e-5, "size": 416},
    "yolov3-spp": {"layers": SPP, "eps": 1e-5, "size": 608},
    "yolov3-tiny": {"layers": TINY, "eps": 1e-5, "size": 416},
    "yolov3-ultralytics": {"layers": None, "eps": 1e-3, "size": 640},
}


def define(
    net: Network,
    x: Tensor,
    variant: str = "yolov3",
    num_classes: int | None = None,
    anchors: Sequence[Anchors] | None = None,
    decode: str = "both",
    eps: float | None = None,
) -> dict[str, Tensor]:
    """Adds YOLOv3 to `net` and returns its outputs, as above.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of 32.
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        anchors: [[(width, height), ...], ...] in pixels of the input, a list for each raw output; COCO's when None.
            yolov3-ultralytics has them in its weights.
        decode: which outputs: "raw", "decoded" or "both".
        eps: of the batch norms, where the weights don't tell; the variant's when None.
    """
    config = config_of(VARIANTS, variant)
    layers, eps = config["layers"], config["eps"] if eps is None else eps
    if layers is None:
        if anchors is not None:
            raise NetworkError(
                f"{variant} has its anchors in the weights, as model.28.anchors: leave out the argument."
            )
        return ultralytics(net, x, num_classes, decode, eps)
    scales = add_detector(net, x, layers, cfg_names(layers), num_classes, anchors, eps)
    return darknet_outputs(net, x, scales, [f"raw_{i}" for i, _ in enumerate(scales)], decode)


def recognize(weights: Weights, variants: Mapping[str, dict[str, Any]]) -> str | None:
    """The variant that weights are of."""
    for name, config in variants.items():
        key = last_bias(cfg_names(config["layers"])) if config["layers"] else "model.28.m.2.bias"
        if key in weights:
            return name
    return None


def ultralytics(net: Network, x: Tensor, num_classes: int | None, decode: str, eps: float) -> dict[str, Tensor]:
    """yolov3-ultralytics, whose anchors are in the weights; arguments and outputs are those of `define`."""
    check_multiple(net, x, 32)
    root, net = net, net / "model"
    maps = []
    x = conv(net / 0, x, 32, 3, eps=eps)
    for i, blocks in enumerate((1, 2, 8, 8, 4)):
        x = conv(net / (2 * i + 1), x, 64 * 2**i, 3, stride=2, eps=eps)
        x = bottlenecks(net / (2 * i + 2), x, 64 * 2**i, blocks, True, eps)
        maps.append(x)
    x = bottlenecks(net / 11, x, 1024, 1, False, eps)
    x = conv(net / 13, conv(net / 12, x, 512, eps=eps), 1024, 3, eps=eps)
    x = conv(net / 14, x, 512, eps=eps)
    p5 = conv(net / 15, x, 1024, 3, eps=eps)
    x = upsample_concat(net, 17, conv(net / 16, x, 256, eps=eps), maps[3])
    x = bottlenecks(net / 20, bottlenecks(net / 19, x, 512, 1, False, eps), 512, 1, False, eps)
    x = conv(net / 21, x, 256, eps=eps)
    p4 = conv(net / 22, x, 512, 3, eps=eps)
    x = upsample_concat(net, 24, conv(net / 23, x, 128, eps=eps), maps[2])
    p3 = bottlenecks(net / 27, bottlenecks(net / 26, x, 256, 1, False, eps), 256, 2, False, eps)
    return detect_anchors(root, net / 28, [p3, p4, p5], num_classes, decode, eps=eps)


def bottlenecks(net: Network, x: Tensor, channels: int, count: int, shortcut: bool, eps: float) -> Tensor:
    """Bottleneck: convolutions `cv1`, 1x1 with half the channels, and `cv2`, 3x3; several are called 0, 1 ..."""
    for i in range(count):
        block = net if count == 1 else net / i
        y = conv(block / "cv2", conv(block / "cv1", x, channels // 2, eps=eps), channels, 3, eps=eps)
        x = block.add(x, y) if shortcut else same(block, y)
    return x if count == 1 else same(net, x)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape={name: (1, 3, config["size"], config["size"]) for name, config in VARIANTS.items()},
    preprocess=dict.fromkeys(VARIANTS, SQUEEZE) | {"yolov3-ultralytics": LETTERBOX},
    decode=dict.fromkeys(VARIANTS, Decode("boxes_darknet", "coco80"))
    | {"yolov3-ultralytics": Decode("boxes_objectness", "coco80")},
    recognize=recognize,
)
define_network, build_engine = model.define_network, model.build_engine
