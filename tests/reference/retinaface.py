"""RetinaFace in PyTorch, with the state_dict keys of upstream's checkpoints.

Paper: https://arxiv.org/abs/1905.00641.
Upstream: biubug6/Pytorch_Retinaface, models/retinaface.py and models/net.py.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.hrnet_torch import Bottleneck
from tests.reference.resnet import Trunk


def unit(in_channels: int, channels: int, kernel: int, slope: float | None, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)
    layers = nn.Sequential(conv, nn.BatchNorm2d(channels))
    return layers if slope is None else layers.append(nn.LeakyReLU(slope, inplace=True))


def separable(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
    first = [depthwise, nn.BatchNorm2d(in_channels), nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*first, *unit(in_channels, channels, 1, 0.1))


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rows = (8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)
        self.stage1 = nn.Sequential(unit(3, 8, 3, 0.1, stride=2), *(separable(*row) for row in rows))
        self.stage2 = nn.Sequential(separable(64, 128, 2), *(separable(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(separable(128, 256, 2), separable(256, 256, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.stage1(x)
        second = self.stage2(first)
        return [first, second, self.stage3(second)]


class ResNet(Trunk):
    def __init__(self) -> None:
        super().__init__([Bottleneck] * 4, (3, 4, 6, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))
        second = self.layer3(first)
        return [first, second, self.layer4(second)]


class Pyramid(nn.Module):
    def __init__(self, inputs: tuple[int, int, int], channels: int, slope: float):
        super().__init__()
        self.output1, self.output2, self.output3 = (unit(n, channels, 1, slope) for n in inputs)
        self.merge1, self.merge2 = unit(channels, channels, 3, slope), unit(channels, channels, 3, slope)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = self.output1(levels[0]), self.output2(levels[1]), self.output3(levels[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        return [self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest")), middle, coarse]


class Context(nn.Module):
    def __init__(self, channels: int, slope: float):
        super().__init__()
        self.conv3X3 = unit(channels, channels // 2, 3, None)
        self.conv5X5_1 = unit(channels, channels // 4, 3, slope)
        self.conv5X5_2 = unit(channels // 4, channels // 4, 3, None)
        self.conv7X7_2 = unit(channels // 4, channels // 4, 3, slope)
        self.conv7x7_3 = unit(channels // 4, channels // 4, 3, None)

    def forward(self, x: Tensor) -> Tensor:
        five = self.conv5X5_1(x)
        branches = [self.conv3X3(x), self.conv5X5_2(five), self.conv7x7_3(self.conv7X7_2(five))]
        return F.relu(torch.cat(branches, 1))


class Head(nn.Module):
    def __init__(self, channels: int, values: int):
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(channels, 2 * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.values)


class RetinaFace(nn.Module):
    """(N, 3, H, W) in, {"boxes": (N, A, 4), "classes": (N, A, 2), "landmarks": (N, A, 10)} out."""

    def __init__(self, body: type[nn.Module], inputs: tuple[int, int, int], channels: int, slope: float):
        super().__init__()
        self.body = body()
        self.fpn = Pyramid(inputs, channels, slope)
        self.ssh1, self.ssh2, self.ssh3 = (Context(channels, slope) for _ in range(3))
        self.ClassHead = nn.ModuleList(Head(channels, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(Head(channels, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(Head(channels, 10) for _ in range(3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        levels = self.fpn(self.body(x))
        levels = [self.ssh1(levels[0]), self.ssh2(levels[1]), self.ssh3(levels[2])]

        def read(heads: nn.ModuleList) -> Tensor:
            return torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], 1)

        boxes, classes, landmarks = read(self.BboxHead), read(self.ClassHead), read(self.LandmarkHead)
        return {"boxes": boxes, "classes": classes.softmax(2), "landmarks": landmarks}


MODELS = {
    "retinaface_mnet025": partial(RetinaFace, MobileNet, (64, 128, 256), 64, 0.1),
    "retinaface_r50": partial(RetinaFace, ResNet, (512, 1024, 2048), 256, 0.0),
}
