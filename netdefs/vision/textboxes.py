"""Lines of text as rectangles, however they are turned: off a map of where text is, and out of a picture."""

from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.vision.geometry import to_picture
from netdefs.vision.image import check_image
from netdefs.vision.instance import Instance
from netdefs.vision.maps import checked, checked_share

# What SegDetectorRepresenter in structure/representers/seg_detector_representer.py of MhLiao/DB takes.
LEAST = 0.3  # of the map, where text is
THRESHOLD = 0.7  # of its mean in a rectangle
UNCLIP = 1.5  # by how much text is larger than what the map shows of it, times area over perimeter
SHORTEST = 3  # pixels, of a rectangle's shorter side; SHORTEST + 2 once it is as large as the text
MOST = 1000  # outlines that are looked at; it is 1000 in all of upstream's experiments, and 100 without them


def find_text(
    binary: Any, placement: np.ndarray, shape: tuple[int, int], threshold: float = THRESHOLD
) -> list[Instance]:
    """The lines of text in DBNet's map, surest first.

    The smallest rectangle around each outline is enlarged on all sides by its area over its perimeter, times 1.5: what
    is left of it, once rounded corners have been cut off, of upstream's enlarged polygon. Its corners are cut off
    where the picture ends, and are not rounded to pixels as upstream's.

    Args:
        binary: (H, W), 0 to 1.
        placement: (2, 3) from `netdefs.vision.placement`.
        shape: (height, width) of the picture.
        threshold: of the map's mean inside of a rectangle; those that reach it count.

    Returns:
        Instances with a score, `corners` from the upper left one on, clockwise, and the `box` around them.

    Raises:
        InputError: the map is of another shape or holds NaN or infinity, or the threshold is not 0 to 1.

    Source: boxes_from_bitmap in structure/representers/seg_detector_representer.py of MhLiao/DB (no licence).
    """
    cv2 = require("cv2", "vision")
    checked_share("threshold", threshold)
    binary = checked("The map 'binary'", binary, ("height", "width"))
    outlines, _ = cv2.findContours((binary > LEAST).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for outline in outlines[:MOST]:
        middle, (wide, tall), angle = cv2.minAreaRect(outline)
        if min(wide, tall) < SHORTEST:
            continue
        score = mean_inside(binary, cv2.boxPoints((middle, (wide, tall), angle)))
        grow = UNCLIP * wide * tall / (wide + tall)  # on both sides together: twice the area over the perimeter
        if score < threshold or min(wide, tall) + grow < SHORTEST + 2:
            continue
        corners = clockwise(cv2.boxPoints((middle, (wide + grow, tall + grow), angle)))
        # Upstream scales the numbers of pixels as they are. So do placements, of numbers that count pixels' edges.
        corners = np.clip(to_picture(corners - 0.5, placement) + 0.5, 0, shape[::-1]).astype(np.float32)
        box = np.concatenate([corners.min(0), corners.max(0)])
        found.append(Instance(score, box=box, corners=corners))
    return sorted(found, key=lambda each: -each.score)


def mean_inside(values: np.ndarray, corners: np.ndarray) -> float:
    """The mean of a map's values in a polygon, whose corners are rounded down to whole pixels."""
    cv2 = require("cv2", "vision")
    edge = np.array(values.shape[::-1]) - 1
    first = np.clip(np.floor(corners.min(0)), 0, edge).astype(np.int32)
    last = np.clip(np.ceil(corners.max(0)), 0, edge).astype(np.int32)
    mask = np.zeros((last - first + 1)[::-1], np.uint8)
    cv2.fillPoly(mask, [(corners - first).astype(np.int32)], (1,))
    return float(cv2.mean(values[first[1] : last[1] + 1, first[0] : last[0] + 1], mask)[0])


def clockwise(corners: np.ndarray) -> np.ndarray:
    """The four corners of a rectangle, from the upper one of the two at the left: then right, down, and back left."""
    left, right = np.split(corners[np.argsort(corners[:, 0], kind="stable")], 2)
    left, right = left[np.argsort(left[:, 1], kind="stable")], right[np.argsort(right[:, 1], kind="stable")]
    return np.stack([left[0], right[0], right[1], left[1]])


def straighten(image: np.ndarray, corners: Any) -> np.ndarray:
    """What is between four corners, such as a turned line of text, upright and cut out of a picture.

        lines = [straighten(image, each.corners) for each in found.instances]

    Args:
        image: (H, W, 3) uint8, BGR.
        corners: (4, 2) x and y: the upper left one, the upper right one, and on around it; of a picture whose pixel i
            stretches from i to i + 1, as `Instance.corners` are.

    Returns:
        (h, w, 3) uint8, BGR, as large as the longer one of opposite sides; one pixel at least. Where it reaches beyond
        the picture, the pixels at its border go on.

    Raises:
        InputError: the picture or the corners can't be used.
    """
    cv2 = require("cv2", "vision")
    check_image(image)
    points = np.asarray(corners, np.float32)
    if points.shape != (4, 2) or not np.isfinite(points).all():
        raise InputError(f"Corners are (4, 2) finite numbers, not {points.shape}: {points.tolist()}.")
    sides = np.linalg.norm(np.roll(points, -1, 0) - points, axis=1)
    wide, tall = (max(round(float(max(sides[i], sides[i + 2]))), 1) for i in (0, 1))
    target = np.array([(0, 0), (wide, 0), (wide, tall), (0, tall)], np.float32)
    if np.linalg.matrix_rank(points[1:3] - points[0]) < 2 or np.linalg.matrix_rank(points[2:] - points[0]) < 2:
        raise InputError(f"Three of the corners {points.tolist()} are on one line: there is nothing between them.")
    matrix = cv2.getPerspectiveTransform(points - 0.5, target - 0.5)  # OpenCV counts pixels' centres
    return np.asarray(cv2.warpPerspective(image, matrix, (wide, tall), borderMode=cv2.BORDER_REPLICATE))
