"""Attention and rotary position embedding."""

import math
from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.types import BOOL, INT64


def attention_input(c: Context, layer: Any) -> None:
    """softmax(Q K^T + mask) V. TensorRT scales nothing: queries and keys come scaled.

    Queries are (B, heads, S, D), keys and values (B, fewer or as many heads, L, D).
    """
    attention = layer.attention
    for what in ("query_form", "key_value_form"):
        if hasattr(attention, what) and getattr(attention, what).name != "PADDED_BHND":
            raise c.error(f"{what} {getattr(attention, what).name}: its sequences have no batch axis.")
    if getattr(attention, "normalization_quantize_scale", None) is not None:
        raise c.error("normalization_quantize_scale: ONNX has no product of quantized weights and values.")
    query, key, value = c.inputs[0], shared(c, 1, "key"), shared(c, 2, "value")
    keys = c.helper("key.transposed", "Transpose", key, perm=[0, 1, 3, 2])
    scores = c.helper("scores", "MatMul", query, keys)
    weights, allowed = masked(c, attention, scores)
    if attention.norm_op.name == "SOFTMAX":
        weights = c.helper("weights", "Softmax", weights, axis=-1)
    for mask in allowed:
        # A query that may see nothing gets 0, as in ONNX's Attention: the softmax of nothing would be NaN.
        weights = c.helper(
            "allowed", "Where", mask, weights, c.constant("nothing", 0, c.dtype(scores)), dtype=c.dtype(scores)
        )
    c.emit("MatMul", weights, value)


def attention_output(c: Context, layer: Any) -> None:
    """The end of an attention: what its beginning made."""
    c.emit("Identity", c.inputs[0])


def shared(c: Context, index: int, what: str) -> str:
    """Keys or values for every query head: fewer heads are each used for as many queries in a row."""
    heads, fewer = c.shape(0)[1], c.shape(index)[1]
    if heads == fewer:
        return c.inputs[index]
    if min(heads, fewer) < 1:
        raise c.error(f"{what}s with a number of heads that is known only at run time.")
    return c.helper(
        f"{what}.shared",
        "Gather",
        c.inputs[index],
        c.constant(f"{what}.heads", np.repeat(np.arange(fewer), heads // fewer)),
        axis=1,
    )


def masked(c: Context, attention: Any, scores: str) -> tuple[str, list[str]]:
    """The scores plus a mask of numbers, minus infinity where a boolean mask is false; and those boolean masks."""
    dtype, mask = c.dtype(scores), attention.mask
    allowed = []
    if mask is not None and c.dtype(mask.name) == BOOL:
        allowed.append(mask.name)
    elif mask is not None:
        scores = c.helper("masked", "Add", scores, c.cast(mask.name, dtype))
    kind, lengths = causal_kind(attention), getattr(attention, "key_value_lengths", None)
    if kind != "NONE" or lengths is not None:
        shape = c.helper("scores.shape", "Shape", scores, dtype=INT64)
        queries = c.helper("queries", "Gather", shape, c.constant("queries.axis", 2))
        keys = c.helper("keys", "Gather", shape, c.constant("keys.axis", 3))
        column = count_up(c, "column", keys)
        if kind != "NONE":
            row = count_up(c, "row", queries)
            if (
                kind == "LOWER_RIGHT"
            ):  # the last query sees all keys; UPPER_LEFT: the first query sees the first key only
                row = c.helper("row.aligned", "Add", row, c.helper("ahead", "Sub", keys, queries))
            row = c.helper("rows", "Unsqueeze", row, c.constant("row.axis", np.array([-1])))
            hidden = c.helper("hidden", "Greater", column, row, dtype=BOOL)
            allowed.append(c.helper("causal", "Not", hidden))
        if lengths is not None:
            length = c.cast(lengths.name, INT64)
            length = c.helper("lengths", "Unsqueeze", length, c.constant("length.axes", np.array([1, 2, 3])))
            allowed.append(c.helper("valid", "Less", column, length, dtype=BOOL))
    for condition in allowed:
        lowest = c.constant("lowest", -math.inf, dtype)
        scores = c.helper("scores.masked", "Where", condition, scores, lowest, dtype=dtype)
    return scores, allowed


def count_up(c: Context, what: str, size: str) -> str:
    """0, 1, 2 ... up to a size."""
    return c.helper(what, "Range", c.constant(f"{what}.first", 0), size, c.constant(f"{what}.step", 1))


def causal_kind(attention: Any) -> str:
    """How the causal mask is aligned; older versions know one kind only."""
    if hasattr(attention, "causal_kind"):
        return str(attention.causal_kind.name)
    return "UPPER_LEFT" if attention.causal else "NONE"


def rotary_embedding(c: Context, layer: Any) -> None:
    """Rotates pairs of features (x1, x2) of (B, N, S, H) by the angle of their position.

    The first `rotary_embedding_dim` features take part (0: all); pairs are neighbors if interleaved, else one of each
    half. The caches hold half as many cosines and sines: for each position of each item, or, with position ids, of a
    table.
    """
    x, dtype = c.inputs[0], c.dtype(c.inputs[0])
    head = c.shape()[3]
    turned = layer.rotary_embedding_dim or head
    if min(head, turned) < 1:
        raise c.error("a feature size that is known only at run time.")
    cos, sin = (angles(c, index, what) for index, what in ((1, "cos"), (2, "sin")))
    if layer.interleaved:
        firsts, seconds = np.arange(0, turned, 2), np.arange(1, turned, 2)
    else:
        firsts, seconds = np.arange(turned // 2), np.arange(turned // 2, turned)
    first = c.helper("first", "Gather", x, c.constant("first.index", firsts), axis=3)
    second = c.helper("second", "Gather", x, c.constant("second.index", seconds), axis=3)
    cos, sin = c.cast(cos, dtype), c.cast(sin, dtype)
    real = c.helper("real", "Sub", c.helper("x1.cos", "Mul", first, cos), c.helper("x2.sin", "Mul", second, sin))
    imaginary = c.helper(
        "imaginary", "Add", c.helper("x1.sin", "Mul", first, sin), c.helper("x2.cos", "Mul", second, cos)
    )
    parts, order = [real, imaginary], [*firsts, *seconds]
    if turned < head:
        rest = np.arange(turned, head)
        parts.append(c.helper("rest", "Gather", x, c.constant("rest.index", rest), axis=3))
        order += [*rest]
    if not layer.interleaved:
        c.emit("Concat", *parts, axis=3)
    else:
        joined = c.helper("joined", "Concat", *parts, axis=3)
        c.emit("Gather", joined, c.constant("order", np.argsort(order)), axis=3)


def angles(c: Context, index: int, what: str) -> str:
    """Cosines or sines as (B, 1, S, H / 2), those of each position looked up if there are position ids."""
    table = c.inputs[index]
    if c.connected(3):
        table = c.helper(f"{what}.positions", "Gather", table, c.inputs[3])
    return c.helper(what, "Unsqueeze", table, c.constant(f"{what}.axis", np.array([1])))
