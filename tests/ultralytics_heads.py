"""The heads of Ultralytics' networks in PyTorch: upstream's names of modules and weights, netdefs' of outputs.

Upstream: ultralytics/ultralytics, ultralytics/nn/modules/head.py, and ultralytics/yolov5, models/yolo.py (both
AGPL-3.0).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.ultralytics_blocks import SILU, Conv

ANCHORS = [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326]
P6_ANCHORS = [
    19,
    27,
    44,
    40,
    38,
    94,
    96,
    68,
    86,
    152,
    180,
    137,
    140,
    301,
    303,
    264,
    238,
    542,
    436,
    615,
    739,
    380,
    925,
    792,
]


class Classify(nn.Module):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv = Conv(channels, 1280)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.0)
        self.linear = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.linear(self.drop(self.pool(self.conv(x)).flatten(1)))
        return {"logits": logits, "prob": logits.softmax(1)}


def tower(inp: int, inside: int, out: int | None) -> nn.Sequential:
    last = [] if out is None else [nn.Conv2d(inside, out, 1)]
    return nn.Sequential(Conv(inp, inside, 3), Conv(inside, inside, 3), *last)


def class_tower(inp: int, inside: int, classes: int) -> nn.Sequential:
    def pair(c: int) -> nn.Sequential:
        return nn.Sequential(Conv(c, c, 3, groups=c), Conv(c, inside))

    return nn.Sequential(pair(inp), pair(inside), nn.Conv2d(inside, classes, 1))


class DFL(nn.Module):
    """The mean of 16 distances, weighted by a softmax."""

    def __init__(self, bins: int):
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False)
        self.conv.weight = nn.Parameter(torch.arange(bins, dtype=torch.float32).reshape(1, bins, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, _, total = x.shape
        return self.conv(x.reshape(n, 4, -1, total).transpose(1, 2).softmax(1)).reshape(n, 4, total)


class Proto(nn.Module):
    def __init__(self, inp: int, inside: int, deconv: bool = True):
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(inp, inside, 3), Conv(inside, inside, 3), Conv(inside, 32)
        self.upsample = nn.ConvTranspose2d(inside, inside, 2, 2) if deconv else nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


class Proto26(Proto):
    def __init__(self, channels: Sequence[int], inside: int, classes: int):
        super().__init__(inside, inside)
        self.feat_refine = nn.ModuleList(Conv(c, channels[0]) for c in channels[1:])
        self.feat_fuse = Conv(channels[0], inside, 3)
        self.semseg = nn.Sequential(
            Conv(channels[0], inside, 3), Conv(inside, inside, 3), nn.Conv2d(inside, classes, 1)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        x, *others = maps
        for refine, other in zip(self.feat_refine, others, strict=True):
            x = x + F.interpolate(refine(other), size=maps[0].shape[2:])
        return super().forward(self.feat_fuse(x))


class RealNVP(nn.Module):
    """Weights of a normalizing flow that Pose26 is trained with, and predicts nothing with."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in (("loc", (2,)), ("cov", (2, 2)), ("mask", (6, 2))):
            self.register_buffer(name, torch.zeros(shape))
        self.s, self.t = (nn.ModuleList(self.net(last) for _ in range(6)) for last in ([nn.Tanh()], []))

    @staticmethod
    def net(last: list[nn.Module]) -> nn.Sequential:
        return nn.Sequential(nn.Linear(2, 64), SILU, nn.Linear(64, 64), SILU, nn.Linear(64, 2), *last)


