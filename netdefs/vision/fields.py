"""Part-affinity fields: keypoints of many people, joined by vectors that point along their limbs (OpenPose's body).

The rules are those of https://arxiv.org/abs/1812.08008 as src/body.py of Hzzone/pytorch-openpose has them.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.vision.geometry import to_picture
from netdefs.vision.instance import Instance
from netdefs.vision.maps import checked, checked_placements, checked_size, resized

# Limbs in the order in which they are joined: from keypoint, to keypoint, the field's channel of x; y is the next one.
# The last two, from shoulder to ear, join what is there and start no one.
LIMBS = (
    (1, 2, 12), (1, 5, 20), (2, 3, 14), (3, 4, 16), (5, 6, 22), (6, 7, 24), (1, 8, 0), (8, 9, 2), (9, 10, 4),
    (1, 11, 6), (11, 12, 8), (12, 13, 10), (1, 0, 28), (0, 14, 30), (14, 16, 34), (0, 15, 32), (15, 17, 36),
    (2, 16, 18), (5, 17, 26),
)  # fmt: skip
KEYPOINTS, STARTING = 18, 17
# The most peaks of one map, as OpenPose itself has it (POSE_MAX_PEOPLE): every pair of two keypoints' peaks is tried.
MOST = 127


@dataclasses.dataclass(frozen=True)
class FieldRules:
    """How peaks become people; the defaults are upstream's.

    Attributes:
        sigma: of the Gaussian that smooths the heat maps before peaks are looked for, in pixels.
        peak: what a smoothed peak must be above.
        samples: along a limb, where the field is read.
        along: what the field must be above at a sample, along the limb.
        share: of the samples, more than this must be so.
        keypoints: a person has at least as many.
        score: the scores of a person's keypoints and limbs, divided by the number of keypoints, are at least this.
    """

    sigma: float = 3.0
    peak: float = 0.1
    samples: int = 10
    along: float = 0.05
    share: float = 0.8
    keypoints: int = 4
    score: float = 0.4

    def __post_init__(self) -> None:
        if self.sigma <= 0 or self.peak < 0 or self.samples < 1:
            raise InputError(f"Sigma, the least peak and the number of samples can't be as low as in {self}.")


OPENPOSE = FieldRules()


@dataclasses.dataclass
class _Person:
    """Keypoint -> its number among the peaks of its map; the scores of all that belongs to it."""

    parts: dict[int, int]
    total: float
    limbs: int


def assemble(
    heatmaps: Any,
    fields: Any,
    placement: np.ndarray,
    input_size: tuple[int, int],
    size: tuple[int, int] | None = None,
    rules: FieldRules = OPENPOSE,
) -> list[Instance]:
    """The people in a picture, from heat maps and part-affinity fields.

    Args:
        heatmaps: (19, h, w), the last one being the background's.
        fields: (38, h, w), x and y of 19 limbs.
        placement: (2, 3) from `netdefs.vision.placement`.
        input_size: (height, width) of the network's input.
        size: (height, width) that the maps are resized to, with cubic interpolation; keypoints are whole pixels of it.
            The input's by default. Upstream takes the picture's: finer, and slower.
        rules: how peaks become people.

    Returns:
        Best first, with keypoints of (18, 3) in the picture: x, y, score, or NaN, NaN, 0 for what is missing. The score
        of a person is the mean of those of its keypoints and limbs.

    Raises:
        InputError: the shapes don't fit, or the maps hold NaN or infinity.
    """
    heatmaps = checked("Heat maps", heatmaps, (KEYPOINTS + 1, "height", "width"))
    fields = checked("Part-affinity fields", fields, (2 * len(LIMBS), *heatmaps.shape[1:]))
    placement, input_size = checked_placements(placement), checked_size("The input's size", input_size)
    size = input_size if size is None else checked_size("The maps' size", size)
    peaks = [_peaks(resized(heatmaps[i : i + 1], size, cubic=True)[0], rules) for i in range(KEYPOINTS)]
    people = []
    for person in _people(peaks, _connections(peaks, fields, size, rules)):
        count = len(person.parts)
        if count < rules.keypoints or person.total / count < rules.score:
            continue
        keypoints = np.full((KEYPOINTS, 3), (np.nan, np.nan, 0))
        for part, number in person.parts.items():
            keypoints[part] = peaks[part][number]
        # As cv2.resize has it: the outer edges of both come together, and pixel centres are at whole numbers.
        points = (keypoints[:, :2] + 0.5) * (input_size[1] / size[1], input_size[0] / size[0]) - 0.5
        keypoints[:, :2] = to_picture(points, placement)
        score = person.total / (count + person.limbs)
        people.append(Instance(score, keypoints=keypoints.astype(np.float32)))
    return sorted(people, key=lambda person: -person.score)


def _peaks(heat: np.ndarray, rules: FieldRules) -> np.ndarray:
    """(n, 3): x, y, score of a map's best peaks, row by row.

    Of equal neighbours upstream takes both, which makes two of a keypoint that lies just between them; here the one
    further left or up is taken.
    """
    cv2 = require("cv2", "vision")
    side = 2 * round(4 * rules.sigma) + 1
    smooth = cv2.GaussianBlur(heat, (side, side), rules.sigma, borderType=cv2.BORDER_REFLECT)
    around = np.pad(smooth, 1, constant_values=-np.inf)
    high = (smooth > rules.peak) & (smooth > around[1:-1, :-2]) & (smooth > around[:-2, 1:-1])
    ys, xs = np.nonzero(high & (smooth >= around[1:-1, 2:]) & (smooth >= around[2:, 1:-1]))
    best = np.sort(np.argsort(-heat[ys, xs], kind="stable")[:MOST])
    ys, xs = ys[best], xs[best]
    return np.stack([xs, ys, heat[ys, xs]], -1).astype(np.float64)


def _connections(
    peaks: list[np.ndarray], fields: np.ndarray, size: tuple[int, int], rules: FieldRules
) -> Iterator[list[tuple[int, int, float]]]:
    """For each of LIMBS: which peak of its first keypoint goes with which of its second, and how well."""
    for start, end, channel in LIMBS:
        if not len(peaks[start]) or not len(peaks[end]):
            yield []
            continue
        scores = _limb_scores(peaks[start], peaks[end], resized(fields[channel : channel + 2], size, cubic=True), rules)
        pairs = np.argwhere(np.isfinite(scores))
        pairs = pairs[np.argsort(-scores[tuple(pairs.T)], kind="stable")]
        firsts: set[int] = set()
        seconds: set[int] = set()
        taken = []
        for i, j in pairs.tolist():  # the best first, and each peak once
            if i not in firsts and j not in seconds:
                firsts.add(i)
                seconds.add(j)
                taken.append((i, j, float(scores[i, j])))
        yield taken


def _limb_scores(starts: np.ndarray, ends: np.ndarray, field: np.ndarray, rules: FieldRules) -> np.ndarray:
    """(starts, ends): how well the field runs from each to each, -inf where it does not.

    It is the mean along the line, less something for lines longer than half the map's height.
    """
    along = ends[None, :, :2] - starts[:, None, :2]
    length = np.maximum(np.linalg.norm(along, axis=-1), 0.001)
    steps = np.linspace(0, 1, rules.samples)[:, None]
    at = np.rint(starts[:, None, None, :2] + steps * along[:, :, None]).astype(np.int64)
    values = np.einsum("cijn,ijc->ijn", field[:, at[..., 1], at[..., 0]], along / length[..., None])
    scores = values.mean(-1) + np.minimum(0.5 * field.shape[1] / length - 1, 0)
    runs = (np.count_nonzero(values > rules.along, axis=-1) > rules.share * rules.samples) & (scores > 0)
    return np.where(runs, scores, -np.inf)


def _people(peaks: list[np.ndarray], connections: Iterator[list[tuple[int, int, float]]]) -> list[_Person]:
    """Connections, limb by limb, as people.

    A connection adds the end that a person lacks, or makes one person of two that have no keypoint in common, or starts
    one. Otherwise nothing is done, so that a peak never belongs to two people. There upstream replaces the keypoint
    that the person has, counts it twice, may leave it with another person too, and fails on a third who has it; and it
    does not add the first end of a limb to a person who has the second.
    """
    people: list[_Person] = []
    for number, ((start, end, _), found) in enumerate(zip(LIMBS, connections, strict=True)):
        for i, j, score in found:
            ends = {start: i, end: j}
            with_either = [p for p in people if p.parts.get(start) == i or p.parts.get(end) == j]
            if len(with_either) == 2:
                one, other = with_either
                if one.parts.keys().isdisjoint(other.parts):
                    one.parts |= other.parts
                    one.total += other.total + score
                    one.limbs += other.limbs + 1
                    people = [p for p in people if p is not other]
                continue
            if with_either:
                person = with_either[0]
            elif number < STARTING:
                person = _Person({}, 0.0, 0)
                people.append(person)
            else:
                continue
            lacking = {part: peak for part, peak in ends.items() if part not in person.parts}
            if lacking:
                person.parts |= lacking
                person.total += score + sum(float(peaks[part][peak, 2]) for part, peak in lacking.items())
                person.limbs += 1
    return people
