"""Weights that nothing is computed from: heads for training, and second names of modules that are shared."""

import fnmatch
import re
from collections.abc import Collection, Iterable

from netdefs.core.weights import COUNTER
from netdefs.scaffold.capture import Captured


def unused_weights(captured: Captured) -> list[str]:
    """Globs of the keys of a module's state_dict that are not used, as few as there can be."""
    keys = list(captured.module.state_dict())
    used = {
        captured.weights[node.name] for node in captured.graph.nodes if node.name in captured.weights and node.users
    }
    norms = {key.rpartition(".")[0] for key in used}
    used |= {key for key in keys if key.endswith(COUNTER) and key.rpartition(".")[0] in norms}
    left = [key for key in keys if key not in used]
    patterns: list[str] = []
    for key in left:
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns):
            patterns.append(_widest(key, used))
    return patterns


def _widest(key: str, used: Collection[str]) -> str:
    """The pattern of most keys besides this one that has none of those that are used."""
    parts = key.split(".")
    for length in range(1, len(parts)):
        prefix = ".".join(parts[:length])
        for pattern in _numbers(f"{prefix}.*"):
            if not any(fnmatch.fnmatchcase(other, pattern) for other in used):
                return pattern
    return next((pattern for pattern in _numbers(key) if not fnmatch.filter(used, pattern)), key)


def _numbers(pattern: str) -> Iterable[str]:
    """A pattern with any numbers in place of its own, and as it is."""
    yield re.sub(r"\d+", "*", pattern)
    yield pattern
