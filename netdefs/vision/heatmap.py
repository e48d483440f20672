"""Heat maps of crops, one keypoint each: top-down pose networks, FastPose, OpenPose's hand."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision.geometry import to_picture
from netdefs.vision.maps import checked, checked_placements, checked_size, slopes


def decode_heatmaps(heatmaps: Any, placements: Any, input_size: tuple[int, int], centered: bool = False) -> np.ndarray:
    """Where in the picture the keypoints of crops are: the highest pixel of each map, and a bit towards its neighbours.

    The bit is a quarter of a pixel of the map, along each axis to the side whose neighbour is higher; at the outermost
    pixels, and one further at the left and at the top, there is none. It is upstream's rule.

    Args:
        heatmaps: (N, K, h, w), one per keypoint; a background's is to be left out.
        placements: (N, 2, 3), from `netdefs.vision.placement`: where each crop lies.
        input_size: (height, width) of the network's input; its coordinates are the map's times input_size / (h, w).
        centered: a pixel of the map is for the middle of the input's pixels that it stands for, as in OpenPose, and not
            for the first of them, as in the networks that are trained with the rule above.

    Returns:
        (N, K, 3) float32: x, y in the picture and the map's highest value; NaN, NaN, 0 if that is not above 0.

    Raises:
        InputError: the shapes don't fit, or the maps hold NaN or infinity.

    Source: get_final_preds in lib/core/inference.py of leoxiaobin/deep-high-resolution-net.pytorch (MIT);
    heatmap_to_coord_simple of AlphaPose is the same.
    """
    heatmaps = checked("Heat maps", heatmaps, ("crops", "keypoints", "height", "width"))
    count, keypoints, height, width = heatmaps.shape
    placements, input_size = checked_placements(placements, count), checked_size("The input's size", input_size)
    flat = heatmaps.reshape(count * keypoints, height * width)
    best = flat.argmax(1)
    scores = np.take_along_axis(flat, best[:, None], 1)[:, 0]
    ys, xs = np.divmod(best, width)
    rises = np.stack(slopes(heatmaps.reshape(-1, height, width), np.arange(len(flat)), ys, xs), -1)
    inner = (xs > 1) & (xs < width - 1) & (ys > 1) & (ys < height - 1)
    points = np.stack([xs, ys], -1) + 0.25 * np.sign(rises) * inner[:, None]
    middle = 0.5 if centered else 0.0
    points = (points + middle) * (input_size[1] / width, input_size[0] / height) - middle
    points = to_picture(points.reshape(count, keypoints, 2), placements)
    found = np.concatenate([points, scores.reshape(count, keypoints, 1)], -1)
    found[found[..., 2] <= 0] = np.nan, np.nan, 0
    return found.astype(np.float32)


def merge_flipped(heatmaps: Any, flipped: Any, pairs: Iterable[tuple[int, int]], shift: bool = True) -> np.ndarray:
    """Heat maps averaged with those of the mirrored input, which are mirrored back.

    Args:
        heatmaps: (N, K, h, w).
        flipped: (N, K, h, w), of the same crops mirrored left to right.
        pairs: keypoints that change places in a mirror, such as the left and the right eye.
        shift: move the mirrored maps right by one pixel first, as upstream's tests do: a network's stride puts its maps
            off the middle, and mirroring doubles that.

    Returns:
        (N, K, h, w) float32.

    Raises:
        InputError: the shapes differ, a pair names no map, or the maps hold NaN or infinity.

    Source: flip_back in lib/utils/transforms.py and validate in lib/core/function.py of
    leoxiaobin/deep-high-resolution-net.pytorch (MIT).
    """
    heatmaps = checked("Heat maps", heatmaps, ("crops", "keypoints", "height", "width"))
    flipped = checked("Heat maps of the mirrored crops", flipped, heatmaps.shape)
    back = flipped[:, mirrored(heatmaps.shape[1], pairs), :, ::-1]
    if shift:
        back = np.concatenate([back[..., :1], back[..., :-1]], -1)
    return (heatmaps + back) * np.float32(0.5)


def mirrored(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `count` keypoints the one that it is in a mirror.

    Raises:
        InputError: a pair names a keypoint that there is not, or one keypoint is in two pairs.
    """
    order = list(range(count))
    for pair in pairs:
        a, b = pair
        if not (0 <= a < count and 0 <= b < count) or (order[a], order[b]) != (a, b) or a == b:
            raise InputError(f"{count} keypoints can't change places as {tuple(pair)} says, with the pairs before it.")
        order[a], order[b] = b, a
    return order
