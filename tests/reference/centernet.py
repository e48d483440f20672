"""CenterNet in PyTorch, with the state_dict keys of upstream's checkpoints.

Papers: https://arxiv.org/abs/1904.07850, https://arxiv.org/abs/1707.06484.
Upstream: xingyizhou/CenterNet, src/lib/models/networks/msra_resnet.py, resnet_dcn.py and pose_dla_dcn.py.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from examples.hrnet_torch import BasicBlock, conv_bn, conv_bn_relu
from tests.deform import deform_conv2d
from tests.reference.resnet import Trunk


class DCN(nn.Module):
    """A deformable 3x3 convolution with a mask."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(channels))
        self.conv_offset_mask = nn.Conv2d(in_channels, 27, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        told = self.conv_offset_mask(x)
        return deform_conv2d(x, told[:, :18], self.weight, self.bias, padding=1, mask=told[:, 18:].sigmoid())


class CenterNet(Trunk):
    """(N, 3, H, W) in, {"hm": (N, classes, H/4, W/4), "wh": (N, 2, ...), "reg": (N, 2, ...)} out."""

    def __init__(self, num_classes: int = 80, deformable: bool = False):
        super().__init__([BasicBlock] * 4, (2, 2, 2, 2))
        self.deconv_layers = nn.Sequential()
        before = 512
        for channels in (256, 128, 64) if deformable else (256, 256, 256):
            if deformable:
                self.deconv_layers.extend([DCN(before, channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
                before = channels
            self.deconv_layers.append(nn.ConvTranspose2d(before, channels, 4, stride=2, padding=1, bias=False))
            self.deconv_layers.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
            before = channels
        self.hm, self.wh, self.reg = (head(before, 64, n) for n in (num_classes, 2, 2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.deconv_layers(super().forward(x))
        return {"hm": self.hm(x), "wh": self.wh(x), "reg": self.reg(x)}


def head(in_channels: int, inner: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, channels, 1))


class Block(nn.Module):
    """A residual block that is told what to add."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + skip)


class Root(nn.Module):
    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        return self.relu(self.bn(self.conv(torch.cat(list(parts), 1))))


class Tree(nn.Module):
    def __init__(
        self, levels: int, in_channels: int, channels: int, stride: int = 1, rooted: bool = False, extra: int = 0
    ):
        super().__init__()
        self.levels, self.rooted = levels, rooted
        extra += in_channels if rooted else 0
        if levels == 1:
            self.tree1, self.tree2 = Block(in_channels, channels, stride), Block(channels, channels, 1)
            self.root = Root(2 * channels + extra, channels)
        else:
            self.tree1 = Tree(levels - 1, in_channels, channels, stride)
            self.tree2 = Tree(levels - 1, channels, channels, extra=extra + channels)
        self.downsample = nn.MaxPool2d(stride, stride=stride) if stride > 1 else None
        self.project = conv_bn(in_channels, channels, kernel=1) if in_channels != channels else None

    def forward(self, x: Tensor, children: tuple[Tensor, ...] = ()) -> Tensor:
        bottom = x if self.downsample is None else self.downsample(x)
        children = (*children, bottom) if self.rooted else children
        if self.levels > 1:
            first = self.tree1(x)
            return self.tree2(first, (*children, first))
        first = self.tree1(x, bottom if self.project is None else self.project(bottom))
        second = self.tree2(first, first)
        return self.root([second, first, *children])


class DLA34(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base_layer = conv_bn_relu(3, 16, kernel=7)
        self.level0 = conv_bn_relu(16, 16)
        self.level1 = conv_bn_relu(16, 32, stride=2)
        self.level2 = Tree(1, 32, 64, 2)
        self.level3 = Tree(2, 64, 128, 2, rooted=True)
        self.level4 = Tree(2, 128, 256, 2, rooted=True)
        self.level5 = Tree(1, 256, 512, 2, rooted=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.level0(self.base_layer(x))]
        for level in (self.level1, self.level2, self.level3, self.level4, self.level5):
            found.append(level(found[-1]))
        return found


class DeformUnit(nn.Module):
    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.actf = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.conv = DCN(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.actf(self.conv(x))


class Aggregate(nn.Module):
    def __init__(self, channels: int, inputs: Sequence[int], scales: Sequence[int]):
        super().__init__()
        for i, (before, f) in enumerate(zip(inputs, scales, strict=True)):
            if i:
                up = nn.ConvTranspose2d(channels, channels, 2 * f, f, padding=f // 2, groups=channels, bias=False)
                self.add_module(f"proj_{i}", DeformUnit(before, channels))
                self.add_module(f"up_{i}", up)
                self.add_module(f"node_{i}", DeformUnit(channels, channels))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        levels = list(levels)
        for i in range(1, len(levels)):
            up = getattr(self, f"up_{i}")(getattr(self, f"proj_{i}")(levels[i]))
            levels[i] = getattr(self, f"node_{i}")(up + levels[i - 1])
        return levels


class AllTheWayUp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ida_0 = Aggregate(256, (256, 512), (1, 2))
        self.ida_1 = Aggregate(128, (128, 256, 256), (1, 2, 2))
        self.ida_2 = Aggregate(64, (64, 128, 128, 128), (1, 2, 2, 2))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        a, b, c, d = levels
        c, d = self.ida_0([c, d])
        last = [d]
        b, c, d = self.ida_1([b, c, d])
        last = [d, *last]
        return [self.ida_2([a, b, c, d])[-1], *last]


class CenterNetDLA(nn.Module):
    """As `CenterNet`."""

    def __init__(self, num_classes: int = 80):
        super().__init__()
        self.base = DLA34()
        self.dla_up = AllTheWayUp()
        self.ida_up = Aggregate(64, (64, 128, 256), (1, 2, 4))
        self.hm, self.wh, self.reg = (head(64, 256, n) for n in (num_classes, 2, 2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.ida_up(self.dla_up(self.base(x)[2:]))[-1]
        return {"hm": self.hm(x), "wh": self.wh(x), "reg": self.reg(x)}


MODELS = {
    "centernet_res18": CenterNet,
    "centernet_resdcn18": partial(CenterNet, deformable=True),
    "centernet_dla34": CenterNetDLA,
}
