"""ShuffleNet V2 for image classification.

Paper: https://arxiv.org/abs/1807.11164.
Upstream: torchvision/models/shufflenetv2.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

import numpy as np

from netdefs.core.blocks import conv_bn, conv_bn_act
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "shufflenet_v2_x0_5": {"stages": (48, 96, 192), "last": 1024},
    "shufflenet_v2_x1_0": {"stages": (116, 232, 464), "last": 1024},
    "shufflenet_v2_x1_5": {"stages": (176, 352, 704), "last": 1024},
    "shufflenet_v2_x2_0": {"stages": (244, 488, 976), "last": 2048},
}


def define(
    net: Network, x: Tensor, variant: str = "shufflenet_v2_x0_5", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds a ShuffleNet V2 to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    config = config_of(VARIANTS, variant)
    x = conv_bn_act(net / "conv1", x, 24, 3, 2, eps=eps)
    x = net.max_pool(x, "maxpool", kernel=3, stride=2, padding=1)
    for i, (channels, count) in enumerate(zip(config["stages"], (4, 8, 4), strict=True), start=2):
        for k in range(count):
            x = block(net / f"stage{i}" / k, x, channels, eps)
    x = conv_bn_act(net / "conv5", x, config["last"], 1, eps=eps)
    x = net.flatten(net.global_avg_pool(x, "pool"), "flatten", start_dim=1)
    x = net.linear(x, "fc", net.class_count(num_classes, "fc.bias", default=1000))
    return net.output(x, "logits")


def block(net: Network, x: Tensor, channels: int, eps: float) -> Tensor:
    """Half of the channels go by, or where their number changes through a branch of their own at half of the size."""
    half, strided = channels // 2, x.shape[1] != channels
    if strided:
        at = net / "branch1"
        first, second = conv_bn(at, x, "0", "1", int(x.shape[1]), 3, 2, groups=int(x.shape[1]), eps=eps), x
        first = conv_bn_act(at, first, half, 1, start=2, eps=eps)
    else:
        first, second = net.split(x, "halves", half, dim=1)
    at = net / "branch2"
    second = conv_bn_act(at, second, half, 1, eps=eps)
    second = conv_bn(at, second, "3", "4", half, 3, 2 if strided else 1, groups=half, eps=eps)
    second = conv_bn_act(at, second, half, 1, start=5, eps=eps)
    joined = net.concat([first, second], "concat", dim=1)
    # The two halves take turns: 0, half, 1, half + 1 ...
    order = net.constant(np.arange(channels, dtype=np.int32).reshape(2, half).T.ravel(), "order")
    return net.layer(net.definition.add_gather(joined, order, 1), None, joined, order)


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
