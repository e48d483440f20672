"""VGG for image classification, with and without batch norms.

Paper: https://arxiv.org/abs/1409.1556.
Upstream: torchvision/models/vgg.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default, 32 x 32 at least. Output: `logits` (N,
num_classes).
"""

from typing import Any

from netdefs.core.blocks import conv_bn_act
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

LAYERS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
VARIANTS: dict[str, dict[str, Any]] = {
    name + suffix: {"layers": layers, "norms": bool(suffix)}
    for suffix in ("", "_bn")
    for name, layers in LAYERS.items()
}


def define(
    net: Network, x: Tensor, variant: str = "vgg11", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds a VGG to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    config = config_of(VARIANTS, variant)
    features, at = net / "features", 0
    for channels, count in zip((64, 128, 256, 512, 512), config["layers"], strict=True):
        for _ in range(count):
            if config["norms"]:
                x, at = conv_bn_act(features, x, channels, 3, start=at, eps=eps, bias=True), at + 3
            else:
                x = features.conv(x, str(at), channels, kernel=3, padding=1)
                x, at = features.relu(x, str(at + 1)), at + 2
        x, at = features.max_pool(x, str(at), kernel=2), at + 1
    x = net.flatten(net.adaptive_avg_pool(x, "avgpool", 7), "flatten", start_dim=1)
    head = net / "classifier"
    for i in (0, 3):
        x = head.relu(head.linear(x, str(i), 4096), str(i + 1))
    x = head.linear(x, "6", net.class_count(num_classes, "classifier.6.bias", default=1000))
    return net.output(x, "logits")


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
