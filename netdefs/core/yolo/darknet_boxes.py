"""Detectors made of darknet's layers: their heads, and boxes from what the heads say."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.yolo.darknet import add_layers
from netdefs.core.yolo.darknet_layers import Anchors, Detect, Layer, Names, heads, with_heads
from netdefs.core.yolo.detection import (
    boxes_from_anchors,
    cells,
    check_decode,
    check_multiple,
    class_count,
    sizes_of_maps,
)

PAIR = ("boxes", "confs")

# Darknet resizes a picture to the network's input without regard to its proportions, unless a cfg has letter_box=1.
SQUEEZE = Preprocess("RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fit="squeeze")


class Scale(NamedTuple):
    """What a network says of boxes at one scale: `raw`, (N, anchors * (5 + classes), H, W), and how to read it."""

    net: Network  # where the layers of decoding get their names
    raw: Tensor
    head: Detect


def add_detector(
    net: Network,
    x: Tensor,
    layers: Sequence[Layer],
    names: Sequence[Names],
    num_classes: int | None,
    anchors: Sequence[Anchors] | None,
    eps: float,
) -> list[Scale]:
    """Adds a detector to `net`.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        layers: of the network.
        names: of each layer.
        num_classes: read off the weights when None.
        anchors: (width, height) of each anchor of each head, in pixels of the input; the layers' own when None.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: the input's size, the anchors or the class count don't suit the network.
    """
    found = heads(layers)
    check_multiple(net, x, max(head.stride for _, head in found))
    anchors = [head.anchors for _, head in found] if anchors is None else checked(anchors, len(found))
    first = names[found[0][0] - 1]
    classes = class_count(net, num_classes, f"{first[0]}.bias", len(anchors[0]))
    layers = with_heads(layers, classes, anchors)
    outputs = add_layers(net, x, layers, names, eps)
    return [Scale(net / names[i][0], outputs[i], head) for i, head in heads(layers)]


def checked(anchors: Sequence[Anchors], count: int) -> list[Anchors]:
    """The anchors of `count` heads.

    Raises:
        NetworkError: they are none.
    """
    try:
        made = [tuple((float(width), float(height)) for width, height in head) for head in anchors]
    except (TypeError, ValueError):
        made = []
    sound = [head and np.isfinite(head).all() and np.min(head) > 0 for head in made]
    if len(made) != count or not all(sound):
        raise NetworkError(
            f"anchors={anchors!r}: this network has {count} heads, and each takes a list of (width, height), in pixels "
            "of the input."
        )
    return made


def darknet_outputs(
    net: Network, x: Tensor, scales: Sequence[Scale], raws: Sequence[str], decode: str
) -> dict[str, Tensor]:
    """The outputs of a detector as darknet reads them.

    Args:
        net: the place in a network where its modules are.
        x: the network's input.
        scales: what `add_detector` gave.
        raws: the names of their raw outputs.
        decode: which outputs: "raw", "decoded", which are the `boxes` and `confs` of all scales, or "both".

    Raises:
        NetworkError: `decode` is none of these, or there are boxes and the input's height or width is dynamic.
    """
    check_decode(decode)
    outputs = {name: net.output(scale.raw, name) for name, scale in zip(raws, scales, strict=True)}
    if decode == "raw":
        return outputs
    (size,) = sizes_of_maps([x])
    # Of the outputs, which are float32: half precision has no room for the places of boxes.
    pairs = [boxes_and_confs(s.net, raw, s.head, size) for s, raw in zip(scales, outputs.values(), strict=True)]
    boxes, confs = (joined(net, parts, name) for parts, name in zip(zip(*pairs, strict=True), PAIR, strict=True))
    return (outputs if decode == "both" else {}) | {"boxes": boxes, "confs": confs}


def boxes_and_confs(net: Network, x: Tensor, head: Detect, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes from what a [yolo] or [region] layer is given.

    Upstream: AlexeyAB/darknet, src/yolo_layer.c, src/region_layer.c (public domain). The layout is that of
    Tianxiaomo/pytorch-YOLOv4, tool/yolo_layer.py (Apache-2.0).

    Args:
        net: the place where the layers of decoding get their names.
        x: (N, anchors * (5 + classes), H, W): x, y, width, height, objectness and classes of each anchor in each cell.
        head: the layer.
        size: height and width of the network's input.

    Returns:
        boxes: (N, anchors * H * W, 1, 4), left, top, right and bottom in parts of the input's size; all cells of the
            first anchor, then those of the second.
        confs: (N, anchors * H * W, classes), objectness times the class's probability.
    """
    height, width = (int(n) for n in x.shape[2:])
    count = len(head.anchors)
    values = int(x.shape[1]) // count
    cell = np.array([1 / width, 1 / height]).reshape(1, 1, 2, 1)
    shift = (cells(height, width)[None] - (head.scale_xy - 1) / 2) * cell
    anchors = (np.array(head.anchors) / (size[1], size[0])).reshape(1, count, 2, 1)

    x = net.reshape(x, "anchors", (0, count, values, height * width))
    xy, wh, objectness, classes = net.split(x, "part", (2, 2, 1, values - 5), dim=2)
    if head.new_coords:
        wh = net.mul(net.mul(wh, wh, "wh.square"), 4.0, "wh.growth")
    else:
        xy, objectness = net.sigmoid(xy, "xy.sigmoid"), net.sigmoid(objectness, "objectness")
        wh = net.layer(net.definition.add_unary(wh, net.trt.UnaryOperation.EXP), "wh.growth", wh)
        classes = net.softmax(classes, "classes", dim=2) if head.softmax else net.sigmoid(classes, "classes")
    xy = net.mul(xy, net.constant(head.scale_xy * cell, "xy.cell", like=x), "xy.scale")
    xy = net.add(xy, net.constant(shift, "xy.shift", like=x), "xy")
    wh = net.mul(wh, net.constant(anchors, "wh.anchors", like=x), "wh")
    low = net.sub(xy, net.mul(wh, 0.5, "half"), "low")
    boxes = net.concat([low, net.add(low, wh, "high")], "corners", dim=2)
    confs = net.mul(classes, objectness, "product")

    def rows(y: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        return net.reshape(net.permute(y, f"{name}.permute", (0, 1, 3, 2)), name, (0, count * height * width, *shape))

    return rows(boxes, "boxes", (1, 4)), rows(confs, "confs", (values - 5,))


def yolov5_outputs(net: Network, scales: Sequence[Scale], raws: Sequence[str], decode: str) -> dict[str, Tensor]:
    """The outputs of a detector as YOLOv5 has them.

    Args:
        net: the place in a network where its modules are.
        scales: what `add_detector` gave.
        raws: the names of their raw outputs, each (N, anchors, H, W, 5 + classes).
        decode: which outputs: "raw", "decoded", which is `pred`, the boxes of all scales, or "both".

    Raises:
        NetworkError: `decode` is none of these, or there are boxes and the input's height or width is dynamic.
    """
    check_decode(decode)
    outputs: dict[str, Tensor] = {}
    for name, (place, raw, head) in zip(raws, scales, strict=True):
        count = len(head.anchors)
        raw = place.permute(raw, "last", (0, 2, 3, 1))
        raw = place.reshape(raw, "anchors", (0, 0, 0, count, int(raw.shape[3]) // count))
        outputs[name] = net.output(place.permute(raw, "permute", (0, 3, 1, 2, 4)), name)
    if decode == "raw":
        return outputs
    sizes_of_maps([scale.raw for scale in scales])
    rows = [
        boxes_from_anchors(place / "decode", raw, np.array(head.anchors), head.stride, coefficients=0)
        for (place, _, head), raw in zip(scales, outputs.values(), strict=True)
    ]
    return {"pred": joined(net, rows, "pred")} | (outputs if decode == "both" else {})


def joined(net: Network, tensors: Sequence[Tensor], name: str) -> Tensor:
    """The boxes of several scales behind each other, as an output."""
    return net.output(tensors[0] if len(tensors) == 1 else net.concat(tensors, f"{name}.concat", dim=1), name)
