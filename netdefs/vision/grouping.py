"""Associative embedding: keypoints of many people, told apart by a tag that every pixel carries (HigherHRNet).

The source of everything here is lib/core/group.py and lib/core/inference.py of
HRNet/HigherHRNet-Human-Pose-Estimation (MIT), and https://arxiv.org/abs/1611.05424. Its coordinates are kept: pixel i
of a map stretches from i to i + 1, and x in a map is x * input width / map width in the input.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision.assignment import assign
from netdefs.vision.geometry import to_picture
from netdefs.vision.heatmap import mirrored
from netdefs.vision.instance import Instance
from netdefs.vision.maps import checked, checked_placements, checked_size, resized
from netdefs.vision.peaks import Peaks, checked_peaks, distinct, peaks
from netdefs.vision.refine import refine

# Decides between assignments that are equally good by upstream's measure, as many are once distances are rounded;
# upstream leaves those to its solver. It weighs the roots of the distances, so that a near and a far tag are better
# than two halfway: along a line the distances themselves add up to the same.
NEARER = 1e-6


@dataclasses.dataclass(frozen=True)
class TagRules:
    """How peaks become people; the defaults are upstream's for COCO.

    Attributes:
        order: of the keypoints: the first of a person to be seen starts it, so the surest come first.
        detection_threshold: a peak with a score that is not above this is no keypoint.
        tag_threshold: a keypoint goes to a person only if its tag is nearer than this to the mean of the person's tags.
        use_detection_val: distances are compared in whole numbers, and of equally near peaks the surest is taken.
        people: only as many may get further keypoints.
        ignore_too_much: once there are as many people, the keypoints that come later in the order are left out.
        radius: a peak is the highest in a square of 2 * radius + 1 pixels.
    """

    order: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
    detection_threshold: float = 0.1
    tag_threshold: float = 1.0
    use_detection_val: bool = True
    people: int = 30
    ignore_too_much: bool = False
    radius: int = 2

    def __post_init__(self) -> None:
        if self.detection_threshold < 0 or self.tag_threshold <= 0 or self.people < 1 or self.radius < 0:
            raise InputError(f"Thresholds, people and radius can't be as low as in {self}.")


COCO = TagRules()


def rules_for(keypoints: int) -> TagRules:
    """COCO's rules for people of so many keypoints: upstream takes those of its order that there are.

    Keypoints that COCO's people lack come last.
    """
    order = [*COCO.order, *range(len(COCO.order), keypoints)]
    return dataclasses.replace(COCO, order=tuple(k for k in order if k < keypoints))


def decode_grouping(
    heatmaps: Any, tags: Any, placement: np.ndarray, input_size: tuple[int, int], rules: TagRules = COCO
) -> list[Instance]:
    """The people in a picture, from heat maps and tags: peaks, grouped; then what a person lacks is looked for.

    Args:
        heatmaps: (K, h, w); upstream's have the size of the network's input: `aggregate` makes them.
        tags: (T, K, h, w): every pixel's tags.
        placement: (2, 3) from `netdefs.vision.placement`.
        input_size: (height, width) of the network's input.
        rules: how peaks become people.

    Returns:
        Best first, with keypoints of (K, 3) in the picture. The score is the mean over all K before any is looked for.

    Raises:
        InputError: the shapes don't fit, or the maps hold NaN or infinity.
    """
    heatmaps = checked("Heat maps", heatmaps, ("keypoints", "height", "width"))
    tags = checked("Tags", tags, ("tags", *heatmaps.shape))
    found = peaks(heatmaps, tags, rules.people, rules.radius, rules.detection_threshold)
    people, means = group(*found, rules=rules)
    scores = people[:, :, 2].mean(1)
    return _instances(refine(heatmaps, tags, people, means), scores, heatmaps.shape[1:], placement, input_size)


def decode_peaks(
    found: Peaks,
    map_size: tuple[int, int],
    placement: np.ndarray,
    input_size: tuple[int, int],
    rules: TagRules = COCO,
) -> list[Instance]:
    """The people in a picture, from peaks that the network itself has found; what a person lacks is not looked for.

    Args:
        found: peaks, in pixels of a map of `map_size`, as `peaks` gives them; of equal ones near to each other, which
            a network gives for a keypoint just between pixels, the first is taken here too.
        map_size: (height, width) of the maps.
        placement: (2, 3) from `netdefs.vision.placement`.
        input_size: (height, width) of the network's input.
        rules: how peaks become people.

    Returns:
        As `decode_grouping`.

    Raises:
        InputError: the shapes don't fit, or there are NaN or infinity among the numbers.
    """
    people, _ = group(*distinct(checked_peaks(*found), rules.radius), rules=rules)
    return _instances(people, people[:, :, 2].mean(1), map_size, placement, input_size)


def aggregate(
    stages: Any,
    size: tuple[int, int] | None = None,
    flipped: Any = None,
    pairs: Iterable[tuple[int, int]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """HigherHRNet's two outputs as one set of heat maps and one of tags.

    The first output is resized to the second's size, the heat maps of both are averaged, and all are resized to `size`:
    two steps, as upstream, always bilinear.

    Args:
        stages: (2 * K, h, w), heat maps and then tags, and (K, h2, w2), heat maps.
        size: (height, width) of the result; that of the second output by default. Upstream takes the input's.
        flipped: the outputs for the mirrored input, for what upstream calls flip test: heat maps are averaged, and
            every pixel has two tags.
        pairs: with `flipped`, the keypoints that change places in a mirror.

    Returns:
        heat maps (K, height, width) and tags (T, K, height, width), T being 2 with `flipped` and 1 without.

    Raises:
        InputError: the shapes don't fit, or the outputs hold NaN or infinity.
    """
    heatmaps, tags = _merged(stages)
    layers = [tags]
    if flipped is not None:
        order = mirrored(len(heatmaps), pairs)
        back = [each[order, :, ::-1] for each in _merged(flipped)]
        if back[0].shape != heatmaps.shape:
            raise InputError(f"The mirrored input's outputs are {back[0].shape}, not {heatmaps.shape} as the others.")
        heatmaps = (heatmaps + back[0]) / 2
        layers.append(back[1])
    size = heatmaps.shape[1:] if size is None else checked_size("The maps' size", size)
    return resized(heatmaps, size), np.stack([resized(each, size) for each in layers])


def _merged(stages: Any) -> tuple[np.ndarray, np.ndarray]:
    """Averaged heat maps and tags, both (K, h2, w2)."""
    first, second = stages
    second = checked("The second stage's heat maps", second, ("keypoints", "height", "width"))
    count = len(second)
    first = checked("The first stage's heat maps and tags", first, (2 * count, "height", "width"))
    first = resized(first, second.shape[1:])
    return (first[:count] + second) / 2, first[count:]


def group(scores: Any, xs: Any, ys: Any, tags: Any, rules: TagRules = COCO) -> tuple[np.ndarray, np.ndarray]:
    """Peaks as people: keypoint by keypoint, peaks go to the people whose tags they are nearest to, or start new ones.

    Every peak that starts a person starts one of its own. Upstream knows people by their first tag, so that one takes
    another's keypoint when two tags are the same number, which in float16 they are now and then.

    Args:
        scores: (K, M); a peak with a score that is not above the threshold is none.
        xs: (K, M).
        ys: (K, M).
        tags: (K, M, T).
        rules: how peaks become people.

    Returns:
        people (P, K, 3): x, y, score, or NaN, NaN, 0 for what is missing, in the order in which they were started; and
        the means of their tags (P, T) float64.

    Raises:
        InputError: the shapes or the order of keypoints don't fit, or there are NaN or infinity among the numbers.
    """
    scores, xs, ys, tags = checked_peaks(scores, xs, ys, tags)
    count, tags = len(scores), tags.astype(np.float64)
    if sorted(rules.order) != list(range(count)):
        raise InputError(f"The order of keypoints, {rules.order}, is not one of the numbers 0 to {count - 1}.")
    people = np.zeros((0, count, 3), np.float32)
    sums, sizes = np.zeros((0, tags.shape[-1])), np.zeros((0, 1))
    for k in rules.order:
        taken = np.flatnonzero(scores[k] > rules.detection_threshold)
        if not len(taken):
            continue
        if len(people) >= rules.people and rules.ignore_too_much:
            continue
        joints = np.stack([xs[k, taken], ys[k, taken], scores[k, taken]], -1)
        owners = _owners(tags[k, taken], joints[:, 2], (sums / sizes)[: rules.people], rules)
        old = owners >= 0
        people[owners[old], k] = joints[old]
        sums[owners[old]] += tags[k, taken[old]]
        sizes[owners[old]] += 1
        new = np.zeros((np.count_nonzero(~old), count, 3), np.float32)
        new[:, :, :2] = np.nan
        new[:, k] = joints[~old]
        people = np.concatenate([people, new])
        sums = np.concatenate([sums, tags[k, taken[~old]]])
        sizes = np.concatenate([sizes, np.ones((len(new), 1))])
    return people, sums / sizes


def _owners(tags: np.ndarray, scores: np.ndarray, means: np.ndarray, rules: TagRules) -> np.ndarray:
    """(peaks,): to which person each of one keypoint's peaks goes, -1 for none.

    All distances that are too far cost the same. In upstream they add up: when a peak fits no one, people may get each
    other's keypoints because that is less far in sum, and since each is too far, all of them fall apart. It happens to
    people whose tags lie in a row when they don't show the same keypoints.

    Args:
        tags: (peaks, T).
        scores: (peaks,).
        means: (people, T), the means of their tags.
        rules: how peaks become people.
    """
    distances = np.linalg.norm(tags[:, None] - means, axis=-1)
    costs = np.round(distances) if rules.use_detection_val else distances
    costs = np.where(distances < rules.tag_threshold, costs, np.ceil(rules.tag_threshold) + 1)
    if rules.use_detection_val:
        costs = costs * 100 - scores[:, None]
    owners = assign(costs + NEARER * np.sqrt(distances))
    near = np.take_along_axis(distances, np.maximum(owners, 0)[:, None], 1)[:, 0] if len(means) else np.inf
    return np.where(near < rules.tag_threshold, owners, -1)


def _instances(
    people: np.ndarray,
    scores: np.ndarray,
    map_size: tuple[int, ...],
    placement: np.ndarray,
    input_size: tuple[int, int],
) -> list[Instance]:
    """People of (P, K, 3) in a map, as instances in the picture, best first."""
    input_size, map_size = checked_size("The input's size", input_size), checked_size("The maps' size", map_size)
    placement = checked_placements(placement)
    points = people[:, :, :2].astype(np.float64) * (input_size[1] / map_size[1], input_size[0] / map_size[0])
    people = np.concatenate([to_picture(points, placement), people[:, :, 2:]], -1).astype(np.float32)
    return [Instance(float(scores[i]), keypoints=people[i]) for i in np.argsort(-scores, kind="stable")]
