"""AlexNet, VGG and SqueezeNet in PyTorch, with the state_dict keys of torchvision's checkpoints.

Papers: https://arxiv.org/abs/1404.5997, https://arxiv.org/abs/1409.1556, https://arxiv.org/abs/1602.07360.
Upstream: pytorch/vision, torchvision/models/alexnet.py, vgg.py and squeezenet.py.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """`features`, a pool to `size` x `size`, and two wide linear layers before the last one."""

    def __init__(self, features: list[nn.Module], channels: int, size: int, head: Sequence[str], num_classes: int):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(size)
        linears = [(channels * size**2, 4096), (4096, 4096), (4096, num_classes)]
        made = {"L": lambda: nn.Linear(*linears.pop(0)), "R": lambda: nn.ReLU(inplace=True), "D": nn.Dropout}
        self.classifier = nn.Sequential(*(made[kind]() for kind in head))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet(num_classes: int = 1000) -> Classifier:
    features: list[nn.Module] = [nn.Conv2d(3, 64, 11, 4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
    features += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
    for before, channels in ((192, 384), (384, 256), (256, 256)):
        features += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
    return Classifier([*features, nn.MaxPool2d(3, 2)], 256, 6, "DLRDLRL", num_classes)


def vgg(counts: Sequence[int], norms: bool, num_classes: int = 1000) -> Classifier:
    features: list[nn.Module] = []
    before = 3
    for channels, count in zip((64, 128, 256, 512, 512), counts, strict=True):
        for _ in range(count):
            features.append(nn.Conv2d(before, channels, 3, padding=1))
            features += [nn.BatchNorm2d(channels)] if norms else []
            features.append(nn.ReLU(inplace=True))
            before = channels
        features.append(nn.MaxPool2d(2))
    return Classifier(features, 512, 7, "LRDLRDL", num_classes)


class Fire(nn.Module):
    def __init__(self, in_channels: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat(
            [self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], 1
        )


class SqueezeNet(nn.Module):
    def __init__(self, channels: int, kernel: int, pools: Sequence[int], num_classes: int = 1000):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, channels, kernel, stride=2), nn.ReLU(inplace=True))
        for i, width in enumerate((64, 64, 128, 128, 192, 192, 256, 256)):
            if i in pools:
                self.features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            self.features.append(Fire(channels, width // 4, width))
            channels = 2 * width
        last = nn.Conv2d(512, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


COUNTS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2,) * 5, "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
MODELS = {
    "alexnet": alexnet,
    **{name: partial(vgg, counts, False) for name, counts in COUNTS.items()},
    **{f"{name}_bn": partial(vgg, counts, True) for name, counts in COUNTS.items()},
    "squeezenet1_0": partial(SqueezeNet, 96, 7, (0, 3, 7)),
    "squeezenet1_1": partial(SqueezeNet, 64, 3, (0, 2, 4)),
}
