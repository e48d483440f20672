"""The peaks of heat maps, and the tags that they carry."""

from typing import Any, NamedTuple

import numpy as np

from netdefs.core.optional import require
from netdefs.vision.maps import checked, in_pixel


class Peaks(NamedTuple):
    """The best peaks of every map, best first; where there are fewer, the rest have the score 0.

    Attributes:
        scores: (K, M).
        xs: (K, M), in the map.
        ys: (K, M), in the map.
        tags: (K, M, T).
    """

    scores: np.ndarray
    xs: np.ndarray
    ys: np.ndarray
    tags: np.ndarray


def peaks(heatmaps: np.ndarray, tags: np.ndarray, count: int = 30, radius: int = 2, threshold: float = 0.0) -> Peaks:
    """The best peaks of every heat map.

    A peak is a pixel that is not below any other within the radius. Of equal ones that near to each other the first is
    taken, row by row; upstream takes them all, and makes several people of one whose keypoint lies just between two
    pixels.

    Args:
        heatmaps: (K, h, w) float32.
        tags: (T, K, h, w) float32: every pixel's tags.
        count: how many peaks of each map.
        radius: a peak is the highest in a square of 2 * radius + 1 pixels.
        threshold: what a peak must be above; never less than 0.

    Source: HeatmapParser.nms, top_k and adjust in lib/core/group.py of HRNet/HigherHRNet-Human-Pose-Estimation (MIT).
    """
    cv2 = require("cv2", "vision")
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    scores, where = np.zeros((len(heatmaps), count), np.float32), np.zeros((len(heatmaps), count), np.int64)
    for k, heat in enumerate(heatmaps):
        highest = _firsts((heat == cv2.dilate(heat, square)) & (heat > max(threshold, 0)), radius)
        values = heat.ravel()[highest]
        if len(values) > count:  # only the best need to be sorted
            least = np.partition(values, -count)[-count]
            highest, values = highest[values >= least], values[values >= least]
        best = np.argsort(-values, kind="stable")[:count]
        scores[k, : len(best)], where[k, : len(best)] = values[best], highest[best]
    which = np.arange(len(heatmaps))[:, None]
    ys, xs = np.divmod(where, heatmaps.shape[2])
    x, y = in_pixel(heatmaps, which, ys, xs)
    return Peaks(scores, x, y, np.moveaxis(tags[:, which, ys, xs], 0, -1))


def checked_peaks(scores: Any, xs: Any, ys: Any, tags: Any) -> Peaks:
    """Peaks as float32, once their shapes and numbers are known to be usable.

    Raises:
        InputError: the shapes don't fit, or there are NaN or infinity among the numbers.
    """
    scores = checked("Scores of peaks", scores, ("keypoints", "peaks"))
    xs, ys = checked("The x of peaks", xs, scores.shape), checked("The y of peaks", ys, scores.shape)
    return Peaks(scores, xs, ys, checked("Tags of peaks", tags, (*scores.shape, "tags")))


def distinct(found: Peaks, radius: int = 2) -> Peaks:
    """Peaks without those that are equal to one before them within the radius, row by row: these get the score 0.

    A network that finds its peaks itself may give several of one keypoint that lies just between pixels.
    """
    rows, columns = np.floor(found.ys), np.floor(found.xs)
    down, right = rows[:, :, None] - rows[:, None], columns[:, :, None] - columns[:, None]
    near = (np.abs(down) <= radius) & (np.abs(right) <= radius) & ((down > 0) | ((down == 0) & (right > 0)))
    again = (near & (found.scores[:, :, None] == found.scores[:, None])).any(2)
    return found._replace(scores=np.where(again, 0, found.scores))


def _firsts(mask: np.ndarray, radius: int) -> np.ndarray:
    """The numbers of the pixels of an (h, w) mask with no other of them before it, row by row, within the radius."""
    width = mask.shape[1] + 2 * radius
    padded = np.pad(mask, radius).ravel()
    where = np.flatnonzero(padded)
    square = [(dy, dx) for dy in range(-radius, 1) for dx in range(-radius, radius + 1)]
    before = np.array([dy * width + dx for dy, dx in square if (dy, dx) < (0, 0)], np.int64)
    ys, xs = np.divmod(where[~padded[where[:, None] + before].any(1)], width)
    return np.asarray((ys - radius) * mask.shape[1] + xs - radius)
