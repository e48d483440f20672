"""Fill: evenly spaced and random numbers."""

import zlib
from typing import Any

import numpy as np

from netdefs.export.context import Context


def fill(c: Context, layer: Any) -> None:
    """A tensor of evenly spaced numbers, or of random ones."""
    # The layer's own shape is asked for only where there is no input: it logs.
    shape = c.int64(0) if c.connected(0) else c.constant("shape", np.array(list(layer.shape), np.int64))
    kind = layer.operation.name
    if kind == "LINSPACE":
        linspace(c, layer, shape)
    elif kind in ("RANDOM_UNIFORM", "RANDOM_NORMAL"):
        random(c, layer, shape, kind)
    else:
        raise c.error(f"the operation {kind} is not known.")


def bound(c: Context, layer: Any, index: int, attribute: str) -> str:
    """Alpha or beta: an input, or the layer's own number."""
    if c.connected(index):
        return c.cast(c.inputs[index], c.output_dtype())
    return c.constant(attribute, getattr(layer, attribute), c.output_dtype())


def linspace(c: Context, layer: Any, shape: str) -> None:
    """alpha + the sum over the axes of index times beta, which has one number for each axis."""
    rank, dtype = len(c.output_shape()), c.output_dtype()
    alpha, beta = bound(c, layer, 1, "alpha"), bound(c, layer, 2, "beta")
    beta = c.helper("steps", "Reshape", beta, c.constant("flat", np.array([-1])))
    result = alpha
    for axis in range(rank):
        size = c.helper(f"size{axis}", "Gather", shape, c.constant(f"axis{axis}", axis))
        index = c.helper(f"index{axis}", "Range", c.constant("zero", 0), size, c.constant("one", 1))
        step = c.helper(f"step{axis}", "Gather", beta, c.constant(f"which{axis}", np.array([axis])))
        term = c.helper(f"term{axis}", "Mul", c.cast(index, dtype), step)
        spread = [1] * axis + [-1] + [1] * (rank - axis - 1)
        term = c.helper(f"spread{axis}", "Reshape", term, c.constant(f"spread{axis}.shape", np.array(spread)))
        result = c.helper(f"sum{axis}", "Add", result, term)
    c.emit("Expand", result, shape)


def random(c: Context, layer: Any, shape: str, kind: str) -> None:
    """Random numbers: not TensorRT's, but the same ones from run to run, by a seed made from the layer's name."""
    dtype = c.output_dtype()
    zeros = c.helper("zeros", "Expand", c.constant("zero.value", 0, dtype), shape)
    seed = float(zlib.crc32(c.name.encode()) % 2**24)
    alpha, beta = bound(c, layer, 1, "alpha"), bound(c, layer, 2, "beta")
    if kind == "RANDOM_UNIFORM":
        drawn = c.helper("drawn", "RandomUniformLike", zeros, seed=seed, low=0.0, high=1.0)
        scaled = c.helper("scaled", "Mul", drawn, c.helper("width", "Sub", beta, alpha))
    else:
        drawn = c.helper("drawn", "RandomNormalLike", zeros, seed=seed, mean=0.0, scale=1.0)
        scaled = c.helper("scaled", "Mul", drawn, beta)
    c.emit("Add", scaled, alpha)
