"""Darknet's networks as lists of layers, as a cfg file has them, and the names PyTorch gives to their modules.

Upstream: https://github.com/AlexeyAB/darknet (public domain), cfg/*.cfg and src/parser.c.
"""

import dataclasses
from collections.abc import Sequence

Anchors = tuple[tuple[float, float], ...]  # width and height of each, in pixels of the input
Names = tuple[str, ...]  # of a Conv: convolution, batch norm, activation, and modules that hold just them; else one


class Layer:
    """A layer of a cfg file."""


@dataclasses.dataclass(frozen=True)
class Conv(Layer):
    """[convolutional], padded so that stride 1 keeps the size. `filters=None`: as many as the `Detect` behind needs."""

    filters: int | None
    size: int
    stride: int = 1
    activation: str = "leaky"
    batch_norm: bool = True
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Pool(Layer):
    """[maxpool]; at stride 1 it keeps the size."""

    size: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Route(Layer):
    """[route]: the channels of one or more layers, counted from here if negative; or one group of a layer's."""

    layers: tuple[int, ...]
    groups: int = 1
    group: int = 0


@dataclasses.dataclass(frozen=True)
class Shortcut(Layer):
    """[shortcut]: the sum of the layer before and another one, counted from here if negative."""

    layer: int


@dataclasses.dataclass(frozen=True)
class Upsample(Layer):
    """[upsample], nearest."""

    stride: int = 2


@dataclasses.dataclass(frozen=True)
class Reorg(Layer):
    """[reorg]: blocks of pixels become channels, in darknet's own order."""

    stride: int = 2


@dataclasses.dataclass(frozen=True)
class Detect(Layer):
    """[yolo] or [region]: what the convolution before it says of boxes.

    Attributes:
        anchors: of this scale only.
        stride: of its cells, in pixels of the input.
        scale_xy: scale_x_y: how far centres reach beyond their cell.
        softmax: classes exclude each other ([region]).
        new_coords: the values are sigmoids already, and a box is (2 * value)^2 anchors large.
    """

    anchors: Anchors
    stride: int
    scale_xy: float = 1.0
    softmax: bool = False
    new_coords: bool = False


# What darknet2pytorch calls the modules of activations; "linear" is one that changes nothing.
ACTIVATIONS = {"leaky": "leaky", "mish": "mish", "relu": "relu", "linear": "linear", "logistic": "sigmoid"}

# PyTorch's classes of activations.
CLASSES = {"leaky": "LeakyReLU(0.1)", "mish": "Mish", "relu": "ReLU", "swish": "SiLU", "linear": "Identity"}

# Of yolov3-tiny and yolov4-tiny. Today's yolov3-tiny.cfg has others at stride 16, but the released weights were trained
# with these: https://github.com/AlexeyAB/darknet/issues/1341.
TINY_ANCHORS: tuple[Anchors, ...] = (((81, 82), (135, 169), (344, 319)), ((23, 27), (37, 58), (81, 82)))


def pairs(filters: int, count: int) -> list[Layer]:
    """`count` times a 1x1 convolution and a 3x3 one with twice the filters."""
    return [Conv(filters, 1), Conv(2 * filters, 3)] * count


def detect(anchors: Anchors, stride: int, scale_xy: float = 1.0) -> list[Layer]:
    """A head's convolution and its [yolo] layer."""
    return [Conv(None, 1, activation="linear", batch_norm=False), Detect(anchors, stride, scale_xy)]


def finer(filters: int, layer: int) -> list[Layer]:
    """From what stands before a head on to the next finer scale, where `layer` joins it."""
    return [Route((-4,)), Conv(filters, 1), Upsample(2), Route((-1, layer))]


def spp() -> list[Layer]:
    """Spatial pyramid pooling: the input and its maxima over 5 x 5, 9 x 9 and 13 x 13, the largest first."""
    return [Pool(5, 1), Route((-2,)), Pool(9, 1), Route((-4,)), Pool(13, 1), Route((-1, -3, -5, -6))]


def with_heads(layers: Sequence[Layer], num_classes: int, anchors: Sequence[Anchors] | None = None) -> list[Layer]:
    """The layers with heads for so many classes, and with these anchors, one tuple for each `Detect`, if given."""
    made = list(layers)
    others = iter(anchors or ())
    for i, layer in enumerate(layers):
        if isinstance(layer, Detect):
            made[i] = layer = dataclasses.replace(layer, anchors=next(others, layer.anchors))
            conv = made[i - 1]
            assert isinstance(conv, Conv)
            made[i - 1] = dataclasses.replace(conv, filters=len(layer.anchors) * (5 + num_classes))
    return made


def heads(layers: Sequence[Layer]) -> list[tuple[int, Detect]]:
    """The `Detect` layers, with their numbers."""
    return [(i, layer) for i, layer in enumerate(layers) if isinstance(layer, Detect)]


def absolute(number: int, i: int) -> int:
    """The number of a layer that layer `i` refers to."""
    return number if number >= 0 else i + number


def input_channels(layers: Sequence[Layer]) -> list[int]:
    """How many channels each layer is given, if the network's input has three."""
    into: list[int] = []
    out: list[int] = []
    channels = 3
    for i, layer in enumerate(layers):
        into.append(channels)
        if isinstance(layer, Conv):
            channels = layer.filters or 0
        elif isinstance(layer, Route):
            channels = sum(out[absolute(number, i)] for number in layer.layers) // layer.groups
        elif isinstance(layer, Reorg):
            channels *= layer.stride**2
        out.append(channels)
    return into


def cfg_names(layers: Sequence[Layer]) -> list[Names]:
    """`models.0.conv1`, `models.0.bn1`, `models.0.leaky1` in `models.0`: convolutions count from 1, layers from 0.

    Upstream: Tianxiaomo/pytorch-YOLOv4, tool/darknet2pytorch.py (Apache-2.0).
    """
    names: list[Names] = []
    convs = 0
    for i, layer in enumerate(layers):
        block = f"models.{i}"
        if isinstance(layer, Conv):
            convs += 1
            act = ACTIVATIONS.get(layer.activation, layer.activation)
            conv, bn, *others = (f"{block}.{part}{convs}" for part in ("conv", "bn", act))
            names.append((conv, bn, *others, *(others if layer.activation == "linear" else ()), block))
        else:
            names.append((block,))
    return names


def last_bias(names: Sequence[Names]) -> str:
    """The weight by which a detector is told from others: the bias of its last head."""
    return f"{names[-2][0]}.bias"


def module_list_names(layers: Sequence[Layer]) -> list[Names]:
    """`module_list.0.Conv2d`, `module_list.0.BatchNorm2d`, `module_list.0.activation` in `module_list.0`.

    Upstream: WongKinYiu/PyTorch_YOLOv4, models/models.py (no licence given), after ultralytics/yolov3's archive branch.
    """
    blocks = [f"module_list.{i}" for i, _ in enumerate(layers)]
    parts = ("Conv2d", "BatchNorm2d", "activation")
    return [
        (*(f"{block}.{part}" for part in parts), block) if isinstance(layer, Conv) else (block,)
        for block, layer in zip(blocks, layers, strict=True)
    ]
