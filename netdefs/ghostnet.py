"""GhostNet for image classification.

Paper: https://arxiv.org/abs/1911.11907.
Upstream: huawei-noah/Efficient-AI-Backbones, ghostnet_pytorch/ghostnet.py (Apache-2.0); timm's ghostnet_100 has the
same keys.

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

from netdefs.core.blocks import conv_bn, conv_bn_act, conv_bn_relu, make_divisible, squeeze_excite
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {"ghostnet_100": {}}
STAGES = (  # of each block: kernel, hidden channels, channels, squeeze-and-excitation, stride
    ((3, 16, 16, False, 1),),
    ((3, 48, 24, False, 2),),
    ((3, 72, 24, False, 1),),
    ((5, 72, 40, True, 2),),
    ((5, 120, 40, True, 1),),
    ((3, 240, 80, False, 2),),
    (
        *((3, 200, 80, False, 1), (3, 184, 80, False, 1), (3, 184, 80, False, 1)),
        *((3, 480, 112, True, 1), (3, 672, 112, True, 1)),
    ),
    ((5, 672, 160, True, 2),),
    ((5, 960, 160, False, 1), (5, 960, 160, True, 1), (5, 960, 160, False, 1), (5, 960, 160, True, 1)),
)


def define(
    net: Network, x: Tensor, variant: str = "ghostnet_100", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds a GhostNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: "ghostnet_100".
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    config_of(VARIANTS, variant)
    x = conv_bn_relu(net, x, "conv_stem", "bn1", 16, kernel=3, stride=2, relu="act1", eps=eps)
    for i, rows in enumerate(STAGES):
        for k, (kernel, hidden, channels, excited, stride) in enumerate(rows):
            x = block(net / "blocks" / i / k, x, channels, kernel, stride, hidden, excited, eps)
    x = conv_bn_relu(net / "blocks" / len(STAGES) / 0, x, "conv", "bn1", 960, kernel=1, relu="act1", eps=eps)
    x = net.global_avg_pool(x, "global_pool")
    x = net.relu(net.conv(x, "conv_head", 1280, kernel=1), "act2")
    x = net.flatten(x, "flatten", start_dim=1)
    x = net.linear(x, "classifier", net.class_count(num_classes, "classifier.bias", default=1000))
    return net.output(x, "logits")


def block(
    net: Network, x: Tensor, channels: int, kernel: int, stride: int, hidden: int, excited: bool, eps: float
) -> Tensor:
    """Two ghost modules, between them what makes the picture smaller and weighs its channels; and a shortcut."""
    before = int(x.shape[1])
    out = ghost(net / "ghost1", x, hidden, True, eps)
    if stride > 1:
        out = conv_bn(net, out, "conv_dw", "bn_dw", hidden, kernel, stride, groups=hidden, eps=eps)
    if excited:
        squeezed, names = make_divisible(hidden / 4, 4), ("act1", "gate")
        out = squeeze_excite(
            net / "se", out, "conv_reduce", "conv_expand", squeezed, gate=Network.hardsigmoid, names=names
        )
    out = ghost(net / "ghost2", out, channels, False, eps)
    if stride > 1 or before != channels:
        at = net / "shortcut"
        x = conv_bn(at, x, "0", "1", before, kernel, stride, groups=before, eps=eps)
        x = conv_bn(at, x, "2", "3", channels, kernel=1, eps=eps)
    return net.add(out, x)


def ghost(net: Network, x: Tensor, channels: int, relu: bool, eps: float) -> Tensor:
    """Half of the channels by a 1x1 convolution, and of each of these another one by a depthwise 3x3."""
    act = Network.relu if relu else None
    half = channels // 2
    first = conv_bn_act(net / "primary_conv", x, half, 1, act=act, eps=eps)
    second = conv_bn_act(net / "cheap_operation", first, half, 3, act=act, groups=half, eps=eps)
    return net.concat([first, second], None, dim=1)


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
