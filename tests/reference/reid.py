"""Networks for re-identification in PyTorch, with the state_dict keys of upstream's checkpoints.

Papers: https://arxiv.org/abs/1703.07402, https://arxiv.org/abs/1905.00953.
Upstream: ZQPei/deep_sort_pytorch, deep_sort/deep/model.py; KaiyangZhou/deep-person-reid, torchreid/models/osnet.py.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        if stride != 1:
            conv = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return F.relu((self.downsample(x) if hasattr(self, "downsample") else x) + out)


class DeepSort(nn.Module):
    """(N, 3, H, W) in, {"embedding": (N, 512)} out, of length 1."""

    def __init__(self, num_classes: int = 751):
        super().__init__()
        pool = nn.MaxPool2d(3, 2, padding=1)
        self.conv = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True), pool)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        head = (
            nn.Linear(512, 256),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(256, num_classes),
        )
        self.classifier = nn.Sequential(*head)  # for training

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv(x)))))
        x = self.avgpool(x).flatten(1)
        return {"embedding": x / x.norm(p=2, dim=1, keepdim=True)}


class Unit(nn.Module):
    def __init__(self, in_channels: int, channels: int, kernel: int = 1, relu: bool = True, **options: Any):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(channels)
        if relu:
            self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return self.relu(x) if hasattr(self, "relu") else x


class Light(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class Gate(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.global_avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)
        self.gate_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate_activation(self.fc2(self.relu(self.fc1(self.global_avgpool(x)))))


class OSBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        narrow = channels // 4
        self.conv1 = Unit(in_channels, narrow)
        self.conv2a = Light(narrow)
        self.conv2b, self.conv2c, self.conv2d = (nn.Sequential(*(Light(narrow) for _ in range(n))) for n in (2, 3, 4))
        self.gate = Gate(narrow)
        self.conv3 = Unit(narrow, channels, relu=False)
        self.downsample = Unit(in_channels, channels, relu=False) if in_channels != channels else None

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.conv1(x)
        parts = [chain(narrow) for chain in (self.conv2a, self.conv2b, self.conv2c, self.conv2d)]
        total = self.gate(parts[0]) + self.gate(parts[1]) + self.gate(parts[2]) + self.gate(parts[3])
        return F.relu(self.conv3(total) + (x if self.downsample is None else self.downsample(x)))


class OSNet(nn.Module):
    """(N, 3, H, W) in, {"embedding": (N, 512)} out."""

    def __init__(self, num_classes: int = 1000):
        super().__init__()
        self.conv1 = Unit(3, 64, 7, stride=2, padding=3)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        halving = [nn.Sequential(Unit(channels, channels), nn.AvgPool2d(2, stride=2)) for channels in (256, 384)]
        self.conv2 = nn.Sequential(OSBlock(64, 256), OSBlock(256, 256), halving[0])
        self.conv3 = nn.Sequential(OSBlock(256, 384), OSBlock(384, 384), halving[1])
        self.conv4 = nn.Sequential(OSBlock(384, 512), OSBlock(512, 512))
        self.conv5 = Unit(512, 512)
        self.global_avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(512, num_classes)  # for training

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.conv4(self.conv3(self.conv2(self.maxpool(self.conv1(x)))))
        return {"embedding": self.fc(self.global_avgpool(self.conv5(x)).flatten(1))}


MODELS = {"deepsort_reid": DeepSort, "osnet_x1_0": OSNet}
