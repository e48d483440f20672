"""Matrix products."""

from typing import Any

import numpy as np

from netdefs.export.context import Context


def matrix_multiply(c: Context, layer: Any) -> None:
    """MatMul; an operand may be transposed, or a vector (its batch then is all axes but the last)."""
    a = operand(c, 0, layer.op0.name)
    b = operand(c, 1, layer.op1.name)
    extra = []
    if layer.op0.name == "VECTOR":
        a = c.helper("row", "Unsqueeze", a, c.constant("row.axes", np.array([-2])))
        extra.append(-2)
    if layer.op1.name == "VECTOR":
        b = c.helper("column", "Unsqueeze", b, c.constant("column.axes", np.array([-1])))
        extra.append(-1)
    if not extra:
        c.emit("MatMul", a, b)
    else:
        c.emit("Squeeze", c.helper("product", "MatMul", a, b), c.constant("axes", np.array(extra)))


def operand(c: Context, index: int, op: str) -> str:
    """One side of the product, its last two axes swapped if it is to be transposed."""
    if op != "TRANSPOSE":
        return c.inputs[index]
    rank = len(c.shape(index))
    perm = [*range(rank - 2), rank - 1, rank - 2]
    return c.helper(f"transposed{index}", "Transpose", c.inputs[index], perm=perm)


def einsum(c: Context, layer: Any) -> None:
    """Einsum."""
    c.emit("Einsum", *c.inputs, equation=layer.equation)
