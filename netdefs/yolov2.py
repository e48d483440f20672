"""YOLOv2 in darknet's form.

Paper: https://arxiv.org/abs/1612.08242. Upstream: AlexeyAB/darknet, cfg/yolov2.cfg (public domain), with the names of
Tianxiaomo/pytorch-YOLOv4, tool/darknet2pytorch.py (Apache-2.0): `models.0.conv1.weight`. [reorg] is darknet's own,
which is not the usual space-to-depth.

Input: (N, 3, H, W) RGB, 0 to 1, H and W multiples of 32; 416 x 416 by default.
Outputs: raw, `region_input` (N, 5 * (5 + classes), H / 32, W / 32), what the last convolution gives; decoded, `boxes`
(N, boxes, 1, 4) and `confs` (N, boxes, classes), as `netdefs.core.yolo.darknet_boxes.boxes_and_confs` has them.
"""

from collections.abc import Sequence
from typing import Any

from netdefs.core.network import Network
from netdefs.core.preprocess import Decode
from netdefs.core.scope import Tensor
from netdefs.core.yolo.darknet_boxes import SQUEEZE, add_detector, darknet_outputs
from netdefs.core.yolo.darknet_layers import Anchors, Conv, Detect, Layer, Pool, Reorg, Route, cfg_names, pairs
from netdefs.core.zoo import Model, config_of


def squeezed(filters: int, blocks: int) -> list[Layer]:
    """A 3x3 convolution, then `blocks` times a 1x1 one with half the filters and a 3x3 one."""
    return [Conv(filters, 3), *pairs(filters // 2, blocks)]


# The cfg has them in cells of 32 x 32 pixels.
ANCHORS = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
LAYERS: list[Layer] = [
    *[Conv(32, 3), Pool(2, 2), Conv(64, 3), Pool(2, 2)],
    *[*squeezed(128, 1), Pool(2, 2), *squeezed(256, 1), Pool(2, 2), *squeezed(512, 2), Pool(2, 2), *squeezed(1024, 2)],
    *[Conv(1024, 3), Conv(1024, 3), Route((16,)), Conv(64, 1), Reorg(2), Route((-1, -4)), Conv(1024, 3)],
    Conv(None, 1, activation="linear", batch_norm=False),
    Detect(tuple((32 * width, 32 * height) for width, height in ANCHORS), stride=32, softmax=True),
]
VARIANTS: dict[str, dict[str, Any]] = {"yolov2": {"layers": LAYERS}}


def define(
    net: Network,
    x: Tensor,
    variant: str = "yolov2",
    num_classes: int | None = None,
    anchors: Sequence[Anchors] | None = None,
    decode: str = "both",
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """Adds YOLOv2 to `net` and returns its outputs, as above.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of 32.
        variant: "yolov2".
        num_classes: read off the weights when None.
        anchors: [[(width, height), ...]] in pixels of the input, 32 times the numbers of a cfg; COCO's when None.
        decode: which outputs: "raw", "decoded" or "both".
        eps: of the batch norms, where the weights don't tell.
    """
    layers = config_of(VARIANTS, variant)["layers"]
    scales = add_detector(net, x, layers, cfg_names(layers), num_classes, anchors, eps)
    return darknet_outputs(net, x, scales, ["region_input"], decode)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 416, 416),
    preprocess=SQUEEZE,
    decode=Decode("boxes_darknet", "coco80"),
)
define_network, build_engine = model.define_network, model.build_engine
