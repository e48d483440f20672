"""SqueezeNet for image classification.

Paper: https://arxiv.org/abs/1602.07360.
Upstream: torchvision/models/squeezenet.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))  # squeezed, each half
VARIANTS: dict[str, dict[str, Any]] = {  # the first convolution, and how many fires are between one pool and the next
    "squeezenet1_0": {"channels": 96, "kernel": 7, "groups": (3, 4, 1)},
    "squeezenet1_1": {"channels": 64, "kernel": 3, "groups": (2, 2, 4)},
}


def define(net: Network, x: Tensor, variant: str = "squeezenet1_0", num_classes: int | None = None) -> Tensor:
    """Adds a SqueezeNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
    """
    config = config_of(VARIANTS, variant)
    at = net / "features"
    x = at.relu(at.conv(x, "0", config["channels"], config["kernel"], stride=2), "1")
    place, fires = 2, iter(FIRES)
    for count in config["groups"]:
        x, place = at.max_pool(x, str(place), kernel=3, stride=2, ceil_mode=True), place + 1
        for _ in range(count):
            x, place = fire(at / place, x, *next(fires)), place + 1
    at = net / "classifier"
    x = at.conv(x, "1", net.class_count(num_classes, "classifier.1.bias", default=1000), kernel=1)
    x = at.global_avg_pool(at.relu(x, "2"), "3")
    return net.output(net.flatten(x, "flatten", start_dim=1), "logits")


def fire(net: Network, x: Tensor, squeezed: int, expanded: int) -> Tensor:
    """A 1x1 convolution to `squeezed` channels, and from there a 1x1 and a 3x3 one side by side."""

    def unit(x: Tensor, name: str, channels: int, kernel: int) -> Tensor:
        return net.relu(net.conv(x, name, channels, kernel, padding=kernel // 2), f"{name}_activation")

    x = unit(x, "squeeze", squeezed, 1)
    return net.concat([unit(x, "expand1x1", expanded, 1), unit(x, "expand3x3", expanded, 3)], None, dim=1)


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
