"""YOLOv5, YOLOv8, YOLO11, YOLO12 and YOLO26 in PyTorch, with upstream's state_dict keys.

Upstream: ultralytics/ultralytics, ultralytics/cfg/models, and ultralytics/yolov5, models (both AGPL-3.0). A network is
a list of rows: the kind of a module and its arguments, channels and repeats first. These are of the full width and
depth. A row's input is the output of the row before, but of "Join", which names the rows that it joins.
"""

import math
from functools import partial
from typing import Any

from torch import Tensor, nn

from tests.ultralytics_blocks import C2PSA, C3, SPPF, A2C2f, Concat, Conv, c2f, c3k2
from tests.ultralytics_heads import AnchorDetect, Classify, Detect

Row = tuple[Any, ...]

UP: Row = ("Up",)


def join(*rows: int) -> Row:
    return ("Join", rows)


V5 = [("Conv", 64, 6, 2), ("Conv", 128, 3, 2), ("C3", 128, 3), ("Conv", 256, 3, 2), ("C3", 256, 6)]
V5 += [("Conv", 512, 3, 2), ("C3", 512, 9)]
V5_P5 = [*V5, ("Conv", 1024, 3, 2), ("C3", 1024, 3)]
V5_P6 = [*V5, ("Conv", 768, 3, 2), ("C3", 768, 3), ("Conv", 1024, 3, 2), ("C3", 1024, 3), ("SPPF", 1024)]
C3_256, C3_512, C3_768, C3_1024 = (("C3", channels, 3, False) for channels in (256, 512, 768, 1024))
V5_HEAD = [("SPPF", 1024), ("Conv", 512, 1, 1), UP, join(-1, 6), C3_512, ("Conv", 256, 1, 1), UP, join(-1, 4), C3_256]
V5_HEAD += [("Conv", 256, 3, 2), join(-1, 14), C3_512, ("Conv", 512, 3, 2), join(-1, 10), C3_1024]
V5_P6_HEAD = [("Conv", 768, 1, 1), UP, join(-1, 8), C3_768, ("Conv", 512, 1, 1), UP, join(-1, 6), C3_512]
V5_P6_HEAD += [("Conv", 256, 1, 1), UP, join(-1, 4), C3_256, ("Conv", 256, 3, 2), join(-1, 20), C3_512]
V5_P6_HEAD += [("Conv", 512, 3, 2), join(-1, 16), C3_768, ("Conv", 768, 3, 2), join(-1, 12), C3_1024]

V8 = [("Conv", 64, 3, 2), ("Conv", 128, 3, 2), ("C2f", 128, 3, True), ("Conv", 256, 3, 2), ("C2f", 256, 6, True)]
V8 += [("Conv", 512, 3, 2), ("C2f", 512, 6, True), ("Conv", 1024, 3, 2), ("C2f", 1024, 3, True)]
V8_HEAD = [("SPPF", 1024), UP, join(-1, 6), ("C2f", 512, 3), UP, join(-1, 4), ("C2f", 256, 3), ("Conv", 256, 3, 2)]
V8_HEAD += [join(-1, 12), ("C2f", 512, 3), ("Conv", 512, 3, 2), join(-1, 9), ("C2f", 1024, 3)]

V11 = [("Conv", 64, 3, 2), ("Conv", 128, 3, 2), ("C3k2", 256, 2, False, 0.25), ("Conv", 256, 3, 2)]
V11 += [("C3k2", 512, 2, False, 0.25), ("Conv", 512, 3, 2)]
V12 = [*V11, ("A2C2f", 512, 4, 4), ("Conv", 1024, 3, 2), ("A2C2f", 1024, 4, 1)]
V11 += [("C3k2", 512, 2, True), ("Conv", 1024, 3, 2), ("C3k2", 1024, 2, True)]
PSA = ("C2PSA", 1024, 2)


def v11_head(nested: bool, sppf: Row, last: Row) -> list[Row]:
    """Behind the backbone of YOLO11 and YOLO26."""
    wide, fine = ("C3k2", 512, 2, nested), ("C3k2", 256, 2, nested)
    rows = [sppf, PSA, UP, join(-1, 6), wide, UP, join(-1, 4), fine]
    return [*rows, ("Conv", 256, 3, 2), join(-1, 13), wide, ("Conv", 512, 3, 2), join(-1, 10), last]


V12_HEAD = [UP, join(-1, 6), ("A2C2f", 512, 2, None), UP, join(-1, 4), ("A2C2f", 256, 2, None), ("Conv", 256, 3, 2)]
V12_HEAD += [join(-1, 11), ("A2C2f", 512, 2, None), ("Conv", 512, 3, 2), join(-1, 8), ("C3k2", 1024, 2, True)]
V26_HEAD = v11_head(True, ("SPPF", 1024, True, False), ("C3k2", 1024, 1, True, 0.5, True))

# What classifies; what detects; which modules the head looks at.
NETWORKS: dict[str, tuple[list[Row], list[Row], list[int]]] = {
    "yolov5": (V5_P5, [*V5_P5, *V5_HEAD], [17, 20, 23]),
    "yolov5-p6": ([], [*V5_P6, *V5_P6_HEAD], [23, 26, 29, 32]),
    "yolov8": (V8, [*V8, *V8_HEAD], [15, 18, 21]),
    "yolo11": ([*V11, PSA], [*V11, *v11_head(False, ("SPPF", 1024), ("C3k2", 1024, 2, True))], [16, 19, 22]),
    "yolo12": (V12, [*V12, *V12_HEAD], [14, 17, 20]),
    "yolo26": ([*V11, PSA], [*V11, *V26_HEAD], [16, 19, 22]),
}

