"""Gather."""

from typing import Any

import numpy as np

from netdefs.export.graph import Context


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
