"""RetinaFace: faces with a box and five landmarks, by a MobileNet V1 of a quarter of the width or a ResNet-50.

Paper: https://arxiv.org/abs/1905.00641.
Upstream: biubug6/Pytorch_Retinaface, models/retinaface.py and models/net.py (MIT).

Input: (N, 3, H, W) BGR, 0 to 255 less (104, 117, 123); 640 x 640 by default.
Outputs, of every prior: `boxes` (N, A, 4) and `landmarks` (N, A, 10), as differences to it, and `classes` (N, A, 2),
how likely it is background and a face; or what `decode` and `nms` say.
"""

from functools import partial
from typing import Any

import numpy as np

from netdefs.core.blocks import bottleneck, conv_bn_act
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.priors import LANDMARKS, VARIANCES, priors
from netdefs.core.scope import Tensor
from netdefs.core.yolo.suppression import Suppression, suppress, suppression
from netdefs.core.zoo import Model, config_of
from netdefs.resnet import stages

VARIANTS: dict[str, dict[str, Any]] = {
    "retinaface_mnet025": {"channels": 64, "slope": 0.1},
    "retinaface_r50": {"channels": 256, "slope": 0.0},
}
DECODES = ("raw", "decoded")
# Upstream looks at what is above 0.02 and draws what is above 0.6, which comes to the same: detect.py.
USUAL = Suppression(score_threshold=0.6, iou_threshold=0.4, max_det=750)


def define(
    net: Network,
    x: Tensor,
    variant: str = "retinaface_mnet025",
    decode: str = "raw",
    nms: str = "host",
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_det: int | None = None,
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """Adds a RetinaFace to `net` and returns `boxes`, `classes` and `landmarks`, or what `decode` and `nms` ask for.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        decode: "raw": as upstream's network gives them. "decoded": `faces` (N, A, 15): x1, y1, x2, y2 in pixels of the
            input, how likely it is a face, and x and y of five landmarks; height and width have to be fixed.
        nms: "host", or with decode="decoded" "in_network": `dets` (N, max_det, 16), whose sixth column is a class, 0.
            TensorRT-RTX can't do it.
        score_threshold: for nms="in_network": scores are above it; 0.6 by default.
        iou_threshold: likewise: faces that stay overlap by no more; 0.4 by default.
        max_det: likewise: how many may stay; 750 by default.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: an argument can't be what it is, or does not go with the others.
    """
    config = config_of(VARIANTS, variant)
    if decode not in DECODES:
        raise NetworkError(f"decode={decode!r}: it is one of {', '.join(map(repr, DECODES))}.")
    how = suppression(net, nms, USUAL, decode, score_threshold, iou_threshold, max_det)
    trunk = mobilenet if variant == "retinaface_mnet025" else resnet
    levels = pyramid(net / "fpn", trunk(net / "body", x, eps), config["channels"], config["slope"], eps)
    levels = [context(net / f"ssh{i + 1}", level, config["slope"], eps) for i, level in enumerate(levels)]
    boxes = head(net / "BboxHead", levels, 4)
    classes = net.softmax(head(net / "ClassHead", levels, 2), "softmax", dim=2)
    landmarks = head(net / "LandmarkHead", levels, 2 * LANDMARKS)
    net.info["decode"] = {"kpt_shape": (LANDMARKS, 2)} | ({"score_threshold": how.score_threshold} if how else {})
    if decode == "raw":
        found = {"boxes": boxes, "classes": classes, "landmarks": landmarks}
        return {name: net.output(tensor, name) for name, tensor in found.items()}
    height, width = (net.known_size(x, axis, "decode='decoded'") for axis in (2, 3))
    name = "faces" if how is None else "dets"
    return {name: net.output(decoded(net / "decode", boxes, classes, landmarks, (height, width), how), name)}


def mobilenet(net: Network, x: Tensor, eps: float) -> list[Tensor]:
    """MobileNet V1 of a quarter of the width: pictures of an eighth, a sixteenth and a thirty-second of the size."""
    x, found = unit(net / "stage1" / 0, x, 8, 3, 0.1, eps, stride=2), []
    first = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]
    second = [(128, 2), *[(128, 1)] * 5]
    for name, start, rows in (("stage1", 1, first), ("stage2", 0, second), ("stage3", 0, [(256, 2), (256, 1)])):
        for i, (channels, stride) in enumerate(rows):
            at = net / name / (start + i)
            x = unit(at, x, int(x.shape[1]), 3, 0.1, eps, stride=stride, groups=int(x.shape[1]))
            x = unit(at, x, channels, 1, 0.1, eps, start=3)
        found.append(x)
    return found


