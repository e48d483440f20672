"""GoogLeNet, Inception v1 with batch norms, for image classification.

Paper: https://arxiv.org/abs/1409.4842.
Upstream: torchvision/models/googlenet.py (BSD-3-Clause), whose "5x5" convolutions are 3x3, as in its weights.

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of
from netdefs.inception import to_unit_range, unit

VARIANTS: dict[str, dict[str, Any]] = {"googlenet": {}}
# Channels: 1x1; before and after the 3x3; before and after the "5x5"; behind the pool.
MIXED = (
    ("inception3a", 64, 96, 128, 16, 32, 32),
    ("inception3b", 128, 128, 192, 32, 96, 64),
    ("inception4a", 192, 96, 208, 16, 48, 64),
    ("inception4b", 160, 112, 224, 24, 64, 64),
    ("inception4c", 128, 128, 256, 24, 64, 64),
    ("inception4d", 112, 144, 288, 32, 64, 64),
    ("inception4e", 256, 160, 320, 32, 128, 128),
    ("inception5a", 256, 160, 320, 32, 128, 128),
    ("inception5b", 384, 192, 384, 48, 128, 128),
)
POOLS = {"inception4a": ("maxpool3", 3), "inception5a": ("maxpool4", 2)}  # in front of these: name and kernel


def define(
    net: Network,
    x: Tensor,
    variant: str = "googlenet",
    num_classes: int | None = None,
    transform_input: bool = True,
    eps: float = 1e-3,
) -> Tensor:
    """Adds a GoogLeNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: "googlenet".
        num_classes: read off the weights when None.
        transform_input: turn ImageNet's normalization into -1 to 1 first, as torchvision does with its own weights;
            False for weights that its code trained from scratch. The weights don't tell.
        eps: of the batch norms, where the weights don't tell.
    """
    config_of(VARIANTS, variant)
    for auxiliary in ("aux1.*", "aux2.*"):
        net.ignore(auxiliary)  # only training looks at them
    if transform_input:
        x = to_unit_range(net, x)
    x = unit(net / "conv1", x, 64, 7, stride=2, eps=eps)
    x = net.max_pool(x, "maxpool1", kernel=3, stride=2, ceil_mode=True)
    x = unit(net / "conv3", unit(net / "conv2", x, 64, 1, eps=eps), 192, 3, eps=eps)
    x = net.max_pool(x, "maxpool2", kernel=3, stride=2, ceil_mode=True)
    for name, *channels in MIXED:
        if name in POOLS:
            pool, kernel = POOLS[name]
            x = net.max_pool(x, pool, kernel=kernel, stride=2, ceil_mode=True)
        x = mixed(net / name, x, channels, eps)
    x = net.flatten(net.global_avg_pool(x, "avgpool"), "flatten", start_dim=1)
    x = net.linear(x, "fc", net.class_count(num_classes, "fc.bias", default=1000))
    return net.output(x, "logits")


def mixed(net: Network, x: Tensor, channels: list[int], eps: float) -> Tensor:
    """Four branches side by side; height and width stay."""
    one, before3, after3, before5, after5, pooled = channels
    found = [unit(net / "branch1", x, one, 1, eps=eps)]
    for name, before, after in (("branch2", before3, after3), ("branch3", before5, after5)):
        found.append(unit(net / name / 1, unit(net / name / 0, x, before, 1, eps=eps), after, 3, eps=eps))
    pool = net.max_pool(x, "branch4.0", kernel=3, stride=1, padding=1, ceil_mode=True)
    return net.concat([*found, unit(net / "branch4" / 1, pool, pooled, 1, eps=eps)], None, dim=1)


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
