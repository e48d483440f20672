"""What a network found in a picture, and the methods that read it off the outputs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision import interest, textboxes
from netdefs.vision.boxes import FAMILIES, detect
from netdefs.vision.draw import draw
from netdefs.vision.embedding import unit_embeddings
from netdefs.vision.fields import assemble
from netdefs.vision.grouping import Peaks, aggregate, decode_grouping, decode_peaks, rules_for
from netdefs.vision.heatmap import decode_heatmaps, merge_flipped
from netdefs.vision.instance import Instance
from netdefs.vision.interest import Points
from netdefs.vision.maps import checked
from netdefs.vision.masks import decode_mask, overlay
from netdefs.vision.names import Classes, Skeleton, palette, table
from netdefs.vision.text import decode_text

Outputs = Mapping[str, np.ndarray]
Names = Skeleton | Classes | None
How = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Crop:
    """What one item of a batch shows.

    Attributes:
        placement: (2, 3), from the picture's pixels to the input's.
        shape: (height, width) of the picture.
        size: (height, width) of the input.
        box: the part of the picture that was asked for; None for all of it.
    """

    placement: np.ndarray
    shape: tuple[int, int]
    size: tuple[int, int]
    box: tuple[float, ...] | None


@dataclasses.dataclass(eq=False)
class Found:
    """What is in one picture.

    Attributes:
        probabilities: (classes,), of the whole picture, for classifiers.
        instances: people, hands or objects, best first; of a network that looks into boxes, one for each box.
        labels: (H, W), the class of every pixel, for segmentation.
        picture: (H', W', 3) uint8, BGR, of networks that make one.
        points: what can be found again in another picture, of networks that look for that.
        names: what labels and keypoints stand for, where that is known.
        outputs: what the network itself gave, by output name, with an item for each crop.
    """

    probabilities: np.ndarray | None = None
    instances: list[Instance] = dataclasses.field(default_factory=list)
    labels: np.ndarray | None = None
    picture: np.ndarray | None = None
    points: Points | None = None
    names: Names = None
    outputs: Outputs = dataclasses.field(default_factory=dict)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """A copy of the picture, (H, W, 3) uint8, BGR, with all that was found drawn on it; or the one made of it."""
        if self.picture is not None:
            return self.picture.copy()
        instances = self.instances
        if self.labels is not None:
            colors = self.names.colors if isinstance(self.names, Classes) else palette(int(self.labels.max()) + 1)
            image = overlay(image, self.labels, colors)
        if self.probabilities is not None:
            best = int(self.probabilities.argmax())
            whole = np.array([0, 0, image.shape[1] - 1, image.shape[0] - 1])
            instances = [Instance(float(self.probabilities[best]), best, box=whole)]
        if self.points is not None:  # all of them, however low their scores are
            seen = np.concatenate([self.points.keypoints[:, :2], np.ones((len(self.points), 1))], 1)
            instances = [Instance(1.0, keypoints=seen)]
        return draw(image, instances, self.names or "")

    def name_of(self, label: int) -> str:
        """A class in words, or its number if its name is not known."""
        return self.names.names[label] if isinstance(self.names, Classes) else str(label)


def decode(
    outputs: Outputs,
    crops: Sequence[Crop],
    how: How,
    class_names: Sequence[str] | None = None,
    *,
    threshold: float | None = None,
    iou: float | None = None,
) -> Found:
    """What the outputs of one picture's crops say.

    Args:
        outputs: by name, (crops, ...); those of the mirrored crops, if any, are called `<name>/flipped`.
        crops: what they show.
        how: the fields of `netdefs.core.preprocess.Decode`; an engine keeps them as `engine.info["decode"]`. For
            detectors also what `netdefs.vision.boxes.detect` takes, for masks the `align_corners` of `decode_mask`.
        class_names: the classes' names, if they are not the model's usual ones.
        threshold: of detectors, text and points, the score above which one counts; by default what the network's own
            code has.
        iou: of detectors, how far two boxes of one class may overlap; likewise.

    Raises:
        InputError: the method is unknown, or has no use for mirrored crops or thresholds, or there are not as many
            names as classes.
    """
    method = how["method"]
    if method not in METHODS and method not in FAMILIES:
        raise InputError(
            f"There is no way {method!r} to decode outputs; there are: {', '.join([*METHODS, *FAMILIES])}."
        )
    if method not in FLIPPING and any(name.endswith("/flipped") for name in outputs):
        raise InputError(f"Only {' and '.join(FLIPPING)} can be averaged with a mirrored picture, not {method}.")
    names = table(how["names"]) if how["names"] else None
    if method in FAMILIES:
        one, crop = {name: value[0] for name, value in outputs.items()}, crops[0]
        instances, classes = detect(one, how, crop.placement, crop.size, crop.shape, threshold, iou)
        found = Found(instances=instances)
    elif iou is not None or (threshold is not None and method not in THRESHOLDED):
        raise InputError(f"A threshold and an iou are for detectors; this network's outputs are decoded as {method!r}.")
    else:
        how = how if threshold is None else {**how, "threshold": threshold}
        found, classes = METHODS[method](outputs, crops, names, how)
    if class_names is not None:
        if classes is None:
            classes = max(len(class_names), 1 + max((each.label or 0 for each in found.instances), default=-1))
        if method not in FAMILIES and not classes:
            raise InputError(f"Names are for classes, and this network's outputs, decoded as {method!r}, have none.")
        if len(class_names) != classes:
            raise InputError(f"There are {len(class_names)} names, and the network has {classes} classes.")
        names = Classes(tuple(class_names), palette(len(class_names)))
    elif isinstance(names, Classes) and len(names.names) != classes:
        names = None  # a network that was trained on other classes: numbers are better than wrong names
    elif isinstance(names, Skeleton) and any(
        each.keypoints is not None and len(each.keypoints) != len(names.keypoints) for each in found.instances
    ):
        names = None
    return dataclasses.replace(found, names=names, outputs=outputs)


def _classes(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """Softmax of `logits`, or `prob` as it is."""
    if "prob" in outputs:
        probabilities = outputs["prob"][0]
    else:
        logits = outputs["logits"][0].astype(np.float64)
        probabilities = np.exp(logits - logits.max())
        probabilities = (probabilities / probabilities.sum()).astype(np.float32)
    return Found(probabilities=probabilities), len(probabilities)


def _mask(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """The class with the highest logit; of a single one, whether its logit is positive."""
    crop, logits = crops[0], outputs["logits" if "logits" in outputs else "logits_stride4"][0]
    if len(logits) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits])
    labels = decode_mask(logits, crop.placement, crop.size, crop.shape, how.get("align_corners", False))
    return Found(labels=labels), len(logits)


def _picture(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """The network's picture, its values in 0..1 and its channels RGB; the input must be the picture that was asked for.

    Resized to the input and made larger by the network, it would look as if it had become so much sharper.
    """
    crop = crops[0]
    if crop.size != tuple(crop.shape):
        (height, width), size = crop.shape, "x".join(map(str, crop.size))
        raise InputError(
            f"This network makes a picture of one that has the size of its input, {size}, not {height}x{width}: give "
            f"input_shape=(1, 3, {height}, {width}), or cut the picture into such pieces."
        )
    rgb = checked("A picture", outputs["picture"][0], ("channels", "height", "width"))
    return Found(picture=np.rint(255 * np.clip(rgb[::-1], 0, 1)).astype(np.uint8).transpose(1, 2, 0).copy()), 0


def _heatmap(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """One heat map a keypoint, one crop a person. The last one of OpenPose's hand is the background's.

    A pixel of OpenPose's maps is the middle of its eight of the input, so a mirror does not put them off.
    """
    hand = "heatmap_22" in outputs
    output = "heatmap_22" if hand else "heatmaps"
    keypoints = slice(21 if hand else None)
    heatmaps = outputs[output][:, keypoints]
    if f"{output}/flipped" in outputs:
        flipped = outputs[f"{output}/flipped"][:, keypoints]
        heatmaps = merge_flipped(heatmaps, flipped, _pairs(names, heatmaps.shape[1]), shift=not hand)
    found = decode_heatmaps(heatmaps, np.stack([crop.placement for crop in crops]), crops[0].size, centered=hand)
    people = []
    for crop, points in zip(crops, found, strict=True):
        box = None if crop.box is None else np.asarray(crop.box, np.float32)
        people.append(Instance(float(points[:, 2].mean()), box=box, keypoints=points))
    return Found(instances=people), 0


def _pairs(names: Names, keypoints: int) -> tuple[tuple[int, int], ...]:
    """The keypoints that change places in a mirror."""
    if not isinstance(names, Skeleton) or len(names.keypoints) != keypoints:
        raise InputError("Which keypoints change places in a mirror is not known for this network: it has others.")
    return names.flip_pairs


def _grouping(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """HigherHRNet: its two stages, what it aggregated itself, or the peaks that it found itself."""
    crop, one = crops[0], {name: value[0] for name, value in outputs.items()}
    if "tags/flipped" in one:
        raise InputError("A mirrored picture can be averaged in only before a network aggregates its stages itself.")
    if "scores" in one:
        peaks = Peaks(one["scores"], one["x"], one["y"], one["tags"][..., None])
        rules = rules_for(len(peaks.scores))
        return Found(instances=decode_peaks(peaks, crop.size, crop.placement, crop.size, rules)), 0
    if "tags" in one:
        heatmaps, tags = one["heatmaps"], one["tags"][None]
        people = decode_grouping(heatmaps, tags, crop.placement, crop.size, rules_for(len(heatmaps)))
        return Found(instances=people), 0
    stages = "stage0_heatmaps_and_tags", "stage1_heatmaps"
    flipped = [one[f"{stage}/flipped"] for stage in stages if f"{stage}/flipped" in one] or None
    pairs = () if flipped is None else _pairs(names, len(one["stage1_heatmaps"]))
    heatmaps, tags = aggregate([one[stage] for stage in stages], crop.size, flipped, pairs)
    people = decode_grouping(heatmaps, tags, crop.placement, crop.size, rules_for(len(heatmaps)))
    return Found(instances=people), 0


def _fields(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    crop = crops[0]
    people = assemble(outputs["heatmap_19"][0], outputs["paf_38"][0], crop.placement, crop.size)
    return Found(instances=people), 0


def _embedding(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """What is in each crop, as a vector of length 1."""
    people = [
        Instance(1.0, box=_box_of(crop), embedding=embedding)
        for crop, embedding in zip(crops, unit_embeddings(outputs["embedding"]), strict=True)
    ]
    return Found(instances=people), 0


def _text(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """The line of text in each crop."""
    if how.get("alphabet") is None:
        raise InputError(
            "Which characters this network's classes stand for is not known: define it with alphabet=, a string of the "
            "characters of the classes from 1 on."
        )
    lines = []
    for crop, logits in zip(crops, outputs["logits"], strict=True):
        text, score = decode_text(logits, how["alphabet"])
        lines.append(Instance(score, box=_box_of(crop), text=text))
    return Found(instances=lines), 0


def _text_boxes(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """DBNet: the rectangles that lines of text fill."""
    crop, threshold = crops[0], how.get("threshold", textboxes.THRESHOLD)
    return Found(instances=textboxes.find_text(outputs["binary"][0, 0], crop.placement, crop.shape, threshold)), 0


def _points(outputs: Outputs, crops: Sequence[Crop], names: Names, how: How) -> tuple[Found, int]:
    """SuperPoint: its peaks, and what each looks like."""
    places, threshold = (
        outputs["heatmap" if "heatmap" in outputs else "semi"][0],
        how.get("threshold", interest.THRESHOLD),
    )
    return Found(points=interest.find_points(places, outputs["desc"][0], crops[0].placement, threshold)), 0


def _box_of(crop: Crop) -> np.ndarray:
    """The part of the picture that a crop shows: (4,)."""
    return np.asarray((0, 0, *crop.shape[::-1]) if crop.box is None else crop.box, np.float32)


# Each gives what was found, and how many classes the network tells apart.
METHODS: Mapping[str, Callable[[Outputs, Sequence[Crop], Names, How], tuple[Found, int]]] = MappingProxyType(
    {
        "classes": _classes,
        "mask": _mask,
        "picture": _picture,
        "heatmap": _heatmap,
        "grouping": _grouping,
        "fields": _fields,
        "embedding": _embedding,
        "text": _text,
        "text_boxes": _text_boxes,
        "points": _points,
    }
)
THRESHOLDED = ("text_boxes", "points")
FLIPPING = ("heatmap", "grouping")
