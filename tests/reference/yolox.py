"""YOLOX in PyTorch.

Upstream: Megvii-BaseDetection/YOLOX, yolox/models/*.py (Apache-2.0).
"""

from functools import partial

import torch
from torch import Tensor, nn


class BaseConv(nn.Module):
    def __init__(self, inside: int, outside: int, size: int, stride: int = 1, groups: int = 1, act: str = "silu"):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=1e-3)
        self.act = nn.SiLU() if act == "silu" else nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class DWConv(nn.Module):
    def __init__(self, inside: int, outside: int, size: int, stride: int = 1):
        super().__init__()
        self.dconv = BaseConv(inside, inside, size, stride, groups=inside)
        self.pconv = BaseConv(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pconv(self.dconv(x))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, shortcut: bool, conv: type[nn.Module]):
        super().__init__()
        self.conv1, self.conv2 = BaseConv(channels, channels, 1), conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return y + x if self.shortcut else y


class CSPLayer(nn.Module):
    def __init__(self, inside: int, outside: int, count: int, shortcut: bool, conv: type[nn.Module]):
        super().__init__()
        half = outside // 2
        self.conv1, self.conv2 = BaseConv(inside, half, 1), BaseConv(inside, half, 1)
        self.conv3 = BaseConv(2 * half, outside, 1)
        self.m = nn.Sequential(*[Bottleneck(half, shortcut, conv) for _ in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 1))


