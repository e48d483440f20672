"""How large the terms are that a tensor is summed up from: rounding is relative to these, not to the result."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.debug.graph import Graph

ROWS = 16  # of a weight's rows, so many are summed at once


def size_of_terms(graph: Graph, steps: Sequence[int], output: str, sizes: Mapping[str, float]) -> float:
    """The size of the terms of `output`, computed by the nodes `steps` from tensors whose sizes are known.

    It is that of what goes in, unless weights make it smaller: 1 - 0.999 is as rough as 1 is, and 1e-6 x is not.
    """
    found: dict[str, float] = {}
    for i in steps:
        node = graph.nodes[i]
        known = [found.get(name, sizes.get(name, 0.0)) for name in node.input]
        before = max(known, default=0.0)
        after = min(before, _scaled(graph, node, before))
        found.update(dict.fromkeys(node.output, after))
    return found.get(output, 0.0)


def _scaled(graph: Graph, node: Any, size: float) -> float:
    """What the constants of a node make of values of this size, at most."""
    constants = [graph.constant(name) for name in node.input]
    if len(constants) < 2 or constants[1] is None or not constants[1].size:
        return size
    weight = constants[1].astype(np.float32, copy=False)
    rest = [float(np.abs(c).max()) for c in constants[2:] if c is not None and c.size]
    if node.op_type == "Conv":
        return size * _largest_sum(weight.reshape(len(weight), -1)) + sum(rest)
    if node.op_type in ("Gemm", "MatMul"):  # over either axis: whichever of the two is summed
        turned = weight.swapaxes(-1, -2) if weight.ndim > 1 else weight
        largest = max(_largest_sum(w.reshape(-1, w.shape[-1])) for w in (weight, turned))
        return size * largest + sum(rest)
    if node.op_type == "Mul":
        return size * float(np.abs(weight).max())
    return size


def _largest_sum(rows: np.ndarray) -> float:
    """The largest sum over a row, signs left out; once one is 1, which shrinks nothing, the rest does not matter."""
    largest = 0.0
    for start in range(0, len(rows), ROWS):
        largest = max(largest, float(np.abs(rows[start : start + ROWS]).sum(1).max()))
        if largest >= 1:
            break
    return largest
