"""What detectors say before suppression: every box with its best class, read off each family's own layout."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision.maps import checked

Outputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes with the scores they were chosen by, in the network's order.

    Attributes:
        boxes: (n, 4) float32, in pixels of the input, where pixel i stretches from i to i + 1: x1, y1, x2, y2, or for
            rotated boxes centre x, centre y, width, height.
        scores: (n,) float32.
        labels: (n,) class numbers.
        more: (n, m) float32: what else belongs to a box.
        classes: how many classes the network tells apart; None if its outputs don't tell.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    more: np.ndarray
    classes: int | None

    def __getitem__(self, chosen: np.ndarray) -> "Candidates":
        """Some of them, in another order."""
        return Candidates(self.boxes[chosen], self.scores[chosen], self.labels[chosen], self.more[chosen], self.classes)


def from_columns(outputs: Outputs, threshold: float, more: int = 0, rotated: bool = False) -> Candidates:
    """YOLOv8 and what came after it: `pred`, (4 + classes + more, A), a column for each box.

    Args:
        outputs: by name, without the batch: `pred`, or YOLO26's `one2many_pred`.
        threshold: scores are above it.
        more: how many values a box has besides its place and its classes.
        rotated: leave the boxes as centre x, centre y, width, height.

    Raises:
        InputError: the output is not there, of another shape, or holds NaN or infinity.
    """
    name = "one2many_pred" if "one2many_pred" in outputs else "pred"
    pred = checked(f"The detections in {name!r}", output_of(outputs, name), ("4 + classes + more", "boxes"))
    classes = _class_count(pred.shape[0], 4, more)
    probabilities = pred[4 : 4 + classes]
    kept = np.flatnonzero(probabilities.max(0) > threshold)
    rows = pred[:, kept].T
    labels = rows[:, 4 : 4 + classes].argmax(1)
    scores = rows[np.arange(len(rows)), 4 + labels]
    boxes = rows[:, :4] if rotated else _edges(rows)
    return Candidates(boxes, scores, labels, rows[:, 4 + classes :], classes)


def from_rows(outputs: Outputs, threshold: float, more: int = 0, several: bool = False) -> Candidates:
    """YOLOv5: `pred`, (A, 5 + classes + more), a row for each box, whose fifth value is its objectness.

    Args:
        outputs: by name, without the batch.
        threshold: products of objectness and probability are above it.
        more: how many values a box has besides its place, its objectness and its classes.
        several: a box counts once for each class above the threshold, not just for its best one.

    Raises:
        InputError: the output is not there, of another shape, or holds NaN or infinity.
    """
    pred = checked("The detections in 'pred'", output_of(outputs, "pred"), ("boxes", "5 + classes + more"))
    classes = _class_count(pred.shape[1], 5, more)
    rows = pred[pred[:, 4] > threshold]
    scores = rows[:, 5 : 5 + classes] * rows[:, 4:5]
    which, labels = _above(scores, threshold, several)
    return Candidates(_edges(rows)[which], scores[which, labels], labels, rows[which, 5 + classes :], classes)


def from_yolox(outputs: Outputs, threshold: float) -> Candidates:
    """YOLOX: `decoded`, (A, 5 + classes), as YOLOv5's rows; a score that equals the threshold counts too.

    Raises:
        InputError: the output is not there, of another shape, or holds NaN or infinity.
    """
    rows = checked("The detections in 'decoded'", output_of(outputs, "decoded"), ("boxes", "5 + classes"))
    classes = _class_count(rows.shape[1], 5, 0)
    rows = rows[rows[:, 4] >= threshold]
    labels = rows[:, 5:].argmax(1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + labels]
    kept = scores >= threshold
    return Candidates(_edges(rows[kept]), scores[kept], labels[kept], rows[kept, :0], classes)


def from_pairs(outputs: Outputs, threshold: float, several: bool = False) -> Candidates:
    """Darknet's networks: `boxes`, (A, 1, 4), x1, y1, x2, y2 in parts of the input's size, and `confs`, (A, classes).

    The boxes stay in these units. `threshold` and `several` are those of `from_rows`.

    Raises:
        InputError: an output is not there, of another shape, or holds NaN or infinity.
    """
    confs = checked("The scores in 'confs'", output_of(outputs, "confs"), ("boxes", "classes"))
    boxes = checked("The boxes in 'boxes'", output_of(outputs, "boxes"), (len(confs), 1, 4))[:, 0]
    which, labels = _above(confs, threshold, several)
    return Candidates(boxes[which], confs[which, labels], labels, boxes[which, :0], confs.shape[1])


def from_detections(outputs: Outputs, threshold: float, more: int = 0) -> Candidates:
    """Networks that need no suppression: `dets`, (n, 6 + more), rows of a box, its score, its class, and more.

    Where such a network found fewer things than it has rows, the rest have the score 0; they are no detections.

    Raises:
        InputError: the output is of another shape, or holds NaN or infinity.
    """
    rows = checked("The detections in 'dets'", outputs["dets"], ("detections", 6 + more))
    rows = rows[rows[:, 4] > threshold]
    logits = outputs.get("one2one_cls_logits")
    return Candidates(
        rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), rows[:, 6:], None if logits is None else len(logits)
    )


def output_of(outputs: Outputs, name: str) -> np.ndarray:
    """The output of this name.

    Raises:
        InputError: there is none.
    """
    if name not in outputs:
        raise InputError(
            f"There is no output {name!r}; there are: {', '.join(outputs)}. Of YOLOs, boxes are read off the decoded "
            "outputs: define the network with decode='decoded' or 'both'."
        )
    return outputs[name]


def _class_count(values: int, before: int, more: int) -> int:
    if values <= before + more:
        raise InputError(
            f"A box has {values} values, which leaves no classes: {before} are its place and objectness, {more} follow "
            "its classes."
        )
    return values - before - more


def _above(scores: np.ndarray, threshold: float, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the scores above the threshold: all of them, or of each row the highest one."""
    if several:
        rows, columns = np.nonzero(scores > threshold)
        return rows, columns
    kept = np.flatnonzero(scores.max(1) > threshold)
    return kept, scores[kept].argmax(1)


def _edges(rows: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 of boxes of centre x, centre y, width and height."""
    half = rows[:, 2:4] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], 1)
