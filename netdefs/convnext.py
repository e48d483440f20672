"""ConvNeXt for image classification.

Paper: https://arxiv.org/abs/2201.03545.
Upstream: torchvision/models/convnext.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

import dataclasses
from typing import Any

from netdefs.core.blocks import layer_norm
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "convnext_tiny": {"blocks": (3, 3, 9, 3), "channels": (96, 192, 384, 768)},
    "convnext_small": {"blocks": (3, 3, 27, 3), "channels": (96, 192, 384, 768)},
    "convnext_base": {"blocks": (3, 3, 27, 3), "channels": (128, 256, 512, 1024)},
    "convnext_large": {"blocks": (3, 3, 27, 3), "channels": (192, 384, 768, 1536)},
}
RESIZED = {"convnext_tiny": 236, "convnext_small": 230, "convnext_base": 232, "convnext_large": 232}


def define(
    net: Network, x: Tensor, variant: str = "convnext_tiny", num_classes: int | None = None, eps: float = 1e-6
) -> Tensor:
    """Adds a ConvNeXt to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the layer norms.
    """
    config = config_of(VARIANTS, variant)
    at = net / "features"
    for i, (channels, count) in enumerate(zip(config["channels"], config["blocks"], strict=True)):
        if i == 0:
            x = (at / 0).conv(x, "0", channels, kernel=4, stride=4)
            x = layer_norm(at / 0, x, "1", dim=1, eps=eps)
        else:
            x = layer_norm(at / (2 * i), x, "0", dim=1, eps=eps)
            x = (at / (2 * i)).conv(x, "1", channels, kernel=2, stride=2)
        for k in range(count):
            x = block(at / (2 * i + 1) / k, x, eps)
    x = layer_norm(net, net.global_avg_pool(x, "avgpool"), "classifier.0", dim=1, eps=eps)
    x = net.flatten(x, "classifier.1", start_dim=1)
    x = net.linear(x, "classifier.2", net.class_count(num_classes, "classifier.2.bias", default=1000))
    return net.output(x, "logits")


def block(net: Network, x: Tensor, eps: float) -> Tensor:
    """A depthwise 7x7 convolution and two linear layers over the channels, added to x."""
    channels, at = int(x.shape[1]), net / "block"
    out = at.conv(x, "0", channels, kernel=7, padding=3, groups=channels)
    out = layer_norm(at, at.permute(out, "1", (0, 2, 3, 1)), "2", eps=eps)
    out = at.gelu(at.linear(out, "3", 4 * channels), "4")
    out = at.permute(at.linear(out, "5", channels), "6", (0, 3, 1, 2))
    scale = net.weights.take(net.path_of("layer_scale"), (channels, 1, 1)).reshape(1, channels, 1, 1)
    return net.add(net.mul(out, net.constant(scale, "layer_scale", like=out), "scaled"), x)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 224, 224),
    preprocess={name: dataclasses.replace(IMAGENET, crop_pct=224 / resized) for name, resized in RESIZED.items()},
    decode=Decode("classes"),
)
define_network, build_engine = model.define_network, model.build_engine
