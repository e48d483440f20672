"""Non-maximum suppression: of boxes that show the same thing, only the best one stays.

OpenCV has one too, cv2.dnn.NMSBoxesBatched, but not for this: it computes overlaps in float64 and keeps classes apart
exactly, while detectors are evaluated with torchvision's, in float32 and on boxes that upstream has moved apart by
class, which rounds them. Where an overlap comes close to the threshold the two differ: on crowds of 1500 boxes with a
threshold of 0.45 in one of four. It also compares every pair, 8 s for 30,000 boxes.
"""

import numpy as np

from netdefs.core.yolo.suppression import rounded_down

EPS = 1e-7  # of probiou
BLOCK = 64  # boxes that are compared with all others at once


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, limit: int | None = None) -> np.ndarray:
    """The boxes that stay: each one that no better box that stays overlaps by more than `threshold`.

    Of equal scores the first box is the better one. Boxes without area overlap nothing.

    Args:
        boxes: (n, 4) float32: x1, y1, x2, y2.
        scores: (n,).
        threshold: intersection over union, in 0..1.
        limit: stop when so many are found.

    Returns:
        (kept,) int64 positions, the best first.

    Source: nms_kernel_impl in torchvision/csrc/ops/cpu/nms_kernel.cpp of pytorch/vision (BSD-3-Clause), whose results
    these are, to the last bit.
    """
    bound = rounded_down(threshold)  # the overlap is float32 there, and the threshold is not
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    left = np.ascontiguousarray(boxes[order].T, np.float32)
    while order.size and (limit is None or len(kept) < limit):
        first, left = left[:, :BLOCK], left[:, BLOCK:]
        overlaps = np.triu(_overlaps(first, first) > bound, 1)
        gone = np.zeros(first.shape[1], bool)
        for i, row in enumerate(overlaps):
            if not gone[i]:
                gone |= row
        kept.extend(order[:BLOCK][~gone])
        stay = ~(_overlaps(first[:, ~gone], left) > bound).any(0)
        order, left = order[BLOCK:][stay], left[:, stay]
    return np.array(kept[:limit], np.int64)


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of (4, n) with (4, m) boxes: (n, m); NaN for two boxes without area."""
    ax1, ay1, ax2, ay2 = first[:, :, None]
    bx1, by1, bx2, by2 = second
    shared = np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0)
    shared *= np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)
    union -= shared
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(shared / union)


def class_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    limit: int | None = None,
    offset: float | None = None,
) -> np.ndarray:
    """`nms` of each class by itself.

    Args:
        boxes: (n, 4) float32: x1, y1, x2, y2.
        scores: (n,).
        labels: (n,) class numbers.
        threshold: intersection over union, in 0..1.
        limit: how many may stay, of all classes together.
        offset: move the boxes of class i by i times this, so that those of different classes never meet: quick, and
            what upstream does, but with many classes coordinates lose digits. None compares within each class.

    Returns:
        (kept,) int64 positions, the best first.
    """
    if offset is not None:
        return nms(boxes + (labels.astype(np.float32) * np.float32(offset))[:, None], scores, threshold, limit)
    kept = [np.zeros(0, np.int64)]
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        kept.append(mine[nms(boxes[mine], scores[mine], threshold, limit)])
    stay = np.sort(np.concatenate(kept))
    return stay[np.argsort(-scores[stay], kind="stable")][:limit]


def rotated_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    limit: int | None = None,
    offset: float = 0.0,
) -> np.ndarray:
    """The rotated boxes that stay: each one that no better box of its class overlaps by more than `threshold`.

    Unlike in `nms`, a box counts against others even if it does not stay itself: "fast NMS",
    https://arxiv.org/abs/1904.02689.

    Args:
        boxes: (n, 5) float32: centre x, centre y, width, height, angle in radians.
        scores: (n,). Of equal ones the first box is the better one.
        labels: (n,) class numbers.
        threshold: of `probiou`, in 0..1.
        limit: stop when so many are found.
        offset: the centres of class i are moved by i times this; 0 compares all classes with each other.

    Returns:
        (kept,) int64 positions, the best first.

    Source: TorchNMS.fast_nms in ultralytics/utils/nms.py of ultralytics/ultralytics (AGPL-3.0).
    """
    order = np.argsort(-scores, kind="stable")
    moved = boxes[order].astype(np.float32)
    moved[:, :2] += (labels[order].astype(np.float32) * np.float32(offset))[:, None]
    kept = np.zeros(0, np.int64)
    for start in range(0, len(order), BLOCK):
        stop = min(start + BLOCK, len(order))
        overlaps = probiou(moved[:stop], moved[start:stop]) > np.float32(threshold)
        better = np.arange(stop)[:, None] < np.arange(start, stop)
        kept = np.concatenate([kept, order[start:stop][~(overlaps & better).any(0)]])
        if limit is not None and len(kept) >= limit:
            break
    return kept[:limit]


def probiou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How much rotated boxes overlap, as Gaussian distributions: 1 less their Hellinger distance.

    Args:
        first: (n, 5): centre x, centre y, width, height, angle in radians.
        second: (m, 5).

    Returns:
        (n, m) float32, from 0 for boxes far apart to nearly 1 for equal ones.

    Source: https://arxiv.org/abs/2106.06072; batch_probiou in ultralytics/utils/metrics.py of ultralytics/ultralytics
    (AGPL-3.0).
    """
    x1, y1, a1, b1, c1 = (values[:, None] for values in _gaussian(first))
    x2, y2, a2, b2, c2 = _gaussian(second)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    dx, dy = x2 - x1, y1 - y2
    determinant = a * b - c * c
    sizes = np.sqrt(np.maximum(a1 * b1 - c1 * c1, 0) * np.maximum(a2 * b2 - c2 * c2, 0))
    distance = (a * (dy * dy) + b * (dx * dx)) / (determinant + EPS) * 0.25
    distance += c * dx * dy / (determinant + EPS) * 0.5
    distance += np.log(determinant / (4 * sizes + EPS) + EPS) * 0.5
    return np.asarray(1 - np.sqrt(1 - np.exp(-np.clip(distance, EPS, 100)) + EPS))


def _gaussian(boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Centres x and y, and the covariances of uniform distributions over the boxes: of x, of y, of both."""
    x, y, width, height, angle = boxes.T.astype(np.float32)
    along, across = width * width / 12, height * height / 12
    cos, sin = np.cos(angle), np.sin(angle)
    cos2, sin2 = cos * cos, sin * sin
    return x, y, along * cos2 + across * sin2, along * sin2 + across * cos2, (along - across) * cos * sin
