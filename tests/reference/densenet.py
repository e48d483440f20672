"""DenseNet in PyTorch, with the state_dict keys of torchvision's module.

Paper: https://arxiv.org/abs/1608.06993.
Upstream: pytorch/vision, torchvision/models/densenet.py.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DenseLayer(nn.Module):
    def __init__(self, before: int, growth: int):
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(before), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(before, 4 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.relu2(self.norm2(self.conv1(self.relu1(self.norm1(x))))))


class DenseBlock(nn.Module):
    def __init__(self, before: int, count: int, growth: int):
        super().__init__()
        for i in range(count):
            self.add_module(f"denselayer{i + 1}", DenseLayer(before + i * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Sequential):
    def __init__(self, before: int):
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(before), nn.ReLU(inplace=True)
        self.conv, self.pool = nn.Conv2d(before, before // 2, 1, bias=False), nn.AvgPool2d(2, 2)


class DenseNet(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, growth: int, layers: tuple[int, ...], stem: int, num_classes: int = 1000):
        super().__init__()
        at = self.features = nn.Sequential()
        at.add_module("conv0", nn.Conv2d(3, stem, 7, 2, padding=3, bias=False))
        at.add_module("norm0", nn.BatchNorm2d(stem))
        at.add_module("relu0", nn.ReLU(inplace=True))
        at.add_module("pool0", nn.MaxPool2d(3, 2, padding=1))
        channels = stem
        for i, count in enumerate(layers, start=1):
            at.add_module(f"denseblock{i}", DenseBlock(channels, count, growth))
            channels += count * growth
            if i < len(layers):
                at.add_module(f"transition{i}", Transition(channels))
                channels //= 2
        at.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))


MODELS = {
    "densenet121": partial(DenseNet, 32, (6, 12, 24, 16), 64),
    "densenet161": partial(DenseNet, 48, (6, 12, 36, 24), 96),
    "densenet169": partial(DenseNet, 32, (6, 12, 32, 32), 64),
    "densenet201": partial(DenseNet, 32, (6, 12, 48, 32), 64),
}
