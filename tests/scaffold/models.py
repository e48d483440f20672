"""Plain PyTorch models of families that the zoo has no file of, as their authors write them: small, and real enough.

- `detr`: after DETR (https://arxiv.org/abs/2005.12872): a CNN, sine position embeddings, torch's own transformer
  layers, learned queries, and heads on all decoder layers.
- `svtr`: after SVTR (https://arxiv.org/abs/2205.00159): text recognition without a recurrent part: local mixing by
  masked attention, global attention, merging of rows, a CTC head.
- `unet`: after U-Net (https://arxiv.org/abs/1505.04597), with padding where sizes are odd.
- `panoptic_fpn`: a backbone returned as a dict, a feature pyramid, and several outputs in a list.
- `gapped`: calls a function that no network of ours can express.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvBlock(nn.Module):
    """Conv, batch norm, activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class SinePositions(nn.Module):
    """DETR's position embedding, of a map that has no padding."""

    def __init__(self, features: int, temperature: float = 10000.0) -> None:
        super().__init__()
        self.features = features
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones(x.shape[0], *x.shape[2:], device=x.device)
        rows, columns = ones.cumsum(1), ones.cumsum(2)
        rows = rows / (rows[:, -1:, :] + 1e-6) * 2 * math.pi
        columns = columns / (columns[:, :, -1:] + 1e-6) * 2 * math.pi
        steps = torch.arange(self.features, dtype=torch.float32, device=x.device)
        steps = self.temperature ** (2 * torch.div(steps, 2, rounding_mode="floor") / self.features)
        across, down = columns[..., None] / steps, rows[..., None] / steps
        across = torch.stack((across[..., 0::2].sin(), across[..., 1::2].cos()), dim=4).flatten(3)
        down = torch.stack((down[..., 0::2].sin(), down[..., 1::2].cos()), dim=4).flatten(3)
        return torch.cat((down, across), dim=3).permute(0, 3, 1, 2)


class MLP(nn.Module):
    """DETR's head of several linear layers."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = F.relu(layer(x)) if i < len(self.layers) - 1 else layer(x)
        return x


class DecoderLayer(nn.Module):
    """DETR's: queries attend to each other, then to the picture, each time with positions added."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, memory: Tensor, positions: Tensor, queries: Tensor) -> Tensor:
        q = x + queries
        x = self.norm1(x + self.dropout(self.self_attn(q, q, x, need_weights=False)[0]))
        found = self.cross_attn(x + queries, memory + positions, memory, need_weights=False)[0]
        x = self.norm2(x + self.dropout(found))
        return self.norm3(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))


