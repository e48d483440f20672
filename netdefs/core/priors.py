"""RetinaFace's priors: the boxes that its network's numbers say the differences to."""

import functools

import numpy as np

STRIDES = (8, 16, 32)
SIZES = ((16, 32), (64, 128), (256, 512))  # of the priors of each stride, in pixels
VARIANCES = (0.1, 0.2)  # what differences of places, and of the logarithms of sizes, are multiplied by
LANDMARKS = 5


def count(height: int, width: int) -> int:
    """How many priors a picture of this size has."""
    cells = (-(-height // stride) * -(-width // stride) for stride in STRIDES)
    return sum(n * len(sizes) for n, sizes in zip(cells, SIZES, strict=True))


@functools.lru_cache(maxsize=8)
def priors(height: int, width: int) -> np.ndarray:
    """Centre x, centre y, width and height of every prior, in pixels of the picture: (A, 4) float32, not to be changed.

    Source: PriorBox in layers/functions/prior_box.py of biubug6/Pytorch_Retinaface (MIT), whose numbers are parts of
    the picture's size.
    """
    found = []
    for stride, sizes in zip(STRIDES, SIZES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.meshgrid((np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, indexing="ij")
        places = np.stack([x, y], -1)[:, :, None].repeat(len(sizes), 2)
        extents = np.broadcast_to(np.array(sizes)[:, None], (rows, columns, len(sizes), 2))
        found.append(np.concatenate([places, extents], -1).reshape(-1, 4))
    array = np.concatenate(found).astype(np.float32)
    array.flags.writeable = False
    return array
