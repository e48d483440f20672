"""YOLOX: a detector without anchors.

Paper: https://arxiv.org/abs/2107.08430. Upstream: Megvii-BaseDetection/YOLOX, yolox/models/*.py (Apache-2.0); the eps
of the batch norms, 1e-3, is that of its experiments, exps/default/*.py.

Input: (N, 3, H, W) BGR, 0 to 255, H and W multiples of 32.
Outputs: raw, `undecoded` (N, A, 5 + classes), rows of x, y, width and height as the convolutions give them, and the
probabilities of an object and of each class; decoded, `decoded` (N, A, 5 + classes), the same with centre x, centre y,
width and height in pixels. Cells come row by row, the finest scale first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from netdefs.core.blocks import conv_bn
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.weights import Weights
from netdefs.core.yolo.detection import cells, check_decode, check_multiple, sizes_of_maps
from netdefs.core.yolo.ultralytics import activation, same
from netdefs.core.zoo import Model, config_of


@dataclass(frozen=True)
class Style:
    """What all convolutions of a network have in common."""

    act: str = "SiLU"  # PyTorch's class, unless the weights tell of another
    depthwise: bool = False  # of the larger kernels
    eps: float = 1e-3


VARIANTS: dict[str, dict[str, Any]] = {
    "yolox_nano": {"depth": 0.33, "width": 0.25, "size": 416, "style": {"depthwise": True}},
    "yolox_tiny": {"depth": 0.33, "width": 0.375, "size": 416},
    "yolox_s": {"depth": 0.33, "width": 0.5, "size": 640},
    "yolox_m": {"depth": 0.67, "width": 0.75, "size": 640},
    "yolox_l": {"depth": 1.0, "width": 1.0, "size": 640},
    "yolox_x": {"depth": 1.33, "width": 1.25, "size": 640},
    "yolox_darknet53": {"depth": None, "width": 1.0, "size": 640, "style": {"act": "LeakyReLU(0.1)"}},
}
STRIDES = (8, 16, 32)


def define(
    net: Network,
    x: Tensor,
    variant: str = "yolox_nano",
    num_classes: int | None = None,
    decode: str = "both",
    eps: float = 1e-3,
) -> dict[str, Tensor]:
    """Adds YOLOX to `net` and returns its outputs, as above.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of 32.
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        decode: which outputs: "raw", "decoded" or "both".
        eps: of the batch norms, where the weights don't tell.
    """
    config = config_of(VARIANTS, variant)
    check_decode(decode)
    check_multiple(net, x, STRIDES[-1])
    style, neck = Style(eps=eps, **config.get("style", {})), net / "backbone"
    if config["depth"] is None:
        maps = fpn(neck, darknet53(neck / "backbone", x, style), style)
    else:
        blocks = round(3 * config["depth"])
        maps = csp_darknet(neck / "backbone", x, int(64 * config["width"]), blocks, style)
        maps = pafpn(neck, maps, blocks, style)
    classes = net.class_count(num_classes, "head.cls_preds.0.bias", default=80)
    rows = net.output(head(net / "head", maps, int(256 * config["width"]), classes, style), "undecoded")
    if decode == "raw":
        return {"undecoded": rows}
    boxes = {"decoded": net.output(decoded(net / "head" / "decode", rows, sizes_of_maps(maps)), "decoded")}
    return boxes | ({"undecoded": rows} if decode == "both" else {})


def recognize(weights: Weights, variants: Mapping[str, dict[str, Any]]) -> str | None:
    """The variant that weights are of, by the width of the first convolution."""
    if "backbone.backbone.stem.0.conv.weight" in weights:
        return "yolox_darknet53"
    key = "backbone.backbone.stem.conv.bn.weight"
    channels = weights[key].size if key in weights else 0
    return next((name for name, config in variants.items() if int(64 * config["width"]) == channels), None)


def base_conv(
    net: Network, x: Tensor, channels: int, kernel: int, style: Style, stride: int = 1, groups: int = 1
) -> Tensor:
    """BaseConv: `conv`, `bn` and `act`."""
    x = conv_bn(net, x, "conv", "bn", channels, kernel, stride, groups=groups, eps=style.eps)
    return same(net, activation(net / "act", x, net.weights.activation(net.path_of("conv")) or style.act))


def conv(net: Network, x: Tensor, channels: int, kernel: int, style: Style, stride: int = 1) -> Tensor:
    """A BaseConv, or if the style is depthwise a DWConv: a depthwise `dconv` and a 1x1 `pconv`."""
    if not style.depthwise:
        return base_conv(net, x, channels, kernel, style, stride)
    inside = int(x.shape[1])
    x = base_conv(net / "dconv", x, inside, kernel, style, stride, groups=inside)
    return same(net, base_conv(net / "pconv", x, channels, 1, style))


def csp_layer(net: Network, x: Tensor, channels: int, count: int, style: Style, shortcut: bool = False) -> Tensor:
    """CSPLayer: `conv1` and bottlenecks `m` beside `conv2`, joined and mixed by `conv3`."""
    half = channels // 2
    y = base_conv(net / "conv1", x, half, 1, style)
    for i in range(count):
        block = net / "m" / i
        inner = conv(block / "conv2", base_conv(block / "conv1", y, half, 1, style), half, 3, style)
        y = block.add(inner, y) if shortcut else same(block, inner)
    y = net.concat([same(net / "m", y), base_conv(net / "conv2", x, half, 1, style)], "concat", dim=1)
    return same(net, base_conv(net / "conv3", y, channels, 1, style))


def spp_bottleneck(net: Network, x: Tensor, channels: int, style: Style) -> Tensor:
    """SPPBottleneck: `conv1`, max pools `m` side by side, all joined and mixed by `conv2`."""
    x = base_conv(net / "conv1", x, int(x.shape[1]) // 2, 1, style)
    pools = [net.max_pool(x, f"m.{i}", n, stride=1, padding=n // 2) for i, n in enumerate((5, 9, 13))]
    return same(net, base_conv(net / "conv2", net.concat([x, *pools], "concat", dim=1), channels, 1, style))


def focus(net: Network, x: Tensor) -> Tensor:
    """Every 2x2 block of pixels as channels: all top left, all bottom left, all top right, all bottom right ones.

    It is done by a convolution that picks them, since that takes one layer and any height and width.
    """
    channels = int(x.shape[1])
    picks = np.zeros((4, channels, channels, 2, 2), np.float32)
    for i, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        picks[i, :, :, row, column] = np.eye(channels)
    return net.convolution(x, "focus", 4 * channels, 2, picks.reshape(4 * channels, channels, 2, 2), None, stride=2)


def csp_darknet(net: Network, x: Tensor, channels: int, blocks: int, style: Style) -> list[Tensor]:
    """CSPDarknet: `stem`, `dark2` to `dark5`; gives the last three."""
    x = same(net / "stem", base_conv(net / "stem" / "conv", focus(net / "stem", x), channels, 3, style))
    maps = []
    for i, count in enumerate((blocks, 3 * blocks, 3 * blocks, blocks)):
        dark, channels = net / f"dark{i + 2}", 2 * channels
        x = conv(dark / 0, x, channels, 3, style, stride=2)
        if i == 3:
            x = spp_bottleneck(dark / 1, x, channels, style)
        x = same(dark, csp_layer(dark / (2 if i == 3 else 1), x, channels, count, style, shortcut=i < 3))
        maps.append(x)
    return maps[1:]


def pafpn(net: Network, maps: list[Tensor], blocks: int, style: Style) -> list[Tensor]:
    """YOLOPAFPN: from the coarsest map to the finest, and back."""
    fine, middle, coarse = maps
    narrow, medium, wide = (int(x.shape[1]) for x in maps)
    p5 = base_conv(net / "lateral_conv0", coarse, medium, 1, style)
    x = net.concat([net.upsample(p5, "upsample.p4", scale_factor=2), middle], "concat.p4", dim=1)
    x = csp_layer(net / "C3_p4", x, medium, blocks, style)
    p4 = base_conv(net / "reduce_conv1", x, narrow, 1, style)
    x = net.concat([net.upsample(p4, "upsample.p3", scale_factor=2), fine], "concat.p3", dim=1)
    out3 = csp_layer(net / "C3_p3", x, narrow, blocks, style)
    x = net.concat([conv(net / "bu_conv2", out3, narrow, 3, style, stride=2), p4], "concat.n3", dim=1)
    out4 = csp_layer(net / "C3_n3", x, medium, blocks, style)
    x = net.concat([conv(net / "bu_conv1", out4, medium, 3, style, stride=2), p5], "concat.n4", dim=1)
    return [out3, out4, csp_layer(net / "C3_n4", x, wide, blocks, style)]


def darknet53(net: Network, x: Tensor, style: Style) -> list[Tensor]:
    """Darknet with 53 layers: `stem`, `dark2` to `dark5`; gives the last three."""
    maps = []
    x = base_conv(net / "stem" / 0, x, 32, 3, style)
    for i, blocks in enumerate((1, 2, 8, 8, 4)):
        group, first, channels = net / (f"dark{i + 1}" if i else "stem"), 0 if i else 1, 64 * 2**i
        x = base_conv(group / first, x, channels, 3, style, stride=2)
        for block in range(first + 1, first + 1 + blocks):
            layer = group / block
            y = base_conv(layer / "layer2", base_conv(layer / "layer1", x, channels // 2, 1, style), channels, 3, style)
            x = layer.add(x, y)
        if i == 4:
            x = alternate(group, x, (512, 1024), 5, style)
            x = spp_bottleneck(group / 7, x, 512, style)
            x = alternate(group, x, (1024, 512), 8, style)
        maps.append(same(group, x))
    return maps[2:]


def fpn(net: Network, maps: list[Tensor], style: Style) -> list[Tensor]:
    """YOLOFPN: from the coarsest map to the finest."""
    outs = [maps[2]]
    for i, x in enumerate((maps[1], maps[0])):
        name, channels = f"out{i + 1}", 256 // 2**i
        y = base_conv(net / f"{name}_cbl", outs[-1], channels, 1, style)
        y = net.concat([net.upsample(y, f"upsample.{name}", scale_factor=2), x], f"concat.{name}", dim=1)
        y = alternate(net / name, y, (channels, 2 * channels, channels, 2 * channels, channels), 0, style)
        outs.append(same(net / name, y))
    return outs[::-1]


def alternate(net: Network, x: Tensor, widths: tuple[int, ...], first: int, style: Style) -> Tensor:
    """Convolutions called `first`, `first` + 1 ...: 3x3 where they widen, 1x1 where they narrow."""
    for i, channels in enumerate(widths):
        x = base_conv(net / (first + i), x, channels, 3 if channels > int(x.shape[1]) else 1, style)
    return x


def head(net: Network, maps: list[Tensor], channels: int, classes: int, style: Style) -> Tensor:
    """YOLOXHead: what it says of every cell of every map, (N, A, 5 + classes)."""
    rows = []
    for i, x in enumerate(maps):
        x = base_conv(net / "stems" / i, x, channels, 1, style)
        towers = []
        for name in ("cls_convs", "reg_convs"):
            tower = net / name / i
            y = conv(tower / 1, conv(tower / 0, x, channels, 3, style), channels, 3, style)
            towers.append(same(tower, y))
        scores = net.sigmoid(net.conv(towers[0], f"cls_preds.{i}", classes, 1), f"cls.{i}")
        boxes = net.conv(towers[1], f"reg_preds.{i}", 4, 1)
        objects = net.sigmoid(net.conv(towers[1], f"obj_preds.{i}", 1, 1), f"obj.{i}")
        rows.append(net.flatten(net.concat([boxes, objects, scores], f"concat.{i}", dim=1), f"flat.{i}", start_dim=2))
    return net.permute(net.concat(rows, "concat", dim=2), "rows", (0, 2, 1))


def decoded(net: Network, rows: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
    """The rows with their boxes in pixels; `sizes` are the height and width of the maps."""
    grid = np.concatenate([cells(*size) for size in sizes], 2).transpose(0, 2, 1)
    stride = np.repeat(np.array(STRIDES, np.float32), [height * width for height, width in sizes]).reshape(1, -1, 1)
    xy, wh, scores = net.split(rows, "part", (2, 2, int(rows.shape[2]) - 4), dim=2)
    xy = net.add(xy, net.constant(grid, "cells", like=rows), "xy")
    wh = net.layer(net.definition.add_unary(wh, net.trt.UnaryOperation.EXP), "wh", wh)
    boxes = net.concat([xy, wh], "boxes", dim=2)
    boxes = net.mul(boxes, net.constant(stride, "strides", like=rows), "pixels")
    return net.concat([boxes, scores], "rows", dim=2)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape={name: (1, 3, config["size"], config["size"]) for name, config in VARIANTS.items()},
    preprocess=Preprocess("BGR", mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255), fit="corner", pad=114),
    decode=Decode("boxes_yolox", "coco80"),
    recognize=recognize,
)
define_network, build_engine = model.define_network, model.build_engine
