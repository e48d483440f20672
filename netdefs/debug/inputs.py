"""The input of a comparison: the same for both sides, checked against the network, and looked at."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.engine import TensorInfo
from netdefs.engine.base import Profile
from netdefs.engine.feeds import check_feeds


@dataclasses.dataclass(frozen=True)
class InputFinding:
    """An input as both sides got it: its range, and what is suspicious about it ("" if nothing)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    problem: str


def prepare(inputs: Any, expected: Mapping[str, TensorInfo], profile: Profile) -> dict[str, np.ndarray]:
    """The inputs by name, in the order of the network's.

    Args:
        inputs: an array or tensor for a network with one input, a mapping by name, or a tuple in the network's order.
        expected: the network's inputs.
        profile: the ranges of dynamic sizes.

    Raises:
        InputError: a name, a shape or a type does not fit.
    """
    if not isinstance(inputs, Mapping):
        values = inputs if isinstance(inputs, tuple | list) else (inputs,)
        if len(values) != len(expected):
            count = f"{len(expected)} input{'s' * (len(expected) != 1)}: {', '.join(expected)}"
            raise InputError(
                f"The network has {count}. {len(values)} were given; a dict of arrays by name is clearest."
            )
        inputs = dict(zip(expected, values, strict=True))
    here = {name: value.cpu() if hasattr(value, "cpu") else value for name, value in inputs.items()}
    return check_feeds(here, expected, profile)


def examine(inputs: Mapping[str, np.ndarray]) -> list[InputFinding]:
    """What there is to say about the inputs."""
    return [_look(name, array) for name, array in inputs.items()]


def _look(name: str, array: np.ndarray) -> InputFinding:
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    problem = ""
    if not np.isfinite(low) or not np.isfinite(high):
        problem = "holds NaN or infinity"
    elif low == high and array.size > 1:
        problem = f"is {low:g} everywhere: few mistakes show with such an input"
    return InputFinding(name, array.shape, str(array.dtype), low, high, problem)