class Detect(nn.Module):
    """All heads without anchors. `branches` are the prefixes of their modules: YOLO26 has two."""

    def __init__(
        self,
        channels: Sequence[int],
        task: str,
        classes: int,
        legacy: bool = False,
        proto: int = 256,
        yolo26: bool = False,
        kpt_shape: tuple[int, int] = (17, 3),
    ):
        super().__init__()
        self.task, self.kpt_shape, self.yolo26 = task, kpt_shape, yolo26
        self.branches = {"one2one": "one2one_", "one2many": ""} if yolo26 else {"": ""}
        bins, fine = (1 if yolo26 else 16), channels[0] // 4
        last = {"seg": 32, "obb": 1, "pose": math.prod(kpt_shape)}.get(task, 0)
        box_inside, class_inside = max(16, fine, 4 * bins), max(channels[0], min(classes, 100))
        flow = yolo26 and task == "pose"
        inside = max(fine, kpt_shape[0] * (kpt_shape[1] + 2) if flow else last)
        for prefix in self.branches.values():
            towers = {
                "cv2": [tower(c, box_inside, 4 * bins) for c in channels],
                "cv3": [(tower if legacy else class_tower)(c, class_inside, classes) for c in channels],
            }
            if last:
                towers["cv4"] = [tower(c, inside, None if flow else last) for c in channels]
            if flow:
                towers["cv4_kpts"] = [nn.Conv2d(inside, last, 1) for _ in channels]
                towers["cv4_sigma"] = [nn.Conv2d(inside, 2 * kpt_shape[0], 1) for _ in channels]
            for name, modules in towers.items():
                self.add_module(prefix + name, nn.ModuleList(modules))
        if flow:
            self.flow_model = RealNVP()
        if not yolo26:
            self.dfl = DFL(bins)
        if task == "seg":
            self.proto = Proto26(channels, proto, classes) if yolo26 else Proto(channels[0], proto)

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        found = {branch: self.raw(maps, prefix) for branch, prefix in self.branches.items()}
        outputs: dict[str, Tensor] = {}
        first, *_ = found
        parts = self.decoded(found[first], maps)
        if self.yolo26:
            outputs["dets"] = best(*parts)
            outputs["one2one_pred"] = torch.cat(parts, 1)
        else:
            outputs["pred"] = torch.cat(parts, 1)
        if self.task == "seg":
            outputs["proto"] = self.proto(maps if self.yolo26 else maps[0])
        for branch, raw in found.items():
            for name, value in raw.items():
                name = name if self.yolo26 else name.replace("boxes", "box_logits")
                outputs[f"{branch}_{name}" if branch else name] = value
        return outputs

    def raw(self, maps: list[Tensor], prefix: str) -> dict[str, Tensor]:
        def rows(name: str) -> Tensor:
            towers = zip(self.get_submodule(prefix + name), maps, strict=True)
            return torch.cat([t(x).flatten(2) for t, x in towers], 2)

        values = {"boxes": rows("cv2"), "cls_logits": rows("cv3")}
        if self.task == "seg":
            values["mask_coefficient"] = rows("cv4")
        elif self.task == "obb":
            angle = rows("cv4")
            values["angle"] = angle if self.yolo26 else math.pi * (angle.sigmoid() - 1 / 4)
        elif self.task == "pose" and self.yolo26:
            inner = (t(x) for t, x in zip(self.get_submodule(f"{prefix}cv4"), maps, strict=True))
            outer = zip(self.get_submodule(f"{prefix}cv4_kpts"), inner, strict=True)
            values["kpts"] = torch.cat([t(x).flatten(2) for t, x in outer], 2)
        elif self.task == "pose":
            values["kpts"] = rows("cv4")
        return values

    def decoded(self, raw: dict[str, Tensor], maps: list[Tensor]) -> list[Tensor]:
        """Boxes, scores and what else there is, (N, values, cells) each, in pixels."""
        points, strides = [], []
        for i, x in enumerate(maps):
            ys, xs = torch.meshgrid(*(torch.arange(n, dtype=x.dtype) + 0.5 for n in x.shape[2:]), indexing="ij")
            points.append(torch.stack([xs.flatten(), ys.flatten()]))
            strides.append(torch.full((1, points[-1].shape[1]), 8.0 * 2**i, dtype=x.dtype))
        point, stride = torch.cat(points, 1), torch.cat(strides, 1)
        distances = raw["boxes"] if self.yolo26 else self.dfl(raw["boxes"])
        before, behind = distances.chunk(2, 1)
        if self.task == "obb":
            turn = torch.cat([raw["angle"].cos(), raw["angle"].sin()], 1)
            x, y = ((behind - before) / 2).unbind(1)
            cos, sin = turn.unbind(1)
            boxes = torch.cat([point + torch.stack([x * cos - y * sin, x * sin + y * cos], 1), before + behind], 1)
        elif self.yolo26:
            boxes = torch.cat([point - before, point + behind], 1)
        else:
            boxes = torch.cat([point + (behind - before) / 2, before + behind], 1)
        parts = [boxes * stride, raw["cls_logits"].sigmoid()]
        if self.task == "pose":
            values = raw["kpts"].unflatten(1, self.kpt_shape)
            xy = values[:, :, :2] + point if self.yolo26 else 2 * values[:, :, :2] + (point - 0.5)
            parts.append(torch.cat([xy * stride, values[:, :, 2:].sigmoid()], 2).flatten(1, 2))
        elif self.task in ("seg", "obb"):
            parts.append(raw["mask_coefficient" if self.task == "seg" else "angle"])
        return parts


def best(boxes: Tensor, scores: Tensor, *more: Tensor) -> Tensor:
    """The 300 best pairs of a box and a class, or as many as there are boxes: (N, 300, 6 + more)."""
    _, classes, total = scores.shape
    score, pair = scores.transpose(1, 2).flatten(1).topk(min(300, total))
    row = (pair // classes)[:, :, None]
    extra = [part.transpose(1, 2) for part in (boxes, *more)]
    boxes, *rest = (part.gather(1, row.expand(-1, -1, part.shape[2])) for part in extra)
    return torch.cat([boxes, score[..., None], (pair % classes)[..., None].to(score.dtype), *rest], 2)


class AnchorDetect(nn.Module):
    """The head of ultralytics/yolov5, with three anchors of its own on each map, and of its -seg."""

    def __init__(self, channels: Sequence[int], classes: int, proto: int | None = None):
        super().__init__()
        self.masks = 32 if proto else 0
        self.values = 5 + classes + self.masks
        anchors = torch.tensor(P6_ANCHORS if len(channels) == 4 else ANCHORS, dtype=torch.float32)
        strides = torch.tensor([8.0 * 2**i for i in range(len(channels))])
        self.register_buffer("anchors", anchors.reshape(-1, 3, 2) / strides[:, None, None])
        self.m = nn.ModuleList(nn.Conv2d(c, 3 * self.values, 1) for c in channels)
        if proto:
            self.proto = Proto(channels[0], proto, deconv=False)

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        raw, rows = {}, []
        for i, (x, m) in enumerate(zip(maps, self.m, strict=True)):
            y = m(x).unflatten(1, (3, self.values)).permute(0, 1, 3, 4, 2)
            raw[f"raw_p{i + 3}"] = y
            _, _, h, w, _ = y.shape
            ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            corner = torch.stack([xs, ys], 2).to(y.dtype)
            xy = (2 * y[..., :2].sigmoid() + corner - 0.5) * 8 * 2**i
            wh = (2 * y[..., 2:4].sigmoid()) ** 2 * self.anchors[i][:, None, None] * 8 * 2**i
            last = self.values - self.masks
            rows.append(torch.cat([xy, wh, y[..., 4:last].sigmoid(), y[..., last:]], 4).flatten(1, 3))
        outputs = {"pred": torch.cat(rows, 1)}
        if self.masks:
            outputs["proto"] = self.proto(maps[0])
        return {**outputs, **raw}
