"""Reductions: reduce, softmax, top-k."""

from typing import Any

import numpy as np

from netdefs.export.graph import INT64, Context, axes_of

REDUCE = {"SUM": "ReduceSum", "PROD": "ReduceProd", "MAX": "ReduceMax", "MIN": "ReduceMin", "AVG": "ReduceMean"}


def reduce(c: Context, layer: Any) -> None:
    """A reduction over the axes of the bit mask."""
    if layer.op.name not in REDUCE:
        raise c.error(f"the operation {layer.op.name} is not known.")
    c.reduce(REDUCE[layer.op.name], c.inputs[0], axes_of(layer.axes), layer.keep_dims)


def softmax(c: Context, layer: Any) -> None:
    """Softmax over one axis."""
    (axis,) = axes_of(layer.axes)
    c.emit("Softmax", c.inputs[0], axis=axis)


def topk(c: Context, layer: Any) -> None:
    """TopK: sorted, and of equal values the one with the lowest index first (TensorRT leaves ties open)."""
    (axis,) = axes_of(layer.axes)
    if c.connected(1):
        k = c.helper("k", "Reshape", c.int64(1), c.constant("one", np.array([1])))
    else:
        k = c.constant("k", np.array([layer.k]))
    attributes: dict[str, Any] = {"axis": axis, "largest": int(layer.op.name == "MAX"), "sorted": 1}
    values, indices = c.outputs
    if c.output_dtype(1) == INT64:
        c.emit("TopK", c.inputs[0], k, outputs=[values, indices], **attributes)
        return
    wide = c.graph.unique(f"{c.name}/indices")
    c.graph.dtypes[wide] = INT64
    c.emit("TopK", c.inputs[0], k, outputs=[values, wide], **attributes)
    c.graph.add_node("Cast", [wide], [indices], f"{c.name}/indices.cast", c.owner, to=c.output_dtype(1))
