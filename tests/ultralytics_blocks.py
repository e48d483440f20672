"""The blocks of Ultralytics' networks in PyTorch, with upstream's names of modules and weights.

Upstream: ultralytics/ultralytics, ultralytics/nn/modules, and ultralytics/yolov5, models/common.py (both AGPL-3.0).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Inner = Callable[[int], nn.Module]  # channels -> what a block repeats
SILU = nn.SiLU()  # one module for all, as upstream: its output is nobody's in particular


class Conv(nn.Module):
    """Convolution, batch norm and SiLU, or no activation."""

    def __init__(
        self, inp: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True, padding: int = -1
    ):
        super().__init__()
        padding = kernel // 2 if padding < 0 else padding
        self.conv = nn.Conv2d(inp, out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.act = SILU if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Concat(nn.Module):
    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors, 1)


class Bottleneck(nn.Module):
    def __init__(self, channels: int, kernels: tuple[int, int], shortcut: bool, hidden: int):
        super().__init__()
        self.cv1 = Conv(channels, hidden, kernels[0])
        self.cv2 = Conv(hidden, channels, kernels[1])
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    def __init__(self, inp: int, out: int, repeats: int, shortcut: bool = True, kernels: tuple[int, int] = (1, 3)):
        super().__init__()
        half = out // 2
        self.cv1, self.cv2, self.cv3 = Conv(inp, half), Conv(inp, half), Conv(2 * half, out)
        self.m = nn.Sequential(*(Bottleneck(half, kernels, shortcut, half) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class C2f(nn.Module):
    def __init__(self, inp: int, out: int, repeats: int, inner: Inner, expansion: float = 0.5):
        super().__init__()
        hidden = int(out * expansion)
        self.cv1 = Conv(inp, 2 * hidden)
        self.cv2 = Conv((2 + repeats) * hidden, out)
        self.m = nn.ModuleList(inner(hidden) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        parts = [*self.cv1(x).chunk(2, 1)]
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


def c2f(inp: int, out: int, repeats: int, shortcut: bool = False) -> C2f:
    return C2f(inp, out, repeats, lambda c: Bottleneck(c, (3, 3), shortcut, c))


def c3k2(inp: int, out: int, repeats: int, nested: bool, expansion: float = 0.5, attention: bool = False) -> C2f:
    """C3k2 repeats a bottleneck, a C3k, or a bottleneck with attention behind it."""

    def narrow(channels: int) -> Bottleneck:
        return Bottleneck(channels, (3, 3), True, channels // 2)

    def inner(channels: int) -> nn.Module:
        if attention:
            return nn.Sequential(narrow(channels), PSABlock(channels))
        return c3k(channels) if nested else narrow(channels)

    return C2f(inp, out, repeats, inner, expansion)


def c3k(channels: int) -> C3:
    return C3(channels, channels, 2, kernels=(3, 3))


class SPPF(nn.Module):
    def __init__(self, inp: int, out: int, shortcut: bool = False, act: bool = True):
        super().__init__()
        self.cv1 = Conv(inp, inp // 2, act=act)
        self.cv2 = Conv(inp * 2, out)
        self.m = nn.MaxPool2d(5, 1, 2)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.cv1(x)]
        while len(pooled) < 4:
            pooled.append(self.m(pooled[-1]))
        y = self.cv2(torch.cat(pooled, 1))
        return x + y if self.shortcut else y


class Attention(nn.Module):
    """Every pixel looks at all others: softmax(q k / sqrt(size of a key)) v, and v through a depthwise convolution."""

    def __init__(self, channels: int, heads: int, key: int, kernel: int, areas: int = 1):
        super().__init__()
        self.heads, self.key, self.value, self.areas = heads, key, channels // heads, areas
        self.qkv = Conv(channels, channels + 2 * heads * key, act=False)
        self.proj = Conv(channels, channels, act=False)
        self.pe = Conv(channels, channels, kernel, groups=channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        # (N, pixels, heads, q k v) -> an area is a batch of its own
        rows = self.qkv(x).flatten(2).transpose(1, 2).reshape(n * self.areas, h * w // self.areas, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in rows.split([self.key, self.key, self.value], 3))
        weight = torch.softmax(q @ k.transpose(2, 3) / self.key**0.5, 3)
        seen, v = ((t.transpose(1, 2).reshape(n, h, w, c)).permute(0, 3, 1, 2) for t in (weight @ v, v))
        return self.proj(seen + self.pe(v))


class PSABlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        heads = max(channels // 64, 1)
        self.attn = Attention(channels, heads, channels // heads // 2, kernel=3)
        self.ffn = nn.Sequential(Conv(channels, 2 * channels), Conv(2 * channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(nn.Module):
    def __init__(self, channels: int, repeats: int):
        super().__init__()
        half = channels // 2
        self.cv1, self.cv2 = Conv(channels, 2 * half), Conv(2 * half, channels)
        self.m = nn.Sequential(*(PSABlock(half) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat([a, self.m(b)], 1))


class ABlock(nn.Module):
    def __init__(self, channels: int, areas: int, ratio: float):
        super().__init__()
        hidden = int(channels * ratio)
        self.attn = Attention(channels, channels // 32, 32, kernel=7, areas=areas)
        self.mlp = nn.Sequential(Conv(channels, hidden), Conv(hidden, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class A2C2f(nn.Module):
    def __init__(self, inp: int, out: int, repeats: int, areas: int | None, scaled: bool, ratio: float):
        super().__init__()
        half = out // 2
        self.cv1, self.cv2 = Conv(inp, half), Conv((1 + repeats) * half, out)
        self.gamma = nn.Parameter(torch.full((out,), 0.01)) if scaled and areas else None
        self.m = nn.ModuleList(
            nn.Sequential(ABlock(half, areas, ratio), ABlock(half, areas, ratio)) if areas else c3k(half)
            for _ in range(repeats)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        for block in self.m:
            parts.append(block(parts[-1]))
        y = self.cv2(torch.cat(parts, 1))
        return y if self.gamma is None else x + self.gamma[:, None, None] * y
