"""Points of a picture that can be found again in another one, and which points of two pictures belong together."""

import dataclasses
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision.embedding import unit_embeddings
from netdefs.vision.geometry import to_picture
from netdefs.vision.maps import checked, checked_share

# What SuperPointFrontend in demo_superpoint.py of magicleap/SuperPointPretrainedNetwork takes.
THRESHOLD = 0.015  # a point is at least as likely as this
RADIUS = 4  # how many pixels points are apart, more than this, in each direction
BORDER = 4  # pixels along the input's edges where no points are looked for
FARTHEST = 0.7  # between descriptors of one thing
CELL = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """Points of one picture, the likeliest first.

    Attributes:
        keypoints: (K, 3) float32: x, y, score; in pixels of the picture, whose centres are at whole numbers.
        descriptors: (K, features) float32, of length 1: what each looks like. `match_points` compares them.
    """

    keypoints: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.keypoints)


def find_points(places: Any, desc: Any, placement: np.ndarray, threshold: float = THRESHOLD) -> Points:
    """The points of SuperPoint's outputs: peaks that are far enough from likelier ones, and from the input's edges.

    Args:
        places: `heatmap`, (1, H, W), or `semi`, (65, H/8, W/8).
        desc: (features, H/8, W/8).
        placement: (2, 3) from `netdefs.vision.placement`.
        threshold: points are at least as likely as this.

    Raises:
        InputError: an output is of another shape or holds NaN or infinity, or the threshold is not 0 to 1.

    Source: SuperPointFrontend.run and nms_fast in demo_superpoint.py of magicleap/SuperPointPretrainedNetwork. In two
    things it is not followed to the letter: it adds 1e-5 to the softmax's sum, and its PyTorch of 2018 read descriptors
    up to half a cell away from where PyTorch reads them since 1.3, and this function does.
    """
    checked_share("threshold", threshold)
    heat = heatmap_of(places)
    height, width = heat.shape
    desc = checked("Descriptors in 'desc'", desc, ("features", height // CELL, width // CELL))
    ys, xs = peaks_apart(heat, threshold, RADIUS)
    inside = (ys >= BORDER) & (ys < height - BORDER) & (xs >= BORDER) & (xs < width - BORDER)
    ys, xs = ys[inside], xs[inside]
    xy = to_picture(np.stack([xs, ys], 1), placement)
    keypoints = np.concatenate([xy, heat[ys, xs, None]], 1).astype(np.float32)
    if not len(keypoints):
        return Points(keypoints, np.zeros((0, len(desc)), np.float32))
    return Points(keypoints, unit_embeddings(_read(desc, ys, xs)))


def heatmap_of(places: Any) -> np.ndarray:
    """(H, W) float32: how likely a point is at each pixel, of what `find_points` takes."""
    if np.ndim(places) == 3 and np.shape(places)[0] == 1:
        heat = checked("The heat map in 'heatmap'", places, (1, "height", "width"))[0]
        if any(size % CELL for size in heat.shape):
            raise InputError(f"The heat map in 'heatmap' is made of cells of {CELL} x {CELL} pixels, not {heat.shape}.")
        return heat
    semi = checked("The cells in 'semi'", places, (CELL**2 + 1, "height", "width")).astype(np.float64)
    exponents = np.exp(semi - semi.max(0))
    likely = (exponents / exponents.sum(0))[:-1]
    rows, columns = semi.shape[1:]
    cells = likely.reshape(CELL, CELL, rows, columns).transpose(2, 0, 3, 1)
    return cells.reshape(CELL * rows, CELL * columns).astype(np.float32)


def peaks_apart(heat: np.ndarray, threshold: float, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of pixels from the highest on, but for those within the `radius` of one that was taken before.

    Of equal pixels the first is taken, row by row.
    """
    ys, xs = np.nonzero(heat >= threshold)
    best = np.argsort(-heat[ys, xs], kind="stable")
    ys, xs = ys[best], xs[best]
    free = np.ones((heat.shape[0] + 2 * radius, heat.shape[1] + 2 * radius), bool)
    kept = []
    for i, (y, x) in enumerate(zip(ys.tolist(), xs.tolist(), strict=True)):
        if free[y + radius, x + radius]:
            free[y : y + 2 * radius + 1, x : x + 2 * radius + 1] = False
            kept.append(i)
    return ys[kept], xs[kept]


def match_points(first: Points, second: Points, threshold: float = FARTHEST) -> tuple[np.ndarray, np.ndarray]:
    """Which points of two pictures are the same: each looks like the other more than like all others.

        pairs, distances = match_points(found.points, other.points)
        here, there = found.points.keypoints[pairs[:, 0]], other.points.keypoints[pairs[:, 1]]

    Args:
        first: of one picture.
        second: of the other.
        threshold: descriptors of a pair are less than this apart; 2 is as far as they can be.

    Returns:
        (M, 2) int64, the numbers of the points in `first` and `second`, in the order of `first`; and (M,) float32, the
        distances of their descriptors.

    Raises:
        InputError: the descriptors are of different lengths, or the threshold is below 0.

    Source: PointTracker.nn_match_two_way in demo_superpoint.py of magicleap/SuperPointPretrainedNetwork.
    """
    if not threshold >= 0:
        raise InputError(f"The threshold of distances is {threshold}; it can't be below 0.")
    if first.descriptors.shape[1] != second.descriptors.shape[1]:
        raise InputError(
            f"Descriptors of {first.descriptors.shape[1]} features can't be compared with those of "
            f"{second.descriptors.shape[1]}: they are of different networks."
        )
    if not len(first) or not len(second):
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    likeness = first.descriptors @ second.descriptors.T
    there, back = likeness.argmax(1), likeness.argmax(0)
    here = np.arange(len(first))
    distances = np.sqrt(np.clip(2 - 2 * likeness[here, there], 0, 4))
    kept = (back[there] == here) & (distances < threshold)
    return np.stack([here[kept], there[kept]], 1), distances[kept].astype(np.float32)


def _read(desc: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """(K, features): bilinear between the cells, whose centres are at their pixels' middle."""
    parts = []
    for places, size in ((ys, desc.shape[1]), (xs, desc.shape[2])):
        at = np.clip(places / CELL - 0.5, 0, size - 1)
        low = np.minimum(at.astype(np.int64), max(size - 2, 0))
        parts.append((low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32)))
    (top, bottom, down), (left, right, across) = parts
    upper = desc[:, top, left] * (1 - across) + desc[:, top, right] * across
    lower = desc[:, bottom, left] * (1 - across) + desc[:, bottom, right] * across
    return np.asarray((upper * (1 - down) + lower * down).T)
