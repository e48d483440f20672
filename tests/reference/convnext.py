"""ConvNeXt in PyTorch, with the state_dict keys of torchvision's checkpoints.

Paper: https://arxiv.org/abs/2201.03545.
Upstream: pytorch/vision, torchvision/models/convnext.py.
"""

from functools import partial

import torch
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Permute(nn.Module):
    def __init__(self, *dims: int):
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layer_scale = nn.Parameter(torch.empty(channels, 1, 1))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_scale * self.block(x) + x


class ConvNeXt(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, blocks: tuple[int, ...], channels: tuple[int, ...], num_classes: int = 1000):
        super().__init__()
        norm = partial(ChannelNorm, eps=1e-6)
        self.features = nn.Sequential(nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), norm(channels[0])))
        for i, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            if i:
                self.features.append(nn.Sequential(norm(channels[i - 1]), nn.Conv2d(channels[i - 1], width, 2, 2)))
            self.features.append(nn.Sequential(*(Block(width) for _ in range(count))))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(norm(channels[-1]), nn.Flatten(1), nn.Linear(channels[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)))


MODELS = {
    "convnext_tiny": partial(ConvNeXt, (3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": partial(ConvNeXt, (3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": partial(ConvNeXt, (3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext_large": partial(ConvNeXt, (3, 3, 27, 3), (192, 384, 768, 1536)),
}
