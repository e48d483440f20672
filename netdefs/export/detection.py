"""Non-maximum suppression."""

import math
from typing import Any

import numpy as np
from onnx import TensorProto

from netdefs.export.context import Context
from netdefs.export.types import INT64

FLOAT = TensorProto.FLOAT


def nms(c: Context, layer: Any) -> None:
    """NonMaxSuppression, its result in TensorRT's order: by batch item, then by falling score.

    Both select boxes whose score exceeds a threshold (0 if it is not given), and drop those whose overlap with a
    selected one exceeds another (0 too). TensorRT looks at the best `topk_box_limit` candidates of a batch item only.
    """
    boxes, scores = c.cast(c.inputs[0], FLOAT), c.cast(c.inputs[1], FLOAT)
    scores = c.helper("scores", "Transpose", scores, perm=[0, 2, 1])  # (B, N, C) -> (B, C, N)
    scores = limited(c, scores, layer.topk_box_limit)
    per_class = len(c.shape(0)) == 4
    candidates = scores
    if per_class:  # boxes (B, N, C, 4): every class of every item becomes an item of its own
        boxes = c.helper("boxes", "Transpose", boxes, perm=[0, 2, 1, 3])
        boxes = c.helper("boxes.flat", "Reshape", boxes, c.constant("boxes.shape", np.array([-1, c.shape(0)[1], 4])))
        flat = c.constant("scores.shape", np.array([-1, 1, c.shape(0)[1]]))
        candidates = c.helper("scores.flat", "Reshape", scores, flat)
    most = c.helper("most", "Reshape", c.int64(2), c.constant("one", np.array([1])))
    thresholds = [threshold(c, 3, "overlap"), threshold(c, 4, "least")]
    center = int(layer.bounding_box_format.name == "CENTER_SIZES")
    found = c.helper(
        "selected", "NonMaxSuppression", boxes, candidates, most, *thresholds, dtype=INT64, center_point_box=center
    )
    if per_class:
        found = split_items(c, found)
    order = best_first(c, found, scores)
    wide = c.helper("ordered", "Gather", found, order)
    c.finish(wide)
    count = c.helper("count", "Gather", c.helper("size", "Shape", wide, dtype=INT64), c.constant("first", 0))
    name = c.graph.unique(f"{c.name}/count.cast")
    c.graph.add_node("Cast", [count], [c.outputs[1]], name, c.owner, to=c.output_dtype(1))


def threshold(c: Context, index: int, what: str) -> str:
    """A threshold as ONNX wants it: a vector of one number."""
    if not c.connected(index):
        return c.constant(what, np.zeros(1), FLOAT)
    return c.helper(what, "Reshape", c.cast(c.inputs[index], FLOAT), c.constant(f"{what}.shape", np.array([1])))


def limited(c: Context, scores: str, limit: int) -> str:
    """The scores (B, C, N), minus infinity for all but the best `limit` of each batch item."""
    _, boxes, classes = c.shape(1)
    if min(boxes, classes) > 0 and boxes * classes <= limit:
        return scores
    flat = c.helper("flat", "Reshape", scores, c.constant("flat.shape", np.array([0, -1])))
    size = c.helper("flat.size", "Shape", flat, dtype=INT64)
    many = c.helper("many", "Gather", size, c.constant("last", np.array([1])))
    few = c.helper("few", "Min", many, c.constant("limit", np.array([limit])))
    names = [c.graph.unique(f"{c.name}/{what}") for what in ("top", "top.index")]
    c.graph.dtypes.update({names[0]: FLOAT, names[1]: INT64})
    c.graph.add_node("TopK", [flat, few], names, names[0], c.owner, axis=1)
    nothing = c.helper("nothing", "Expand", c.constant("lowest", -math.inf, FLOAT), size)
    kept = c.helper("kept", "ScatterElements", nothing, names[1], names[0], axis=1)
    return c.helper("limited", "Reshape", kept, c.helper("scores.size", "Shape", scores, dtype=INT64))


def split_items(c: Context, found: str) -> str:
    """(item * classes + class, 0, box) -> (item, class, box)."""
    columns = (("item", 0), ("box", 2))
    item, box = (
        c.helper(what, "Gather", found, c.constant(f"{what}.at", np.array([i])), axis=1) for what, i in columns
    )
    shape = c.helper("scores.shape.now", "Shape", c.inputs[1], dtype=INT64)
    classes = c.helper("classes", "Gather", shape, c.constant("class.axis", 2))
    parts = [c.helper("item.batch", "Div", item, classes), c.helper("item.class", "Mod", item, classes), box]
    return c.helper("split", "Concat", *parts, axis=1)


def best_first(c: Context, found: str, scores: str) -> str:
    """The order of the selected rows by batch item, then by falling score: two sorts, the second one stable."""
    size = c.helper("found.size", "Shape", found, dtype=INT64)
    count = c.helper("found.count", "Gather", size, c.constant("rows", np.array([0])))
    values = c.helper("found.scores", "GatherND", scores, found)
    by_score = sorting(c, "by.score", values, count)
    batch = c.helper("batch", "Gather", found, c.constant("batch.at", 0), axis=1)
    batch = c.helper("batch.sorted", "Gather", batch, by_score)
    first = c.helper("batch.key", "Neg", batch)  # ONNX's TopK puts the lower index first among equals
    return c.helper("order", "Gather", by_score, sorting(c, "by.batch", first, count))


def sorting(c: Context, what: str, values: str, count: str) -> str:
    """The indices that sort `values`, the largest first."""
    names = [c.graph.unique(f"{c.name}/{what}.values"), c.graph.unique(f"{c.name}/{what}")]
    c.graph.dtypes.update({names[0]: c.dtype(values), names[1]: INT64})
    c.graph.add_node("TopK", [values, count], names, names[1], c.owner, axis=0)
    return names[1]
