"""Crowds whose keypoints are known, and the heat maps, tags and fields that a faultless network would give for them.

Coordinates are those of the network's input, where pixel i stretches from i to i + 1: its middle is at i + 0.5.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

Size = tuple[int, int]
Stages = tuple[np.ndarray, np.ndarray]

# A person standing, x and y in a box of 1 x 1, in COCO's order of keypoints.
STANDING = np.array(
    [
        (0.50, 0.08), (0.54, 0.05), (0.46, 0.05), (0.59, 0.07), (0.41, 0.07), (0.66, 0.22), (0.34, 0.22), (0.80, 0.38),
        (0.20, 0.38), (0.90, 0.53), (0.10, 0.53), (0.60, 0.53), (0.40, 0.53), (0.63, 0.74), (0.37, 0.74), (0.64, 0.96),
        (0.36, 0.96),
    ]
)  # fmt: skip
# OpenPose's keypoints in COCO's numbers, and its neck, which is the middle of the shoulders.
NECK = 17
OPENPOSE_ORDER = (0, NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
COCO_PAIRS = tuple((i, i + 1) for i in range(1, 17, 2))


@dataclasses.dataclass
class Crowd:
    """points: (P, K, 2); seen: (P, K) bool; size: (height, width) of the input."""

    points: np.ndarray
    seen: np.ndarray
    size: Size

    def openpose(self) -> "Crowd":
        """The same people with OpenPose's 18 keypoints."""
        neck, seen = self.points[:, 5:7].mean(1, keepdims=True), self.seen[:, 5:7].all(1, keepdims=True)
        points = np.concatenate([self.points, neck], 1)[:, OPENPOSE_ORDER]
        return Crowd(points, np.concatenate([self.seen, seen], 1)[:, OPENPOSE_ORDER], self.size)


def crowd(
    rng: np.random.Generator, people: int, size: Size, tall: float | None = None, hidden: float = 0, apart: float = 6
) -> Crowd:
    """People at random, of about `tall` pixels, none of whose keypoints is within `apart` of another's same one.

    A part `hidden` of the keypoints is not seen. That people overlap is not avoided.
    """
    height, width = size
    tall = 0.35 * height if tall is None else tall
    points = np.zeros((0, len(STANDING), 2))
    for _ in range(100_000):
        if len(points) == people:
            break
        scale = tall * rng.uniform(0.7, 1.3) * np.array([rng.uniform(0.45, 0.7), 1])
        corner = rng.uniform(2, np.maximum(np.array([width, height]) - scale - 2, 3))
        new = corner + (STANDING + rng.uniform(-0.01, 0.01, STANDING.shape)) * scale
        if (np.linalg.norm(points - new, axis=-1) >= apart).all():
            points = np.concatenate([points, new[None]])
    assert len(points) == people, "they do not fit in"
    return Crowd(points, rng.random(points.shape[:2]) >= hidden, size)


def bumps(
    points: np.ndarray, shape: Size, size: Size, heights: np.ndarray | None = None, sigma: float = 2
) -> np.ndarray:
    """(h, w) float32: Gaussian bumps at (n, 2) points of the input; where they meet, the higher one counts."""
    heat = np.zeros(shape, np.float32)
    columns, rows = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    for i, (x, y) in enumerate(points * (shape[1] / size[1], shape[0] / size[0])):
        bump = np.exp(-((columns - x) ** 2) / 2 / sigma**2) * np.exp(-((rows - y) ** 2) / 2 / sigma**2)[:, None]
        np.maximum(heat, bump if heights is None else bump * heights[i], out=heat, casting="same_kind")
    return heat


def heatmaps(people: Crowd, shape: Size, heights: np.ndarray | None = None, sigma: float = 2) -> np.ndarray:
    """(K, h, w): the crowd's bumps, 1 high, or as high as (P, K) says."""
    return np.stack(
        [
            bumps(people.points[seen, k], shape, people.size, None if heights is None else heights[seen, k], sigma)
            for k, seen in enumerate(people.seen.T)
        ]
    )


def tag_maps(people: Crowd, shape: Size, tags: np.ndarray, background: np.ndarray, radius: float = 3) -> np.ndarray:
    """(K, h, w): around each keypoint the tag of its person, elsewhere the background (K, h, w)."""
    maps = background.astype(np.float32)
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    for k, seen in enumerate(people.seen.T):
        if not seen.any():
            continue
        points = people.points[seen, k] * (shape[1] / people.size[1], shape[0] / people.size[0])
        distances = np.hypot(columns - points[:, 0, None, None], rows - points[:, 1, None, None])
        maps[k] = np.where(distances.min(0) <= radius, tags[seen][distances.argmin(0)], maps[k])
    return maps


def stages(rng: np.random.Generator, people: Crowd, tags: np.ndarray | None = None, noise: float = 0.02) -> Stages:
    """HigherHRNet's outputs for a crowd: (2 * K, H / 4, W / 4) and (K, H / 2, W / 2)."""
    height, width = people.size
    tags = np.arange(len(people.points)) * 1.7 if tags is None else tags
    quarter, half = (height // 4, width // 4), (height // 2, width // 2)
    count = people.points.shape[1]
    heat = [heatmaps(people, shape) + rng.uniform(0, noise, (count, *shape)) for shape in (quarter, half)]
    identity = tag_maps(people, quarter, tags, rng.uniform(-1, 60, (count, *quarter)))
    return np.concatenate([heat[0], identity]).astype(np.float32), heat[1].astype(np.float32)


def mirror(outputs: Stages) -> Stages:
    """What a faultless network gives for the mirrored picture."""
    order = np.arange(len(outputs[1]))
    for a, b in COCO_PAIRS:
        order[[a, b]] = b, a
    both = np.concatenate([order, order + len(order)])
    return outputs[0][both, :, ::-1].copy(), outputs[1][order, :, ::-1].copy()


def fields(people: Crowd, shape: Size, limbs: Iterable[tuple[int, int, int]], thickness: float = 1) -> np.ndarray:
    """(2 * len(limbs), h, w): unit vectors along the limbs; `limbs` are (from, to, channel of x).

    Where the limbs of several people meet, it is their mean.
    """
    limbs = tuple(limbs)
    maps = np.zeros((2 * len(limbs), *shape), np.float32)
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    points = people.points * (shape[1] / people.size[1], shape[0] / people.size[0])
    for start, end, channel in limbs:
        count = np.zeros(shape)
        for person, seen in zip(points, people.seen, strict=True):
            if seen[start] and seen[end]:
                along = person[end] - person[start]
                length = max(np.hypot(*along), 1e-6)
                unit = along / length
                dx, dy = columns - person[start, 0], rows - person[start, 1]
                on = (np.abs(dx * unit[1] - dy * unit[0]) <= thickness) & (dx * unit[0] + dy * unit[1] >= -1)
                on &= dx * unit[0] + dy * unit[1] <= length + 1
                maps[channel : channel + 2, on] += unit[:, None]
                count += on
        maps[channel : channel + 2] /= np.maximum(count, 1)
    return maps
