"""GhostNet in PyTorch, with the state_dict keys of upstream's checkpoints.

Paper: https://arxiv.org/abs/1911.11907.
Upstream: huawei-noah/Efficient-AI-Backbones, ghostnet_pytorch/ghostnet.py; timm's ghostnet_100 has the same keys.
"""

import torch
from torch import Tensor, nn

from tests.reference.mobilenet import unit

ROWS = """3 16 16 - 1 / 3 48 24 - 2 / 3 72 24 - 1 / 5 72 40 S 2 / 5 120 40 S 1 / 3 240 80 - 2 /
3 200 80 - 1, 3 184 80 - 1, 3 184 80 - 1, 3 480 112 S 1, 3 672 112 S 1 / 5 672 160 S 2 /
5 960 160 - 1, 5 960 160 S 1, 5 960 160 - 1, 5 960 160 S 1"""


class Ghost(nn.Module):
    def __init__(self, before: int, channels: int, relu: bool):
        super().__init__()
        half, act = channels // 2, nn.ReLU if relu else None
        self.primary_conv = unit(before, half, act=act)
        self.cheap_operation = unit(half, half, 3, act=act, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        first = self.primary_conv(x)
        return torch.cat([first, self.cheap_operation(first)], 1)


class Excite(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        squeezed = (channels // 4 + 2) // 4 * 4
        self.conv_reduce, self.act1 = nn.Conv2d(channels, squeezed, 1), nn.ReLU(inplace=True)
        self.conv_expand, self.gate = nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    def __init__(self, before: int, hidden: int, channels: int, kernel: int, stride: int, excited: bool):
        super().__init__()
        self.ghost1 = Ghost(before, hidden, relu=True)
        self.conv_dw = None
        if stride > 1:
            self.conv_dw, self.bn_dw = unit(hidden, hidden, kernel, stride, None, groups=hidden)
        self.se = Excite(hidden) if excited else None
        self.ghost2 = Ghost(hidden, channels, relu=False)
        self.shortcut = nn.Sequential()
        if stride > 1 or before != channels:
            self.shortcut.extend(unit(before, before, kernel, stride, None, groups=before))
            self.shortcut.extend(unit(before, channels, act=None))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ghost1(x)
        y = y if self.conv_dw is None else self.bn_dw(self.conv_dw(y))
        y = y if self.se is None else self.se(y)
        return self.ghost2(y) + self.shortcut(x)


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn1 = unit(160, 960, act=None)
        self.act1 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.conv(x)))


class GhostNet(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, num_classes: int = 1000):
        super().__init__()
        self.conv_stem, self.bn1 = unit(3, 16, 3, 2, None)
        self.act1 = nn.ReLU(inplace=True)
        self.blocks, before = nn.Sequential(), 16
        for rows in ROWS.split("/"):
            stage = nn.Sequential()
            for row in rows.split(","):
                kernel, hidden, channels, excited, stride = row.split()
                stage.append(Block(before, int(hidden), int(channels), int(kernel), int(stride), excited == "S"))
                before = int(channels)
            self.blocks.append(stage)
        self.blocks.append(nn.Sequential(Last()))
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_head, self.act2 = nn.Conv2d(960, 1280, 1), nn.ReLU(inplace=True)
        self.classifier = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.global_pool(self.blocks(self.act1(self.bn1(self.conv_stem(x)))))
        return self.classifier(self.act2(self.conv_head(x)).flatten(1))


MODELS = {"ghostnet_100": GhostNet}
