"""The arguments of a draft's functions: what fills the holes of a pattern."""

import contextlib
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from netdefs.scaffold.program import (
    ABSENT,
    REQUIRED,
    TENSOR,
    Arg,
    Call,
    Column,
    Cond,
    Dim,
    Each,
    Fixed,
    Hole,
    Loop,
    Math,
    Param,
    Turn,
    Value,
    eaches,
    mapped,
    same_constant,
)
from netdefs.scaffold.unify import Instance, Mismatch

# What an option of a layer is called as an argument of a function.
WORDS = {"out_channels": "channels", "out_features": "features", "num_groups": "groups", "count": "blocks"}
WIDTHS = {"out_channels", "out_features"}
USUAL = {"stride": 1, "dilation": 1, "groups": 1, "padding": 0, "bias": True}
# Options that never follow from one of another kind, even if the numbers say so.
APART = ("blocks", "repeats", "stride", "kernel", "dilation", "padding")
MISSING = object()


class Parameters:
    """The arguments of a function: what fills the holes of its pattern.

    Args:
        instances: the pattern's, and all others that are matched to it.
        inputs: what the function is called with.
        body: the pattern.

    Attributes:
        columns: each argument, and its value for every instance.
        body: the pattern, with arguments in its holes.
    """

    def __init__(self, instances: Sequence[Instance], inputs: Sequence[Value], body: Sequence[Any]) -> None:
        self.instances = instances
        self.columns: dict[str, tuple[Any, ...]] = {}
        self.keys: dict[str, str] = {}  # which option an argument was made for
        self.steady = True  # whether shapes are the same in every turn of the loops around
        self.taken = {"net", "x", *(value.hint for value in inputs)}
        self.first = next((value for value in inputs if value.kind == TENSOR), None)
        self.body = [self._filled(item) for item in self._with_widths(body)]

    def _with_widths(self, body: Sequence[Any]) -> list[Any]:
        """Statements with arguments for how wide layers are: shapes may follow from these, wherever they stand."""
        made: list[Any] = []
        for item in body:
            if isinstance(item, Call):
                leaf = self._leaf_of(item)
                widths = {
                    key: mapped(item.options[key], functools.partial(leaf, key=key))
                    for key in WIDTHS & item.options.keys()
                }
                made.append(dataclasses.replace(item, options={**item.options, **widths}))
            elif isinstance(item, Loop):
                with self._inside(item):
                    made.append(dataclasses.replace(item, body=self._with_widths(item.body)))
            else:
                made.append(dataclasses.replace(item, body=self._with_widths(item.body)))
        return made

    def _leaf_of(self, item: Call) -> Callable[..., Any]:
        """What fills the holes of a statement."""
        given = [value for value in item.inputs if isinstance(value, Value)][:1]
        given += [] if self.first is None else [self.first]
        word = item.results[0].hint if item.results else ""
        return functools.partial(self._leaf, word=word, given=given if self.steady else ())

    def _filled(self, item: Any) -> Any:
        """A statement with arguments in its holes."""
        if isinstance(item, Call):
            leaf = self._leaf_of(item)
            options = {key: mapped(value, functools.partial(leaf, key=key)) for key, value in item.options.items()}
            inputs = [mapped(value, functools.partial(leaf, key="value")) for value in item.inputs]
            return dataclasses.replace(item, options=options, inputs=inputs)
        if isinstance(item, Loop):
            with self._inside(item):
                body = [self._filled(each) for each in item.body]
            count = item.count
            if not any(_uses(each, item.turn) for each in body):  # else there are as many turns as the sequence has
                count = mapped(count, functools.partial(self._leaf, key="count"))
            return Loop(item.turn, count, body, item.carried, item.listed, item.collected)
        word = next((v.hint for each in item.body for v in each.results), "more")
        flag = self._leaf(item.flag, key=word, word="with")
        return Cond(flag, [self._filled(each) for each in item.body], item.made, item.otherwise, item.result)

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
            usual = USUAL.get(_kind(name), MISSING)
            here = [value for value in column if value is not ABSENT]
            if all(isinstance(value, bool) for value in here):
                usual = False
            if len(here) < len(column) and usual not in here:
                usual = _plain(here[0])  # those that don't need it must not give it
                usual = None if isinstance(usual, Fixed) else usual  # a default is no place for an array
            found[name] = usual if usual is not MISSING and (usual in here or len(here) < len(column)) else REQUIRED
        return dict(sorted(found.items(), key=lambda each: each[1] is not REQUIRED))

    @contextlib.contextmanager
    def _inside(self, loop: Loop) -> Iterator[None]:
        """While the statements of a loop are looked at."""
        outer, self.steady = self.steady, self.steady and self._keeps_sizes(loop)
        yield
        self.steady = outer

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

    def _leaf(self, leaf: Any, key: str, word: str = "", given: Sequence[Value] = ()) -> Any:
        """What stands in a hole: an argument, or what can be told from a shape or from another argument.

        Args:
            leaf: a hole; all else stays as it is.
            key: the option that has it.
            word: what its statement makes.
            given: the values whose shapes it may be told from, the best one first.
        """
        if not isinstance(leaf, Hole):
            return leaf
        column = leaf.values
        at = [k for k, value in enumerate(column) if value is not ABSENT]
        here = [column[k] for k in at]
        whole = all(isinstance(value, Column) for value in here)
        if any(isinstance(value, Column) for value in here) and not whole:
            raise Mismatch
        name = self._shared(column, key)
        if name is None:
            told = self._told(here, at, key, given) if _are_numbers(here) else self._tuple(here, at, key, given)
            if told:
                return told
            name = self._name(WORDS.get(key, key), word, whole)
            self.columns[name], self.keys[name] = column, key
        return Each(Param(name), here[0].turn) if whole else Param(name)

    def _shared(self, column: Sequence[Any], key: str) -> str | None:
        """The argument that is the same wherever both are needed; None if there is none."""
        for name, other in self.columns.items():
            if not self._relate(name, key):
                continue
            if (joined := _joined(column, other)) is not None:
                self.columns[name] = joined
                return name
        return None

    def _told(self, here: Sequence[int], at: Sequence[int], key: str, given: Sequence[Value]) -> Arg:
        """A number as it can be told from a shape or from an argument; None if it can't be."""
        told = (self._from_shape(here, at, key, value) for value in given)
        return next(filter(None, told), None) or self._from_argument(here, at, key)

    def _tuple(self, here: Sequence[Any], at: Sequence[int], key: str, given: Sequence[Value]) -> Arg:
        """A tuple of numbers that are the same, or can all be told; None if that is not so."""
        if not all(isinstance(each, tuple) and len(each) == len(here[0]) for each in here):
            return None
        made = []
        for numbers in zip(*here, strict=True):
            if all(same_constant(number, numbers[0]) for number in numbers):
                made.append(numbers[0])
            elif _are_numbers(numbers) and min(numbers) > 0 and (told := self._told(list(numbers), at, key, given)):
                made.append(told)
            else:
                return None
        return tuple(made)

    def _from_shape(self, here: Sequence[int], at: Sequence[int], key: str, given: Value) -> Arg:
        """The channels of a value, or a multiple of them; None if the numbers are neither."""
        values = [self.instances[k].values.get(given, given) for k in at]
        shapes = [value.shape if isinstance(value, Value) else () for value in values]
        for axis in dict.fromkeys((1, len(given.shape) - 1)):
            sizes = [shape[axis] for shape in shapes if 0 <= axis < len(shape)]
            if len(sizes) < len(shapes) or not all(isinstance(size, int) for size in sizes):
                continue
            if here == sizes:
                return Dim(given, axis)
            if key in WORDS and (factor := _ratio(here, sizes)) is not None:
                return Math(factor[0], Dim(given, axis), factor[1])
        return None

    def _from_argument(self, here: Sequence[int], at: Sequence[int], key: str) -> Arg:
        """Another argument, or a multiple of one; None if the numbers are of none."""
        for name, other in self.columns.items():
            theirs = [other[k] for k in at]
            if not _are_numbers(theirs) or not self._relate(name, key):
                continue
            if theirs == here:
                return Param(name)
            if (factor := _ratio(here, theirs)) is not None:
                return Math(factor[0], Param(name), factor[1])
        return None

    def _relate(self, name: str, key: str) -> bool:
        """Whether an option may follow from an argument."""
        kinds = {_kind(self.keys[name]), _kind(key)}
        return len(kinds) == 1 or kinds.isdisjoint(APART)

    def _name(self, key: str, word: str, several: bool) -> str:
        key, word = (re.sub(r"\W", "_", text) for text in (key, word))
        key = f"{key}s" if several and not key.endswith("s") else key
        longer = f"{word}_{key}" if word else key
        for name in (key, longer):
            if name not in self.taken and name not in self.columns and name.isidentifier():
                return name
        numbered = (f"{longer}_{number}" for number in itertools.count(2))
        return next(name for name in numbered if name not in self.columns)


def _uses(item: Any, turn: Turn) -> bool:
    """Whether a statement has an argument that is a sequence with one value for each turn of a loop."""
    if isinstance(item, Call):
        return any(each.turn is turn for value in [*item.inputs, *item.options.values()] for each in eaches(value))
    return any(_uses(each, turn) for each in item.body)


def _kind(key: str) -> str:
    """What an option or argument says: "blocks" of "count" and of "stage2_blocks_3"."""
    return re.sub(r"^.*_", "", re.sub(r"_\d+$", "", WORDS.get(key, key)))


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


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _ratio(column: Sequence[int], others: Sequence[int]) -> tuple[str, int] | None:
    """What `others` must be multiplied with, or divided by, to give a column."""
    if not all(others) or not all(column) or len(set(others)) == 1:
        return None
    for operator, above, below in (("*", column, others), ("//", others, column)):
        pairs = list(zip(above, below, strict=True))
        if all(a % b == 0 for a, b in pairs) and len({a // b for a, b in pairs}) == 1:
            return operator, above[0] // below[0]
    return None
