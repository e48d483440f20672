"""ResNet, ResNeXt and Wide ResNet in PyTorch, with the state_dict keys of torchvision's checkpoints.

Papers: https://arxiv.org/abs/1512.03385, https://arxiv.org/abs/1611.05431, https://arxiv.org/abs/1605.07146.
Upstream: pytorch/vision, torchvision/models/resnet.py. HRNet is made of the same blocks, so they are its example's.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from examples.hrnet_torch import BasicBlock, Bottleneck, residual_layer


class Trunk(nn.Module):
    """Stem and stages: (N, 3, H, W) in, (N, 512 * expansion, H / 32, W / 32) out, sizes rounded up.

    `blocks` has the kind of block of each stage, and `config` is handed to every block.
    """

    def __init__(self, blocks: Sequence[Any], layers: Sequence[int], **config: int):
        super().__init__()
        a, b, c = (channels * blocks[0].expansion for channels in (64, 128, 256))
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = residual_layer(blocks[0], 64, 64, layers[0], **config)
        self.layer2 = residual_layer(blocks[1], a, 128, layers[1], stride=2, **config)
        self.layer3 = residual_layer(blocks[2], b, 256, layers[2], stride=2, **config)
        self.layer4 = residual_layer(blocks[3], c, 512, layers[3], stride=2, **config)

    def forward(self, x: Tensor) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class ResNet(Trunk):
    """(N, 3, H, W) in, logits (N, num_classes) out. `config` is handed to every block."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, int, int, int],
        num_classes: int = 1000,
        **config: int,
    ):
        super().__init__([block] * 4, layers, **config)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(super().forward(x)).flatten(1))


def resnet18(num_classes: int = 1000) -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes)


def resnet34(num_classes: int = 1000) -> ResNet:
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes)


def resnet101(num_classes: int = 1000) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes)


def resnet152(num_classes: int = 1000) -> ResNet:
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes)


def resnext50_32x4d(num_classes: int = 1000) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, groups=32, base_width=4)


def resnext101_32x8d(num_classes: int = 1000) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, groups=32, base_width=8)


def wide_resnet50_2(num_classes: int = 1000) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, base_width=128)


def wide_resnet101_2(num_classes: int = 1000) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, base_width=128)


MODELS = {
    build.__name__: build
    for build in (
        *(resnet18, resnet34, resnet50, resnet101, resnet152),
        *(resnext50_32x4d, resnext101_32x8d, wide_resnet50_2, wide_resnet101_2),
    )
}
