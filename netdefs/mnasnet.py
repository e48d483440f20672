"""MNASNet for image classification.

Paper: https://arxiv.org/abs/1807.11626.
Upstream: torchvision/models/mnasnet.py (BSD-3-Clause), version 2 of its weights.

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

from netdefs.core.blocks import conv_bn, conv_bn_act, make_divisible
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    f"mnasnet{width}".replace(".", "_"): {"width": width} for width in (0.5, 0.75, 1.0, 1.3)
}
STACKS = (  # channels, kernel, stride, how many times wider, blocks
    *((24, 3, 2, 3, 3), (40, 5, 2, 3, 3), (80, 5, 2, 6, 3)),
    *((96, 3, 1, 6, 2), (192, 5, 2, 6, 4), (320, 3, 1, 6, 1)),
)


def define(
    net: Network, x: Tensor, variant: str = "mnasnet0_5", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds a MNASNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    width = config_of(VARIANTS, variant)["width"]
    stem = make_divisible(32 * width)
    layers = net / "layers"
    x = conv_bn_act(layers, x, stem, 3, 2, eps=eps)
    x = conv_bn_act(layers, x, stem, 3, groups=stem, start=3, eps=eps)
    x = conv_bn(layers, x, "6", "7", make_divisible(16 * width), kernel=1, eps=eps)
    for i, (channels, kernel, stride, wider, count) in enumerate(STACKS, start=8):
        for k in range(count):
            at = layers / i / k
            x = block(at, x, make_divisible(channels * width), kernel, stride if k == 0 else 1, wider, eps)
    x = conv_bn_act(layers, x, 1280, 1, start=14, eps=eps)
    x = net.flatten(net.global_avg_pool(x, "pool"), "flatten", start_dim=1)
    x = net.linear(x, "classifier.1", net.class_count(num_classes, "classifier.1.bias", default=1000))
    return net.output(x, "logits")


def block(net: Network, x: Tensor, channels: int, kernel: int, stride: int, wider: int, eps: float) -> Tensor:
    """A 1x1 convolution to `wider` times the channels, a depthwise one, and a 1x1 one without activation."""
    hidden, at = int(x.shape[1]) * wider, net / "layers"
    out = conv_bn_act(at, x, hidden, 1, eps=eps)
    out = conv_bn_act(at, out, hidden, kernel, stride, groups=hidden, start=3, eps=eps)
    out = conv_bn(at, out, "6", "7", channels, kernel=1, eps=eps)
    return net.add(out, x) if stride == 1 and x.shape[1] == channels else out


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
