"""Where in a tensor it differs: at its border, in some channels, in a region, or everywhere."""

from collections.abc import Sequence

import numpy as np

MOSTLY = 0.98


def where_differs(expected: np.ndarray, found: np.ndarray, tolerance: float) -> str:
    """It in words, as "at its border, up to 2 values deep"."""
    if expected.shape != found.shape:
        return f"its shape is {tuple(found.shape)}, PyTorch's is {tuple(expected.shape)}"
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.sqrt(np.mean(np.square(expected[np.isfinite(expected)], dtype=np.float64))) if expected.size else 0.0
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        wrong = ~same & ~(np.abs(found - expected) <= tolerance * (np.abs(expected) + size))
    if not wrong.any():
        return "nowhere by much"
    if not np.isfinite(found).all() and np.isfinite(expected).all():
        return f"it holds {int((~np.isfinite(found)).sum())} values that are not finite"
    parts = []
    share = float(wrong.mean())
    for axis, word in _axes(expected.ndim):
        others = tuple(i for i in range(expected.ndim) if i != axis)
        hit = np.flatnonzero(np.any(wrong, axis=others))
        if len(hit) < expected.shape[axis]:
            parts.append(f"{word} {_ranges(hit)} of {expected.shape[axis]}")
    border = _border(wrong) if expected.ndim == 4 else 0
    if border:
        return f"it differs at its border only, up to {border} values deep"
    if parts:
        return f"it differs only in {', '.join(parts)}"
    return (
        f"it differs everywhere ({share:.0%} of its values)" if share > 0.5 else f"in {share:.1%} of its values, spread"
    )


def _border(wrong: np.ndarray) -> int:
    """How deep the border is that has all wrong values; 0 if that is most of the tensor."""
    height, width = wrong.shape[2:]
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    depth = np.minimum.reduce([y, height - 1 - y, x, width - 1 - x])
    deepest = int(depth[wrong.any((0, 1))].max()) + 1
    return deepest if 4 * deepest < min(height, width) else 0


def _axes(rank: int) -> list[tuple[int, str]]:
    names = {1: "channels", 2: "rows", 3: "columns"} if rank == 4 else {}
    return [(axis, names.get(axis, f"axis {axis}")) for axis in range(1 if rank > 1 else 0, rank)]


def _ranges(found: Sequence[int] | np.ndarray) -> str:
    """Indices as "0-3, 8"."""
    parts, values = [], [int(i) for i in found]
    start = values[0]
    for i, value in enumerate(values):
        if i + 1 == len(values) or values[i + 1] != value + 1:
            parts.append(f"{start}-{value}" if value > start else str(value))
            start = values[i + 1] if i + 1 < len(values) else 0
    return ", ".join(parts[:4]) + (" ..." if len(parts) > 4 else "")
