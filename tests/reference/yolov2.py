"""Darknet's networks in PyTorch, and YOLOv2 as the first of them.

Upstream: AlexeyAB/darknet, cfg/yolov2.cfg (public domain), with the state_dict keys and module names that
Tianxiaomo/pytorch-YOLOv4, tool/darknet2pytorch.py (Apache-2.0), gives to cfg files.

A network is written in words, one for each layer of the cfg:

    64  64'  64/        a convolution with 64 filters: 3x3, 1x1, 3x3 with stride 2
    [mish]  [leaky]     no layer: the activation of the convolutions from here on
    max2  max2s1  spp5  max pooling: 2x2 with stride 2 and 1, 5x5 with stride 1
    +3                  the sum with the output three layers ago
    @-1,61              the channels of the last layer and of layer 61
    @-1/1  @-1/2        the first and the second half of the last layer's channels
    up  reorg           twice the resolution; darknet's reorg
    head  headsigmoid   the convolution of a head, without and with a sigmoid behind it
    yolo                the layer that reads boxes off a head
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Boxes = tuple[Tensor, Tensor]


class Mish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.mish(x)


class Reorg(nn.Module):
    """Darknet's: takes blocks of 2x2 apart as if the input had a quarter of the channels, each four times as big."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, c // 4, h, 2, w, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


