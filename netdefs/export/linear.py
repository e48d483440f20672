"""Matrix products."""

from typing import Any

import numpy as np

from netdefs.export.context import Context


def matrix_multiply(c: Context, layer: Any) -> None:
    """MatMul, or Gemm, which transposes; a vector operand has all its axes but the last as batch."""
    ops = (layer.op0.name, layer.op1.name)
    if len(c.shape(0)) == len(c.shape(1)) == 2 and "TRANSPOSE" in ops and "VECTOR" not in ops:
        c.emit("Gemm", *c.inputs, transA=int(ops[0] == "TRANSPOSE"), transB=int(ops[1] == "TRANSPOSE"))
        return
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
