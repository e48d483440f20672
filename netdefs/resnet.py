"""ResNet, ResNeXt and Wide ResNet for image classification.

Papers: https://arxiv.org/abs/1512.03385, https://arxiv.org/abs/1611.05431, https://arxiv.org/abs/1605.07146.
Upstream: torchvision/models/resnet.py (BSD-3-Clause); timm's ResNets of the same names have the same keys.

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from collections.abc import Sequence
from typing import Any

from netdefs.core.blocks import Block, basic_block, bottleneck, conv_bn_relu, layer
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": basic_block, "layers": (2, 2, 2, 2)},
    "resnet34": {"block": basic_block, "layers": (3, 4, 6, 3)},
    "resnet50": {"block": bottleneck, "layers": (3, 4, 6, 3)},
    "resnet101": {"block": bottleneck, "layers": (3, 4, 23, 3)},
    "resnet152": {"block": bottleneck, "layers": (3, 8, 36, 3)},
    "resnext50_32x4d": {"block": bottleneck, "layers": (3, 4, 6, 3), "groups": 32, "base_width": 4},
    "resnext101_32x8d": {"block": bottleneck, "layers": (3, 4, 23, 3), "groups": 32, "base_width": 8},
    "wide_resnet50_2": {"block": bottleneck, "layers": (3, 4, 6, 3), "base_width": 128},
    "wide_resnet101_2": {"block": bottleneck, "layers": (3, 4, 23, 3), "base_width": 128},
}


def define(
    net: Network, x: Tensor, variant: str = "resnet18", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds a ResNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    config = dict(config_of(VARIANTS, variant))
    block, layers = config.pop("block"), config.pop("layers")
    x = trunk(net, x, [block] * 4, layers, eps=eps, **config)
    x = net.global_avg_pool(x, "avgpool")
    x = net.flatten(x, "flatten", start_dim=1)
    x = net.linear(x, "fc", net.class_count(num_classes, "fc.bias", default=1000))
    return net.output(x, "logits")


def trunk(
    net: Network, x: Tensor, blocks: Sequence[Block], layers: Sequence[int], eps: float = 1e-5, **options: Any
) -> Tensor:
    """Stem and stages: (N, 3, H, W) -> (N, C, H / 32, W / 32), sizes rounded up; see `stages`."""
    return stages(net, x, blocks, layers, eps, **options)[-1]


def stages(
    net: Network, x: Tensor, blocks: Sequence[Block], layers: Sequence[int], eps: float = 1e-5, **options: Any
) -> list[Tensor]:
    """What each of the four stages gives: (N, C, H / 4, W / 4) and so on to H / 32, sizes rounded up.

    Args:
        net: the place in a network where its modules are.
        x: the picture.
        blocks: the kind of residual block of each of the four stages.
        layers: how many blocks each stage has.
        eps: of the batch norms, where the weights don't tell.
        options: what else every block takes.
    """
    x = conv_bn_relu(net, x, "conv1", "bn1", 64, kernel=7, stride=2, relu="relu", eps=eps)
    x = net.max_pool(x, "maxpool", kernel=3, stride=2, padding=1)
    found = []
    for i, (block, count) in enumerate(zip(blocks, layers, strict=True)):
        x = layer(net / f"layer{i + 1}", x, block, 64 * 2**i, count, stride=1 if i == 0 else 2, eps=eps, **options)
        found.append(x)
    return found


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
