"""What the zoo's modules of Ultralytics' families share: sizes, tasks, and what they want done to a picture.

Upstream: ultralytics/ultralytics, ultralytics/cfg/models/*/*.yaml and nn/tasks.py (AGPL-3.0).
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.weights import Weights
from netdefs.core.yolo.detection import check_multiple
from netdefs.core.yolo.suppression import ULTRALYTICS

Variant = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Scale:
    """How a yaml file's network becomes that of one size.

    Attributes:
        size: "n", "s", "m", "l" or "x".
        depth: factor of how often blocks are repeated.
        width: factor of channels.
        most: the most channels, before the factor.
    """

    size: str
    depth: float
    width: float
    most: int = 1024

    def channels(self, count: int) -> int:
        """A yaml file's channels at this size: rounded up to a multiple of 8."""
        return math.ceil(min(count, self.most) * self.width / 8) * 8

    def repeats(self, count: int) -> int:
        """A yaml file's repeats at this size."""
        return max(round(count * self.depth), 1)


def variants(
    family: str, scales: Mapping[str, Scale], tasks: Sequence[str], suffix: str = "", **more: Any
) -> dict[str, Variant]:
    """`VARIANTS`: every size for every task, called as upstream's checkpoints, "yolov8n", "yolov8n-seg".

    A variant is a dictionary of its `scale`, its `task`, and `more`.
    """
    return {
        f"{family}{size}{suffix}" + ("" if task == "detect" else f"-{task}"): {"scale": scale, "task": task, **more}
        for task in tasks
        for size, scale in scales.items()
    }


TASKS = ("detect", "seg", "pose", "obb", "cls")

# Detectors set the eps of all their batch norms, classifiers leave it at PyTorch's.
TASK_EPS = {"detect": 1e-3, "seg": 1e-3, "pose": 1e-3, "obb": 1e-3, "cls": 1e-5}

# The tasks whose boxes can be suppressed inside the network; rotated ones can't.
SUPPRESSION = dict.fromkeys(("detect", "seg", "pose"), ULTRALYTICS)

LETTERBOX = Preprocess("RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fit="letterbox", pad=114)
CROP = Preprocess("RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fit="crop")

# Height and width that upstream's checkpoints were trained with, what is done to a picture, what the outputs mean.
RECIPES = {
    "detect": (640, LETTERBOX, Decode("boxes", "coco80")),
    "seg": (640, LETTERBOX, Decode("masks", "coco80")),
    "pose": (640, LETTERBOX, Decode("poses", "coco17")),
    "obb": (1024, LETTERBOX, Decode("rotated_boxes", "dota15")),
    "cls": (224, CROP, Decode("classes")),
}
# With anchors, a row of `pred` is a box, and its fifth value the probability of an object.
ANCHOR_RECIPES = {
    "detect": (640, LETTERBOX, Decode("boxes_objectness", "coco80")),
    "seg": (640, LETTERBOX, Decode("masks_objectness", "coco80")),
    "cls": (224, dataclasses.replace(IMAGENET, crop_pct=1.0), Decode("classes")),
}


def recipes(all_variants: Mapping[str, Variant]) -> dict[str, Any]:
    """What `zoo.Model` wants to know of each variant, by its task, and by `anchors` and `p6` of YOLOv5."""
    chosen = {
        name: (ANCHOR_RECIPES if variant.get("anchors") else RECIPES)[variant["task"]]
        for name, variant in all_variants.items()
    }
    sizes = {name: 1280 if all_variants[name].get("p6") else size for name, (size, _, _) in chosen.items()}
    return {
        "input_shape": {name: (1, 3, size, size) for name, size in sizes.items()},
        "preprocess": {name: preprocess for name, (_, preprocess, _) in chosen.items()},
        "decode": {name: decode for name, (_, _, decode) in chosen.items()},
    }


def check_arguments(net: Network, x: Tensor, task: str, stride: int = 32, **optional: Any) -> None:
    """Checks a network's input and those arguments of its `define` that not every task has a use for.

    Raises:
        NetworkError: the input's size is no multiple of `stride`, or an argument would not change anything.
    """
    if task != "cls":
        check_multiple(net, x, stride)
    for name, value in optional.items():
        if value is not None and (task == "cls" or (name == "kpt_shape" and task != "pose")):
            raise NetworkError(f"{net.name} has no use for {name}={value!r}: leave it out.")


def recognize(weights: Weights, all_variants: Mapping[str, Variant], repeats: int, kernel: int = 3) -> str | None:
    """The variant that weights are of, by the first convolution's size, the depth of a block and the head, if any.

    Args:
        weights: looked at, not taken.
        all_variants: a family's.
        repeats: how often, at full depth, the block `model.4` repeats what is inside.
        kernel: of the first convolution.
    """
    stem = weights["model.0.conv.weight"].size if "model.0.conv.weight" in weights else 0
    depth = len({key.split(".")[3] for key in weights if key.startswith("model.4.m.")})
    last = max((int(key.split(".")[1]) for key in weights if re.match(r"model\.\d+\.", key)), default=0)
    head = {key.removeprefix(f"model.{last}."): key for key in weights if key.startswith(f"model.{last}.")}
    more = next((key for name, key in head.items() if re.match(r"(one2one_)?cv4(_kpts)?\.0(\.2)?\.bias", name)), None)
    if "linear.bias" in head:
        task = "cls"
    elif "proto.cv1.conv.weight" in head:
        task = "seg"
    elif more is not None:
        task = "obb" if weights[more].size == 1 else "pose"
    else:
        task = "detect"
    for name, variant in all_variants.items():
        scale = variant["scale"]
        sized = stem == 3 * kernel**2 * scale.channels(64) and depth == scale.repeats(repeats)
        anchored = task == "cls" or variant.get("anchors", False) == ("m.0.bias" in head)
        if task == variant["task"] and sized and anchored and variant.get("p6", False) == (last == 33):
            return name
    return None
