"""Arguments and expressions of a draft as Python text, and lines that are not too long."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.scaffold.program import (
    Arg,
    Column,
    Count,
    Dim,
    Each,
    First,
    Fixed,
    Function,
    Index,
    Math,
    Param,
    Raw,
    Turn,
    Value,
)

WIDTH = 120


class Text:
    """Writes arguments.

    Args:
        names: what each value is called, or the expression that it is.
        turns: what the counter of each loop is called.
        varying: of each loop, what a sequence's value for this turn is called.
        constant: gives the text of an array.
    """

    def __init__(
        self,
        names: Mapping[Value, str],
        turns: Mapping[Turn, str],
        varying: Mapping[Any, str],
        constant: Callable[[np.ndarray], str],
    ) -> None:
        self.names, self.turns, self.varying, self.constant = names, turns, varying, constant

    def of(self, arg: Arg, inner: bool = False) -> str:
        """An argument; in parentheses where it is `inner` to an expression and needs them."""
        if isinstance(arg, Value):
            return self.names[arg]
        if isinstance(arg, Dim):
            return f"{self.names[arg.value]}.shape[{arg.axis}]"
        if isinstance(arg, Math):
            text = self._math(arg)
            return f"({text})" if inner else text
        if isinstance(arg, Param):
            return arg.name
        if isinstance(arg, Raw):
            return arg.text
        if isinstance(arg, Each | Column) and arg in self.varying:
            return self.varying[arg]
        if isinstance(arg, First):
            return self._first(arg, inner)
        if isinstance(arg, tuple | list):
            return "(" + ", ".join(map(self.of, arg)) + ("," if len(arg) == 1 else "") + ")"
        if isinstance(arg, float):
            return number(arg)
        if isinstance(arg, Fixed):
            return self.constant(arg.values)
        if isinstance(arg, str):
            return f'"{arg}"'
        if isinstance(arg, Function):
            return arg.name
        return repr(arg)

    def _first(self, arg: First, inner: bool) -> str:
        turn = self.turns[arg.turn]
        if isinstance(arg.first, bool) and isinstance(arg.rest, bool):
            text = f"{turn} == 0" if arg.first else f"{turn} > 0"
        else:
            text = f"{self.of(arg.first)} if {turn} == 0 else {self.of(arg.rest)}"
        return f"({text})" if inner else text

    def _math(self, arg: Math) -> str:
        left, right = arg.left, arg.right
        if arg.operator == "*" and isinstance(right, int):
            left, right = right, left
        # What comes first in a sum needs no parentheses.
        bare = arg.operator in ("+", "-") and isinstance(left, Math) and left.operator in ("+", "-", "*", "//")
        return f"{self.of(left, inner=not bare)} {arg.operator} {self.of(right, inner=True)}"

    def place(self, path: Sequence[Any], net: str = "net") -> str:
        """The scope at a path: `net / "layer1" / 0`; of a later call of a module, `(net / "head").call(1)`."""
        text = net
        for part in path:
            name, _, call = part.partition("@") if isinstance(part, str) else (part, "", "")
            text += f" / {self._part(name)}"
            if call:
                text = f"({text}).call({call})"
        return text

    def _part(self, part: Any) -> str:
        if isinstance(part, Index):
            (first, *more) = part.pieces
            if isinstance(first, Count) and not more:
                text = self._counter(first)
                return text if text.isidentifier() else f"({text})"
            return f'f"{self._counting(part)}"'
        return part if part.isdigit() else f'"{part}"'

    def name(self, path: Sequence[Any]) -> str:
        """The name of a layer below a scope: `"downsample.0"`, or one that counts, `f"{i}.conv"`."""
        if any(isinstance(part, Index) for part in path):
            pieces = path[0].pieces if len(path) == 1 else ()
            counts = [piece for piece in pieces if isinstance(piece, Count)]
            if len(pieces) == 1 and counts:
                return f"str({self._counter(counts[0])})"
            return 'f"' + ".".join(self._counting(part) if isinstance(part, Index) else part for part in path) + '"'
        return '"' + ".".join(path) + '"'

    def _counting(self, part: Index) -> str:
        return "".join(f"{{{self._counter(p)}}}" if isinstance(p, Count) else p for p in part.pieces)

    def _counter(self, count: Count) -> str:
        turn = self.turns[count.turn]
        text = turn if count.step == 1 else f"{count.step} * {turn}"
        return f"{text} + {count.start}" if count.start else text


def number(value: float) -> str:
    """A float as a person would write it: 1e-05 is 1e-5, infinity is math's."""
    if math.isinf(value):
        return 'float("inf")' if value > 0 else '-float("inf")'
    for digits in range(1, 9):  # what float32 can tell apart
        text = f"{value:.{digits}g}"
        if float(text) == value:
            break
    else:
        text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if exponent:
        return f"{mantissa}e{int(exponent)}"
    return text if "." in text else f"{text}.0"


def fitted(line: str, indent: int) -> list[str]:
    """A statement in lines that are not too long, broken at its last brackets as ruff does."""
    space = " " * indent
    if len(space) + len(line) <= WIDTH:
        return [space + line]
    pairs = _brackets(line)
    if not pairs:
        return [space + line]
    start, stop = pairs[0] if line.startswith("def ") else pairs[-1]
    inside = line[start + 1 : stop]
    if len(space) + 4 + len(inside) <= WIDTH and not inside.endswith(","):
        return [space + line[: start + 1], f"{space}    {inside}", space + line[stop:]]
    lines = [space + line[: start + 1]]
    for part in _split(inside):
        lines += fitted(part + ",", indent + 4)
    return [*lines, space + line[stop:]]


def _brackets(line: str) -> list[tuple[int, int]]:
    """Where pairs of brackets that are in no other begin and end, if there is something in them."""
    pairs, start = [], 0
    for i, sign in _outermost(line):
        if sign in "([{":
            start = i
        elif sign != "," and i > start + 1:
            pairs.append((start, i))
    return pairs


def _split(inside: str) -> list[str]:
    """What stands between the commas of a text that are in no brackets."""
    parts, start = [], 0
    for i, sign in _outermost(inside):
        if sign == ",":
            parts.append(inside[start:i].strip())
            start = i + 1
    last = inside[start:].strip()
    return [*parts, last] if last else parts


def _outermost(line: str) -> Iterator[tuple[int, str]]:
    """The brackets and commas of a line that are in no brackets and not quoted, and where they are."""
    depth, quoted = 0, ""
    for i, sign in enumerate(line):
        if quoted:
            quoted = "" if sign == quoted else quoted
        elif sign in "\"'":
            quoted = sign
        elif sign in "([{":
            if depth == 0:
                yield i, sign
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth == 0:
                yield i, sign
        elif sign == "," and depth == 0:
            yield i, sign
