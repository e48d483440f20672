"""Sizes that follow from the input's, as expressions over the shapes of what is at hand: `x.shape[2] // 7`."""

from collections.abc import Iterable
from typing import Any

from netdefs.scaffold.program import Arg, Dim, Math, Value


def plain(size: Any) -> Any:
    """A size as PyTorch traces it, or a number made of sizes: an int or float, or a sympy expression of the input's."""
    node = getattr(size, "node", None)
    if node is None:
        return size
    expr = node.expr
    if not expr.is_number:
        return expr
    return int(expr) if expr.is_integer else float(expr)


def resolve(size: Any, near: Iterable[Value]) -> Arg | None:
    """A size as an expression over the shapes of the values `near`; None if it can't be told from these.

    Args:
        size: as `plain` gives it.
        near: values whose shapes may be used, the best one first.
    """
    near = list(near)
    if isinstance(size, int | float):
        return size
    if size.is_number:
        return _number(size)
    for value in near:
        for axis, each in enumerate(value.shape):
            if not isinstance(each, int) and each == size:
                return Dim(value, axis)
    kind = type(size).__name__
    if kind == "CeilToInt" and type(size.args[0]).__name__ == "IntTrueDiv":  # rounded up
        upper, lower = size.args[0].args
        part = resolve(upper + lower - 1, near)
        return None if part is None else Math("//", part, resolve(lower, near))
    parts = [resolve(arg, near) for arg in size.args]
    if not parts or any(part is None for part in parts):
        return None
    if kind in ("Add", "Mul"):
        # Numbers last: sympy has them first.
        parts.sort(key=lambda part: isinstance(part, int | float))
        found = parts[0]
        for part in parts[1:]:
            if kind == "Add" and isinstance(part, int | float) and part < 0:
                found = Math("-", found, -part)
            else:
                found = Math("+" if kind == "Add" else "*", found, part)
        return found
    if kind in ("FloorDiv", "CleanDiv"):
        return Math("//", parts[0], parts[1])
    if kind in ("FloatTrueDiv", "IntTrueDiv"):
        return Math("/", parts[0], parts[1])
    if kind in ("ToFloat", "Identity"):
        return parts[0]
    if kind in ("TruncToInt", "FloorToInt"):
        return _whole(parts[0])
    if kind in ("Mod", "PythonMod"):
        return Math("%", parts[0], parts[1])
    if kind in ("Pow", "PowByNatural", "FloatPow"):
        return Math("*", parts[0], parts[0]) if parts[1] == 2 else Math("**", parts[0], parts[1])
    return None


def _whole(part: Arg) -> Arg | None:
    """A product with a number, rounded down: such as the size of an interpolated picture."""
    if not isinstance(part, Math) or part.operator != "*" or not isinstance(part.right, float | int):
        return None
    if float(part.right).is_integer():
        return Math("*", part.left, int(part.right))
    return Math("//", part.left, round(1 / part.right)) if (1 / part.right).is_integer() else None


def _number(expr: Any) -> int | float:
    return int(expr) if expr.is_integer else float(expr)
