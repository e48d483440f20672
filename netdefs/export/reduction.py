"""Layers that run along an axis: reduce, softmax, top-k, cumulative."""

from typing import Any

import numpy as np
from onnx import TensorProto

from netdefs.export.context import Context
from netdefs.export.reading import axes_of
from netdefs.export.types import BOOL, INT64

REDUCE = {"SUM": "ReduceSum", "PROD": "ReduceProd", "MAX": "ReduceMax", "MIN": "ReduceMin", "AVG": "ReduceMean"}
# The types that every opset's GlobalAveragePool takes.
POOLED = (TensorProto.FLOAT, TensorProto.FLOAT16)


def reduce(c: Context, layer: Any) -> None:
    """A reduction over the axes of the bit mask."""
    if layer.op.name not in REDUCE:
        raise c.error(f"the operation {layer.op.name} is not known.")
    axes = axes_of(layer.axes)
    pooled = layer.op.name == "AVG" and layer.keep_dims and len(axes) > 0 and axes == list(range(2, len(c.shape())))
    if pooled and c.dtype(c.inputs[0]) in POOLED:
        # As networks come: through the parser and back they give the same bits, however ill-conditioned they are.
        c.emit("GlobalAveragePool", c.inputs[0])
        return
    c.reduce(REDUCE[layer.op.name], c.inputs[0], axes, layer.keep_dims)


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


def cumulative(c: Context, layer: Any) -> None:
    """CumSum."""
    if layer.op.name != "SUM":
        raise c.error(f"the operation {layer.op.name} is not known.")
    c.emit("CumSum", *c.inputs, exclusive=int(layer.exclusive), reverse=int(layer.reverse))


def ragged_softmax(c: Context, layer: Any) -> None:
    """Softmax of the first `bounds` values of every row; what follows them becomes 0."""
    x, bounds = c.inputs
    shape = c.helper("shape", "Shape", x, dtype=INT64)
    length = c.helper("length", "Gather", shape, c.constant("last", -1))
    columns = c.helper("columns", "Range", c.constant("zero", 0), length, c.constant("one", 1))
    inside = c.helper("inside", "Less", columns, c.cast(bounds, INT64), dtype=BOOL)
    masked = c.helper("masked", "Where", inside, x, c.constant("lowest", -np.inf, c.dtype(x)), dtype=c.dtype(x))
    c.emit("Where", inside, c.helper("softmax", "Softmax", masked, axis=-1), c.constant("nothing", 0, c.dtype(x)))
