"""RepVGG in PyTorch, with the state_dict keys of upstream's checkpoints: as trained, and with `deploy` as deployed.

Paper: https://arxiv.org/abs/2101.03697.
Upstream: DingXiaoH/RepVGG, repvgg.py.
"""

from functools import partial

import torch
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
    branch = nn.Sequential()
    branch.add_module("conv", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False))
    branch.add_module("bn", nn.BatchNorm2d(outputs))
    return branch


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, deploy: bool):
        super().__init__()
        self.nonlinearity = nn.ReLU()
        if deploy:
            self.rbr_reparam = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups)
            return
        if inputs == outputs and stride == 1:
            self.rbr_identity = nn.BatchNorm2d(inputs)
        self.rbr_dense = conv_bn(inputs, outputs, 3, stride, groups)
        self.rbr_1x1 = conv_bn(inputs, outputs, 1, stride, groups)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "rbr_reparam"):
            return self.nonlinearity(self.rbr_reparam(x))
        out = self.rbr_dense(x) + self.rbr_1x1(x)
        if hasattr(self, "rbr_identity"):
            out = out + self.rbr_identity(x)
        return self.nonlinearity(out)


class RepVGG(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, blocks, widths, groups: int = 1, num_classes: int = 1000, deploy: bool = False):
        super().__init__()
        channels, number = min(64, int(64 * widths[0])), 1
        self.stage0 = Block(3, channels, 2, 1, deploy)
        for i, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stage, outputs = nn.Sequential(), int(64 * 2**i * width)
            for k in range(count):
                grouped = groups if number % 2 == 0 else 1
                stage.append(Block(channels, outputs, 2 if k == 0 else 1, grouped, deploy))
                channels, number = outputs, number + 1
            setattr(self, f"stage{i + 1}", stage)
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for stage in (self.stage0, self.stage1, self.stage2, self.stage3, self.stage4):
            x = stage(x)
        return self.linear(torch.flatten(self.gap(x), 1))


A, B = (2, 4, 14, 1), (4, 6, 16, 1)
MODELS = {
    "repvgg_a0": partial(RepVGG, A, (0.75, 0.75, 0.75, 2.5)),
    "repvgg_a1": partial(RepVGG, A, (1, 1, 1, 2.5)),
    "repvgg_a2": partial(RepVGG, A, (1.5, 1.5, 1.5, 2.75)),
    "repvgg_b0": partial(RepVGG, B, (1, 1, 1, 2.5)),
    "repvgg_b1": partial(RepVGG, B, (2, 2, 2, 4)),
    "repvgg_b1g2": partial(RepVGG, B, (2, 2, 2, 4), 2),
    "repvgg_b1g4": partial(RepVGG, B, (2, 2, 2, 4), 4),
    "repvgg_b2": partial(RepVGG, B, (2.5, 2.5, 2.5, 5)),
    "repvgg_b2g4": partial(RepVGG, B, (2.5, 2.5, 2.5, 5), 4),
    "repvgg_b3": partial(RepVGG, B, (3, 3, 3, 5)),
    "repvgg_b3g4": partial(RepVGG, B, (3, 3, 3, 5), 4),
}