class MaxPool2Stride1(nn.Module):
    """As if the last row and column were there twice."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)


class Upsample(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


class Yolo(nn.Module):
    """From a head's (N, A * (5 + classes), h, w) to boxes (N, A * h * w, 1, 4) and confs (N, A * h * w, classes).

    Boxes are left, top, right and bottom in parts of the input's size. `anchors` are in pixels, `stride` apart.
    """

    def __init__(
        self,
        anchors: list[tuple[float, float]],
        stride: int,
        scale_xy: float = 1.0,
        softmax: bool = False,
        new_coords: bool = False,
    ):
        super().__init__()
        self.anchors, self.stride, self.scale_xy = anchors, stride, scale_xy
        self.softmax, self.new_coords = softmax, new_coords

    def forward(self, x: Tensor) -> Boxes:
        n, _, h, w = x.shape
        x = x.reshape(n, len(self.anchors), -1, h, w)
        sides = torch.tensor(self.anchors).T.reshape(2, 1, -1, 1, 1) / self.stride
        if self.new_coords:  # of values that are sigmoids already
            wide, high = x[:, :, 2] ** 2 * 4 * sides[0] / w, x[:, :, 3] ** 2 * 4 * sides[1] / h
            probability = x[:, :, 5:] * x[:, :, 4:5]
            across, down = x[:, :, 0], x[:, :, 1]
        else:
            wide, high = x[:, :, 2].exp() * sides[0] / w, x[:, :, 3].exp() * sides[1] / h
            classes = x[:, :, 5:].softmax(2) if self.softmax else x[:, :, 5:].sigmoid()
            probability = classes * x[:, :, 4:5].sigmoid()
            across, down = x[:, :, 0].sigmoid(), x[:, :, 1].sigmoid()
        beyond = (self.scale_xy - 1) / 2
        across = (across * self.scale_xy - beyond + torch.arange(w)) / w
        down = (down * self.scale_xy - beyond + torch.arange(h)[:, None]) / h
        corners = (across - wide / 2, down - high / 2, across + wide / 2, down + high / 2)
        return torch.stack(corners, -1).reshape(n, -1, 1, 4), probability.permute(0, 1, 3, 4, 2).flatten(1, 3)


class Join(nn.Module):
    """The sum of two layers' outputs, or the channels of several, or half of one's."""

    def __init__(self, word: str, i: int):
        super().__init__()
        self.kind = word[0]
        numbers, _, half = word[1:].partition("/")
        self.half = int(half or 0)
        self.layers = [i + int(n) if n.startswith("-") else int(n) for n in numbers.split(",")]
        if self.kind == "+":
            self.layers = [i - 1, i - self.layers[0]]

    def channels(self, channels: list[int]) -> int:
        counts = [channels[j] for j in self.layers]
        return counts[0] if self.kind == "+" else sum(counts) // (2 if self.half else 1)

    def forward(self, outputs: list[Tensor]) -> Tensor:
        parts = [outputs[j] for j in self.layers]
        if self.kind == "+":
            return parts[0] + parts[1]
        return parts[0].chunk(2, 1)[self.half - 1] if self.half else torch.cat(parts, 1)


class Darknet(nn.Module):
    """A network in words, whose layers `yolo` are `yolos`.

    Its outputs are the raw ones, called `raw_0`, `raw_1` ... or as `raws` has it, `boxes` and `confs`.
    """

    container = "models"
    eps = 1e-5
    joins_are_modules = False  # with the output as their hooks' output
    divisor = 1  # of all widths but the heads', for quick tests

    def __init__(self, words: str, yolos: list[nn.Module], num_classes: int, raws: str = ""):
        super().__init__()
        self.raws = raws.split() or [f"raw_{i}" for i, _ in enumerate(yolos)]
        layers, channels, activation, left = nn.ModuleList(), [], "leaky", list(yolos)
        for word in words.split():
            i, last = len(layers), channels[-1] if channels else 3
            if word.startswith("["):
                activation = word[1:-1]
                continue
            if word.startswith("head"):
                last = self.append_conv(
                    layers, last, len(left[0].anchors) * (5 + num_classes), 1, 1, word[4:] or "linear"
                )
            elif word[0].isdigit():
                width, size, stride = (
                    int(word.strip("'/")) // self.divisor,
                    1 if "'" in word else 3,
                    2 if "/" in word else 1,
                )
                last = self.append_conv(layers, last, width, size, stride, activation)
            elif word[0] in "+@":
                layers.append(Join(word, i))
                last = layers[-1].channels(channels)
            else:
                layers.append(left.pop(0) if word == "yolo" else PLAIN[word]())
                last = 4 * last if word == "reorg" else last
            channels.append(last)
        setattr(self, self.container, layers)

    def append_conv(self, layers: nn.ModuleList, last: int, width: int, size: int, stride: int, activation: str) -> int:
        number = 1 + sum(isinstance(layer, nn.Sequential) for layer in layers)
        block = nn.Sequential()
        normalized = activation not in ("linear", "sigmoid")
        block.add_module(f"conv{number}", nn.Conv2d(last, width, size, stride, size // 2, bias=not normalized))
        if normalized:
            block.add_module(f"bn{number}", nn.BatchNorm2d(width, self.eps))
        block.add_module(f"{activation}{number}", ACTIVATIONS[activation]())
        layers.append(block)
        return width

    def layers(self, x: Tensor) -> list[Tensor]:
        """The inputs of the yolo layers."""
        outputs, heads = [], []
        for layer in getattr(self, self.container):
            if isinstance(layer, Join):
                x = (layer if self.joins_are_modules else layer.forward)(outputs)
            elif hasattr(layer, "anchors"):
                heads.append((layer, x))
            else:
                x = layer(x)
            outputs.append(x)
        return heads

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        heads = self.layers(x)
        boxes, confs = zip(*(layer(raw) for layer, raw in heads), strict=True)
        raws = {name: raw for name, (_, raw) in zip(self.raws, heads, strict=True)}
        return raws | {"boxes": torch.cat(boxes, 1), "confs": torch.cat(confs, 1)}


ACTIVATIONS = {"leaky": lambda: nn.LeakyReLU(0.1), "mish": Mish, "linear": nn.Identity, "sigmoid": nn.Sigmoid}
PLAIN = {
    "max2": lambda: nn.MaxPool2d(2),
    "max2s1": MaxPool2Stride1,
    **{f"spp{n}": lambda n=n: nn.MaxPool2d(n, stride=1, padding=n // 2) for n in (5, 9, 13)},
    "up": Upsample,
    "reorg": Reorg,
}


def yolov2(num_classes: int = 80) -> Darknet:
    words = "32 max2 64 max2 128 64' 128 max2 256 128' 256 max2 512 256' 512 256' 512 max2 1024 512' 1024 512' 1024"
    words += " 1024 1024 @-9 64' reorg @-1,-4 1024 head yolo"
    cells = [(0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828)]
    region = Yolo([(32 * w, 32 * h) for w, h in cells], 32, softmax=True)
    return Darknet(words, [region], num_classes, raws="region_input")


MODELS = {"yolov2": yolov2}
