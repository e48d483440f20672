"""Inception v3 and v4 in PyTorch, with the state_dict keys of upstream's checkpoints.

Papers: https://arxiv.org/abs/1512.00567, https://arxiv.org/abs/1602.07261.
Upstream: pytorch/vision, torchvision/models/inception.py; Cadene/pretrained-models.pytorch,
pretrainedmodels/models/inceptionv4.py.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: Any, eps: float = 1e-3, **options: Any):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def wide(in_channels: int, channels: int, size: int = 7) -> Unit:
    return Unit(in_channels, channels, (1, size), padding=(0, size // 2))


def tall(in_channels: int, channels: int, size: int = 7) -> Unit:
    return Unit(in_channels, channels, (size, 1), padding=(size // 2, 0))


class MixedA(nn.Module):
    def __init__(self, in_channels: int, pooled: int):
        super().__init__()
        self.branch1x1 = Unit(in_channels, 64, 1)
        self.branch5x5_1 = Unit(in_channels, 48, 1)
        self.branch5x5_2 = Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Unit(in_channels, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, padding=1)
        self.branch_pool = Unit(in_channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(F.avg_pool2d(x, 3, 1, 1))], 1)


class ReductionA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = Unit(288, 384, 3, stride=2)
        self.branch3x3dbl_1 = Unit(288, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class MixedB(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.branch1x1 = Unit(768, 192, 1)
        self.branch7x7_1 = Unit(768, width, 1)
        self.branch7x7_2 = wide(width, width)
        self.branch7x7_3 = tall(width, 192)
        self.branch7x7dbl_1 = Unit(768, width, 1)
        self.branch7x7dbl_2 = tall(width, width)
        self.branch7x7dbl_3 = wide(width, width)
        self.branch7x7dbl_4 = tall(width, width)
        self.branch7x7dbl_5 = wide(width, 192)
        self.branch_pool = Unit(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(F.avg_pool2d(x, 3, 1, 1))], 1)


class Auxiliary(nn.Module):
    """What training looks at; it does not run here."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv0 = Unit(768, 128, 1)
        self.conv1 = Unit(128, 768, 5)
        self.fc = nn.Linear(768, num_classes)


class ReductionB(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Unit(768, 192, 1)
        self.branch3x3_2 = Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Unit(768, 192, 1)
        self.branch7x7x3_2 = wide(192, 192)
        self.branch7x7x3_3 = tall(192, 192)
        self.branch7x7x3_4 = Unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        large = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(large), F.max_pool2d(x, 3, 2)], 1)


class MixedC(nn.Module):
    def __init__(self, in_channels: int):
        super().__init__()
        self.branch1x1 = Unit(in_channels, 320, 1)
        self.branch3x3_1 = Unit(in_channels, 384, 1)
        self.branch3x3_2a = wide(384, 384, 3)
        self.branch3x3_2b = tall(384, 384, 3)
        self.branch3x3dbl_1 = Unit(in_channels, 448, 1)
        self.branch3x3dbl_2 = Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = wide(384, 384, 3)
        self.branch3x3dbl_3b = tall(384, 384, 3)
        self.branch_pool = Unit(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        branches += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([*branches, self.branch_pool(F.avg_pool2d(x, 3, 1, 1))], 1)


class InceptionV3(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, num_classes: int = 1000, transform_input: bool = True):
        super().__init__()
        self.transform_input = transform_input
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = MixedA(192, 32), MixedA(256, 64), MixedA(288, 64)
        self.Mixed_6a = ReductionA()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (MixedB(n) for n in (128, 160, 160, 192))
        self.AuxLogits = Auxiliary(num_classes)
        self.Mixed_7a = ReductionB()
        self.Mixed_7b, self.Mixed_7c = MixedC(1280), MixedC(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.transform_input:
            mean, std = x.new_tensor([0.485, 0.456, 0.406]), x.new_tensor([0.229, 0.224, 0.225])
            x = x * (std / 0.5)[:, None, None] + ((mean - 0.5) / 0.5)[:, None, None]
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x)))))
        x = self.Mixed_7c(self.Mixed_7b(x))
        return self.fc(self.dropout(self.avgpool(x)).flatten(1))


