"""OpenPose in PyTorch, with the state_dict keys of upstream's modules.

Papers: https://arxiv.org/abs/1611.08050, https://arxiv.org/abs/1704.07809.
Upstream: Hzzone/pytorch-openpose, src/model.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

VGG = "conv1_1 64 conv1_2 64 pool1_stage1 conv2_1 128 conv2_2 128 pool2_stage1 " + (
    "conv3_1 256 conv3_2 256 conv3_3 256 conv3_4 256 pool3_stage1 conv4_1 512 conv4_2 512 "
)
BODY = VGG + "conv4_3_CPM 256 conv4_4_CPM 128"
HAND = VGG + "conv4_3 512 conv4_4 512 conv5_1 512 conv5_2 512 conv5_3_CPM 128"


def convolutions(in_channels: int, layers: Sequence[tuple[str, int, int]], last_relu: bool) -> nn.Sequential:
    """Convolutions (name, output channels, kernel) in a row, with a ReLU after each; after the last if asked for."""
    network = nn.Sequential()
    for i, (name, channels, kernel) in enumerate(layers, start=1):
        network.add_module(name, nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2))
        if i < len(layers) or last_relu:
            network.add_module(f"relu_{name}", nn.ReLU(inplace=True))
        in_channels = channels
    return network


def features(description: str) -> nn.Sequential:
    """3x3 convolutions with ReLUs, and pools."""
    network, channels, words = nn.Sequential(), 3, iter(description.split())
    for name in words:
        if name.startswith("pool"):
            network.add_module(name, nn.MaxPool2d(2))
            continue
        before, channels = channels, int(next(words))
        for key, layer in convolutions(before, [(name, channels, 3)], last_relu=True).named_children():
            network.add_module(key, layer)
    return network


def later_stage(i: int, branch: str, in_channels: int, channels: int, last_relu: bool) -> nn.Sequential:
    sizes = [(128, 7)] * 5 + [(128, 1), (channels, 1)]
    layers = [(f"Mconv{j}_stage{i}{branch}", *size) for j, size in enumerate(sizes, start=1)]
    return convolutions(in_channels, layers, last_relu)


class Body(nn.Module):
    """(N, 3, H, W) in, fields and heat maps at an eighth of the size out."""

    def __init__(self, stray_relu: bool = True):
        super().__init__()
        self.model0 = features(BODY)
        for branch, channels in ((1, 38), (2, 19)):
            layers = [(f"conv5_{i}_CPM_L{branch}", 128, 3) for i in (1, 2, 3)]
            layers += [(f"conv5_4_CPM_L{branch}", 512, 1), (f"conv5_5_CPM_L{branch}", channels, 1)]
            self.add_module(f"model1_{branch}", convolutions(128, layers, last_relu=False))
        for i in range(2, 7):
            self.add_module(f"model{i}_1", later_stage(i, "_L1", 185, 38, last_relu=False))
            self.add_module(f"model{i}_2", later_stage(i, "_L2", 185, 19, last_relu=stray_relu and i == 6))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = x = self.model0(x)
        for i in range(1, 7):
            paf, heatmap = self.get_submodule(f"model{i}_1")(y), self.get_submodule(f"model{i}_2")(y)
            y = torch.cat([paf, heatmap, x], 1)
        return {"paf_38": paf, "heatmap_19": heatmap}


class Hand(nn.Module):
    """(N, 3, H, W) in, heat maps at an eighth of the size out."""

    def __init__(self, stray_relu: bool = False):
        super().__init__()
        self.model1_0 = features(HAND)
        self.model1_1 = convolutions(128, [("conv6_1_CPM", 512, 1), ("conv6_2_CPM", 22, 1)], last_relu=False)
        for i in range(2, 7):
            self.add_module(f"model{i}", later_stage(i, "", 150, 22, last_relu=stray_relu and i == 6))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.model1_0(x)
        heatmap = self.model1_1(x)
        for i in range(2, 7):
            heatmap = self.get_submodule(f"model{i}")(torch.cat([heatmap, x], 1))
        return {"heatmap_22": heatmap}


MODELS = {"openpose_body": Body, "openpose_hand": Hand}
