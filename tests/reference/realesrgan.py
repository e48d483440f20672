"""Real-ESRGAN's RRDBNet in PyTorch, with the state_dict keys of upstream's checkpoints.

Paper: https://arxiv.org/abs/2107.10833.
Upstream: XPixelGroup/BasicSR, basicsr/archs/rrdbnet_arch.py.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dense(nn.Module):
    def __init__(self, channels: int, growth: int):
        super().__init__()
        for i in range(1, 6):
            inputs = channels + (i - 1) * growth
            setattr(self, f"conv{i}", nn.Conv2d(inputs, growth if i < 5 else channels, 3, padding=1))
        self.lrelu = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            parts.append(self.lrelu(conv(torch.cat(parts, 1))))
        return self.conv5(torch.cat(parts, 1)) * 0.2 + x


class RRDB(nn.Module):
    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (Dense(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nn.Module):
    """(N, 3, H, W) in, (N, 3, 4 * H, 4 * W) out."""

    def __init__(self, blocks: int, channels: int = 64, growth: int = 32):
        super().__init__()
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            setattr(self, name, nn.Conv2d(channels, channels, 3, padding=1))
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)
        self.lrelu = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(x)
        x = first + self.conv_body(self.body(first))
        for conv in (self.conv_up1, self.conv_up2):
            x = self.lrelu(conv(F.interpolate(x, scale_factor=2)))
        return self.conv_last(self.lrelu(self.conv_hr(x)))


MODELS = {"realesrgan_x4plus": partial(RRDBNet, 23), "realesrgan_x4plus_anime_6b": partial(RRDBNet, 6)}
