"""HRNet for image classification in PyTorch, with the state_dict keys of the published checkpoints.

Paper: Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, https://arxiv.org/abs/1908.07919.
Upstream: HRNet/HRNet-Image-Classification, lib/models/cls_hrnet.py; timm's `hrnet_*` have the same keys.

Every function at the end builds one variant: (N, 3, H, W) in, H and W multiples of 32, logits (N, num_classes) out.
`Backbone` is also that of HRNet's networks for segmentation and pose.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_CHANNELS = (32, 64, 128, 256)  # of the head's bottlenecks, branch by branch


def conv_bn(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=bias),
        nn.BatchNorm2d(out_channels),
    )


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, bias: bool = False
) -> nn.Sequential:
    return conv_bn(in_channels, out_channels, kernel, stride, bias).append(nn.ReLU(inplace=True))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to `4 * channels`, and a shortcut. The stride is the 3x3's.

    `base_width` and `groups` are those of ResNeXt and Wide ResNet: they widen and split the 3x3.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, groups: int = 1, base_width: int = 64):
        super().__init__()
        width = channels * base_width // 64 * groups
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return conv_bn(in_channels, out_channels, kernel=1, stride=stride)


def residual_layer(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    blocks: int,
    stride: int = 1,
    **config: int,
) -> nn.Sequential:
    """`blocks` residual blocks in a row; the first has the stride. `config` is handed to every block."""
    layer = nn.Sequential(block(in_channels, channels, stride, **config))
    for _ in range(blocks - 1):
        layer.append(block(channels * block.expansion, channels, **config))
    return layer


class PerBranch(nn.ModuleDict):
    """One layer per branch, keyed by the branch's number; a branch without a layer passes through unchanged."""

    def forward(self, xs: Sequence[Tensor]) -> list[Tensor]:
        return [self[str(i)](x) if str(i) in self else x for i, x in enumerate(xs)]


def resample(widths: Sequence[int], i: int, j: int, nearest: bool) -> nn.Sequential:
    """Brings branch j to the width and resolution of branch i; each branch has half the resolution of the last.

    Without `nearest` what is smaller than branch i stays as small: the module that adds it up enlarges it.
    """
    if j > i:
        up = conv_bn(widths[j], widths[i], kernel=1)
        return up.append(nn.Upsample(scale_factor=2 ** (j - i), mode="nearest")) if nearest else up
    down = [conv_bn_relu(widths[j], widths[j], stride=2) for _ in range(i - j - 1)]
    return nn.Sequential(*down, conv_bn(widths[j], widths[i], stride=2))


