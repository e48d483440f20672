"""YOLOv4: in the forms of Tianxiaomo, darknet and WongKinYiu, which have the same layers.

Papers: https://arxiv.org/abs/2004.10934; https://arxiv.org/abs/2011.08036 (tiny and csp). Upstream of the layers:
AlexeyAB/darknet, cfg/yolov4*.cfg (public domain). The forms differ in the names of the weights, the eps of the batch
norms and how boxes are decoded; in brackets are licences:

| form | upstream | first weight | eps | boxes |
|---|---|---|---|---|
| tianxiaomo | Tianxiaomo/pytorch-YOLOv4, models.py (Apache-2.0) | down1.conv1.conv.0.weight | 1e-5 | exp, scale_x_y 1 |
| darknet | the same, tool/darknet2pytorch.py | models.0.conv1.weight | 1e-5 | as the cfg says |
| wongkinyiu | WongKinYiu/PyTorch_YOLOv4, models/models.py (none) | module_list.0.Conv2d.weight | 1e-4 | YOLOv5's |

yolov4-tiny and yolov4-csp are of darknet's or of WongKinYiu's form, as the names of the weights tell; WongKinYiu's tiny
also routes the first half of channels where darknet's routes the second. Weights that were trained by darknet belong to
darknet's form: gen_wts.py turns its files into that. Under `module_list` names their boxes would be decoded wrongly.

Input: (N, 3, H, W) RGB, 0 to 1, H and W multiples of 32.
Outputs of darknet's form: raw, `raw_0`, `raw_1` ... (N, 3 * (5 + classes), h, w), one for each scale, in the cfg's
order; decoded, `boxes` (N, boxes, 1, 4) and `confs` (N, boxes, classes), as
`netdefs.core.yolo.darknet_boxes.boxes_and_confs` has them. Of Tianxiaomo's: the same, but the raw ones are called
`raw_p3`, `raw_p4`, `raw_p5`. Of WongKinYiu's: raw, `raw_p3` ... (N, 3, h, w, 5 + classes); decoded, `pred` (N, boxes,
5 + classes), as `netdefs.core.yolo.detection.boxes_from_anchors` has it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netdefs.core.network import Network
from netdefs.core.preprocess import Decode
from netdefs.core.scope import Tensor
from netdefs.core.weights import Weights
from netdefs.core.yolo.darknet_boxes import SQUEEZE, add_detector, darknet_outputs, yolov5_outputs
from netdefs.core.yolo.darknet_layers import (
    TINY_ANCHORS,
    Anchors,
    Conv,
    Detect,
    Layer,
    Names,
    Pool,
    Route,
    Shortcut,
    Upsample,
    cfg_names,
    detect,
    finer,
    last_bias,
    module_list_names,
    pairs,
    spp,
)
from netdefs.core.yolo.ultralytics_zoo import LETTERBOX
from netdefs.core.zoo import Model, config_of


def mish(filters: int, size: int, stride: int = 1) -> Conv:
    """A convolution with Mish."""
    return Conv(filters, size, stride, "mish")


def residual(filters: int, half: int) -> list[Layer]:
    """A 1x1 convolution, a 3x3 one, and their input added."""
    return [mish(half, 1), mish(filters, 3), Shortcut(-3)]


def stage(filters: int, blocks: int, half: int) -> list[Layer]:
    """Half the resolution, then two branches of `half` filters, one of them with residual blocks, joined again."""
    body = residual(half, half) * blocks if filters > 64 else residual(64, 32)
    branches = [mish(half, 1), Route((-2,)), mish(half, 1), *body, mish(half, 1)]
    return [mish(filters, 3, 2), *branches, Route((-1, -len(branches))), mish(filters, 1)]


def join(filters: int, layer: int, conv: Callable[..., Conv]) -> list[Layer]:
    """From a scale on to the next finer one, beside the backbone's `layer`."""
    return [conv(filters, 1), Upsample(2), Route((layer,)), conv(filters, 1), Route((-1, -3))]


def csp_block(filters: int) -> list[Layer]:
    """yolov4-csp's block of its neck: two branches without shortcuts."""
    body = [mish(filters, 1), mish(filters, 3)] * 2
    return [mish(filters, 1), mish(filters, 1), Route((-2,)), *body, Route((-1, -6)), mish(filters, 1)]


