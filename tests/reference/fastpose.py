"""FastPose in PyTorch, with the state_dict keys of AlphaPose's checkpoints.

Paper: https://arxiv.org/abs/2211.03375.
Upstream: MVIG-SJTU/AlphaPose, alphapose/models/fastpose.py, layers/SE_Resnet.py and layers/DUC.py.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from examples.hrnet_torch import shortcut
from tests.deform import deform_conv2d
from tests.reference.resnet import Trunk


class DeformConv(nn.Module):
    """A deformable 3x3 convolution: x and its offsets in, no bias."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        return deform_conv2d(x, offset, self.weight, stride=self.stride, padding=1)


class SELayer(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(self.avg_pool(x).flatten(1))[:, :, None, None]


class SEBottleneck(nn.Module):
    """ResNet's bottleneck; `se` is there where the shortcut is a convolution, in a stage's first block."""

    expansion = 4
    deformable = False

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        if self.deformable:
            self.conv2_offset = nn.Conv2d(channels, 18, 3, stride, padding=1)
            self.conv2 = DeformConv(channels, channels, stride)
        else:
            self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = shortcut(in_channels, 4 * channels, stride)
        if self.downsample is not None:
            self.se = SELayer(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = self.conv2(y, self.conv2_offset(y)) if self.deformable else self.conv2(y)
        y = self.bn3(self.conv3(relu(self.bn2(y))))
        if self.downsample is not None:
            x, y = self.downsample(x), self.se(y)
        return relu(x + y)


class DeformableSEBottleneck(SEBottleneck):
    deformable = True


class DUC(nn.Module):
    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pixel_shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pixel_shuffle(self.relu(self.bn(self.conv(x))))


class FastPose(nn.Module):
    """(N, 3, H, W) in, {"heatmaps": (N, num_joints, H / 4, W / 4)} out."""

    def __init__(self, blocks: list[type[SEBottleneck]], num_joints: int = 17, conv_dim: int = 128):
        super().__init__()
        self.preact = Trunk(blocks, (3, 4, 6, 3))
        self.suffle1 = nn.PixelShuffle(2)
        self.duc1 = DUC(512, 1024)
        self.duc2 = DUC(256, 4 * conv_dim)
        self.conv_out = nn.Conv2d(conv_dim, num_joints, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"heatmaps": self.conv_out(self.duc2(self.duc1(self.suffle1(self.preact(x)))))}


MODELS = {
    "fastpose_res50": partial(FastPose, [SEBottleneck] * 4),
    "fastpose_res50_dcn": partial(FastPose, [SEBottleneck] + [DeformableSEBottleneck] * 3),
}
