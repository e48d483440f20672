"""HRNet for the pose of one person in PyTorch, with the state_dict keys of the published checkpoints.

Paper: https://arxiv.org/abs/1902.09212.
Upstream: leoxiaobin/deep-high-resolution-net.pytorch, lib/models/pose_hrnet.py (MIT).
"""

from torch import Tensor, nn

from examples.hrnet_torch import Backbone


class PoseHRNet(Backbone):
    """(N, 3, H, W) in, H and W multiples of 32; heat maps (N, num_joints, H / 4, W / 4) out."""

    def __init__(self, width: int, num_joints: int = 17):
        super().__init__(width, outputs=1)
        self.final_layer = nn.Conv2d(width, num_joints, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        (x,) = self.features(x)
        return {"heatmaps": self.final_layer(x)}


def hrnet_pose_w32(num_joints: int = 17) -> PoseHRNet:
    return PoseHRNet(32, num_joints)


def hrnet_pose_w48(num_joints: int = 17) -> PoseHRNet:
    return PoseHRNet(48, num_joints)


MODELS = {build.__name__: build for build in (hrnet_pose_w32, hrnet_pose_w48)}