def tiny_stage(filters: int) -> list[Layer]:
    """yolov4-tiny's stage: half of the channels go through two convolutions; half the resolution."""
    half = filters // 2
    body = [Route((-1,), groups=2, group=1), Conv(half, 3), Conv(half, 3), Route((-1, -2)), Conv(filters, 1)]
    return [Conv(filters, 3), *body, Route((-6, -1)), Pool(2, 2)]


ANCHORS: tuple[Anchors, ...] = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)

STAGES = [*stage(128, 2, 64), *stage(256, 8, 128), *stage(512, 8, 256), *stage(1024, 4, 512)]


def yolov4(scales_xy: Sequence[float]) -> list[Layer]:
    """YOLOv4's layers, with the scale_x_y of each head."""
    return [
        *[mish(32, 3), *stage(64, 1, 64), *STAGES],
        *[*pairs(512, 1), Conv(512, 1), *spp(), *pairs(512, 1), Conv(512, 1)],
        *[*join(256, 85, Conv), *pairs(256, 2), Conv(256, 1)],
        *[*join(128, 54, Conv), *pairs(128, 2), Conv(128, 1)],
        *[Conv(256, 3), *detect(ANCHORS[0], 8, scales_xy[0])],
        *[Route((-4,)), Conv(256, 3, 2), Route((-1, -16)), *pairs(256, 3), *detect(ANCHORS[1], 16, scales_xy[1])],
        *[Route((-4,)), Conv(512, 3, 2), Route((-1, -37)), *pairs(512, 3), *detect(ANCHORS[2], 32, scales_xy[2])],
    ]


def csp_head(i: int) -> list[Layer]:
    """yolov4-csp's head of scale i: a sigmoid stands before its [yolo] layer."""
    conv = Conv(None, 1, activation="logistic", batch_norm=False)
    return [conv, Detect(ANCHORS[i], 8 * 2**i, scale_xy=2.0, new_coords=True)]


CSP = [
    *[mish(32, 3), mish(64, 3, 2), *residual(64, 32), *STAGES],
    *[mish(512, 1), Route((-2,)), mish(512, 1), mish(512, 3), mish(512, 1), *spp()],
    *[mish(512, 1), mish(512, 3), Route((-1, -13)), mish(512, 1)],
    *[*join(256, 79, mish), *csp_block(256), *join(128, 48, mish), *csp_block(128), mish(256, 3), *csp_head(0)],
    *[Route((-4,)), mish(256, 3, 2), Route((-1, -20)), *csp_block(256), mish(512, 3), *csp_head(1)],
    *[Route((-4,)), mish(512, 3, 2), Route((-1, -49)), *csp_block(512), mish(1024, 3), *csp_head(2)],
]
TINY = [
    *[Conv(32, 3, 2), Conv(64, 3, 2), *tiny_stage(64), *tiny_stage(128), *tiny_stage(256)],
    *[Conv(512, 3), *pairs(256, 1), *detect(TINY_ANCHORS[0], 32, 1.05)],
    *[*finer(128, 23), Conv(256, 3), *detect(TINY_ANCHORS[1], 16, 1.05)],
]


def tianxiaomo_names(layers: Sequence[Layer]) -> list[Names]:
    """Tianxiaomo's names for YOLOv4's layers: the modules have their convolutions in the cfg's order."""
    blocks = [f"down1.conv{i}" for i in range(1, 9)]
    also = {"down1.conv8": "down1"}  # modules that end with the same value
    sums = {}  # of the last residual block of a stage, by the convolution before it
    for stage, count in ((2, 2), (3, 8), (4, 8), (5, 4)):
        inside = [f"resblock.module_list.{i}.{j}" for i in range(count) for j in (0, 1)]
        blocks += [f"down{stage}.{name}" for name in ("conv1", "conv2", "conv3", *inside, "conv4", "conv5")]
        also[f"down{stage}.conv5"] = f"down{stage}"
        sums[f"down{stage}.{inside[-1]}"] = f"down{stage}.resblock"
    blocks += [*(f"neck.conv{i}" for i in range(1, 21)), *(f"head.conv{i}" for i in range(1, 19))]

    names: list[Names] = []
    left, seen, block = iter(blocks), Counter[type](), ""
    for layer in layers:
        if isinstance(layer, Conv):
            block = next(left)
            whole = [also[block]] if block in also else []
            names.append((*(f"{block}.conv.{i}" for i in (0, 1, 2)), block, *whole))
        elif isinstance(layer, Shortcut):
            names.append((sums.get(block, f"{block}.add"),))
        else:
            seen[type(layer)] += 1
            names.append((f"{NUMBERED[type(layer)]}{seen[type(layer)]}",))
    return names


