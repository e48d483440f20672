"""Candidates of detectors that give differences to priors, as RetinaFace, or maps with peaks, as CenterNet."""

import numpy as np

from netdefs.core.priors import LANDMARKS, VARIANCES, count, priors
from netdefs.vision.candidates import Candidates, Outputs, output_of
from netdefs.vision.maps import checked

STRIDE = 4  # of CenterNet's maps
MOST = 100  # peaks of all classes together


def from_priors(outputs: Outputs, threshold: float, size: tuple[int, int], more: int = 2 * LANDMARKS) -> Candidates:
    """RetinaFace: `faces`, (A, 15), or the network's own `boxes`, `classes` and `landmarks`.

    Args:
        outputs: by name, without the batch.
        threshold: scores are above it.
        size: (height, width) of the input.
        more: how many values a box has besides: x and y of five landmarks.

    Raises:
        InputError: an output is not there, of another shape, or holds NaN or infinity.

    Source: decode and decode_landm in utils/box_utils.py of biubug6/Pytorch_Retinaface (MIT).
    """
    total = count(*size)
    if "faces" in outputs:
        rows = checked("The faces in 'faces'", outputs["faces"], (total, 5 + more))
        rows = rows[rows[:, 4] > threshold]
        return Candidates(rows[:, :4], rows[:, 4], np.zeros(len(rows), np.int64), rows[:, 5:], None)
    boxes, classes, landmarks = (
        checked(f"The {what} in {what!r}", output_of(outputs, what), (total, values))
        for what, values in (("boxes", 4), ("classes", 2), ("landmarks", more))
    )
    kept = np.flatnonzero(classes[:, 1] > threshold)
    known = priors(*size)[kept]
    step = known[:, 2:] * np.float32(VARIANCES[0])
    middle = known[:, :2] + boxes[kept, :2] * step
    half = known[:, 2:] * np.exp(boxes[kept, 2:] * np.float32(VARIANCES[1])) / 2
    points = known[:, None, :2] + landmarks[kept].reshape(-1, LANDMARKS, 2) * step[:, None]
    edges = np.concatenate([middle - half, middle + half], 1)
    return Candidates(edges, classes[kept, 1], np.zeros(len(kept), np.int64), points.reshape(-1, more), None)


def from_peaks(outputs: Outputs, threshold: float) -> Candidates:
    """CenterNet: the best 100 pixels of `hm` that no neighbour exceeds, with `wh` and `reg` there; the best first.

    Raises:
        InputError: an output is not there, of another shape, or holds NaN or infinity.

    Source: ctdet_decode in src/lib/models/decode.py of xingyizhou/CenterNet (MIT).
    """
    hm = checked("Heat maps in 'hm'", output_of(outputs, "hm"), ("classes", "height", "width"))
    classes, height, width = hm.shape
    wh, reg = (checked(f"The map {name!r}", output_of(outputs, name), (2, height, width)) for name in ("wh", "reg"))
    # A sigmoid keeps the order, so peaks can be looked for before it, among the few that are high enough.
    with np.errstate(divide="ignore"):
        least = np.log(threshold) - np.log1p(-threshold)
    label, row, column = np.nonzero(hm > least)
    padded = np.pad(hm, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    value = hm[label, row, column]
    highest = np.ones(len(value), bool)
    for down in range(3):
        for right in range(3):
            highest &= padded[label, row + down, column + right] <= value
    best = np.flatnonzero(highest)
    best = best[np.argsort(-value[best], kind="stable")[:MOST]]
    label, row, column = label[best], row[best], column[best]
    scores = (1 / (1 + np.exp(-value[best].astype(np.float64)))).astype(np.float32)
    middle = np.stack([column, row], 1) + reg[:, row, column].T
    half = wh[:, row, column].T / 2
    edges = (STRIDE * np.concatenate([middle - half, middle + half], 1)).astype(np.float32)
    kept = scores > threshold
    return Candidates(edges[kept], scores[kept], label[kept], edges[kept, :0], classes)
