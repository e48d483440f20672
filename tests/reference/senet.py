"""SE-ResNet in PyTorch, with the state_dict keys of timm's checkpoints.

Paper: https://arxiv.org/abs/1709.01507.
Upstream: huggingface/pytorch-image-models, timm/models/resnet.py and timm/layers/squeeze_excite.py.
"""

from functools import partial

from torch import Tensor, nn

from examples.hrnet_torch import shortcut
from tests.reference.resnet import Trunk


class Excite(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.fc1, self.act = nn.Conv2d(channels, channels // 16, 1), nn.ReLU(inplace=True)
        self.fc2, self.gate = nn.Conv2d(channels // 16, channels, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, before: int, channels: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2, self.act2 = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.conv3, self.bn3 = nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)
        self.se = Excite(4 * channels)
        self.act3 = nn.ReLU(inplace=True)
        self.downsample = shortcut(before, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))
        return self.act3(self.se(self.bn3(self.conv3(y))) + (x if self.downsample is None else self.downsample(x)))


class SEResNet(Trunk):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, layers: tuple[int, int, int, int], num_classes: int = 1000):
        super().__init__([Bottleneck] * 4, layers)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(super().forward(x).mean((2, 3)))


MODELS = {"seresnet50": partial(SEResNet, (3, 4, 6, 3))}
