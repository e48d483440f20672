"""Printing: tables, statistics, JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

console = Console()


def print_json(found: Any) -> None:
    """Prints what was found as JSON."""
    print(json.dumps(found, indent=2, allow_nan=False))


def finite(number: Any) -> float | None:
    """A number for JSON, which has no NaN and no infinity."""
    return float(number) if math.isfinite(number) else None


def number(value: float | None) -> str:
    """A number for a table."""
    return "not finite" if value is None else f"{value:.5g}"


def dims(shape: Sequence[int]) -> str:
    """A shape as 1x3x224x224."""
    return "x".join(map(str, shape))


def infos(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """An engine's inputs or outputs for JSON."""
    return {name: {"shape": list(shape), "dtype": str(dtype)} for name, (shape, dtype) in tensors.items()}


def statistics(array: np.ndarray) -> dict[str, Any]:
    """Shape, type and range of an output."""
    numbers = {key: finite(getattr(array, key)()) for key in ("min", "max", "mean")}
    return {"shape": list(array.shape), "dtype": str(array.dtype), **numbers}
