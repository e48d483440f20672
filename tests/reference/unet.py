"""U-Net in PyTorch, with the state_dict keys of upstream's checkpoints.

Paper: https://arxiv.org/abs/1505.04597.
Upstream: milesial/Pytorch-UNet, unet/unet_model.py.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, middle: int, bias: bool):
        super().__init__()
        self.double_conv = nn.Sequential()
        for i, o in ((inputs, middle), (middle, outputs)):
            self.double_conv.extend([nn.Conv2d(i, o, 3, padding=1, bias=bias), nn.BatchNorm2d(o), nn.ReLU()])

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs, outputs, bias))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, bilinear: bool, bias: bool):
        super().__init__()
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        else:
            self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        self.conv = DoubleConv(inputs, outputs, inputs // 2 if bilinear else outputs, bias)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        x = self.up(x)
        down, across = level.shape[2] - x.shape[2], level.shape[3] - x.shape[3]
        x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return self.conv(torch.cat([level, x], 1))


class UNet(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes, H, W) out."""

    def __init__(self, bilinear: bool, num_classes: int = 2, bias: bool = False):
        super().__init__()
        half = 2 if bilinear else 1
        self.inc = DoubleConv(3, 64, 64, bias)
        self.down1, self.down2 = Down(64, 128, bias), Down(128, 256, bias)
        self.down3, self.down4 = Down(256, 512, bias), Down(512, 1024 // half, bias)
        self.up1, self.up2 = Up(1024, 512 // half, bilinear, bias), Up(512, 256 // half, bilinear, bias)
        self.up3, self.up4 = Up(256, 128 // half, bilinear, bias), Up(128, 64, bilinear, bias)
        self.outc = nn.Sequential()
        self.outc.add_module("conv", nn.Conv2d(64, num_classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, levels.pop())
        return self.outc(x)


MODELS = {"unet": partial(UNet, False), "unet_bilinear": partial(UNet, True)}
