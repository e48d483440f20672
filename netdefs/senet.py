"""SE-ResNet for image classification: a ResNet whose blocks weigh their channels.

Paper: https://arxiv.org/abs/1709.01507.
Upstream: huggingface/pytorch-image-models, timm/models/resnet.py and timm/layers/squeeze_excite.py (Apache-2.0).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

from typing import Any

from netdefs.core.blocks import conv_bn, conv_bn_relu, make_divisible, shortcut, squeeze_excite
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of
from netdefs.resnet import trunk

VARIANTS: dict[str, dict[str, Any]] = {"seresnet50": {"layers": (3, 4, 6, 3)}}


def define(
    net: Network, x: Tensor, variant: str = "seresnet50", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds an SE-ResNet to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    x = trunk(net, x, [bottleneck] * 4, config_of(VARIANTS, variant)["layers"], eps=eps)
    x = net.flatten(net.global_avg_pool(x, "global_pool"), "flatten", start_dim=1)
    x = net.linear(x, "fc", net.class_count(num_classes, "fc.bias", default=1000))
    return net.output(x, "logits")


def bottleneck(net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5) -> Tensor:
    """ResNet's bottleneck with squeeze-and-excitation before its sum."""
    out = conv_bn_relu(net, x, "conv1", "bn1", channels, kernel=1, relu="act1", eps=eps)
    out = conv_bn_relu(net, out, "conv2", "bn2", channels, kernel=3, stride=stride, relu="act2", eps=eps)
    out = conv_bn(net, out, "conv3", "bn3", 4 * channels, kernel=1, eps=eps)
    squeezed = make_divisible(channels / 4, least=0.0)
    out = squeeze_excite(net / "se", out, "fc1", "fc2", squeezed, names=("act", "gate"))
    return net.relu(net.add(out, shortcut(net, x, 4 * channels, stride, eps), "add"))


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
