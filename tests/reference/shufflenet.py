"""ShuffleNet V2 in PyTorch, with the state_dict keys of torchvision's checkpoints.

Paper: https://arxiv.org/abs/1807.11164.
Upstream: pytorch/vision, torchvision/models/shufflenetv2.py.
"""

from functools import partial

import torch
from torch import Tensor, nn

from tests.reference.mobilenet import unit


class Block(nn.Module):
    def __init__(self, before: int, channels: int):
        super().__init__()
        half, self.strided = channels // 2, before != channels
        stride, inner = (2, before) if self.strided else (1, half)
        own = [unit(before, before, 3, 2, None, groups=before), unit(before, half)] if self.strided else []
        self.branch1 = nn.Sequential(*(layer for part in own for layer in part))
        parts = [unit(inner, half), unit(half, half, 3, stride, None, groups=half), unit(half, half)]
        self.branch2 = nn.Sequential(*(layer for part in parts for layer in part))

    def forward(self, x: Tensor) -> Tensor:
        first, second = (self.branch1(x), x) if self.strided else x.chunk(2, dim=1)
        return torch.stack([first, self.branch2(second)], 2).flatten(1, 2)


class ShuffleNet(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, stages: tuple[int, int, int], last: int, num_classes: int = 1000):
        super().__init__()
        self.conv1 = unit(3, 24, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        before = 24
        for i, (channels, count) in enumerate(zip(stages, (4, 8, 4), strict=True), start=2):
            blocks = [Block(before, channels), *(Block(channels, channels) for _ in range(count - 1))]
            self.add_module(f"stage{i}", nn.Sequential(*blocks))
            before = channels
        self.conv5 = unit(before, last)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.conv5(x).mean((2, 3)))


MODELS = {
    "shufflenet_v2_x0_5": partial(ShuffleNet, (48, 96, 192), 1024),
    "shufflenet_v2_x1_0": partial(ShuffleNet, (116, 232, 464), 1024),
    "shufflenet_v2_x1_5": partial(ShuffleNet, (176, 352, 704), 1024),
    "shufflenet_v2_x2_0": partial(ShuffleNet, (244, 488, 976), 2048),
}
