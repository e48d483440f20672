"""Embeddings: vectors that say what a face or a person looks like, and how far apart they are."""

from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision.maps import checked


def unit_embeddings(embeddings: Any) -> np.ndarray:
    """Embeddings brought to the length 1, whatever theirs is: (N, features) float32.

    Args:
        embeddings: (N, features).

    Raises:
        InputError: the shape is another, they hold NaN or infinity, or one is all zero and so has no direction.
    """
    found = checked("Embeddings", embeddings, ("things", "features")).astype(np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not lengths.all():
        which = int(np.argmin(lengths))
        raise InputError(f"Embedding {which} of {len(found)} is all zero: it has no direction to compare.")
    return (found / lengths).astype(np.float32)


def cosine_distances(first: Any, second: Any) -> np.ndarray:
    """How different things look: 0 for embeddings of one direction, 1 for those at right angles, 2 for opposite ones.

        distances = cosine_distances([each.embedding for each in before], [each.embedding for each in now])

    It is 1 less the cosine similarity. What counts as the same is the network's: people often take a distance of 0.6
    to 0.7 for ArcFace, and 0.2 for DeepSORT's network; measure it on pictures of your own.

    Args:
        first: (n, features), of any length.
        second: (m, features).

    Returns:
        (n, m) float32.

    Raises:
        InputError: a shape is another, there are not as many features in both, or an embedding is all zero or holds NaN
            or infinity.
    """
    a, b = unit_embeddings(first), unit_embeddings(second)
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"Embeddings of {a.shape[1]} features can't be compared with those of {b.shape[1]}: they are of different "
            "networks."
        )
    return np.asarray(1 - a @ b.T)
