"""Simple Baselines: a ResNet and three deconvolutions for the pose of one person.

Paper: https://arxiv.org/abs/1804.06208.
Upstream: microsoft/human-pose-estimation.pytorch, lib/models/pose_resnet.py (MIT).

Input: (N, 3, H, W) BGR, 256 x 192 by default; 384 x 288 is published too. Output: `heatmaps` (N, joints, H/4, W/4).
"""

from typing import Any

from netdefs import resnet
from netdefs.core.blocks import deconv_bn
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    f"pose_resnet{depth}": resnet.VARIANTS[f"resnet{depth}"] for depth in (50, 101, 152)
}
STYLES = ("pytorch", "caffe")


def define(
    net: Network,
    x: Tensor,
    variant: str = "pose_resnet50",
    num_joints: int | None = None,
    style: str = "pytorch",
    eps: float = 1e-5,
) -> Tensor:
    """Adds a pose ResNet to `net` and returns its `heatmaps`, (N, num_joints, H / 4, W / 4) where 32 divides H and W.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_joints: read off the weights when None.
        style: "pytorch" or "caffe": whether a strided block has the stride on its 3x3 or on its first 1x1 convolution.
            The weights don't tell; upstream publishes both.
        eps: of the batch norms, where the weights don't tell.
    """
    if style not in STYLES:
        raise NetworkError(f"{variant}: style is one of {', '.join(STYLES)}, not {style!r}.")
    config = config_of(VARIANTS, variant)
    x = resnet.trunk(net, x, [config["block"]] * 4, config["layers"], eps=eps, stride_first=style == "caffe")
    up = net / "deconv_layers"
    for i in range(3):
        x = deconv_bn(up, x, str(3 * i), str(3 * i + 1), 256, kernel=4, stride=2, padding=1, eps=eps)
        x = up.relu(x, str(3 * i + 2))
    joints = net.class_count(num_joints, "final_layer.bias", default=17, argument="num_joints")
    x = net.conv(x, "final_layer", joints, kernel=1)
    return net.output(x, "heatmaps")


# Upstream reads pictures as BGR and normalizes them with ImageNet's statistics for RGB, in that order.
PREPROCESS = Preprocess("BGR", mean=IMAGENET.mean, std=IMAGENET.std, fit="box", margin=1.25)

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 256, 192),
    preprocess=PREPROCESS,
    decode=Decode("heatmap", "coco17"),
)
define_network, build_engine = model.define_network, model.build_engine