NUMBERED = {Pool: "neck.maxpool", Upsample: "neck.upsample", Detect: "head.yolo", Route: "route"}
FORMS: dict[str, tuple[Callable[[Sequence[Layer]], list[Names]], float]] = {  # names, and eps of the batch norms
    "tianxiaomo": (tianxiaomo_names, 1e-5),
    "darknet": (cfg_names, 1e-5),
    "wongkinyiu": (module_list_names, 1e-4),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "yolov4": {"layers": yolov4((1, 1, 1)), "form": "tianxiaomo"},
    "yolov4-darknet": {"layers": yolov4((1.2, 1.1, 1.05)), "form": "darknet"},
    "yolov4-wongkinyiu": {"layers": yolov4((1, 1, 1)), "form": "wongkinyiu"},
    "yolov4-tiny": {"layers": TINY, "form": None},
    "yolov4-csp": {"layers": CSP, "form": None},
}


def define(
    net: Network,
    x: Tensor,
    variant: str = "yolov4",
    num_classes: int | None = None,
    anchors: Sequence[Anchors] | None = None,
    decode: str = "both",
    eps: float | None = None,
) -> dict[str, Tensor]:
    """Adds YOLOv4 to `net` and returns its outputs, as above.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of 32.
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        anchors: [[(width, height), ...], ...] in pixels of the input, a list for each raw output; COCO's when None.
        decode: which outputs: "raw", "decoded" or "both".
        eps: of the batch norms, where the weights don't tell; that of the form when None.
    """
    config = config_of(VARIANTS, variant)
    form, layers = config["form"] or form_of(net), config["layers"]
    names_of, usual_eps = FORMS[form]
    net.info["decode"] = {"method": f"boxes_{form}"}
    if form == "wongkinyiu":
        net.info["preprocess"] = {"fit": LETTERBOX.fit, "pad": LETTERBOX.pad}
        layers = [as_wongkinyiu(layer) for layer in layers]
    scales = add_detector(net, x, layers, names_of(layers), num_classes, anchors, usual_eps if eps is None else eps)
    if form == "darknet":
        raws = [f"raw_{i}" for i, _ in enumerate(scales)]
    else:
        raws = [f"raw_p{scale.head.stride.bit_length() - 1}" for scale in scales]
    if form == "wongkinyiu":
        return yolov5_outputs(net, scales, raws, decode)
    return darknet_outputs(net, x, scales, raws, decode)


def as_wongkinyiu(layer: Layer) -> Layer:
    """A layer of WongKinYiu's models: heads end without a sigmoid, and tiny routes the first half of the channels."""
    if isinstance(layer, Conv) and layer.filters is None:
        return replace(layer, activation="linear")
    return replace(layer, group=0) if isinstance(layer, Route) else layer


def recognize(weights: Weights, variants: Mapping[str, dict[str, Any]]) -> str | None:
    """The variant that weights are of."""
    for name, config in variants.items():
        forms = [config["form"]] if config["form"] else ["darknet", "wongkinyiu"]
        if any(last_bias(FORMS[form][0](config["layers"])) in weights for form in forms):
            return name
    return None


def form_of(net: Network) -> str:
    """WongKinYiu's form if the weights have its names, else darknet's."""
    first = net.path_of("module_list.0.Conv2d.weight")
    return "wongkinyiu" if first in net.weights else "darknet"


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=dict.fromkeys(VARIANTS, (1, 3, 416, 416)) | {"yolov4-csp": (1, 3, 512, 512)},
    preprocess=dict.fromkeys(VARIANTS, SQUEEZE) | dict.fromkeys(("yolov4-wongkinyiu", "yolov4-csp"), LETTERBOX),
    decode={name: Decode(f"boxes_{config['form'] or 'darknet'}", "coco80") for name, config in VARIANTS.items()},
    recognize=recognize,
)
define_network, build_engine = model.define_network, model.build_engine
