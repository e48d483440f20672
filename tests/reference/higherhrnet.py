"""HigherHRNet in PyTorch, with the state_dict keys of the published checkpoints, and its post-processing.

Paper: https://arxiv.org/abs/1908.10357.
Upstream: HRNet/HigherHRNet-Human-Pose-Estimation, lib/models/pose_higher_hrnet.py, lib/core/inference.py (MIT).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.hrnet_torch import Backbone, BasicBlock, resize


class HigherHRNet(Backbone):
    """(N, 3, H, W) in, H and W multiples of 32; out: heat maps and tags at H / 4, W / 4, heat maps at H / 2, W / 2."""

    def __init__(self, width: int, num_joints: int = 17):
        super().__init__(width, outputs=1)
        self.final_layers = nn.ModuleList([nn.Conv2d(width, 2 * num_joints, 1), nn.Conv2d(width, num_joints, 1)])
        doubled = nn.Sequential(
            nn.ConvTranspose2d(width + 2 * num_joints, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        blocks = [nn.Sequential(BasicBlock(width, width)) for _ in range(4)]
        self.deconv_layers = nn.ModuleList([nn.Sequential(doubled, *blocks)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        (x,) = self.features(x)
        stage0 = self.final_layers[0](x)
        x = self.deconv_layers[0](torch.cat([x, stage0], 1))
        return {"stage0_heatmaps_and_tags": stage0, "stage1_heatmaps": self.final_layers[1](x)}


def aggregate(outputs: dict[str, Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Heat maps, the mean over both stages, and tags at a picture's (height, width)."""
    stage0, stage1 = outputs["stage0_heatmaps_and_tags"], outputs["stage1_heatmaps"]
    joints = stage1.shape[1]
    stage0 = resize(stage0, stage1, align_corners=False)
    maps = torch.cat([(stage0[:, :joints] + stage1) / 2, stage0[:, joints:]], 1)
    maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return maps[:, :joints], maps[:, joints:]


def higherhrnet_w32(num_joints: int = 17) -> HigherHRNet:
    return HigherHRNet(32, num_joints)


def higherhrnet_w48(num_joints: int = 17) -> HigherHRNet:
    return HigherHRNet(48, num_joints)


MODELS = {build.__name__: build for build in (higherhrnet_w32, higherhrnet_w48)}
