"""EfficientNet for image classification.

Paper: https://arxiv.org/abs/1905.11946.
Upstream: torchvision/models/efficientnet.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 for b0 to 600 x 600 for b7 by default. Output: `logits` (N,
num_classes).
"""

import dataclasses
import math
from typing import Any

from netdefs.core.blocks import conv_bn_act, inverted_residual, make_divisible
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

SIZES = (  # of each network: width, depth, the input's size, and the size that the picture's shorter side is resized to
    *((1.0, 1.0, 224, 256), (1.0, 1.1, 240, 256), (1.1, 1.2, 288, 288), (1.2, 1.4, 300, 320)),
    *((1.4, 1.8, 380, 384), (1.6, 2.2, 456, 456), (1.8, 2.6, 528, 528), (2.0, 3.1, 600, 600)),
)
VARIANTS: dict[str, dict[str, Any]] = {
    f"efficientnet_b{i}": {"width": width, "depth": depth, "eps": 1e-5 if i < 5 else 1e-3}
    for i, (width, depth, _, _) in enumerate(SIZES)
}
STAGES = (  # how many times wider, kernel, stride, channels, blocks
    *((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3)),
    *((6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)),
)


def define(
    net: Network, x: Tensor, variant: str = "efficientnet_b0", num_classes: int | None = None, eps: float | None = None
) -> Tensor:
    """Adds an EfficientNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell; by default 1e-5 for b0 to b4 and 1e-3 for b5 to b7.
    """
    config = config_of(VARIANTS, variant)
    eps = config["eps"] if eps is None else eps
    width, silu = config["width"], Network.silu
    features = net / "features"
    x = conv_bn_act(features / 0, x, make_divisible(32 * width), 3, 2, act=silu, eps=eps)
    for i, (wider, kernel, stride, channels, count) in enumerate(STAGES, start=1):
        for k in range(math.ceil(count * config["depth"])):
            before = int(x.shape[1])
            hidden = make_divisible(before * wider)
            step, squeeze = stride if k == 0 else 1, max(1, before // 4)
            out = make_divisible(channels * width)
            x = inverted_residual(features / i / k, x, out, kernel, step, hidden, silu, squeeze, silu, eps=eps)
    x = conv_bn_act(features / 8, x, 4 * int(x.shape[1]), 1, act=silu, eps=eps)
    x = net.flatten(net.global_avg_pool(x, "avgpool"), "flatten", start_dim=1)
    x = net.linear(x, "classifier.1", net.class_count(num_classes, "classifier.1.bias", default=1000))
    return net.output(x, "logits")


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape={name: (1, 3, size, size) for name, (_, _, size, _) in zip(VARIANTS, SIZES, strict=True)},
    preprocess={
        name: dataclasses.replace(IMAGENET, crop_pct=size / resized)
        for name, (_, _, size, resized) in zip(VARIANTS, SIZES, strict=True)
    },
    decode=Decode("classes"),
)
define_network, build_engine = model.define_network, model.build_engine
