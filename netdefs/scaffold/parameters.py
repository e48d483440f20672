"""The arguments of a draft's functions: what fills the holes of a pattern."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

from netdefs.scaffold.program import (
    REQUIRED,
    Arg,
    Call,
    Column,
    Cond,
    Dim,
    Each,
    Hole,
    Loop,
    Math,
    Param,
    Turn,
    Value,
    eaches,
    mapped,
)
from netdefs.scaffold.unify import ABSENT, Instance, Mismatch

# What an option of a layer is called as an argument of a function.
WORDS = {"out_channels": "channels", "out_features": "features", "num_groups": "groups", "count": "blocks"}
USUAL = {"stride": 1, "dilation": 1, "groups": 1, "padding": 0, "bias": True}
MISSING = object()


class Parameters:
    """The arguments of a function: what fills the holes of its pattern."""

    def __init__(self, instances: Sequence[Instance], taken: Sequence[str]) -> None:
        self.instances = instances
        self.columns: dict[str, tuple[Any, ...]] = {}
        self.steady = True  # whether shapes are the same in every turn of the loops around
        self.taken = {"net", "x", *taken}

    def filled(self, item: Any) -> Any:
        """A statement with arguments in its holes."""
        if isinstance(item, Call):
            given = next((v for v in item.inputs if isinstance(v, Value)), None) if self.steady else None
            word = item.results[0].hint if item.results else ""
            options = {}
            for key, value in item.options.items():
                options[key] = mapped(value, functools.partial(self._leaf, key=key, word=word, given=given))
            inputs = [mapped(value, lambda leaf: self._leaf(leaf, "value", word, given)) for value in item.inputs]
            return dataclasses.replace(item, options=options, inputs=inputs)
        if isinstance(item, Loop):
            outer, self.steady = self.steady, self.steady and self._keeps_sizes(item)
            body = [self.filled(each) for each in item.body]
            self.steady = outer
            count = item.count
            if not any(_uses(each, item.turn) for each in body):  # else there are as many turns as the sequence has
                count = mapped(count, lambda leaf: self._leaf(leaf, "count", "", None))
            return Loop(item.turn, count, body, item.carried, item.listed, item.collected)
        word = next((v.hint for each in item.body for v in each.results), "more")
        flag = self._leaf(item.flag, word, "with", None)
        return Cond(flag, [self.filled(each) for each in item.body], item.made, item.otherwise, item.result)

    def arguments(self, count: int) -> list[dict[str, Arg]]:
        """What each instance gives for them."""
        return [
            {name: _plain(column[k]) for name, column in self.columns.items() if column[k] is not ABSENT}
            for k in range(count)
        ]

    def defaults(self) -> dict[str, Arg]:
        """Every argument and its default, those without one first."""
        found: dict[str, Arg] = {}
        for name, column in self.columns.items():
            usual = USUAL.get(re.sub(r"^.*_", "", name), MISSING)
            here = [value for value in column if value is not ABSENT]
            if all(isinstance(value, bool) for value in here):
                usual = False
            if len(here) < len(column) and usual not in here:
                usual = _plain(here[0])  # those that don't need it must not give it
            found[name] = usual if usual is not MISSING and (usual in here or len(here) < len(column)) else REQUIRED
        return dict(sorted(found.items(), key=lambda each: each[1] is not REQUIRED))

    def _keeps_sizes(self, loop: Loop) -> bool:
        """Whether what a loop hands on has the same channels in every turn, so that they can be told from its shape."""
        for each in self.instances:
            for inner, _, made, _ in loop.carried:
                before, behind = (each.values.get(value, value).shape for value in (inner, made))
                if [n for n in before if isinstance(n, int)] != [n for n in behind if isinstance(n, int)]:
                    return False
            for _, values in loop.listed:
                shapes = {tuple(map(str, each.values.get(value, value).shape)) for value in values}
                if len(shapes) > 1:
                    return False
        return True

    def _leaf(self, leaf: Any, key: str, word: str, given: Value | None) -> Any:
        if not isinstance(leaf, Hole):
            return leaf
        column = leaf.values
        at = [k for k, value in enumerate(column) if value is not ABSENT]
        here = [column[k] for k in at]
        whole = all(isinstance(value, Column) for value in here)
        if any(isinstance(value, Column) for value in here) and not whole:
            raise Mismatch
        for name, other in self.columns.items():
            if (joined := _joined(column, other)) is not None:
                self.columns[name] = joined
                return Each(Param(name), here[0].turn) if whole else Param(name)
        if all(isinstance(value, int) and not isinstance(value, bool) for value in here):
            if given is not None:
                for axis in dict.fromkeys((1, len(given.shape) - 1)):
                    shapes = [_sizes(self.instances[k].values.get(given, given)) for k in at]
                    sizes = [shape[axis] if 0 <= axis < len(shape) else None for shape in shapes]
                    if all(isinstance(size, int) for size in sizes):
                        if here == sizes:
                            return Dim(given, axis)
                        if (factor := _ratio(here, sizes)) is not None and key in WORDS:  # type: ignore[arg-type]
                            return Math(factor[0], Dim(given, axis), factor[1])
            for name, other in self.columns.items():
                theirs = [other[k] for k in at]
                numbers = all(isinstance(v, int) and not isinstance(v, bool) for v in theirs)
                if numbers and (factor := _ratio(here, theirs)) is not None:
                    return Math(factor[0], Param(name), factor[1])
        name = self._name(WORDS.get(key, key), word, whole)
        self.columns[name] = column
        return Each(Param(name), here[0].turn) if whole else Param(name)

    def _name(self, key: str, word: str, several: bool) -> str:
        key = re.sub(r"\W", "_", key)
        key = f"{key}s" if several and not key.endswith("s") else key
        candidates = [key, f"{re.sub(chr(92) + 'W', '_', word)}_{key}" if word else key]
        for name in candidates:
            if name not in self.taken and name not in self.columns and name.isidentifier():
                return name
        number = 2
        while f"{candidates[-1]}_{number}" in self.columns:
            number += 1
        return f"{candidates[-1]}_{number}"


def _uses(item: Any, turn: Turn) -> bool:
    """Whether a statement has an argument that is a sequence with one value for each turn of a loop."""
    if isinstance(item, Call):
        return any(each.turn is turn for value in [*item.inputs, *item.options.values()] for each in eaches(value))
    return any(_uses(each, turn) for each in item.body)


def same_constant(value: Any, usual: Any) -> bool:
    """Whether an argument is at its default: True is not 1."""
    return type(value) is type(usual) and value == usual


def _plain(value: Any) -> Arg:
    return tuple(map(_plain, value.values)) if isinstance(value, Column) else value


def _joined(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, ...] | None:
    """One column for both, if they are the same wherever both are needed."""
    for x, y in zip(a, b, strict=True):
        if x is not ABSENT and y is not ABSENT and not (type(x) is type(y) and x == y):
            return None
    if all(x is ABSENT or y is ABSENT for x, y in zip(a, b, strict=True)):
        return None
    return tuple(y if x is ABSENT else x for x, y in zip(a, b, strict=True))


def _sizes(value: Any) -> tuple[Any, ...]:
    return value.shape if isinstance(value, Value) else ()


def _ratio(column: Sequence[int], others: Sequence[int]) -> tuple[str, int] | None:
    """What `others` must be multiplied with, or divided by, to give a column."""
    if not all(others) or not all(column) or len(set(others)) == 1:
        return None
    up = {a // b for a, b in zip(column, others, strict=True) if a % b == 0}
    if len(up) == 1 and all(a % b == 0 for a, b in zip(column, others, strict=True)):
        return "*", up.pop()
    down = {b // a for a, b in zip(column, others, strict=True) if b % a == 0}
    if len(down) == 1 and all(b % a == 0 for a, b in zip(column, others, strict=True)):
        return "//", down.pop()
    return None