# Depth, width, most channels; of YOLOv8's classifiers the most are 1024 at any size.
V5_SCALES = {"n": (0.33, 0.25, 1024), "s": (0.33, 0.5, 1024), "m": (0.67, 0.75, 1024), "l": (1, 1, 1024)}
V8_SCALES = {"n": (0.33, 0.25, 1024), "s": (0.33, 0.5, 1024), "m": (0.67, 0.75, 768), "l": (1, 1, 512)}
V11_SCALES = {"n": (0.5, 0.25, 1024), "s": (0.5, 0.5, 1024), "m": (0.5, 1, 512), "l": (1, 1, 512), "x": (1, 1.5, 512)}
SCALES = {
    "yolov5": V5_SCALES | {"x": (1.33, 1.25, 1024)},
    "yolov8": V8_SCALES | {"x": (1, 1.25, 512)},
    **dict.fromkeys(("yolo11", "yolo12", "yolo26"), V11_SCALES),
}
CLASSES = {"detect": 80, "seg": 80, "pose": 1, "obb": 15, "cls": 1000}


class Yolo(nn.Module):
    """(N, 3, H, W) in, a dictionary of outputs out."""

    def __init__(self, rows: list[Row], modules: list[nn.Module], sources: list[int] | int):
        super().__init__()
        self.model = nn.Sequential(*modules)
        self.joins = [row[1] if row[0] == "Join" else None for row in rows]
        self.sources = sources

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        *layers, head = self.model
        outputs: list[Tensor] = []
        for layer, join in zip(layers, self.joins, strict=True):
            outputs.append(layer(x if join is None else [outputs[i] for i in join]))
            x = outputs[-1]
        return head(x if isinstance(self.sources, int) else [outputs[i] for i in self.sources])


def build(
    family: str,
    size: str,
    task: str,
    num_classes: int | None = None,
    anchors: bool = False,
    p6: bool = False,
    kpt_shape: tuple[int, int] = (17, 3),
) -> Yolo:
    """One network."""
    depth, width, most = SCALES[family][size]
    most = 1024 if task == "cls" and family == "yolov8" else most
    large, classes = size in "mlx", num_classes or CLASSES[task]

    def scaled(channels: int) -> int:
        return math.ceil(min(channels, most) * width / 8) * 8

    def module(kind: str, inp: int, out: int, repeats: int, rest: Row) -> nn.Module:
        if kind == "C3k2":
            nested, *others = rest
            return c3k2(inp, out, repeats, nested or large, *others)
        if kind == "A2C2f":
            return A2C2f(inp, out, repeats, *rest, scaled=size in "lx", ratio=1.2 if size in "lx" else 2.0)
        if kind == "C2PSA":
            return C2PSA(inp, repeats)
        return {"C3": C3, "C2f": c2f}[kind](inp, out, repeats, *rest)

    backbone, whole, sources = NETWORKS["yolov5-p6" if p6 else family]
    rows = backbone if task == "cls" else whole
    modules: list[nn.Module] = []
    channels = [3]
    for kind, *arguments in rows:
        if kind == "Up":
            modules.append(nn.Upsample(scale_factor=2))
            channels.append(channels[-1])
        elif kind == "Join":
            modules.append(Concat())
            channels.append(sum(channels[i + 1] if i >= 0 else channels[i] for i in arguments[0]))
        else:
            inp, out = channels[-1], scaled(arguments[0])
            if kind == "Conv":
                kernel, stride = arguments[1:]
                modules.append(Conv(inp, out, kernel, stride, padding=2 if kernel == 6 else -1))
            elif kind == "SPPF":
                modules.append(SPPF(inp, out, *arguments[1:]))
            else:
                repeats = arguments[1] if arguments[1] == 1 else max(round(arguments[1] * depth), 1)
                modules.append(module(kind, inp, out, repeats, tuple(arguments[2:])))
            channels.append(out)

    seen = [] if task == "cls" else [channels[i + 1] for i in sources]
    if task == "cls":
        head: nn.Module = Classify(channels[-1], classes)
    elif anchors:
        head = AnchorDetect(seen, classes, scaled(256) if task == "seg" else None)
    else:
        legacy = family in ("yolov5", "yolov8")
        head = Detect(seen, task, classes, legacy, scaled(256), family == "yolo26", kpt_shape)
    network = Yolo(rows, [*modules, head], -1 if task == "cls" else sources)
    # Detectors set the eps of all batch norms. So does YOLOv5's classifier, which was one, but for its new last module.
    for part in [network] if task != "cls" else network.model[:-1] if anchors else []:
        for norm in part.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps = 1e-3
    return network


def table(family: str, tasks: str, suffix: str = "", **options: bool) -> dict[str, partial[Yolo]]:
    """`MODELS` of some variants."""
    return {
        f"{family}{size}{suffix}" + ("" if task == "detect" else f"-{task}"): partial(
            build, family, size, task, **options
        )
        for task in tasks.split()
        for size in "nsmlx"
    }


MODELS = {
    **table("yolov5", "detect seg cls", anchors=True),
    **table("yolov5", "detect", "6", anchors=True, p6=True),
    **table("yolov5", "detect", "u"),
    **table("yolov5", "detect", "6u", p6=True),
    **table("yolov8", "detect seg pose obb cls"),
    **table("yolo11", "detect seg pose obb cls"),
    **table("yolo12", "detect seg pose obb cls"),
    **table("yolo26", "detect seg pose obb cls"),
}
