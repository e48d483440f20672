"""FastPose, AlphaPose's network for the pose of one person: an SE-ResNet and three pixel shuffles.

Paper: https://arxiv.org/abs/2211.03375.
Upstream: MVIG-SJTU/AlphaPose, alphapose/models/fastpose.py, layers/SE_Resnet.py and layers/DUC.py (non-commercial use
only), configured by configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml and 256x192_res50_lr1e-3_2x-dcn.yaml.

Input: (N, 3, H, W) RGB, 256 x 192 by default. Output: `heatmaps` (N, joints, H/4, W/4).
"""

from functools import partial
from typing import Any

from netdefs.core.blocks import conv_bn, conv_bn_relu, shortcut
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of
from netdefs.resnet import trunk

VARIANTS: dict[str, dict[str, Any]] = {  # `deformable`: the stages whose 3x3 convolutions are
    "fastpose_res50": {"layers": (3, 4, 6, 3), "deformable": (False, False, False, False)},
    "fastpose_res50_dcn": {"layers": (3, 4, 6, 3), "deformable": (False, True, True, True)},
}


def define(
    net: Network,
    x: Tensor,
    variant: str = "fastpose_res50",
    num_joints: int | None = None,
    conv_dim: int | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Adds a FastPose to `net` and returns its `heatmaps`, (N, num_joints, H / 4, W / 4) where 32 divides H and W.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_joints: read off the weights when None.
        conv_dim: channels before the last convolution, 128 or, as in most of AlphaPose's models of whole bodies, 256;
            read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    config = config_of(VARIANTS, variant)
    if conv_dim is None:
        conv_dim = net.class_count(None, "duc2.bn.bias", default=512) // 4
    blocks = [partial(bottleneck, deformable=deformable) for deformable in config["deformable"]]
    x = trunk(net / "preact", x, blocks, config["layers"], eps=eps)
    x = net.pixel_shuffle(x, "suffle1", 2)  # upstream's spelling
    x = duc(net / "duc1", x, 1024, eps)
    x = duc(net / "duc2", x, 4 * conv_dim, eps)
    joints = net.class_count(num_joints, "conv_out.bias", default=17, argument="num_joints")
    return net.output(net.conv(x, "conv_out", joints, kernel=3, padding=1), "heatmaps")


def bottleneck(
    net: Network, x: Tensor, channels: int, stride: int = 1, deformable: bool = False, eps: float = 1e-5
) -> Tensor:
    """ResNet's bottleneck, with squeeze-and-excitation where the shortcut is a convolution: a stage's first block."""
    out = conv_bn_relu(net, x, "conv1", "bn1", channels, kernel=1, eps=eps)
    if deformable:
        offset = net.conv(out, "conv2_offset", 2 * 9, kernel=3, stride=stride, padding=1)
        out = net.deform_conv(out, offset, "conv2", channels, kernel=3, stride=stride, padding=1, bias=False)
        out = net.relu(net.batch_norm(out, "bn2", eps), "bn2.relu")
    else:
        out = conv_bn_relu(net, out, "conv2", "bn2", channels, kernel=3, stride=stride, eps=eps)
    out = conv_bn(net, out, "conv3", "bn3", 4 * channels, kernel=1, eps=eps)
    skip = shortcut(net, x, 4 * channels, stride, eps)
    if skip is not x:
        out = squeeze_excite(net / "se", out)
    return net.relu(net.add(out, skip, "add"))


def squeeze_excite(net: Network, x: Tensor) -> Tensor:
    """Squeeze-and-excitation with two linear layers as wide as x, (N, C, H, W)."""
    channels = int(x.shape[1])
    s = net.flatten(net.global_avg_pool(x, "avg_pool"), "flatten", start_dim=1)
    s = net.relu(net.linear(s, "fc.0", channels), "fc.1")
    s = net.sigmoid(net.linear(s, "fc.2", channels), "fc.3")
    return net.mul(x, net.reshape(s, "spread", (0, channels, 1, 1)))


def duc(net: Network, x: Tensor, channels: int, eps: float) -> Tensor:
    """A 3x3 convolution to `channels` and a pixel shuffle: (N, C, H, W) -> (N, channels / 4, 2 * H, 2 * W)."""
    x = conv_bn_relu(net, x, "conv", "bn", channels, kernel=3, relu="relu", eps=eps)
    return net.pixel_shuffle(x, "pixel_shuffle", 2)


# Upstream reads pictures as RGB and subtracts the means of blue, green and red, in that order; there is no division.
PREPROCESS = Preprocess("RGB", mean=(0.406, 0.457, 0.480), std=(1.0, 1.0, 1.0), fit="box", margin=1.25)

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 256, 192),
    preprocess=PREPROCESS,
    decode=Decode("heatmap", "coco17"),
)
define_network, build_engine = model.define_network, model.build_engine