def resize(x: Tensor, like: Tensor, align_corners: bool) -> Tensor:
    """Bilinear, to the height and width of `like`."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=align_corners)


class HighResolutionModule(nn.Module):
    """Residual blocks in each branch; then every branch becomes the sum of all, each resampled to its shape.

    Args:
        widths: channels of the branches.
        blocks: residual blocks in each branch.
        outputs: how many of the branches are added up and returned.
        align_corners: of the bilinear resizing of smaller branches to the exact size of larger ones; by default they
            are doubled by nearest neighbour instead.
    """

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int, align_corners: bool | None = None):
        super().__init__()
        self.align_corners = align_corners
        self.branches = nn.ModuleList(residual_layer(BasicBlock, width, width, blocks) for width in widths)
        self.fuse_layers = nn.ModuleList(
            PerBranch({str(j): resample(widths, i, j, align_corners is None) for j in range(len(widths)) if j != i})
            for i in range(outputs)
        )
        self.relu = nn.ReLU()

    def forward(self, xs: Sequence[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        return [self.relu(self.fuse(to_branch(xs), xs[i])) for i, to_branch in enumerate(self.fuse_layers)]

    def fuse(self, terms: Sequence[Tensor], like: Tensor) -> Tensor:
        if self.align_corners is not None:
            terms = [x if x.shape == like.shape else resize(x, like, self.align_corners) for x in terms]
        return reduce(torch.add, terms)


def stage(
    widths: Sequence[int], blocks: int, modules: int, outputs: int, align_corners: bool | None = None
) -> nn.Sequential:
    """High-resolution modules in a row; the last gives `outputs` branches."""
    n = len(widths)
    counts = [n] * (modules - 1) + [outputs]
    return nn.Sequential(*(HighResolutionModule(widths, blocks, count, align_corners) for count in counts))


def transition(before: Sequence[int], after: Sequence[int]) -> PerBranch:
    """Brings branches of `before` channels to `after`, which has one more: it starts from a second copy of the last."""
    layers = {}
    for i, width in enumerate(after):
        if i == len(before):
            layers[str(i)] = nn.Sequential(conv_bn_relu(before[-1], width, stride=2))
        elif width != before[i]:
            layers[str(i)] = conv_bn_relu(before[i], width)
    return PerBranch(layers)


class Backbone(nn.Module):
    """HRNet without a head: stem and stages.

    Args:
        width: channels of the first branch; every further branch has twice as many as the one before.
        stem: channels and number of the bottlenecks in `layer1`.
        blocks: residual blocks in each branch of a module.
        modules: high-resolution modules in stages 2, 3 and 4.
        outputs: how many of the four branches the last module gives.
        align_corners: see `HighResolutionModule`.
    """

    def __init__(
        self,
        width: int,
        stem: tuple[int, int] = (64, 4),
        blocks: int = 4,
        modules: tuple[int, int, int] = (1, 4, 3),
        outputs: int = 4,
        align_corners: bool | None = None,
    ):
        super().__init__()
        channels, depth = stem
        self.widths = widths = [width, 2 * width, 4 * width, 8 * width]
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = residual_layer(Bottleneck, 64, channels, depth)
        self.transition1 = transition([channels * Bottleneck.expansion], widths[:2])
        self.stage2 = stage(widths[:2], blocks, modules[0], 2, align_corners)
        self.transition2 = transition(widths[:2], widths[:3])
        self.stage3 = stage(widths[:3], blocks, modules[1], 3, align_corners)
        self.transition3 = transition(widths[:3], widths)
        self.stage4 = stage(widths, blocks, modules[2], outputs, align_corners)

    def features(self, x: Tensor) -> list[Tensor]:
        """The branches: channels `width * 2**i` at 1 / 2**(2 + i) of the picture's size."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        xs = self.stage2(self.transition1([x, x]))
        xs = self.stage3(self.transition2([*xs, xs[-1]]))
        return self.stage4(self.transition3([*xs, xs[-1]]))


class HRNet(Backbone):
    """HRNet with its classification head; `config` is the backbone's."""

    def __init__(self, width: int, num_classes: int = 1000, **config: Any):
        super().__init__(width, **config)
        heads = [c * Bottleneck.expansion for c in HEAD_CHANNELS]
        self.incre_modules = nn.ModuleList(
            residual_layer(Bottleneck, w, c, blocks=1) for w, c in zip(self.widths, HEAD_CHANNELS, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(conv_bn_relu(a, b, stride=2, bias=True) for a, b in pairwise(heads))
        self.final_layer = conv_bn_relu(heads[-1], 2048, kernel=1, bias=True)
        self.classifier = nn.Linear(2048, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        y, *rest = (incre(x) for incre, x in zip(self.incre_modules, self.features(x), strict=True))
        for downsamp, x in zip(self.downsamp_modules, rest, strict=True):
            y = x + downsamp(y)
        y = self.final_layer(y)
        y = F.adaptive_avg_pool2d(y, 1).flatten(1)
        return self.classifier(y)


def hrnet_w18_small(num_classes: int = 1000) -> HRNet:
    return HRNet(16, stem=(32, 1), blocks=2, modules=(1, 1, 1), num_classes=num_classes)


def hrnet_w18_small_v2(num_classes: int = 1000) -> HRNet:
    return HRNet(18, stem=(64, 2), blocks=2, modules=(1, 3, 2), num_classes=num_classes)


def hrnet_w18(num_classes: int = 1000) -> HRNet:
    return HRNet(18, num_classes=num_classes)


def hrnet_w30(num_classes: int = 1000) -> HRNet:
    return HRNet(30, num_classes=num_classes)


def hrnet_w32(num_classes: int = 1000) -> HRNet:
    return HRNet(32, num_classes=num_classes)


def hrnet_w40(num_classes: int = 1000) -> HRNet:
    return HRNet(40, num_classes=num_classes)


def hrnet_w44(num_classes: int = 1000) -> HRNet:
    return HRNet(44, num_classes=num_classes)


def hrnet_w48(num_classes: int = 1000) -> HRNet:
    return HRNet(48, num_classes=num_classes)


def hrnet_w64(num_classes: int = 1000) -> HRNet:
    return HRNet(64, num_classes=num_classes)
