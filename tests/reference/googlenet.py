"""GoogLeNet in PyTorch, with the state_dict keys of torchvision's checkpoints.

Paper: https://arxiv.org/abs/1409.4842.
Upstream: pytorch/vision, torchvision/models/googlenet.py.
"""

import torch
from torch import Tensor, nn

from tests.reference.inception import Unit


class Mixed(nn.Module):
    def __init__(self, before: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int):
        super().__init__()
        self.branch1 = Unit(before, one, 1)
        self.branch2 = nn.Sequential(Unit(before, three[0], 1), Unit(*three, 3, padding=1))
        self.branch3 = nn.Sequential(Unit(before, five[0], 1), Unit(*five, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Unit(before, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    """What training looks at; it does not run here."""

    def __init__(self, before: int, num_classes: int):
        super().__init__()
        self.conv = Unit(before, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, num_classes)


class GoogLeNet(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, num_classes: int = 1000):
        super().__init__()
        self.conv1 = Unit(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.conv3 = Unit(64, 64, 1), Unit(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Mixed(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Mixed(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Mixed(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Mixed(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Mixed(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Mixed(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Mixed(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a = Mixed(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Mixed(832, 384, (192, 384), (48, 128), 128)
        self.aux1, self.aux2 = Auxiliary(512, num_classes), Auxiliary(528, num_classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        mean, std = x.new_tensor([0.485, 0.456, 0.406]), x.new_tensor([0.229, 0.224, 0.225])
        x = x * (std / 0.5)[:, None, None] + ((mean - 0.5) / 0.5)[:, None, None]
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4e(self.inception4d(self.inception4c(self.inception4b(self.inception4a(x)))))
        x = self.inception5b(self.inception5a(self.maxpool4(x)))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


MODELS = {"googlenet": GoogLeNet}
