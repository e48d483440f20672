"""DBNet: finds text, as a map of how likely each pixel is in the middle of some.

Paper: https://arxiv.org/abs/1911.08947 (Real-time Scene Text Detection with Differentiable Binarization).
Upstream: MhLiao/DB, backbones/resnet.py, decoders/seg_detector.py and assets/ops/dcn (no licence).

Input: (N, 3, H, W) BGR, 0 to 255 less (122.68, 116.67, 104.01), over 255; multiples of 32; 736 x 1280 by default.
Output: `binary` (N, 1, H, W), 0 to 1. Released checkpoints are of the deformable variants.
"""

from collections.abc import Mapping
from typing import Any

from netdefs.core.blocks import basic_block, bottleneck, conv_bn, conv_bn_act, conv_bn_relu, deconv_bn, shortcut
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.weights import Weights
from netdefs.core.yolo.detection import check_multiple
from netdefs.core.zoo import Model, config_of
from netdefs.resnet import stages

VARIANTS: dict[str, dict[str, Any]] = {
    "dbnet_resnet18": {"layers": (2, 2, 2, 2), "deep": False, "deformable": False},
    "dbnet_resnet50": {"layers": (3, 4, 6, 3), "deep": True, "deformable": False},
    "dbnet_deformable_resnet18": {"layers": (2, 2, 2, 2), "deep": False, "deformable": True},
    "dbnet_deformable_resnet50": {"layers": (3, 4, 6, 3), "deep": True, "deformable": True},
}
STRIDE = 32
INNER = 256  # channels between the levels of the pyramid


def define(net: Network, x: Tensor, variant: str = "dbnet_resnet18", eps: float = 1e-5) -> dict[str, Tensor]:
    """Adds a DBNet to `net` and returns `binary`, (N, 1, H, W), by name.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: height or width is no multiple of 32.
    """
    config = config_of(VARIANTS, variant)
    check_multiple(net, x, STRIDE)
    first = bottleneck if config["deep"] else basic_block
    other = (deformable_bottleneck if config["deep"] else deformable_basic_block) if config["deformable"] else first
    levels = stages(net / "backbone", x, [first, *[other] * 3], config["layers"], eps=eps)
    for pattern in ("backbone.fc.*", "backbone.smooth.*", "decoder.thresh.*"):  # the last is for training
        net.ignore(pattern)
    return {"binary": net.output(decoder(net / "decoder", levels, eps), "binary")}


def decoder(net: Network, levels: list[Tensor], eps: float) -> Tensor:
    """A feature pyramid, its levels brought to a quarter of the picture's size and joined; then the map."""
    found: list[Tensor] = []
    x = None
    for i, level in zip((5, 4, 3, 2), reversed(levels), strict=True):
        inner = net.conv(level, f"in{i}", INNER, kernel=1, bias=False)
        name = f"up{i + 1}"
        x = inner if x is None else net.add(net.upsample(x, name, scale_factor=2), inner, f"{name}.sum")
        options: dict[str, Any] = {"kernel": 3, "padding": 1, "bias": False}
        if i == 2:
            found.append(net.conv(x, "out2", INNER // 4, **options))
        else:
            at = net / f"out{i}"
            found.append(at.upsample(at.conv(x, "0", INNER // 4, **options), "1", scale_factor=2 ** (i - 2)))
    at = net / "binarize"
    x = conv_bn_act(at, net.concat(found, "fuse", dim=1), INNER // 4, 3, eps=eps)
    x = at.relu(deconv_bn(at, x, "3", "4", INNER // 4, kernel=2, stride=2, bias=True, eps=eps), "5")
    return at.sigmoid(at.deconv(x, "6", 1, kernel=2, stride=2), "7")


def deformable_basic_block(net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5) -> Tensor:
    """`basic_block`, whose second convolution is deformable."""
    skip = shortcut(net, x, channels, stride, eps)
    out = conv_bn_relu(net, x, "conv1", "bn1", channels, kernel=3, stride=stride, eps=eps)
    out = net.batch_norm(deformable(net, out, channels, 1, skip), "bn2", eps)
    return net.relu(net.add(out, skip, "add"))


def deformable_bottleneck(net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5) -> Tensor:
    """`bottleneck`, whose 3x3 convolution is deformable."""
    skip = shortcut(net, x, 4 * channels, stride, eps)
    out = conv_bn_relu(net, x, "conv1", "bn1", channels, kernel=1, eps=eps)
    out = net.relu(net.batch_norm(deformable(net, out, channels, stride, skip), "bn2", eps), "bn2.relu")
    out = conv_bn(net, out, "conv3", "bn3", 4 * channels, kernel=1, eps=eps)
    return net.relu(net.add(out, skip, "add"))


def deformable(net: Network, x: Tensor, channels: int, stride: int, skip: Tensor) -> Tensor:
    """A deformable 3x3 convolution `conv2`, which `conv2_offset` tells where to read; `skip` has the output's size.

    Upstream's `conv2_offset` has no stride. Where `conv2` has one it gets offsets four times as large as it needs, and
    its CUDA code takes the values in memory as they come: the first ones, as if they had the output's size. Released
    weights were trained with that (https://github.com/MhLiao/DB/issues/250).
    """
    told = net.conv(x, "conv2_offset", 27, kernel=3, padding=1)
    parts = []
    for name, start, count in (("offset", 0, 18), ("mask", 18, 9)):
        kept = -(-count // stride**2)  # channels of the larger size that hold as many values
        part = net.slice(told, f"conv2_offset.{name}", 1, start, start + kept)
        if stride > 1:
            part = net.reshape(part, f"conv2_offset.{name}.rows", (0, kept * stride**2, 0, 0), like=skip)
            part = net.slice(part, f"conv2_offset.{name}.first", 1, 0, count)
        parts.append(part)
    offset, mask = parts[0], net.sigmoid(parts[1], "conv2_offset.sigmoid")
    return net.deform_conv(x, offset, "conv2", channels, kernel=3, stride=stride, padding=1, bias=False, mask=mask)


def recognize(weights: Weights, variants: Mapping[str, Any]) -> str | None:
    """The variant that weights are of."""
    if "decoder.in5.weight" not in weights:
        return None
    found = ("backbone.layer1.0.conv3.weight" in weights, "backbone.layer2.0.conv2_offset.weight" in weights)
    return next(name for name, config in variants.items() if (config["deep"], config["deformable"]) == found)


# The numbers are ImageNet's red, green and blue; upstream takes them off blue, green and red.
PREPROCESS = Preprocess("BGR", mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255), std=(1.0,) * 3)

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 736, 1280),
    preprocess=PREPROCESS,
    decode=Decode("text_boxes"),
    recognize=recognize,
)
define_network, build_engine = model.define_network, model.build_engine
