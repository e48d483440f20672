"""Pose ResNets in PyTorch, with the state_dict keys of upstream's checkpoints.

Paper: https://arxiv.org/abs/1804.06208.
Upstream: microsoft/human-pose-estimation.pytorch, lib/models/pose_resnet.py.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from examples.hrnet_torch import Bottleneck
from tests.reference.resnet import Trunk


class CaffeBottleneck(Bottleneck):
    """Its first 1x1 convolution has the stride, not the 3x3."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__(in_channels, channels, stride)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class PoseResNet(Trunk):
    """(N, 3, H, W) in, {"heatmaps": (N, num_joints, H / 4, W / 4)} out."""

    def __init__(self, layers: tuple[int, int, int, int], num_joints: int = 17, block: Any = Bottleneck):
        super().__init__([block] * 4, layers)
        self.deconv_layers = nn.Sequential()
        for channels in (2048, 256, 256):
            self.deconv_layers.append(nn.ConvTranspose2d(channels, 256, 4, stride=2, padding=1, bias=False))
            self.deconv_layers.append(nn.BatchNorm2d(256))
            self.deconv_layers.append(nn.ReLU(inplace=True))
        self.final_layer = nn.Conv2d(256, num_joints, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"heatmaps": self.final_layer(self.deconv_layers(super().forward(x)))}


MODELS = {
    "pose_resnet50": partial(PoseResNet, (3, 4, 6, 3)),
    "pose_resnet101": partial(PoseResNet, (3, 4, 23, 3)),
    "pose_resnet152": partial(PoseResNet, (3, 8, 36, 3)),
}
