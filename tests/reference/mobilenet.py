"""MobileNet V2 and V3, MNASNet and EfficientNet in PyTorch, with the state_dict keys of torchvision's checkpoints.

Papers: https://arxiv.org/abs/1801.04381, https://arxiv.org/abs/1905.02244, https://arxiv.org/abs/1807.11626,
https://arxiv.org/abs/1905.11946.
Upstream: pytorch/vision, torchvision/models/mobilenetv2.py, mobilenetv3.py, mnasnet.py and efficientnet.py.
"""

import math
from functools import partial
from typing import Any

from torch import Tensor, nn


def unit(
    before: int, channels: int, kernel: int = 1, stride: int = 1, act: Any = nn.ReLU, groups: int = 1, eps: float = 1e-5
) -> nn.Sequential:
    conv = nn.Conv2d(before, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    layers = nn.Sequential(conv, nn.BatchNorm2d(channels, eps=eps))
    return layers.append(act()) if act else layers


def eights(value: float) -> int:
    """The nearest multiple of 8, but not less than nine tenths of the value."""
    nearest = max(8, math.floor(value / 8 + 0.5) * 8)
    return nearest if nearest >= 0.9 * value else nearest + 8


class V2Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int, wider: int):
        super().__init__()
        hidden = before * wider
        self.conv = nn.Sequential(*([unit(before, hidden, act=nn.ReLU6)] if wider > 1 else []))
        self.conv.append(unit(hidden, hidden, 3, stride, nn.ReLU6, groups=hidden))
        self.conv.extend(unit(hidden, channels, act=None))
        self.adds = stride == 1 and before == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, num_classes: int = 1000):
        super().__init__()
        self.features = nn.Sequential(unit(3, 32, 3, 2, nn.ReLU6))
        before = 32
        rows = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        for wider, channels, count, stride in rows:
            for i in range(count):
                self.features.append(V2Block(before, channels, 1 if i else stride, wider))
                before = channels
        self.features.append(unit(320, 1280, act=nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class Excite(nn.Module):
    def __init__(self, channels: int, squeezed: int, activation: Any, scale: Any):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation, self.scale_activation = activation(), scale()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


class Inverted(nn.Module):
    def __init__(
        self,
        before: int,
        channels: int,
        kernel: int,
        stride: int,
        hidden: int,
        act: Any,
        excite: nn.Module | None,
        eps: float,
    ):
        super().__init__()
        self.block = nn.Sequential(*([unit(before, hidden, act=act, eps=eps)] if hidden != before else []))
        self.block.append(unit(hidden, hidden, kernel, stride, act, groups=hidden, eps=eps))
        self.block.extend([] if excite is None else [excite])
        self.block.append(unit(hidden, channels, act=None, eps=eps))
        self.adds = stride == 1 and before == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.adds else self.block(x)


LARGE = """3 16 16 - R 1, 3 64 24 - R 2, 3 72 24 - R 1, 5 72 40 S R 2, 5 120 40 S R 1, 5 120 40 S R 1, 3 240 80 - H 2,
3 200 80 - H 1, 3 184 80 - H 1, 3 184 80 - H 1, 3 480 112 S H 1, 3 672 112 S H 1, 5 672 160 S H 2, 5 960 160 S H 1,
5 960 160 S H 1"""
SMALL = """3 16 16 S R 2, 3 72 24 - R 2, 3 88 24 - R 1, 5 96 40 S H 2, 5 240 40 S H 1, 5 240 40 S H 1, 5 120 48 S H 1,
5 144 48 S H 1, 5 288 96 S H 2, 5 576 96 S H 1, 5 576 96 S H 1"""


class MobileNetV3(nn.Module):
    def __init__(self, rows: str, last: int, num_classes: int = 1000):
        super().__init__()
        make, before = partial(unit, act=nn.Hardswish, eps=1e-3), 16
        self.features = nn.Sequential(make(3, 16, 3, 2))
        for row in rows.split(","):
            kernel, hidden, channels, excited, act, stride = row.split()
            wide, narrow = int(hidden), int(channels)
            excite = Excite(wide, eights(wide / 4), nn.ReLU, nn.Hardsigmoid) if excited == "S" else None
            kind = nn.ReLU if act == "R" else nn.Hardswish
            self.features.append(Inverted(before, narrow, int(kernel), int(stride), wide, kind, excite, 1e-3))
            before = narrow
        self.features.append(make(before, 6 * before))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        head = nn.Linear(6 * before, last), nn.Hardswish(), nn.Dropout(), nn.Linear(last, num_classes)
        self.classifier = nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class MnasBlock(nn.Module):
    def __init__(self, before: int, channels: int, kernel: int, stride: int, wider: int):
        super().__init__()
        hidden = before * wider
        parts = [
            unit(before, hidden),
            unit(hidden, hidden, kernel, stride, groups=hidden),
            unit(hidden, channels, act=None),
        ]
        self.layers = nn.Sequential(*(layer for part in parts for layer in part))
        self.adds = stride == 1 and before == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


class MNASNet(nn.Module):
    def __init__(self, width: float, num_classes: int = 1000):
        super().__init__()
        stem, before = eights(32 * width), eights(16 * width)
        parts = [unit(3, stem, 3, 2), unit(stem, stem, 3, groups=stem), unit(stem, before, act=None)]
        self.layers = nn.Sequential(*(layer for part in parts for layer in part))
        rows = [
            (24, 3, 2, 3, 3),
            (40, 5, 2, 3, 3),
            (80, 5, 2, 6, 3),
            (96, 3, 1, 6, 2),
            (192, 5, 2, 6, 4),
            (320, 3, 1, 6, 1),
        ]
        for channels, kernel, stride, wider, count in rows:
            stack = nn.Sequential()
            for i in range(count):
                stack.append(MnasBlock(before, eights(channels * width), kernel, 1 if i else stride, wider))
                before = eights(channels * width)
            self.layers.append(stack)
        self.layers.extend(unit(before, 1280))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.layers(x).mean((2, 3)))


class EfficientNet(nn.Module):
    def __init__(self, width: float, depth: float, eps: float = 1e-5, num_classes: int = 1000):
        super().__init__()
        make, before = partial(unit, act=nn.SiLU, eps=eps), eights(32 * width)
        self.features = nn.Sequential(make(3, before, 3, 2))
        rows = [
            (1, 3, 1, 16, 1),
            (6, 3, 2, 24, 2),
            (6, 5, 2, 40, 2),
            (6, 3, 2, 80, 3),
            (6, 5, 1, 112, 3),
            (6, 5, 2, 192, 4),
        ]
        for wider, kernel, stride, channels, count in [*rows, (6, 3, 1, 320, 1)]:
            stage = nn.Sequential()
            for i in range(math.ceil(count * depth)):
                hidden, narrow = eights(before * wider), eights(channels * width)
                excite = Excite(hidden, max(1, before // 4), nn.SiLU, nn.Sigmoid)
                stage.append(Inverted(before, narrow, kernel, 1 if i else stride, hidden, nn.SiLU, excite, eps))
                before = narrow
            self.features.append(stage)
        self.features.append(make(before, 4 * before))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(4 * before, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


MODELS = {
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_large": partial(MobileNetV3, LARGE, 1280),
    "mobilenet_v3_small": partial(MobileNetV3, SMALL, 1024),
    "mnasnet0_5": partial(MNASNet, 0.5),
    "mnasnet0_75": partial(MNASNet, 0.75),
    "mnasnet1_0": partial(MNASNet, 1.0),
    "mnasnet1_3": partial(MNASNet, 1.3),
    "efficientnet_b0": partial(EfficientNet, 1.0, 1.0),
    "efficientnet_b1": partial(EfficientNet, 1.0, 1.1),
    "efficientnet_b2": partial(EfficientNet, 1.1, 1.2),
    "efficientnet_b3": partial(EfficientNet, 1.2, 1.4),
    "efficientnet_b4": partial(EfficientNet, 1.4, 1.8),
    "efficientnet_b5": partial(EfficientNet, 1.6, 2.2, 1e-3),
    "efficientnet_b6": partial(EfficientNet, 1.8, 2.6, 1e-3),
    "efficientnet_b7": partial(EfficientNet, 2.0, 3.1, 1e-3),
}