def resnet(net: Network, x: Tensor, eps: float) -> list[Tensor]:
    """The last three stages of a ResNet-50."""
    return stages(net, x, [bottleneck] * 4, (3, 4, 6, 3), eps=eps)[1:]


def pyramid(net: Network, levels: list[Tensor], channels: int, slope: float, eps: float) -> list[Tensor]:
    """A feature pyramid: each level and what is above it, resized to its own size."""
    fine, middle, coarse = (unit(net / f"output{i + 1}", x, channels, 1, slope, eps) for i, x in enumerate(levels))
    up = net.upsample(coarse, "output3.up", size=middle)
    middle = unit(net / "merge2", net.add(middle, up, "output2.sum"), channels, 3, slope, eps)
    up = net.upsample(middle, "merge2.up", size=fine)
    return [unit(net / "merge1", net.add(fine, up, "output1.sum"), channels, 3, slope, eps), middle, coarse]


def context(net: Network, x: Tensor, slope: float, eps: float) -> Tensor:
    """Three sizes of surroundings side by side: one, two and three 3x3 convolutions."""
    channels = int(x.shape[1])
    near = unit(net / "conv3X3", x, channels // 2, 3, None, eps)
    five = unit(net / "conv5X5_1", x, channels // 4, 3, slope, eps)
    seven = unit(net / "conv7X7_2", five, channels // 4, 3, slope, eps)
    seven = unit(net / "conv7x7_3", seven, channels // 4, 3, None, eps)  # upstream's spelling
    five = unit(net / "conv5X5_2", five, channels // 4, 3, None, eps)
    return net.relu(net.concat([near, five, seven], "concat", dim=1))


def unit(
    net: Network, x: Tensor, channels: int, kernel: int, slope: float | None, eps: float, **options: Any
) -> Tensor:
    """Convolution, batch norm and, unless the slope is None, leaky ReLU."""
    leaky = partial(Network.leaky_relu, negative_slope=slope) if slope else Network.relu
    return conv_bn_act(net, x, channels, kernel, act=None if slope is None else leaky, eps=eps, **options)


def head(net: Network, levels: list[Tensor], values: int) -> Tensor:
    """A 1x1 convolution for each level: `values` numbers of every prior, two to a pixel, (N, A, values)."""
    found = []
    for i, level in enumerate(levels):
        at = net / i
        x = at.permute(at.conv(level, "conv1x1", 2 * values, kernel=1), "permute", (0, 2, 3, 1))
        found.append(at.reshape(x, None, (0, -1, values)))
    return net.concat(found, "concat", dim=1)


def decoded(
    net: Network, boxes: Tensor, classes: Tensor, landmarks: Tensor, size: tuple[int, int], how: Suppression | None
) -> Tensor:
    """`faces`, or `dets`: places in pixels, in float32 since half precision has no tenths of a pixel there."""
    trt = net.trt
    boxes, landmarks = net.cast(boxes, "boxes", trt.float32), net.cast(landmarks, "landmarks", trt.float32)
    score = net.slice(net.cast(classes, "classes", trt.float32), "score", 2, 1, 2)
    known = priors(*size)[None]
    centre, extent = net.constant(known[..., :2], "prior.centre"), net.constant(known[..., 2:], "prior.size")
    step = net.constant(known[..., 2:] * np.float32(VARIANCES[0]), "prior.step")
    moves, grows = net.split(boxes, "box", 2, dim=2)
    middle = net.add(net.mul(moves, step, "moves"), centre, "middle")
    grows = net.mul(grows, VARIANCES[1], "grows")
    factor = net.layer(net.definition.add_unary(grows, trt.UnaryOperation.EXP), "factor", grows)
    sides = net.mul(factor, extent, "sides")
    points = net.reshape(landmarks, "points", (0, -1, LANDMARKS, 2))
    spread = net.reshape(step, "step", (1, -1, 1, 2)), net.reshape(centre, "centre", (1, -1, 1, 2))
    points = net.add(net.mul(points, spread[0], "points.moves"), spread[1], "points.places")
    points = net.reshape(points, "points.rows", (0, -1, 2 * LANDMARKS))
    if how is not None:
        whole = net.concat([middle, sides], "whole", dim=2)
        return suppress(net / "nms", whole, score, [points], how)
    half = net.mul(sides, 0.5, "half")
    low, high = net.sub(middle, half, "low"), net.add(middle, half, "high")
    return net.concat([low, high, score, points], "faces", dim=2)


PREPROCESS = Preprocess("BGR", mean=(104 / 255, 117 / 255, 123 / 255), std=(1 / 255,) * 3, fit="corner", pad=114)

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 640, 640),
    preprocess=PREPROCESS,
    decode=Decode("faces", "face5"),
)
define_network, build_engine = model.define_network, model.build_engine
