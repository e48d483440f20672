"""DBNet in PyTorch, with the state_dict keys of upstream's checkpoints.

Paper: https://arxiv.org/abs/1911.08947.
Upstream: MhLiao/DB, backbones/resnet.py and decoders/seg_detector.py; assets/ops/dcn for what its convolutions read.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from examples.hrnet_torch import BasicBlock, Bottleneck
from tests.deform import deform_conv2d
from tests.reference.resnet import Trunk

STAGES = {BasicBlock: (2, 2, 2, 2), Bottleneck: (3, 4, 6, 3)}


class ModulatedDeformConv(nn.Module):
    """A 3x3 convolution that is told where to read, as upstream's CUDA code understands it.

    That takes the offsets and masks of a picture as values in a row, and reads as many as the output has use for,
    whatever the shape that they come in.
    """

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        height, width = (-(-size // self.stride) for size in x.shape[2:])
        offset, mask = (
            values.flatten(1)[:, : count * height * width].reshape(-1, count, height, width)
            for values, count in ((offset, 18), (mask, 9))
        )
        return deform_conv2d(x, offset, self.weight, stride=self.stride, padding=1, mask=mask)


class Deformable:
    """What makes a residual block deformable: its `conv2` and `conv2_offset`."""

    def deform(self: Any, channels: int, stride: int) -> None:
        self.conv2_offset = nn.Conv2d(channels, 27, 3, padding=1)
        self.conv2 = ModulatedDeformConv(channels, stride)

    def read(self: Any, x: Tensor) -> Tensor:
        told = self.conv2_offset(x)
        return self.bn2(self.conv2(x, told[:, :18], told[:, -9:].sigmoid()))


class DeformableBasicBlock(Deformable, BasicBlock):
    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__(in_channels, channels, stride)
        self.deform(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read(self.relu(self.bn1(self.conv1(x))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class DeformableBottleneck(Deformable, Bottleneck):
    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__(in_channels, channels, stride)
        self.deform(channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.read(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class ResNet(Trunk):
    def __init__(self, block: Any, deformable: Any):
        super().__init__([block, *[deformable] * 3], STAGES[block])
        self.avgpool = nn.AvgPool2d(7, stride=1)
        self.fc = nn.Linear(512 * block.expansion, 1000)
        self.smooth = nn.Conv2d(2048, 256, 1, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.maxpool(self.relu(self.bn1(self.conv1(x))))]
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            found.append(stage(found[-1]))
        return found[1:]


def up(channels: int, bias: bool) -> nn.Sequential:
    """Four times as large, from 0 to 1."""
    return nn.Sequential(
        nn.Conv2d(4 * channels, channels, 3, padding=1, bias=bias),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(channels, channels, 2, 2),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(channels, 1, 2, 2),
        nn.Sigmoid(),
    )


class SegDetector(nn.Module):
    def __init__(self, expansion: int, channels: int = 256):
        super().__init__()
        for i in (5, 4, 3):
            self.add_module(f"up{i}", nn.Upsample(scale_factor=2, mode="nearest"))
        for i in (5, 4, 3, 2):
            self.add_module(f"in{i}", nn.Conv2d(expansion * 2 ** (i + 4), channels, 1, bias=False))
            last = nn.Conv2d(channels, channels // 4, 3, padding=1, bias=False)
            grow = nn.Upsample(scale_factor=2 ** (i - 2), mode="nearest")
            self.add_module(f"out{i}", last if i == 2 else nn.Sequential(last, grow))
        self.binarize, self.thresh = up(channels // 4, bias=False), up(channels // 4, bias=False)

    def forward(self, levels: list[Tensor]) -> Tensor:
        c2, c3, c4, c5 = levels
        x5 = self.in5(c5)
        x4 = self.up5(x5) + self.in4(c4)
        x3 = self.up4(x4) + self.in3(c3)
        x2 = self.up3(x3) + self.in2(c2)
        return self.binarize(torch.cat([self.out5(x5), self.out4(x4), self.out3(x3), self.out2(x2)], 1))


class DBNet(nn.Module):
    """(N, 3, H, W) in, {"binary": (N, 1, H, W)} out, H and W multiples of 32."""

    def __init__(self, block: Any, deformable: Any = None):
        super().__init__()
        self.backbone = ResNet(block, deformable or block)
        self.decoder = SegDetector(block.expansion)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"binary": self.decoder(self.backbone(x))}


MODELS = {
    "dbnet_resnet18": partial(DBNet, BasicBlock),
    "dbnet_resnet50": partial(DBNet, Bottleneck),
    "dbnet_deformable_resnet18": partial(DBNet, BasicBlock, DeformableBasicBlock),
    "dbnet_deformable_resnet50": partial(DBNet, Bottleneck, DeformableBottleneck),
}
