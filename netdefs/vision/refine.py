"""What a person lacks, looked for by its tag: the last step of associative embedding."""

import numpy as np

from netdefs.vision.maps import in_pixel

# Maps are searched in pieces of this many pixels one below the other: most are ruled out by their highest score and the
# range of their tags.
PIECE = 16


def refine(heatmaps: np.ndarray, tags: np.ndarray, people: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Gives people their missing keypoints: the pixel with the highest score less its tag's rounded distance.

    It finds exactly the pixel that a search of the whole map finds, in a fraction of the time. As upstream, a keypoint
    is added if the score there is above 0, however little: most people are given all.

    Args:
        heatmaps: (K, h, w) float32.
        tags: (T, K, h, w) float32.
        people: (P, K, 3) x, y, score in the map; the score is 0 where one is missing.
        means: (P, T), the means of their tags.

    Returns:
        (P, K, 3), of which those that were found are as before.

    Source: HeatmapParser.refine in lib/core/group.py of HRNet/HigherHRNet-Human-Pose-Estimation (MIT).
    """
    people, means = people.copy(), means.astype(np.float32)
    width = heatmaps.shape[2]
    for k, heat in enumerate(heatmaps):
        lacking = np.flatnonzero(people[:, k, 2] <= 0)
        if not len(lacking) or heat.max() <= 0:
            continue
        ys, xs = np.divmod(_best(heat, tags[:, k], means[lacking].T), width)
        scores = heat[ys, xs]
        found = np.stack([*in_pixel(heatmaps, np.full(len(xs), k), ys, xs), scores], -1)
        people[lacking[scores > 0], k] = found[scores > 0]
    return people


def _best(heat: np.ndarray, tags: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(people,): the pixel of the (h, w) map with the highest score less rounded distance; of equals, the first.

    Args:
        heat: (h, w).
        tags: (T, h, w).
        means: (T, people).
    """
    height, width = heat.shape
    if height % PIECE:
        below = ((0, -height % PIECE), (0, 0))
        heat = np.pad(heat, below, constant_values=-np.inf)
        tags = np.pad(tags, ((0, 0), *below), mode="edge")
    pieces, tag_pieces = heat.reshape(-1, PIECE, width), tags.reshape(len(tags), -1, PIECE, width)
    each, heat, tags = means[:, :, None], heat.ravel(), tags.reshape(len(tags), -1)
    steps = np.arange(PIECE) * width
    starts = np.add.outer(np.arange(len(pieces)) * PIECE * width, np.arange(width)).ravel()

    # What no pixel of a piece can exceed: its score can't, and its tag can't be nearer than the range they are in.
    # Rounding keeps order, so this holds to the last bit.
    low, high = (reduced.reshape(len(tags), 1, -1) for reduced in (tag_pieces.min(2), tag_pieces.max(2)))
    bounds = pieces.max(1).ravel() - _distance(np.maximum(np.maximum(low - each, each - high), 0))
    # The first pixels of all pieces show what can be had at least. A piece that can only be as good counts if it starts
    # earlier.
    tried = pieces[:, 0].ravel() - _distance(tag_pieces[:, :, 0].reshape(low.shape) - each)
    first = tried.argmax(1)
    everyone = np.arange(len(first))
    value, pixel = tried[everyone, first], starts[first]
    person, piece = np.nonzero((bounds > value[:, None]) | ((bounds == value[:, None]) & (starts < pixel[:, None])))

    where = starts[piece][:, None] + steps
    values = heat[where] - _distance(np.take(tags, where, axis=1) - each[:, person])
    better = values.argmax(1)
    rows = np.arange(len(better))
    person, value, pixel = (
        np.concatenate(pair)
        for pair in ((everyone, person), (value, values[rows, better]), (pixel, where[rows, better]))
    )
    order = np.lexsort((pixel, -value, person))
    return pixel[order[np.searchsorted(person[order], everyone)]]


def _distance(differences: np.ndarray) -> np.ndarray:
    """Lengths along the first axis, in whole numbers; of single numbers their size, which is the same and quicker."""
    if len(differences) == 1:
        return np.round(np.abs(differences[0]))
    return np.round(np.sqrt(np.square(differences).sum(0)))
