"""Layers that read or write at indices: gather, scatter, one-hot, non-zero, reverse sequence, KV-cache update."""

from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.types import BOOL, INT64


def gather(c: Context, layer: Any) -> None:
    """Gather, GatherElements or GatherND."""
    mode, batch = layer.mode.name, layer.num_elementwise_dims
    if mode == "ELEMENT":
        c.emit("GatherElements", *c.inputs, axis=layer.axis)
    elif mode == "ND":
        c.emit("GatherND", c.inputs[0], c.int64(1), batch_dims=batch)
    elif not batch:
        c.emit("Gather", *c.inputs, axis=layer.axis)
    else:
        batched_gather(c, layer.axis, batch)


def batched_gather(c: Context, axis: int, batch: int) -> None:
    """Gather whose first axes run together in data and indices.

    That is GatherND with indices of one number each, if the gathered axis follows the batch: it is moved there.
    """
    rank, picked = len(c.shape(0)), len(c.shape(1)) - batch
    x = c.inputs[0]
    between = axis - batch  # axes that stand before the gathered one
    if between:
        front = [*range(batch), axis, *(i for i in range(batch, rank) if i != axis)]
        x = c.helper("front", "Transpose", x, perm=front)
    index = c.helper("index", "Unsqueeze", c.int64(1), c.constant("last", np.array([-1])))
    if not between:
        c.emit("GatherND", x, index, batch_dims=batch)
        return
    found = c.helper("found", "GatherND", x, index, batch_dims=batch)
    moved = [*range(batch + picked, batch + picked + between), *range(batch, batch + picked)]
    c.emit("Transpose", found, perm=[*range(batch), *moved, *range(batch + picked + between, rank - 1 + picked)])


def scatter(c: Context, layer: Any) -> None:
    """ScatterElements or ScatterND. TensorRT leaves open what repeated indices give."""
    data, _, updates = c.inputs
    if layer.mode.name == "ELEMENT":
        c.emit("ScatterElements", data, c.inputs[1], updates, axis=layer.axis)
    else:
        c.emit("ScatterND", data, c.int64(1), updates)


def one_hot(c: Context, layer: Any) -> None:
    """One-hot: the second of the two values where the index is met along the new axis, else the first.

    Written as a comparison: ONNX's OneHot also counts negative indices from the back.
    """
    _, values, depth = c.inputs
    rank, axis = len(c.shape()), layer.axis
    axis += rank + 1 if axis < 0 else 0
    scalar = c.constant("scalar", np.zeros(0, np.int64))
    count = c.helper("depth", "Reshape", c.cast(depth, INT64), scalar)
    classes = c.helper("classes", "Range", c.constant("zero", 0), count, c.constant("one", 1))
    spread = c.constant("spread", np.array([1] * axis + [-1] + [1] * (rank - axis)))
    classes = c.helper("classes.spread", "Reshape", classes, spread)
    wanted = c.helper("indices", "Unsqueeze", c.int64(0), c.constant("axis", np.array([axis])))
    hit = c.helper("hit", "Equal", wanted, classes, dtype=BOOL)
    off, on = (c.helper(what, "Gather", values, c.constant(f"{what}.index", i)) for i, what in enumerate(("off", "on")))
    if c.dtype(values) == BOOL:  # ONNX Runtime's Where takes no booleans
        no = c.helper("cold", "And", c.helper("miss", "Not", hit), off)
        c.emit("Or", c.helper("hot", "And", hit, on), no)
    else:
        c.emit("Where", hit, on, off)


def non_zero(c: Context, layer: Any) -> None:
    """NonZero: one row of indices for each axis, in row-major order."""
    c.finish(c.helper("int64", "NonZero", c.inputs[0], dtype=INT64))


def reverse_sequence(c: Context, layer: Any) -> None:
    """ReverseSequence; ONNX's knows only the first two axes, so others are moved there and back."""
    batch, sequence = layer.batch_axis, layer.sequence_axis
    lengths = c.int64(1)
    if {batch, sequence} == {0, 1}:
        c.emit("ReverseSequence", c.inputs[0], lengths, batch_axis=batch, time_axis=sequence)
        return
    front = [batch, sequence, *(i for i in range(len(c.shape())) if i not in (batch, sequence))]
    x = c.helper("front", "Transpose", c.inputs[0], perm=front)
    x = c.helper("reversed", "ReverseSequence", x, lengths, batch_axis=0, time_axis=1)
    c.emit("Transpose", x, perm=[int(i) for i in np.argsort(front)])


def kv_cache_update(c: Context, layer: Any) -> None:
    """Writes the update (B, N, S, H) into the cache (B, N, M, H), for each batch item from its own write index on."""
    form = layer.update_form.name if hasattr(layer, "update_form") else "PADDED_BHND"
    if form != "PADDED_BHND":
        raise c.error(f"the update form {form}: its sequences have no batch axis.")
    cache, update, start = c.inputs[:3]
    shape = c.helper("shape", "Shape", update, dtype=INT64)
    scalar = c.constant("scalar", np.zeros(0, np.int64))
    count = c.helper("count", "Reshape", c.helper("axis2", "Gather", shape, c.constant("two", np.array([2]))), scalar)
    steps = c.helper("steps", "Range", c.constant("zero", 0), count, c.constant("one", 1))
    first = c.helper("first", "Unsqueeze", c.cast(start, INT64), c.constant("last", np.array([1])))
    places = c.helper("places", "Add", first, steps)  # (B, S)
    places = c.helper("places.spread", "Unsqueeze", places, c.constant("axes", np.array([1, 3])))
    c.emit("ScatterElements", cache, c.helper("indices", "Expand", places, shape), update, axis=2)
