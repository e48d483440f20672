"""DenseNet for image classification.

Paper: https://arxiv.org/abs/1608.06993.
Upstream: torchvision/models/densenet.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

import re
from typing import Any

from netdefs.core.blocks import conv_bn_relu
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "densenet121": {"growth": 32, "layers": (6, 12, 24, 16), "stem": 64},
    "densenet161": {"growth": 48, "layers": (6, 12, 36, 24), "stem": 96},
    "densenet169": {"growth": 32, "layers": (6, 12, 32, 32), "stem": 64},
    "densenet201": {"growth": 32, "layers": (6, 12, 48, 32), "stem": 64},
}


def define(
    net: Network, x: Tensor, variant: str = "densenet121", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds a DenseNet to `net` and returns its `logits`, (N, num_classes).

    Weights are named as in the module's state_dict (`norm1`) or in the released checkpoints (`norm.1`).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    config = config_of(VARIANTS, variant)
    net.other_names(lambda key: re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key))
    at = net / "features"
    x = conv_bn_relu(at, x, "conv0", "norm0", config["stem"], kernel=7, stride=2, relu="relu0", eps=eps)
    x = at.max_pool(x, "pool0", kernel=3, stride=2, padding=1)
    for i, count in enumerate(config["layers"], start=1):
        if i > 1:
            x = transition(at / f"transition{i - 1}", x, eps)
        x = dense_block(at / f"denseblock{i}", x, count, config["growth"], eps)
    x = net.relu(at.batch_norm(x, "norm5", eps), "relu")
    x = net.flatten(net.global_avg_pool(x, "pool"), "flatten", start_dim=1)
    x = net.linear(x, "classifier", net.class_count(num_classes, "classifier.bias", default=1000))
    return net.output(x, "logits")


def dense_block(net: Network, x: Tensor, count: int, growth: int, eps: float) -> Tensor:
    """Layers that each look at what all before them gave, and add `growth` channels to it."""
    for i in range(1, count + 1):
        at = net / f"denselayer{i}"
        out = at.relu(at.batch_norm(x, "norm1", eps), "relu1")
        out = conv_bn_relu(at, out, "conv1", "norm2", 4 * growth, kernel=1, relu="relu2", eps=eps)
        out = at.conv(out, "conv2", growth, kernel=3, padding=1, bias=False)
        x = net.concat([x, out], f"concat{i}" if i < count else None, dim=1)
    return x


def transition(net: Network, x: Tensor, eps: float) -> Tensor:
    """Half of the channels at half of the size."""
    x = net.relu(net.batch_norm(x, "norm", eps), "relu")
    x = net.conv(x, "conv", int(x.shape[1]) // 2, kernel=1, bias=False)
    return net.avg_pool(x, "pool", kernel=2)


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
