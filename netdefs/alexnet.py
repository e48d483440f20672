"""AlexNet for image classification, the one-column form.

Paper: https://arxiv.org/abs/1404.5997.
Upstream: torchvision/models/alexnet.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default, 63 x 63 at least. Output: `logits` (N,
num_classes).
"""

from typing import Any

from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {"alexnet": {}}


def define(net: Network, x: Tensor, variant: str = "alexnet", num_classes: int | None = None) -> Tensor:
    """Adds an AlexNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: "alexnet".
        num_classes: read off the weights when None.
    """
    config_of(VARIANTS, variant)
    at = net / "features"
    x = at.relu(at.conv(x, "0", 64, kernel=11, stride=4, padding=2), "1")
    x = at.max_pool(x, "2", kernel=3, stride=2)
    x = at.relu(at.conv(x, "3", 192, kernel=5, padding=2), "4")
    x = at.max_pool(x, "5", kernel=3, stride=2)
    for i, channels in ((6, 384), (8, 256), (10, 256)):
        x = at.relu(at.conv(x, str(i), channels, kernel=3, padding=1), str(i + 1))
    x = at.max_pool(x, "12", kernel=3, stride=2)
    x = net.flatten(net.adaptive_avg_pool(x, "avgpool", 6), "flatten", start_dim=1)
    at = net / "classifier"
    for i in (1, 4):
        x = at.relu(at.linear(x, str(i), 4096), str(i + 1))
    x = at.linear(x, "6", net.class_count(num_classes, "classifier.6.bias", default=1000))
    return net.output(x, "logits")


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
