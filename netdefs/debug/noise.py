"""Random inputs to compare on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.debug.inputs import Several
from netdefs.engine import Engine, TensorInfo
from netdefs.engine.base import BFLOAT16


def random_inputs(network: Any, count: int = 1, seed: int = 0) -> Several:
    """Random inputs for `compare`, the same for the same seed: normally distributed, bytes over their whole range.

    Noise of order 1 is what a normalized picture looks like to a network.

    Args:
        network: a `Network`, a raw `INetworkDefinition` or an `Engine`; a dynamic size is the profile's opt.
        count: how many; each is made when it is asked for.
        seed: of the first; the next have the next numbers.

    Raises:
        InputError: `count` is not positive, or there is no telling what an input of whole numbers means.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"count={count!r}: it is a positive number of inputs.")
    if isinstance(network, Engine):
        inputs = network.inputs
    else:
        from netdefs.engine.tensorrt import definition_inputs

        inputs = definition_inputs(getattr(network, "definition", network))
    profile = getattr(network, "profile", {})
    random_feed(inputs, profile, seed)  # what can't be is said at once
    return Several([f"random {seed + i}" for i in range(count)], lambda i: random_feed(inputs, profile, seed + i))


def random_feed(inputs: Mapping[str, TensorInfo], profile: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """One of `random_inputs`."""
    generator = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for name, info in inputs.items():
        usual = profile[name][1] if name in profile else [1 if axis == 0 else 224 for axis in range(len(info.shape))]
        shape = [size if size > 0 else int(usual[axis]) for axis, size in enumerate(info.shape)]
        kind = np.dtype(np.float32 if info.dtype == BFLOAT16 else info.dtype)
        if kind.kind == "f":
            found[name] = generator.standard_normal(shape, dtype=np.float32).astype(kind, copy=False)
        elif kind.itemsize == 1:
            low, high = (0, 2) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max + 1)
            found[name] = generator.integers(low, high, shape).astype(kind)
        else:
            raise InputError(f"The input {name!r} is {kind}: what such numbers mean only you know. Give an array.")
    return found