class SPPBottleneck(nn.Module):
    def __init__(self, inside: int, outside: int, act: str = "silu"):
        super().__init__()
        self.conv1 = BaseConv(inside, inside // 2, 1, act=act)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.conv2 = BaseConv(2 * inside, outside, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class Focus(nn.Module):
    def __init__(self, outside: int):
        super().__init__()
        self.conv = BaseConv(12, outside, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[..., ::2], x[..., 1::2]
        corners = [left[:, :, ::2], left[:, :, 1::2], right[:, :, ::2], right[:, :, 1::2]]
        return self.conv(torch.cat(corners, 1))


class Backbone(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dark3 = self.dark3(self.dark2(self.stem(x)))
        dark4 = self.dark4(dark3)
        return dark3, dark4, self.dark5(dark4)


class CSPDarknet(Backbone):
    def __init__(self, width: int, blocks: int, conv: type[nn.Module]):
        super().__init__()
        c = [width * 2**i for i in range(5)]
        self.stem = Focus(c[0])
        self.dark2 = nn.Sequential(conv(c[0], c[1], 3, 2), CSPLayer(c[1], c[1], blocks, True, conv))
        self.dark3 = nn.Sequential(conv(c[1], c[2], 3, 2), CSPLayer(c[2], c[2], 3 * blocks, True, conv))
        self.dark4 = nn.Sequential(conv(c[2], c[3], 3, 2), CSPLayer(c[3], c[3], 3 * blocks, True, conv))
        last = CSPLayer(c[4], c[4], blocks, False, conv)
        self.dark5 = nn.Sequential(conv(c[3], c[4], 3, 2), SPPBottleneck(c[4], c[4]), last)


Leaky = partial(BaseConv, act="lrelu")


class ResLayer(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layer1, self.layer2 = Leaky(channels, channels // 2, 1), Leaky(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer2(self.layer1(x))


class Darknet53(Backbone):
    def __init__(self) -> None:
        super().__init__()

        def group(channels: int, count: int) -> list[nn.Module]:
            return [Leaky(channels // 2, channels, 3, 2), *[ResLayer(channels) for _ in range(count)]]

        spp = [Leaky(1024, 512, 1), Leaky(512, 1024, 3), SPPBottleneck(1024, 512, "lrelu")]
        spp += [Leaky(512, 1024, 3), Leaky(1024, 512, 1)]
        self.stem = nn.Sequential(Leaky(3, 32, 3), *group(64, 1))
        self.dark2 = nn.Sequential(*group(128, 2))
        self.dark3 = nn.Sequential(*group(256, 8))
        self.dark4 = nn.Sequential(*group(512, 8))
        self.dark5 = nn.Sequential(*group(1024, 4), *spp)


class YOLOPAFPN(nn.Module):
    def __init__(self, depth: float, width: float, conv: type[nn.Module]):
        super().__init__()
        narrow, medium, wide = (int(n * width) for n in (256, 512, 1024))
        count = round(3 * depth)
        self.backbone = CSPDarknet(int(64 * width), max(count, 1), conv)
        self.upsample = nn.Upsample(scale_factor=2)
        self.lateral_conv0 = BaseConv(wide, medium, 1)
        self.C3_p4 = CSPLayer(2 * medium, medium, count, False, conv)
        self.reduce_conv1 = BaseConv(medium, narrow, 1)
        self.C3_p3 = CSPLayer(2 * narrow, narrow, count, False, conv)
        self.bu_conv2 = conv(narrow, narrow, 3, 2)
        self.C3_n3 = CSPLayer(2 * narrow, medium, count, False, conv)
        self.bu_conv1 = conv(medium, medium, 3, 2)
        self.C3_n4 = CSPLayer(2 * medium, wide, count, False, conv)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3, c4, c5 = self.backbone(x)
        p5 = self.lateral_conv0(c5)
        p4 = self.reduce_conv1(self.C3_p4(torch.cat([self.upsample(p5), c4], 1)))
        n3 = self.C3_p3(torch.cat([self.upsample(p4), c3], 1))
        n4 = self.C3_n3(torch.cat([self.bu_conv2(n3), p4], 1))
        return n3, n4, self.C3_n4(torch.cat([self.bu_conv1(n4), p5], 1))


class YOLOFPN(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def embedding(inside: int, c: int) -> nn.Sequential:
            return nn.Sequential(
                *[Leaky(inside, c, 1), Leaky(c, 2 * c, 3), Leaky(2 * c, c, 1), Leaky(c, 2 * c, 3), Leaky(2 * c, c, 1)]
            )

        self.backbone = Darknet53()
        self.out1_cbl, self.out1 = Leaky(512, 256, 1), embedding(768, 256)
        self.out2_cbl, self.out2 = Leaky(256, 128, 1), embedding(384, 128)
        self.upsample = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3, c4, c5 = self.backbone(x)
        p4 = self.out1(torch.cat([self.upsample(self.out1_cbl(c5)), c4], 1))
        return self.out2(torch.cat([self.upsample(self.out2_cbl(p4)), c3], 1)), p4, c5


class YOLOXHead(nn.Module):
    """`undecoded` and `decoded`, (N, A, 5 + classes)."""

    def __init__(self, inside: tuple[int, ...], width: int, num_classes: int, conv: type[nn.Module], act: str = "silu"):
        super().__init__()
        self.cls_convs, self.reg_convs = nn.ModuleList(), nn.ModuleList()
        self.cls_preds, self.reg_preds, self.obj_preds = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.stems = nn.ModuleList()
        for channels in inside:
            self.cls_convs.append(nn.Sequential(conv(width, width, 3), conv(width, width, 3)))
            self.reg_convs.append(nn.Sequential(conv(width, width, 3), conv(width, width, 3)))
            self.cls_preds.append(nn.Conv2d(width, num_classes, 1))
            self.reg_preds.append(nn.Conv2d(width, 4, 1))
            self.obj_preds.append(nn.Conv2d(width, 1, 1))
            self.stems.append(BaseConv(channels, width, 1, act=act))

    def forward(self, maps: tuple[Tensor, ...]) -> dict[str, Tensor]:
        raw, boxes = [], []
        for i, x in enumerate(maps):
            x = self.stems[i](x)
            seen = self.reg_convs[i](x)
            scores = self.cls_preds[i](self.cls_convs[i](x)).sigmoid()
            y = torch.cat([self.reg_preds[i](seen), self.obj_preds[i](seen).sigmoid(), scores], 1)
            across, down = torch.arange(x.shape[3]), torch.arange(x.shape[2])[:, None]
            places = torch.stack([y[:, 0] + across, y[:, 1] + down, y[:, 2].exp(), y[:, 3].exp()], 1) * 8 * 2**i
            raw.append(y.flatten(2))
            boxes.append(torch.cat([places, y[:, 4:]], 1).flatten(2))
        return {"decoded": torch.cat(boxes, 2).mT, "undecoded": torch.cat(raw, 2).mT}


class YOLOX(nn.Module):
    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.head(self.backbone(x))


def yolox(depth: float, width: float, conv: type[nn.Module] = BaseConv, num_classes: int = 80) -> YOLOX:
    inside = tuple(int(n * width) for n in (256, 512, 1024))
    return YOLOX(YOLOPAFPN(depth, width, conv), YOLOXHead(inside, int(256 * width), num_classes, conv))


def yolox_darknet53(num_classes: int = 80) -> YOLOX:
    return YOLOX(YOLOFPN(), YOLOXHead((128, 256, 512), 256, num_classes, Leaky, "lrelu"))


MODELS = {
    "yolox_nano": partial(yolox, 0.33, 0.25, DWConv),
    "yolox_tiny": partial(yolox, 0.33, 0.375),
    "yolox_s": partial(yolox, 0.33, 0.5),
    "yolox_m": partial(yolox, 0.67, 0.75),
    "yolox_l": partial(yolox, 1.0, 1.0),
    "yolox_x": partial(yolox, 1.33, 1.25),
    "yolox_darknet53": yolox_darknet53,
}
