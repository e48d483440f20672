"""Networks for re-identification: what a person in a box looks like, as a vector that trackers compare.

Papers: https://arxiv.org/abs/1703.07402 (DeepSORT), https://arxiv.org/abs/1905.00953 (OSNet).
Upstream: ZQPei/deep_sort_pytorch, deep_sort/deep/model.py (MIT) for deepsort_reid; KaiyangZhou/deep-person-reid,
torchreid/models/osnet.py (MIT) for osnet_x1_0.

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 128 x 64 for deepsort_reid, 256 x 128 for osnet_x1_0.
Output: `embedding` (N, 512): of length 1 for deepsort_reid, of any length for osnet_x1_0.
"""

import dataclasses
from typing import Any

from netdefs.core.blocks import basic_block, conv_bn, conv_bn_relu, layer, unit_length
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import IntPair, Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {"deepsort_reid": {}, "osnet_x1_0": {}}


def define(net: Network, x: Tensor, variant: str = "deepsort_reid", eps: float = 1e-5) -> Tensor:
    """Adds a network for re-identification to `net` and returns its `embedding`, (N, 512).

    Weights of the classifier, which only training needs, are left unused.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        eps: of the batch norms, where the weights don't tell.
    """
    config_of(VARIANTS, variant)
    net.ignore("classifier.*")
    return net.output(deepsort(net, x, eps) if variant == "deepsort_reid" else osnet(net, x, eps), "embedding")


def deepsort(net: Network, x: Tensor, eps: float) -> Tensor:
    """DeepSORT's ResNet, whose embeddings have the length 1."""
    stem = net / "conv"
    x = stem.relu(conv_bn(stem, x, "0", "1", 64, kernel=3, bias=True, eps=eps), "2")
    x = stem.max_pool(x, "3", kernel=3, stride=2, padding=1)
    for i in range(4):
        at = net / f"layer{i + 1}"
        x = layer(at, x, basic_block, 64 * 2**i, 2, stride=1 if i == 0 else 2, eps=eps, relu="relu")
    x = net.flatten(net.global_avg_pool(x, "avgpool"), "flatten", start_dim=1)
    return unit_length(net, x)


def osnet(net: Network, x: Tensor, eps: float) -> Tensor:
    """OSNet: blocks that look at four sizes of surroundings at once."""
    x = net.max_pool(unit(net / "conv1", x, 64, 7, eps, stride=2), "maxpool", kernel=3, stride=2, padding=1)
    for i, channels in ((2, 256), (3, 384), (4, 512)):
        at = net / f"conv{i}"
        x = osnet_block(at / 1, osnet_block(at / 0, x, channels, eps), channels, eps)
        if i < 4:
            x = at.avg_pool(unit(at / 2 / 0, x, channels, 1, eps), "2.1", kernel=2)
    x = net.global_avg_pool(unit(net / "conv5", x, 512, 1, eps), "global_avgpool")
    x = net.linear(net.flatten(x, "flatten", start_dim=1), "fc.0", 512)
    return net.relu(net.batch_norm(x, "fc.1", eps), "fc.2")


def osnet_block(net: Network, x: Tensor, channels: int, eps: float) -> Tensor:
    """Chains of one to four light convolutions side by side, summed after a gate that all of them share."""
    narrow = unit(net / "conv1", x, channels // 4, 1, eps)
    total = None
    for count, letter in enumerate("abcd", start=1):
        part = narrow
        for i in range(count):
            part = light(net / f"conv2{letter}" / i if count > 1 else net / "conv2a", part, eps)
        part = gate(net / "gate", part, letter)
        total = part if total is None else net.add(total, part, f"sum.{letter}")
    out = conv_bn(net / "conv3", total, "conv", "bn", channels, kernel=1, eps=eps)
    if x.shape[1] != channels:
        x = conv_bn(net / "downsample", x, "conv", "bn", channels, kernel=1, eps=eps)
    return net.relu(net.add(out, x, "add"))


def light(net: Network, x: Tensor, eps: float) -> Tensor:
    """A 1x1 and a depthwise 3x3 convolution, batch norm and ReLU."""
    channels = int(x.shape[1])
    x = net.conv(x, "conv1", channels, kernel=1, bias=False)
    return conv_bn_relu(net, x, "conv2", "bn", channels, kernel=3, groups=channels, relu="relu", eps=eps)


def unit(net: Network, x: Tensor, channels: int, kernel: IntPair, eps: float, stride: int = 1) -> Tensor:
    """Convolution `conv`, batch norm `bn` and ReLU `relu`."""
    return conv_bn_relu(net, x, "conv", "bn", channels, kernel, stride, relu="relu", eps=eps)


def gate(net: Network, x: Tensor, name: str) -> Tensor:
    """Squeeze-and-excitation by 1x1 convolutions; it is used four times, so its layers have names below `name`."""
    channels = int(x.shape[1])
    at = net / name
    s = at.global_avg_pool(x, "global_avgpool")
    for conv, inner, outer in (("fc1", channels, channels // 16), ("fc2", channels // 16, channels)):
        key, shape = net.path_of(conv), (outer, inner, 1, 1)
        weight, bias = net.weights.take(f"{key}.weight", shape), net.weights.take(f"{key}.bias", (outer,))
        s = net.convolution(s, f"{name}.{conv}", outer, 1, weight, bias, of=conv, key=f"{conv}.weight")
        s = at.relu(s, "relu") if conv == "fc1" else at.sigmoid(s, "gate_activation")
    return at.mul(x, s)


PREPROCESS = dataclasses.replace(IMAGENET, fit="stretch", crop_pct=1.0)

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape={"deepsort_reid": (1, 3, 128, 64), "osnet_x1_0": (1, 3, 256, 128)},
    preprocess=PREPROCESS,
    decode=Decode("embedding"),
)
define_network, build_engine = model.define_network, model.build_engine