class Detr(nn.Module):
    def __init__(self, classes: int = 20, width: int = 64, heads: int = 4, count: int = 25, depth: int = 2) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            ConvBlock(3, 16, 2), ConvBlock(16, 32, 2), ConvBlock(32, 64, 2), ConvBlock(64, 96, 2)
        )
        self.input_proj = nn.Conv2d(96, width, 1)
        self.positions = SinePositions(width // 2)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.query_embed = nn.Embedding(count, width)
        self.class_embed = nn.Linear(width, classes + 1)
        self.bbox_embed = MLP((width, width, width, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.input_proj(self.backbone(x))
        positions = self.positions(x).flatten(2).transpose(1, 2)
        memory = self.encoder(x.flatten(2).transpose(1, 2) + positions)
        queries = self.query_embed.weight.unsqueeze(0).repeat(x.shape[0], 1, 1)
        target = torch.zeros_like(queries)
        for layer in self.decoder:
            target = layer(target, memory, positions, queries)
        target = self.norm(target)
        return {"pred_logits": self.class_embed(target), "pred_boxes": self.bbox_embed(target).sigmoid()}


class Mixing(nn.Module):
    """SVTR's attention: among all places, or masked to a window around each."""

    def __init__(self, width: int, heads: int, size: tuple[int, int], window: tuple[int, int] | None) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.local = window is not None
        if window is not None:
            height, length = size
            rows, columns = torch.arange(height), torch.arange(length)
            near_row = (rows[:, None] - rows[None]).abs() <= window[0] // 2
            near_column = (columns[:, None] - columns[None]).abs() <= window[1] // 2
            near = near_row[:, None, :, None] & near_column[None, :, None, :]
            mask = torch.zeros(height * length, height * length)
            mask.masked_fill_(~near.reshape(height * length, -1), -math.inf)
            self.register_buffer("mask", mask[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = self.qkv(x).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        attention = q @ k.transpose(-2, -1)
        if self.local:
            attention = attention + self.mask
        x = (attention.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, count, width)
        return self.proj(x)


class MixingBlock(nn.Module):
    def __init__(self, width: int, heads: int, size: tuple[int, int], window: tuple[int, int] | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.mixer = Mixing(width, heads, size, window)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Merging(nn.Module):
    """Halves the height, widens the features."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(inputs, outputs, 3, (2, 1), 1)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 1).reshape(-1, x.shape[2], *self.size)
        return self.norm(self.conv(x).flatten(2).permute(0, 2, 1))


class Svtr(nn.Module):
    def __init__(
        self,
        characters: int = 37,
        size: tuple[int, int] = (32, 100),
        widths: Sequence[int] = (32, 64, 96),
        depths: Sequence[int] = (2, 2, 2),
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(
            ConvBlock(3, widths[0] // 2, 2, nn.GELU), ConvBlock(widths[0] // 2, widths[0], 2, nn.GELU)
        )
        height, length = size[0] // 4, size[1] // 4
        self.pos_embed = nn.Parameter(torch.zeros(1, height * length, widths[0]))
        self.stages = nn.ModuleList()
        self.merges = nn.ModuleList()
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            window = (7, 11) if i == 0 else None
            grid = (height, length)
            self.stages.append(nn.Sequential(*(MixingBlock(width, width // 16, grid, window) for _ in range(depth))))
            if i + 1 < len(widths):
                self.merges.append(Merging(width, widths[i + 1], grid))
                height = (height + 1) // 2
        self.height, self.length = height, length
        self.last_conv = nn.Conv2d(widths[-1], 128, 1, bias=False)
        self.hardswish = nn.Hardswish()
        self.head = nn.Linear(128, characters)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i < len(self.merges):
                x = self.merges[i](x)
        x = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], self.height, self.length)
        x = self.hardswish(self.last_conv(F.adaptive_avg_pool2d(x, (1, self.length))))
        return F.log_softmax(self.head(x.squeeze(2).permute(0, 2, 1)), dim=2)


class DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
            *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, bilinear: bool) -> None:
        super().__init__()
        if bilinear:
            self.up: nn.Module = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            between = inputs + outputs
        else:
            self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
            between = 2 * outputs
        self.conv = DoubleConv(between, outputs)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        low = self.up(low)
        down, across = high.size(2) - low.size(2), high.size(3) - low.size(3)
        low = F.pad(low, [across // 2, across - across // 2, down // 2, down - down // 2])
        return self.conv(torch.cat([high, low], dim=1))


class UNet(nn.Module):
    def __init__(self, classes: int = 2, width: int = 16, bilinear: bool = False) -> None:
        super().__init__()
        self.inc = DoubleConv(3, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 4 * width)
        self.down3 = Down(4 * width, 8 * width)
        self.up1 = Up(8 * width, 4 * width, bilinear)
        self.up2 = Up(4 * width, 2 * width, bilinear)
        self.up3 = Up(2 * width, width, bilinear)
        self.outc = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.up1(self.down3(x3), x3)
        x = self.up2(x, x2)
        return self.outc(self.up3(x, x1))


class Backbone(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvBlock(3, widths[0], 2)
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.stages = nn.ModuleDict({f"c{i + 2}": ConvBlock(a, b, 2) for i, (a, b) in enumerate(pairs)})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x, found = self.stem(x), {}
        for name, stage in self.stages.items():
            found[name] = x = stage(x)
        return found


class Pyramid(nn.Module):
    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in widths)

    def forward(self, maps: dict[str, Tensor]) -> list[Tensor]:
        found = [lateral(x) for lateral, x in zip(self.lateral, maps.values(), strict=True)]
        for i in range(len(found) - 1, 0, -1):
            found[i - 1] = found[i - 1] + F.interpolate(found[i], size=found[i - 1].shape[-2:], mode="nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, found, strict=True)]


class PanopticFpn(nn.Module):
    def __init__(self, widths: Sequence[int] = (16, 24, 32), width: int = 24, classes: int = 5) -> None:
        super().__init__()
        self.backbone = Backbone(widths)
        self.neck = Pyramid(widths, width)
        self.norm = nn.GroupNorm(4, width)
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.neck(self.backbone(x))
        return [head(F.silu(self.norm(x))) for head, x in zip(self.heads, maps, strict=True)]


class Gapped(nn.Module):
    """Has a spectrum in its middle: the absolute value of a Fourier transform."""

    def __init__(self) -> None:
        super().__init__()
        self.before = ConvBlock(3, 8, 2)
        self.after = ConvBlock(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        x = torch.fft.fft2(x, norm="ortho").abs()
        return self.head(self.after(x).mean((2, 3)))


class TwoInputs(nn.Module):
    """A picture and a vector, as networks have that are told something besides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvBlock(3, 8, 2)
        self.embed = nn.Linear(4, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        x = self.conv(images)
        return self.head(x * self.embed(condition).sigmoid()[:, :, None, None])


def detr() -> nn.Module:
    return Detr()


def svtr() -> nn.Module:
    return Svtr()


def unet(classes: int = 2, bilinear: bool = False) -> nn.Module:
    return UNet(classes, bilinear=bilinear)


def narrow_unet(classes: int = 2) -> nn.Module:
    return UNet(classes, width=8)


def panoptic_fpn() -> nn.Module:
    return PanopticFpn()


def gapped() -> nn.Module:
    return Gapped()


def two_inputs() -> nn.Module:
    return TwoInputs()
