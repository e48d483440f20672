"""Swin Transformer in PyTorch, with the state_dict keys of torchvision's checkpoints.

Paper: https://arxiv.org/abs/2103.14030.
Upstream: pytorch/vision, torchvision/models/swin_transformer.py.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.reference.convnext import Permute

WINDOW = 7


class Merging(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, down::2, across::2] for across in (0, 1) for down in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class Attention(nn.Module):
    def __init__(self, channels: int, heads: int, shift: int):
        super().__init__()
        self.heads, self.shift = heads, shift
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        # Upstream's key. Its values follow from the window, and a module made on the meta device lacks them.
        self.register_buffer("relative_position_index", torch.empty(WINDOW**4, dtype=torch.int64))

    def bias(self) -> Tensor:
        side, found = 2 * WINDOW - 1, []
        for first in range(WINDOW * WINDOW):
            for second in range(WINDOW * WINDOW):
                down, across = first // WINDOW - second // WINDOW, first % WINDOW - second % WINDOW
                found.append((down + WINDOW - 1) * side + across + WINDOW - 1)
        bias = self.relative_position_bias_table[torch.tensor(found)]
        return bias.reshape(WINDOW**2, WINDOW**2, self.heads).permute(2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        _, tall, wide, _ = x.shape
        shifts = [self.shift if size > WINDOW else 0 for size in (tall, wide)]
        x = x.roll((-shifts[0], -shifts[1]), (1, 2))
        out, parts = torch.empty_like(x), torch.zeros(tall, wide)
        for number, (size, by) in enumerate(zip((tall, wide), shifts, strict=True)):
            for edge in (size - WINDOW, size - by):
                parts.movedim(number, 0)[edge:] += 3 ** (1 - number)
        for top in range(0, tall, WINDOW):
            for left in range(0, wide, WINDOW):
                rows, columns = slice(top, top + WINDOW), slice(left, left + WINDOW)
                tokens = x[:, rows, columns].reshape(batch, WINDOW**2, channels)
                tokens = F.linear(tokens, self.qkv.weight, self.qkv.bias)  # as upstream, which calls no module here
                q, k, v = tokens.reshape(batch, WINDOW**2, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
                scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + self.bias()
                if any(shifts):
                    part = parts[rows, columns].flatten()
                    scores = scores - 100 * (part[:, None] != part).float()
                mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, WINDOW**2, channels)
                mixed = F.linear(mixed, self.proj.weight, self.proj.bias)
                out[:, rows, columns] = mixed.reshape(batch, WINDOW, WINDOW, channels)
        return out.roll(tuple(shifts), (1, 2))[:, :height, :width]


class Block(nn.Module):
    def __init__(self, channels: int, heads: int, shift: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels, eps=1e-5), nn.LayerNorm(channels, eps=1e-5)
        self.attn = Attention(channels, heads, shift)
        first, last = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.mlp = nn.Sequential(first, nn.GELU(), nn.Dropout(0.0), last, nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Swin(nn.Module):
    """(N, 3, H, W) in, logits (N, num_classes) out."""

    def __init__(self, channels: int, blocks: tuple[int, ...], heads: tuple[int, ...], num_classes: int = 1000):
        super().__init__()
        norm = nn.LayerNorm(channels, eps=1e-5)
        self.features = nn.Sequential(nn.Sequential(nn.Conv2d(3, channels, 4, 4), Permute(0, 2, 3, 1), norm))
        for i, (count, each) in enumerate(zip(blocks, heads, strict=True)):
            if i:
                self.features.append(Merging(channels))
                channels *= 2
            self.features.append(nn.Sequential(*(Block(channels, each, WINDOW // 2 * (k % 2)) for k in range(count))))
        self.norm = nn.LayerNorm(channels, eps=1e-5)
        self.permute = Permute(0, 3, 1, 2)
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten(1)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.permute(self.norm(self.features(x)))
        return self.head(self.flatten(self.avgpool(x)))


MODELS = {
    "swin_t": partial(Swin, 96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": partial(Swin, 96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_b": partial(Swin, 128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
