"""RepVGG for image classification: three branches a block in training, one 3x3 convolution when deployed.

Paper: https://arxiv.org/abs/2101.03697.
Upstream: DingXiaoH/RepVGG, repvgg.py (MIT), and the names of huggingface/pytorch-image-models (Apache-2.0).

Weights are in either form, and named as upstream's or timm's; they tell. `reparametrize` makes the deployed form of
those from training.

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default. Output: `logits` (N, num_classes).
"""

import re
from typing import Any

import numpy as np

from netdefs.core.blocks import conv_bn
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.weights import COUNTER
from netdefs.core.zoo import Model, config_of

A, B = (2, 4, 14, 1), (4, 6, 16, 1)
VARIANTS: dict[str, dict[str, Any]] = {
    "repvgg_a0": {"blocks": A, "widths": (0.75, 0.75, 0.75, 2.5), "groups": 1},
    "repvgg_a1": {"blocks": A, "widths": (1, 1, 1, 2.5), "groups": 1},
    "repvgg_a2": {"blocks": A, "widths": (1.5, 1.5, 1.5, 2.75), "groups": 1},
    "repvgg_b0": {"blocks": B, "widths": (1, 1, 1, 2.5), "groups": 1},
    "repvgg_b1": {"blocks": B, "widths": (2, 2, 2, 4), "groups": 1},
    "repvgg_b1g2": {"blocks": B, "widths": (2, 2, 2, 4), "groups": 2},
    "repvgg_b1g4": {"blocks": B, "widths": (2, 2, 2, 4), "groups": 4},
    "repvgg_b2": {"blocks": B, "widths": (2.5, 2.5, 2.5, 5), "groups": 1},
    "repvgg_b2g4": {"blocks": B, "widths": (2.5, 2.5, 2.5, 5), "groups": 4},
    "repvgg_b3": {"blocks": B, "widths": (3, 3, 3, 5), "groups": 1},
    "repvgg_b3g4": {"blocks": B, "widths": (3, 3, 3, 5), "groups": 4},
}
TIMM = {"rbr_dense": "conv_kxk", "rbr_1x1": "conv_1x1", "rbr_identity": "identity", "rbr_reparam": "reparam_conv"}


def define(
    net: Network,
    x: Tensor,
    variant: str = "repvgg_a0",
    num_classes: int | None = None,
    reparametrize: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Adds a RepVGG to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        reparametrize: makes one convolution of each block's branches, in float64. It is called `rbr_reparam` as in
            deployed weights, and the branches have no layers then.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: `reparametrize` of weights that are deployed already.
    """
    config = config_of(VARIANTS, variant)
    net.other_names(timm_name)
    net.ignore(f"*{COUNTER}")  # under whichever name
    deployed = net.path_of("stage0.rbr_reparam.weight") in net.weights
    if deployed and reparametrize:
        raise NetworkError("reparametrize=True: these weights are in the deployed form already; leave it out.")
    form = deployed_block if deployed else reparametrized_block if reparametrize else trained_block
    x = form(net / "stage0", x, min(64, int(64 * config["widths"][0])), stride=2, groups=1, eps=eps)
    number = 1
    for i, (count, width) in enumerate(zip(config["blocks"], config["widths"], strict=True)):
        for k in range(count):
            groups = config["groups"] if number % 2 == 0 else 1  # of every other block in the whole network
            at = net / f"stage{i + 1}" / k
            x = form(at, x, int(64 * 2**i * width), stride=2 if k == 0 else 1, groups=groups, eps=eps)
            number += 1
    x = net.flatten(net.global_avg_pool(x, "gap"), "flatten", start_dim=1)
    x = net.linear(x, "linear", net.class_count(num_classes, "linear.bias", default=1000))
    return net.output(x, "logits")


def timm_name(key: str) -> str:
    """What timm calls the weight `key`."""
    found = re.fullmatch(r"stage(\d)\.(.+)", key)
    if found is None:
        return re.sub(r"^linear\.", "head.fc.", key)
    rest = re.sub(r"rbr_\w+", lambda branch: TIMM[branch[0]], found[2])
    return f"stages.{int(found[1]) - 1}.{rest}" if int(found[1]) else f"stem.{rest}"


def trained_block(net: Network, x: Tensor, channels: int, stride: int, groups: int, eps: float) -> Tensor:
    """A 3x3 and a 1x1 convolution, each with a batch norm, and where size and channels stay a batch norm of x."""
    out = conv_bn(net / "rbr_dense", x, "conv", "bn", channels, 3, stride, groups=groups, eps=eps)
    small = conv_bn(net / "rbr_1x1", x, "conv", "bn", channels, 1, stride, groups=groups, eps=eps)
    out = net.add(out, small, "add")
    if stride == 1 and x.shape[1] == channels:
        out = net.add(out, net.batch_norm(x, "rbr_identity", eps), "add.1")
    return net.relu(out, "nonlinearity")


def deployed_block(net: Network, x: Tensor, channels: int, stride: int, groups: int, eps: float) -> Tensor:
    """A 3x3 convolution."""
    return net.relu(net.conv(x, "rbr_reparam", channels, 3, stride, 1, groups=groups), "nonlinearity")


def reparametrized_block(net: Network, x: Tensor, channels: int, stride: int, groups: int, eps: float) -> Tensor:
    """The 3x3 convolution that does what `trained_block` does: the 1x1 and x itself are the middle of its kernel."""
    inputs = net.known_size(x, 1, f"reparametrize {net.path!r}")
    kernel, bias = np.zeros((channels, inputs // groups, 3, 3)), np.zeros(channels)
    for name, size in (("rbr_dense", 3), ("rbr_1x1", 1)):
        at = net / name
        scale, shift = at.batch_norm_terms("bn", channels, eps)
        weight = net.weights.take(at.path_of("conv.weight"), (channels, inputs // groups, size, size))
        middle = slice(None) if size == 3 else slice(1, 2)
        kernel[:, :, middle, middle] += weight * scale.reshape(-1, 1, 1, 1)
        bias += shift
    if stride == 1 and inputs == channels:
        scale, shift = net.batch_norm_terms("rbr_identity", channels, eps)
        outputs = np.arange(channels)
        kernel[outputs, outputs % (inputs // groups), 1, 1] += scale
        bias += shift
    out = net.convolution(x, "rbr_reparam", channels, 3, kernel, bias, stride, 1, groups=groups)
    return net.relu(out, "nonlinearity")


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
