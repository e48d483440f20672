"""Layers about shapes: shuffle, squeeze, unsqueeze, concatenation, shape, constant, assertion."""

from typing import Any

import numpy as np

from netdefs.export.context import Context
from netdefs.export.reading import read_weights
from netdefs.export.types import INT64


def shuffle(c: Context, layer: Any) -> None:
    """Transpose, reshape, transpose: what is there of the three."""
    rank, out_rank = len(c.shape()), len(c.output_shape())
    steps: list[tuple[str, str, list[str], dict[str, Any]]] = []
    first, second = list(layer.first_transpose)[:rank], list(layer.second_transpose)[:out_rank]
    if first != sorted(first):
        steps.append(("transposed", "Transpose", [], {"perm": first}))
    if c.connected(1) or layer.reshape_dims is not None:
        steps.append(("reshaped", "Reshape", *target_shape(c, layer)))
    if second != sorted(second):
        steps.append(("permuted", "Transpose", [], {"perm": second}))
    x = c.inputs[0]
    for what, op, more, attributes in steps[:-1]:
        x = c.helper(what, op, x, *more, **attributes)
    if not steps:
        c.emit("Identity", x)
    else:
        _, op, more, attributes = steps[-1]
        c.emit(op, x, *more, **attributes)


def target_shape(c: Context, layer: Any) -> tuple[list[str], dict[str, Any]]:
    """Reshape's second input and attributes. In both APIs -1 is inferred, and 0 copies a size or is one."""
    if c.connected(1):
        shape, may_be_zero = c.int64(1), True
    else:
        sizes = [int(n) for n in layer.reshape_dims]
        shape, may_be_zero = c.constant("shape", np.array(sizes, np.int64)), 0 in sizes
    if layer.zero_is_placeholder or not may_be_zero:
        return [shape], {}
    c.require(14, "zeros in a shape that mean zero")
    return [shape], {"allowzero": 1}


def concatenation(c: Context, layer: Any) -> None:
    """Concat."""
    c.emit("Concat", *c.inputs, axis=layer.axis)


def shape_of(c: Context, layer: Any) -> None:
    """Shape."""
    if c.output_dtype() == INT64:
        c.emit("Shape", c.inputs[0])
    else:  # TensorRT before 10 gives int32
        c.finish(c.helper("int64", "Shape", c.inputs[0], dtype=INT64))


def constant(c: Context, layer: Any) -> None:
    """An initializer that has the tensor's name, and no node."""
    dtype, values = read_weights(layer.weights)
    c.graph.add_initializer(c.outputs[0], dtype, [int(n) for n in layer.shape], values)


def squeeze(c: Context, layer: Any) -> None:
    """Squeeze; without axes it removes those whose size is 1 in the definition, never a dynamic one."""
    if c.connected(1):
        axes = c.int64(1)
    else:
        axes = c.constant("axes", np.array([i for i, n in enumerate(c.shape()) if n == 1], np.int64))
    c.emit("Squeeze", c.inputs[0], axes)


def unsqueeze(c: Context, layer: Any) -> None:
    """Unsqueeze."""
    c.emit("Unsqueeze", c.inputs[0], c.int64(1))


def assertion(c: Context, layer: Any) -> None:
    """Nothing: ONNX can't assert, and the layer has no output."""
