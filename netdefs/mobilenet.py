"""MobileNet V2 and V3 for image classification.

Papers: https://arxiv.org/abs/1801.04381, https://arxiv.org/abs/1905.02244.
Upstream: torchvision/models/mobilenetv2.py and mobilenetv3.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

from netdefs.core.blocks import conv_bn, conv_bn_act, inverted_residual, make_divisible
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

V2 = (  # how many times wider, channels, blocks, stride
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
RELU, SWISH = Network.relu, Network.hardswish
V3_LARGE = (  # kernel, hidden channels, channels, squeeze-and-excitation, activation, stride
    *((3, 16, 16, False, RELU, 1), (3, 64, 24, False, RELU, 2), (3, 72, 24, False, RELU, 1)),
    *((5, 72, 40, True, RELU, 2), (5, 120, 40, True, RELU, 1), (5, 120, 40, True, RELU, 1)),
    *((3, 240, 80, False, SWISH, 2), (3, 200, 80, False, SWISH, 1), (3, 184, 80, False, SWISH, 1)),
    *((3, 184, 80, False, SWISH, 1), (3, 480, 112, True, SWISH, 1), (3, 672, 112, True, SWISH, 1)),
    *((5, 672, 160, True, SWISH, 2), (5, 960, 160, True, SWISH, 1), (5, 960, 160, True, SWISH, 1)),
)
V3_SMALL = (
    *((3, 16, 16, True, RELU, 2), (3, 72, 24, False, RELU, 2), (3, 88, 24, False, RELU, 1)),
    *((5, 96, 40, True, SWISH, 2), (5, 240, 40, True, SWISH, 1), (5, 240, 40, True, SWISH, 1)),
    *((5, 120, 48, True, SWISH, 1), (5, 144, 48, True, SWISH, 1), (5, 288, 96, True, SWISH, 2)),
    *((5, 576, 96, True, SWISH, 1), (5, 576, 96, True, SWISH, 1)),
)
VARIANTS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {},
    "mobilenet_v3_large": {"blocks": V3_LARGE, "head": 1280},
    "mobilenet_v3_small": {"blocks": V3_SMALL, "head": 1024},
}


def define(
    net: Network, x: Tensor, variant: str = "mobilenet_v2", num_classes: int | None = None, eps: float | None = None
) -> Tensor:
    """Adds a MobileNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell; by default 1e-5 for V2 and 1e-3 for V3.
    """
    config = config_of(VARIANTS, variant)
    if variant == "mobilenet_v2":
        x, last = v2(net / "features", x, 1e-5 if eps is None else eps), "classifier.1"
        x = net.flatten(net.global_avg_pool(x, "pool"), "flatten", start_dim=1)
    else:
        x, last = v3(net / "features", x, config["blocks"], 1e-3 if eps is None else eps), "classifier.3"
        x = net.flatten(net.global_avg_pool(x, "avgpool"), "flatten", start_dim=1)
        x = net.hardswish(net.linear(x, "classifier.0", config["head"]), "classifier.1")
    x = net.linear(x, last, net.class_count(num_classes, f"{last}.bias", default=1000))
    return net.output(x, "logits")


def v2(net: Network, x: Tensor, eps: float) -> Tensor:
    """MobileNet V2 without its head: (N, 3, H, W) -> (N, 1280, H / 32, W / 32), sizes rounded up."""
    x, at = conv_bn_act(net / 0, x, 32, 3, 2, act=Network.relu6, eps=eps), 1
    for wider, channels, count, stride in V2:
        for i in range(count):
            x, at = v2_block(net / at, x, channels, stride if i == 0 else 1, wider, eps), at + 1
    return conv_bn_act(net / at, x, 1280, 1, act=Network.relu6, eps=eps)


def v2_block(net: Network, x: Tensor, channels: int, stride: int, wider: int, eps: float) -> Tensor:
    """A 1x1 convolution to `wider` times the channels, a depthwise one, and a 1x1 one without activation."""
    at, out, hidden = 0, x, int(x.shape[1]) * wider
    if wider > 1:
        out, at = conv_bn_act(net / "conv" / at, out, hidden, 1, act=Network.relu6, eps=eps), at + 1
    out = conv_bn_act(net / "conv" / at, out, hidden, 3, stride, act=Network.relu6, groups=hidden, eps=eps)
    out = conv_bn(net / "conv", out, str(at + 1), str(at + 2), channels, kernel=1, eps=eps)
    return net.add(out, x) if stride == 1 and x.shape[1] == channels else out


def v3(net: Network, x: Tensor, blocks: tuple[Any, ...], eps: float) -> Tensor:
    """MobileNet V3 without its head: (N, 3, H, W) -> (N, C, H / 32, W / 32), sizes rounded up."""
    x = conv_bn_act(net / 0, x, 16, 3, 2, act=SWISH, eps=eps)
    for i, (kernel, hidden, channels, excited, act, stride) in enumerate(blocks, start=1):
        squeeze = make_divisible(hidden / 4) if excited else 0
        x = inverted_residual(
            net / i, x, channels, kernel, stride, hidden, act, squeeze, gate=Network.hardsigmoid, eps=eps
        )
    return conv_bn_act(net / (len(blocks) + 1), x, 6 * int(x.shape[1]), 1, act=SWISH, eps=eps)


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
