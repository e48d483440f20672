"""YOLOv3 in PyTorch: darknet's form, and that of ultralytics/yolov3.

Upstream: AlexeyAB/darknet, cfg/yolov3*.cfg (public domain), in the words of tests/reference/yolov2.py;
ultralytics/yolov3, models/yolov3.yaml and models/common.py (AGPL-3.0).
"""

import torch
from torch import Tensor, nn

from tests.reference.yolov2 import Darknet, Yolo

ANCHORS = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]
TINY_ANCHORS = [(10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)]
BACKBONE = "32 64/ 32' 64 +3 128/" + " 64' 128 +3" * 2 + " 256/" + " 128' 256 +3" * 8 + " 512/" + " 256' 512 +3" * 8
BACKBONE += " 1024/" + " 512' 1024 +3" * 4
FINER = " @-4 256' up @-1,61" + " 256' 512" * 3 + " head yolo @-4 128' up @-1,36" + " 128' 256" * 3 + " head yolo"


def yolos() -> list[Yolo]:
    return [Yolo(ANCHORS[i : i + 3], stride) for i, stride in ((6, 32), (3, 16), (0, 8))]


def yolov3(num_classes: int = 80) -> Darknet:
    return Darknet(BACKBONE + " 512' 1024" * 3 + " head yolo" + FINER, yolos(), num_classes)


def yolov3_spp(num_classes: int = 80) -> Darknet:
    spp = " 512' 1024 512' spp5 @-2 spp9 @-4 spp13 @-1,-3,-5,-6 512' 1024 512' 1024 head yolo"
    return Darknet(BACKBONE + spp + FINER, yolos(), num_classes)


def yolov3_tiny(num_classes: int = 80) -> Darknet:
    words = (
        "16 max2 32 max2 64 max2 128 max2 256 max2 512 max2s1 1024 256' 512 head yolo @-4 128' up @-1,8 256 head yolo"
    )
    return Darknet(words, [Yolo(TINY_ANCHORS[3:], 32), Yolo(TINY_ANCHORS[1:4], 16)], num_classes)


class Conv(nn.Module):
    act = nn.SiLU()  # one for all

    def __init__(self, inside: int, outside: int, size: int = 1, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, inside: int, outside: int, shortcut: bool = True):
        super().__init__()
        self.cv1, self.cv2 = Conv(inside, outside // 2), Conv(outside // 2, outside, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class Concat(nn.Module):
    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, 1)


class Detect(nn.Module):
    """`pred` in pixels, and the raw values of each map, (N, 3, h, w, 5 + classes)."""

    def __init__(self, inside: tuple[int, ...], num_classes: int):
        super().__init__()
        strides = torch.tensor([8, 16, 32]).reshape(3, 1, 1)
        self.register_buffer("anchors", torch.tensor(ANCHORS).reshape(3, 3, 2) / strides)
        self.m = nn.ModuleList(nn.Conv2d(channels, 3 * (5 + num_classes), 1) for channels in inside)

    def forward(self, *maps: Tensor) -> dict[str, Tensor]:
        raws, rows = {}, []
        for i, x in enumerate(maps):
            n, _, h, w = x.shape
            raw = raws[f"raw_p{3 + i}"] = self.m[i](x).unflatten(1, (3, -1)).permute(0, 1, 3, 4, 2)
            s = raw.sigmoid()
            across, down = torch.arange(w), torch.arange(h)[:, None]
            anchors = self.anchors[i].reshape(3, 1, 1, 2)
            x, y = 2 * s[..., 0] - 0.5 + across, 2 * s[..., 1] - 0.5 + down
            sides = (2 * s[..., 2:4]) ** 2 * anchors
            pixels = torch.cat([torch.stack([x, y], -1), sides], -1) * 8 * 2**i
            rows.append(torch.cat([pixels, s[..., 4:]], -1).reshape(n, 3 * h * w, -1))
        return {"pred": torch.cat(rows, 1)} | raws


class Ultralytics(nn.Module):
    def __init__(self, num_classes: int = 80):
        super().__init__()
        backbone = [Conv(3, 32, 3)]
        for width, count in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
            blocks = [Bottleneck(width, width) for _ in range(count)]
            backbone += [Conv(width // 2, width, 3, 2), blocks[0] if count == 1 else nn.Sequential(*blocks)]
        p5 = [Bottleneck(1024, 1024, False), Conv(1024, 512), Conv(512, 1024, 3), Conv(1024, 512), Conv(512, 1024, 3)]
        p4 = [Conv(512, 256), nn.Upsample(scale_factor=2), Concat(), Bottleneck(768, 512, False)]
        p4 += [Bottleneck(512, 512, False), Conv(512, 256), Conv(256, 512, 3)]
        p3 = [Conv(256, 128), nn.Upsample(scale_factor=2), Concat(), Bottleneck(384, 256, False)]
        p3 += [nn.Sequential(Bottleneck(256, 256, False), Bottleneck(256, 256, False))]
        self.model = nn.Sequential(*backbone, *p5, *p4, *p3, Detect((256, 512, 1024), num_classes))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        outputs: list[Tensor] = []
        sources = {16: [14], 18: [17, 8], 23: [21], 25: [24, 6], 28: [27, 22, 15]}
        for i, module in enumerate(self.model):
            outputs.append(module(*[outputs[j] for j in sources[i]]) if i in sources else module(x))
            x = outputs[-1]
        return x


MODELS = {
    "yolov3": yolov3,
    "yolov3-spp": yolov3_spp,
    "yolov3-tiny": yolov3_tiny,
    "yolov3-ultralytics": Ultralytics,
}
