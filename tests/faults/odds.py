"""A made-up network with what few of the zoo have: windows that hang over, groups, shuffles, aligned corners."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netdefs.core.network import Network


class Odds(nn.Module):
    """(N, 3, H, W), H and W multiples of 8, to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.act = nn.LeakyReLU(0.1)
        self.ceil = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.grouped = nn.Conv2d(16, 32, 3, padding=1, groups=4)
        self.mean = nn.AvgPool2d(3, stride=1, padding=1)
        self.bare = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.mix = nn.Conv2d(64, 16, 1)
        self.grow = nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.wide = nn.Conv2d(16, 16, (1, 3), padding=(0, 1))
        self.fc1 = nn.Linear(16 * 4, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ceil(self.act(self.stem(x)))
        x = self.grouped(x)
        n, c, h, w = x.shape
        x = x.reshape(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = self.mix(torch.cat([self.mean(x), self.bare(x)], 1))
        x = F.relu(self.norm(self.grow(x)))
        x = F.interpolate(self.wide(self.up(x)), scale_factor=0.5, mode="bilinear", align_corners=False)
        x = F.avg_pool2d(x, [x.shape[2] // 2, x.shape[3] // 2]).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


def define(net: Network, x: Tensor) -> Tensor:
    """The same in netdefs."""
    x = net.leaky_relu(net.conv(x, "stem", 16, 5, stride=2, padding=2), "act", 0.1)
    x = net.max_pool(x, "ceil", 3, stride=2, ceil_mode=True)
    x = net.conv(x, "grouped", 32, 3, padding=1, groups=4)
    n, c, h, w = (int(size) for size in x.shape)
    x = net.permute(net.reshape(x, "groups", (n, 4, c // 4, h, w)), "shuffle", (0, 2, 1, 3, 4))
    x = net.reshape(x, "shuffled", (n, c, h, w))
    mean = net.avg_pool(x, "mean", 3, stride=1, padding=1)
    bare = net.avg_pool(x, "bare", 3, stride=1, padding=1, count_include_pad=False)
    x = net.conv(net.concat([mean, bare], "cat", dim=1), "mix", 16, 1)
    x = net.deconv(x, "grow", 16, 3, stride=2, padding=1, output_padding=1)
    x = net.relu(net.batch_norm(x, "norm"), "norm.relu")
    x = net.upsample(x, "up", scale_factor=2, mode="bilinear", align_corners=True)
    x = net.conv(x, "wide", 16, (1, 3), padding=(0, 1))
    x = net.upsample(x, "half", scale_factor=0.5, mode="bilinear")
    x = net.avg_pool(x, "cells", (int(x.shape[2]) // 2, int(x.shape[3]) // 2))
    x = net.linear(net.flatten(x, "flatten", start_dim=1), "fc1", 16)
    return net.output(net.linear(net.relu(x, "fc1.relu"), "fc2", 10), "logits")
