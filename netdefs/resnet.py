"""ResNet, ResNeXt and Wide ResNet for image classification.

Papers: https://arxiv.org/abs/1512.03385, https://arxiv.org/abs/1611.05431, https://arxiv.org/abs/1605.07146.
Upstream: torchvision/models/resnet.py (BSD-3-Clause); timm's ResNets of the same names have the same keys.

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

from netdefs.core.blocks import basic_block, bottleneck, conv_bn_relu, layer
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET
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

    x = conv_bn_relu(net, x, "conv1", "bn1", 64, kernel=7, stride=2, relu="relu", eps=eps)
    x = net.max_pool(x, "maxpool", kernel=3, stride=2, padding=1)
    for i, blocks in enumerate(layers):
        x = layer(net / f"layer{i + 1}", x, block, 64 * 2**i, blocks, stride=1 if i == 0 else 2, eps=eps, **config)
    x = net.global_avg_pool(x, "avgpool")
    x = net.flatten(x, "flatten", start_dim=1)
    x = net.linear(x, "fc", net.class_count(num_classes, "fc.bias", default=1000))
    return net.output(x, "logits")


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, task="classification")
define_network, build_engine = model.define_network, model.build_engine
