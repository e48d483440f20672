"""YOLOv4 in PyTorch: darknet's form, Tianxiaomo's and WongKinYiu's.

Upstream: AlexeyAB/darknet, cfg/yolov4*.cfg (public domain), in the words of tests/reference/yolov2.py;
Tianxiaomo/pytorch-YOLOv4, models.py (Apache-2.0); WongKinYiu/PyTorch_YOLOv4, models/models.py (no licence given).
"""

import torch
from torch import Tensor, nn

from tests.reference.yolov2 import ACTIVATIONS, Darknet, Upsample, Yolo

ANCHORS = [(12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401)]
TINY_ANCHORS = [(10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)]


class ConvBnActivation(nn.Module):
    def __init__(self, inside: int, outside: int, size: int, stride: int = 1, activation: str = "leaky"):
        super().__init__()
        bias = activation == "linear"
        self.conv = nn.ModuleList([nn.Conv2d(inside, outside, size, stride, size // 2, bias=bias)])
        if not bias:
            self.conv.extend([nn.BatchNorm2d(outside), ACTIVATIONS[activation]()])

    def forward(self, x: Tensor) -> Tensor:
        for module in self.conv:
            x = module(x)
        return x


class ResBlock(nn.Module):
    def __init__(self, channels: int, count: int):
        super().__init__()
        self.module_list = nn.ModuleList(
            nn.ModuleList(ConvBnActivation(channels, channels, size, activation="mish") for size in (1, 3))
            for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        for first, second in self.module_list:
            x = x + second(first(x))
        return x


class DownSample1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        shapes = [(3, 32, 3, 1), (32, 64, 3, 2), (64, 64, 1, 1), (64, 64, 1, 1)]
        shapes += [(64, 32, 1, 1), (32, 64, 3, 1), (64, 64, 1, 1), (128, 64, 1, 1)]
        for i, shape in enumerate(shapes):
            self.add_module(f"conv{i + 1}", ConvBnActivation(*shape, "mish"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x))
        side, x = self.conv3(x), self.conv4(x)
        x = self.conv7(x + self.conv6(self.conv5(x)))
        return self.conv8(torch.cat([x, side], 1))


class DownSample(nn.Module):
    """The second to fifth: `channels` in, twice as many out."""

    def __init__(self, channels: int, blocks: int):
        super().__init__()
        wide = 2 * channels
        self.conv1 = ConvBnActivation(channels, wide, 3, 2, "mish")
        self.conv2 = ConvBnActivation(wide, channels, 1, activation="mish")
        self.conv3 = ConvBnActivation(wide, channels, 1, activation="mish")
        self.resblock = ResBlock(channels, blocks)
        self.conv4 = ConvBnActivation(channels, channels, 1, activation="mish")
        self.conv5 = ConvBnActivation(wide, wide, 1, activation="mish")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv5(torch.cat([self.conv4(self.resblock(self.conv3(x))), self.conv2(x)], 1))


class Convs(nn.Module):
    """`conv1`, `conv2` ... as a table (in, out, size, stride) says; without a batch norm where `out` is the head's."""

    def __init__(self, table: list[tuple[int, ...]], first: int, head: int = 0):
        super().__init__()
        for i, shape in enumerate(table):
            self.add_module(f"conv{first + i}", ConvBnActivation(*shape, "linear" if shape[1] == head else "leaky"))

    def through(self, x: Tensor, first: int, last: int) -> Tensor:
        for i in range(first, last + 1):
            x = getattr(self, f"conv{i}")(x)
        return x


def turns(narrow: int, count: int) -> list[tuple[int, ...]]:
    """1x1 and 3x3 convolutions by turns, between `narrow` and twice as many channels."""
    return [(2 * narrow, narrow, 1, 1), (narrow, 2 * narrow, 3, 1)] * count


class Neck(Convs):
    def __init__(self) -> None:
        table = [(1024, 512, 1, 1), (512, 1024, 3, 1), (1024, 512, 1, 1), (2048, 512, 1, 1), (512, 1024, 3, 1)]
        table += [(1024, 512, 1, 1), (512, 256, 1, 1), (512, 256, 1, 1), *turns(256, 2), (512, 256, 1, 1)]
        table += [(256, 128, 1, 1), (256, 128, 1, 1), *turns(128, 2), (256, 128, 1, 1)]
        super().__init__(table, 1)
        self.maxpool1, self.maxpool2, self.maxpool3 = (nn.MaxPool2d(n, 1, n // 2) for n in (5, 9, 13))
        self.upsample1, self.upsample2 = Upsample(), Upsample()

    def forward(self, d5: Tensor, d4: Tensor, d3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.through(d5, 1, 3)
        x = torch.cat([self.maxpool3(x), self.maxpool2(x), self.maxpool1(x), x], 1)
        p5 = self.through(x, 4, 6)
        p4 = self.through(torch.cat([self.conv8(d4), self.upsample1(self.conv7(p5))], 1), 9, 13)
        p3 = self.through(torch.cat([self.conv15(d3), self.upsample2(self.conv14(p4))], 1), 16, 20)
        return p3, p4, p5


class Head(Convs):
    def __init__(self, out: int):
        table = [(128, 256, 3, 1), (256, out, 1, 1), (128, 256, 3, 2), *turns(256, 3), (512, out, 1, 1)]
        table += [(256, 512, 3, 2), *turns(512, 3), (1024, out, 1, 1)]
        super().__init__(table, 1, head=out)

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> list[Tensor]:
        middle = self.through(torch.cat([self.conv3(p3), p4], 1), 4, 8)
        coarse = torch.cat([self.conv11(middle), p5], 1)
        return [self.through(p3, 1, 2), self.through(middle, 9, 10), self.through(coarse, 12, 18)]


class Tianxiaomo(nn.Module):
    def __init__(self, num_classes: int = 80):
        super().__init__()
        self.down1, self.down2, self.down3 = DownSample1(), DownSample(64, 2), DownSample(128, 8)
        self.down4, self.down5 = DownSample(256, 8), DownSample(512, 4)
        self.neck = Neck()
        self.head = Head(3 * (5 + num_classes))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        d3 = self.down3(self.down2(self.down1(x)))
        d4 = self.down4(d3)
        raws = self.head(*self.neck(self.down5(d4), d4, d3))
        pairs = [Yolo(ANCHORS[3 * i : 3 * i + 3], 8 * 2**i)(raw) for i, raw in enumerate(raws)]
        boxes, confs = zip(*pairs, strict=True)
        named = {f"raw_p{3 + i}": raw for i, raw in enumerate(raws)}
        return named | {"boxes": torch.cat(boxes, 1), "confs": torch.cat(confs, 1)}


class Yolo5(nn.Module):
    """From a head's (N, A * (5 + classes), h, w) to that as (N, A, h, w, 5 + classes), and to boxes in pixels."""

    def __init__(self, anchors: list[tuple[float, float]], stride: int):
        super().__init__()
        self.anchors, self.stride = anchors, stride

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n, _, h, w = x.shape
        raw = x.reshape(n, len(self.anchors), -1, h, w).permute(0, 1, 3, 4, 2)
        s = raw.sigmoid()
        corner = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1)
        xy = (2 * s[..., :2] - 0.5 + corner) * self.stride
        wh = (2 * s[..., 2:4]) ** 2 * torch.tensor(self.anchors, dtype=x.dtype).reshape(1, -1, 1, 1, 2)
        return raw, torch.cat([xy, wh, s[..., 4:]], -1).flatten(1, 3)


class WongKinYiu(Darknet):
    container = "module_list"
    eps = 1e-4
    joins_are_modules = True

    def append_conv(self, layers: nn.ModuleList, last: int, width: int, size: int, stride: int, activation: str) -> int:
        block = nn.Sequential()
        head = activation in ("linear", "sigmoid")  # it knows no heads with a sigmoid
        block.add_module("Conv2d", nn.Conv2d(last, width, size, stride, size // 2, bias=head))
        if not head:
            block.add_module("BatchNorm2d", nn.BatchNorm2d(width, self.eps))
            block.add_module("activation", ACTIVATIONS[activation]())
        layers.append(block)
        return width

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = [layer(raw) for layer, raw in self.layers(x)]
        raws = {name: raw for name, (raw, _) in zip(self.raws, found, strict=True)}
        return {"pred": torch.cat([rows for _, rows in found], 1)} | raws


STAGES = "".join(
    f" {2 * n}/ {n}' @-2 {n}'" + f" {n}' {n} +3" * count + f" {n}' @-1,-{3 * count + 4} {2 * n}'"
    for n, count in ((64, 2), (128, 8), (256, 8), (512, 4))
)
YOLOV4 = f"[mish] 32 64/ 64' @-2 64' 32' 64 +3 64' @-1,-7 64' {STAGES} [leaky]"
YOLOV4 += " 512' 1024 512' spp5 @-2 spp9 @-4 spp13 @-1,-3,-5,-6 512' 1024 512'"
YOLOV4 += " 256' up @85 256' @-1,-3" + " 256' 512" * 2 + " 256' 128' up @54 128' @-1,-3" + " 128' 256" * 2 + " 128'"
YOLOV4 += " 256 head yolo @-4 256/ @-1,-16" + " 256' 512" * 3 + " head yolo @-4 512/ @-1,-37" + " 512' 1024" * 3
YOLOV4 += " head yolo"

TINY = "32/ 64/" + "".join(f" {2 * n} @-1/2 {n} {n} @-1,-2 {2 * n}' @-6,-1 max2" for n in (32, 64, 128))
TINY += " 512 256' 512 head yolo @-4 128' up @-1,23 256 head yolo"

CSP = f"[mish] 32 64/ 32' 64 +3 {STAGES}"
CSP += " 512' @-2 512' 512 512' spp5 @-2 spp9 @-4 spp13 @-1,-3,-5,-6 512' 512 @-1,-13 512'"
BLOCK = " {n}' {n}' @-2 {n}' {n} {n}' {n} @-1,-6 {n}'"
CSP += " 256' up @79 256' @-1,-3" + BLOCK.format(n=256) + " 128' up @48 128' @-1,-3" + BLOCK.format(n=128)
CSP += " 256 headsigmoid yolo @-4 256/ @-1,-20" + BLOCK.format(n=256)
CSP += " 512 headsigmoid yolo @-4 512/ @-1,-49" + BLOCK.format(n=512) + " 1024 headsigmoid yolo"


def yolov4_darknet(num_classes: int = 80) -> Darknet:
    yolos = [Yolo(ANCHORS[3 * i : 3 * i + 3], 8 * 2**i, scale) for i, scale in enumerate((1.2, 1.1, 1.05))]
    return Darknet(YOLOV4, yolos, num_classes)


def three_scales() -> list[Yolo5]:
    return [Yolo5(ANCHORS[3 * i : 3 * i + 3], 8 * 2**i) for i in range(3)]


def yolov4_wongkinyiu(num_classes: int = 80) -> WongKinYiu:
    return WongKinYiu(YOLOV4, three_scales(), num_classes, "raw_p3 raw_p4 raw_p5")


def yolov4_tiny(num_classes: int = 80) -> Darknet:
    return Darknet(TINY, [Yolo(TINY_ANCHORS[3:], 32, 1.05), Yolo(TINY_ANCHORS[1:4], 16, 1.05)], num_classes)


def yolov4_tiny_wongkinyiu(num_classes: int = 80) -> WongKinYiu:
    words = TINY.replace("@-1/2", "@-1/1")  # its route_lhalf takes the other half
    return WongKinYiu(words, [Yolo5(TINY_ANCHORS[3:], 32), Yolo5(TINY_ANCHORS[1:4], 16)], num_classes, "raw_p5 raw_p4")


def yolov4_csp(num_classes: int = 80) -> Darknet:
    yolos = [Yolo(ANCHORS[3 * i : 3 * i + 3], 8 * 2**i, 2.0, new_coords=True) for i in range(3)]
    return Darknet(CSP, yolos, num_classes)


def yolov4_csp_wongkinyiu(num_classes: int = 80) -> WongKinYiu:
    return WongKinYiu(CSP, three_scales(), num_classes, "raw_p3 raw_p4 raw_p5")


MODELS = {
    "yolov4": Tianxiaomo,
    "yolov4-darknet": yolov4_darknet,
    "yolov4-wongkinyiu": yolov4_wongkinyiu,
    "yolov4-tiny": yolov4_tiny,
    "yolov4-csp": yolov4_csp,
}