class Branches(nn.Module):
    """Modules that look at the same input, and their outputs one after the other."""

    def __init__(self, **branches: nn.Module):
        super().__init__()
        for name, module in branches.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([module(x) for module in self.children()], 1)


def pooled(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), Unit(in_channels, channels, 1))


def mixed_4a() -> Branches:
    short = nn.Sequential(Unit(160, 64, 1), Unit(64, 96, 3))
    return Branches(branch0=short, branch1=nn.Sequential(Unit(160, 64, 1), wide(64, 64), tall(64, 64), Unit(64, 96, 3)))


def inception_a() -> Branches:
    single = nn.Sequential(Unit(384, 64, 1), Unit(64, 96, 3, padding=1))
    double = nn.Sequential(Unit(384, 64, 1), Unit(64, 96, 3, padding=1), Unit(96, 96, 3, padding=1))
    return Branches(branch0=Unit(384, 96, 1), branch1=single, branch2=double, branch3=pooled(384, 96))


def reduction_a() -> Branches:
    double = nn.Sequential(Unit(384, 192, 1), Unit(192, 224, 3, padding=1), Unit(224, 256, 3, stride=2))
    return Branches(branch0=Unit(384, 384, 3, stride=2), branch1=double, branch2=nn.MaxPool2d(3, stride=2))


def inception_b() -> Branches:
    once = nn.Sequential(Unit(1024, 192, 1), wide(192, 224), tall(224, 256))
    twice = nn.Sequential(Unit(1024, 192, 1), tall(192, 192), wide(192, 224), tall(224, 224), wide(224, 256))
    return Branches(branch0=Unit(1024, 384, 1), branch1=once, branch2=twice, branch3=pooled(1024, 128))


def reduction_b() -> Branches:
    small = nn.Sequential(Unit(1024, 192, 1), Unit(192, 192, 3, stride=2))
    large = nn.Sequential(Unit(1024, 256, 1), wide(256, 256), tall(256, 320), Unit(320, 320, 3, stride=2))
    return Branches(branch0=small, branch1=large, branch2=nn.MaxPool2d(3, stride=2))


class InceptionC(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch0 = Unit(1536, 256, 1)
        self.branch1_0 = Unit(1536, 384, 1)
        self.branch1_1a, self.branch1_1b = wide(384, 256, 3), tall(384, 256, 3)
        self.branch2_0 = Unit(1536, 384, 1)
        self.branch2_1, self.branch2_2 = tall(384, 448, 3), wide(448, 512, 3)
        self.branch2_3a, self.branch2_3b = wide(512, 256, 3), tall(512, 256, 3)
        self.branch3 = pooled(1536, 256)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch1_0(x)
        double = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        branches = [self.branch0(x), self.branch1_1a(single), self.branch1_1b(single)]
        return torch.cat([*branches, self.branch2_3a(double), self.branch2_3b(double), self.branch3(x)], 1)


class InceptionV4(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, num_classes: int = 1000):
        super().__init__()
        self.features = nn.Sequential(
            Unit(3, 32, 3, stride=2),
            Unit(32, 32, 3),
            Unit(32, 64, 3, padding=1),
            Branches(maxpool=nn.MaxPool2d(3, stride=2), conv=Unit(64, 96, 3, stride=2)),
            mixed_4a(),
            Branches(conv=Unit(192, 192, 3, stride=2), maxpool=nn.MaxPool2d(3, stride=2)),
            *(inception_a() for _ in range(4)),
            reduction_a(),
            *(inception_b() for _ in range(7)),
            reduction_b(),
            *(InceptionC() for _ in range(3)),
        )
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(1536, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_linear(self.avg_pool(self.features(x)).flatten(1))


MODELS = {"inception_v3": InceptionV3, "inception_v4": InceptionV4}
