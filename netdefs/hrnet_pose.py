"""HRNet for the pose of one person, top-down: a heat map for each keypoint of the person in the picture.

Paper: https://arxiv.org/abs/1902.09212.
Upstream: leoxiaobin/deep-high-resolution-net.pytorch, lib/models/pose_hrnet.py (MIT).

Input: (N, 3, H, W) RGB crops of one person each, ImageNet's mean and std, H and W multiples of 32; 256 x 192 by
default, upstream's other size is 384 x 288. Output: `heatmaps` (N, num_joints, H / 4, W / 4).
"""

from typing import Any

from netdefs import hrnet
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {f"hrnet_pose_w{width}": hrnet.config(width) for width in (32, 48)}


def define(
    net: Network, x: Tensor, variant: str = "hrnet_pose_w32", num_joints: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds HRNet for pose to `net` and returns its `heatmaps`, (N, num_joints, H / 4, W / 4).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of 32.
        variant: one of `VARIANTS`.
        num_joints: keypoints of a person, 17 in COCO, 16 in MPII; read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    (x,) = hrnet.backbone(net, x, **config_of(VARIANTS, variant), outputs=1, eps=eps)
    joints = net.class_count(num_joints, "final_layer.bias", default=17, argument="num_joints")
    return net.output(net.conv(x, "final_layer", joints, kernel=1), "heatmaps")


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 256, 192),
    preprocess=Preprocess("RGB", IMAGENET.mean, IMAGENET.std, fit="box", margin=1.25),
    decode=Decode("heatmap", "coco17"),
)
define_network, build_engine = model.define_network, model.build_engine
