"""What a draft is made of, before it is text: values, statements, and the bodies of modules' calls."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# What a statement is given: a Value, a number, a string, None, an expression of sizes, or a tuple of these.
Arg = Any
TENSOR, ARRAY, SIZE = "tensor", "array", "size"


@dataclasses.dataclass(eq=False)
class Value:
    """What a statement gives, or a unit is given.

    Attributes:
        kind: "tensor" of the network; "array", a numpy array that is known while the network is defined; "size".
        shape: sizes; those that follow from the input are sympy expressions.
        dtype: as PyTorch calls it, such as "float32".
        hint: a word for it: of the module or function that gives it.
        fixed: the value of an array that depends on no weights, a torch tensor, or None.
        weight: the key of the weight that it is, "" if it is none.
        maker: the path of the module that returned it, () if none did.
    """

    kind: str
    shape: tuple[Any, ...] = ()
    dtype: str = "float32"
    hint: str = "x"
    fixed: Any = None
    weight: str = ""
    maker: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Dim:
    """The size of a value along an axis: `x.shape[2]`."""

    value: Value
    axis: int


@dataclasses.dataclass(frozen=True)
class Math:
    """Arithmetic of sizes: "+", "-", "*", "//", "%", "/" or "**" of two of them, as in Python."""

    operator: str
    left: Arg
    right: Arg


@dataclasses.dataclass(frozen=True)
class Param:
    """An argument of the function that a unit becomes, or the variable of a loop."""

    name: str


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of a layer inside of a statement's own, relative to its place: "bn1" of `conv_bn(.., "conv1", "bn1")`.

    It is a full path, as a statement's `path` is.
    """

    path: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Raw:
    """An argument that is Python text already."""

    text: str


class Fixed:
    """A constant array: two are the same if their values are."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self._key = (values.shape, str(values.dtype), values.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@dataclasses.dataclass(eq=False)
class Call:
    """One statement: a call of the library's, of numpy's or of a function of the draft.

    Attributes:
        function: a method of Network ("relu"), a block of the library ("blocks.conv_bn"), or a `Function`. For arrays
            a template such as "{0}.reshape({shape})", whose numbers are inputs and whose words are options.
        inputs: the values that come first: each a Value or a tuple of them.
        path: the full path of the layer, or of the unit that is called; None for arrays.
        options: what else is given.
        results: the values that it gives: several where the function returns several.
        array: whether it is numpy's.
        named: whether the path is a module's, and not just the name of a function.
    """

    function: Any
    inputs: list[Arg]
    path: tuple[str, ...] | None
    options: dict[str, Arg]
    results: list[Value]
    array: bool = False
    named: bool = False

    @property
    def block(self) -> str:
        """The block of the library that it calls, such as "blocks.conv_bn"; "" if it calls none."""
        return self.function if isinstance(self.function, str) and not self.array and "." in self.function else ""

    def values(self) -> Iterator[Value]:
        """The values that it uses."""
        yield from values_in(self.inputs)
        yield from values_in(list(self.options.values()))


@dataclasses.dataclass(eq=False)
class Unit:
    """One call of a module: its body.

    Attributes:
        path: the module's, of which a repeated call's last part ends with "@1", "@2" ...
        kind: the module's class.
        module: the module itself.
        inputs: what it takes from outside.
        body: statements and the units called among them.
        outputs: what is used outside of it.
    """

    path: tuple[str, ...]
    kind: type
    module: Any
    inputs: list[Value]
    body: "list[Call | Unit]"
    outputs: list[Value]

    def values(self) -> Iterator[Value]:
        """The values that it takes from outside."""
        yield from self.inputs

    @property
    def results(self) -> list[Value]:
        """What it gives, as a statement of the unit around it."""
        return self.outputs


@dataclasses.dataclass(eq=False)
class Turn:
    """The counter of a loop: 0 in its first turn."""


@dataclasses.dataclass(frozen=True)
class Count:
    """A number that counts with a loop: `start + step * turn`."""

    turn: Turn
    start: int
    step: int


@dataclasses.dataclass(frozen=True)
class Index:
    """A part of a path that counts with loops, such as "layer1", "layer2": texts, and numbers that count."""

    pieces: tuple[str | Count, ...]

    def counts(self, turn: Turn) -> bool:
        """Whether it counts with this loop."""
        return any(isinstance(piece, Count) and piece.turn is turn for piece in self.pieces)


@dataclasses.dataclass(frozen=True)
class Column:
    """A constant that differs from turn to turn of a loop: one value for each."""

    values: tuple[Any, ...]
    turn: Turn


@dataclasses.dataclass(frozen=True)
class Each:
    """What a sequence has for a turn of a loop: an argument of a function, or of an outer loop's turn."""

    sequence: "Param | Column | Each"
    turn: Turn


@dataclasses.dataclass(frozen=True)
class First:
    """A constant that has one value in a loop's first turn, and another in all others."""

    first: Arg
    rest: Arg
    turn: Turn


@dataclasses.dataclass(frozen=True)
class Hole:
    """Where statements that are otherwise the same differ: the constant of each, or `ABSENT`."""

    values: tuple[Any, ...]


ABSENT = object()  # in a hole: of an instance that does not have the statement


@dataclasses.dataclass(eq=False)
class Loop:
    """The same statements again and again: on what the turn before gave, or on one value after another.

    Attributes:
        turn: its counter.
        count: how many turns.
        body: the statements of a turn.
        carried: for each value that is handed on: what it is called in a turn, what it is before the first, what a turn
            makes of it, and what is left after the last.
        listed: for each value that is another one in every turn: what it is called in a turn, and what it is in each.
        collected: for each value of a turn that is kept: what it is called in a turn, and what it is after the loop.
    """

    turn: Turn
    count: Arg
    body: list[Any]
    carried: list[tuple[Value, Value, Value, Value]]
    listed: list[tuple[Value, tuple[Value, ...]]] = dataclasses.field(default_factory=list)
    collected: list[tuple[Value, tuple[Value, ...]]] = dataclasses.field(default_factory=list)

    @property
    def results(self) -> list[Value]:
        """What is left after the last turn."""
        return [last for _, _, _, last in self.carried] + [value for _, kept in self.collected for value in kept]

    def values(self) -> Iterator[Value]:
        """The values that it uses from outside."""
        own = {value for item in self.body for value in item.results} | {inner for inner, _, _, _ in self.carried}
        own |= {inner for inner, _ in self.listed}
        yield from (before for _, before, _, _ in self.carried)
        yield from (value for _, values in self.listed for value in values)
        yield from (value for item in self.body for value in item.values() if value not in own)


@dataclasses.dataclass(eq=False)
class Cond:
    """Statements that only some instances have.

    Attributes:
        flag: whether they are there.
        body: they themselves.
        made: the value that they give.
        otherwise: the value that stands for it where they are not there.
        result: either.
    """

    flag: Arg
    body: list[Any]
    made: Value
    otherwise: Value
    result: Value

    @property
    def results(self) -> list[Value]:
        """The one value, or the other."""
        return [self.result]

    def values(self) -> Iterator[Value]:
        """The values that it uses from outside."""
        own = {value for item in self.body for value in item.results}
        yield self.otherwise
        yield from (value for item in self.body for value in item.values() if value not in own)


@dataclasses.dataclass(eq=False)
class Function:
    """A function of the draft: what the units of one class, or some of them, have become.

    No two are equal: two calls are of the same function if `==` says so, whether it is one of these or a name.

    Attributes:
        name: its name in the file.
        kind: the class.
        inputs: what it is called with.
        body: its statements; constants that differ between instances are `Param`s there.
        outputs: what it returns.
        parameters: name -> its default, or `REQUIRED`.
        path: of the unit that was its pattern: paths in its body start with it.
        examples: a value of each parameter.
    """

    name: str
    kind: type
    inputs: list[Value]
    body: list[Any]
    outputs: list[Value]
    parameters: dict[str, Arg]
    path: tuple[Any, ...]
    examples: dict[str, Arg] = dataclasses.field(default_factory=dict)


REQUIRED = object()  # in place of a default: there is none


def same_constant(a: Any, b: Any) -> bool:
    """Whether two constants are the same, and of the same type: True is not 1."""
    return type(a) is type(b) and (a is b or a == b)


def count_statements(body: Sequence[Any]) -> int:
    """How many lines a body has: a loop or a condition is one besides what is in it."""
    return sum(1 if isinstance(item, Call) else 1 + count_statements(item.body) for item in body)


def counting(item: Any, turn: Turn) -> Iterator[Index]:
    """The parts of paths in a statement, and in those inside of it, that count with a loop."""
    if isinstance(item, Call):
        paths = [item.path or (), *(value.path for value in item.options.values() if isinstance(value, Name))]
        yield from (part for path in paths for part in path if isinstance(part, Index) and part.counts(turn))
    else:
        for each in item.body:
            yield from counting(each, turn)


def values_in(arg: Arg) -> Iterator[Value]:
    """All values in an argument."""
    if isinstance(arg, Value):
        yield arg
    elif isinstance(arg, Dim):
        yield arg.value
    elif isinstance(arg, Math):
        yield from values_in(arg.left)
        yield from values_in(arg.right)
    elif isinstance(arg, tuple | list):
        for each in arg:
            yield from values_in(each)


def eaches(value: Arg) -> Iterator[Each]:
    """What of an argument is an element of a sequence."""
    if isinstance(value, Each):
        yield value
        yield from eaches(value.sequence)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from eaches(each)
    elif isinstance(value, First):
        yield from eaches(value.first)
        yield from eaches(value.rest)


def mapped(arg: Arg, change: Callable[[Any], Any]) -> Arg:
    """An argument with every leaf of it changed: values, numbers, names."""
    if isinstance(arg, Dim):
        return Dim(change(arg.value), arg.axis)
    if isinstance(arg, Math):
        return Math(arg.operator, mapped(arg.left, change), mapped(arg.right, change))
    if isinstance(arg, First):
        return First(mapped(arg.first, change), mapped(arg.rest, change), arg.turn)
    if isinstance(arg, Each):
        return Each(mapped(arg.sequence, change), arg.turn)
    if isinstance(arg, tuple | list):
        return tuple(mapped(each, change) for each in arg)
    return change(arg)


def changed(item: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a statement with every leaf of its arguments changed; its results only where they are changed too."""
    if isinstance(item, Call):
        inputs = [mapped(value, change) for value in item.inputs]
        options = {key: mapped(value, change) for key, value in item.options.items()}
        return dataclasses.replace(item, inputs=inputs, options=options, results=[change(v) for v in item.results])
    body = [changed(each, change) for each in item.body]
    if isinstance(item, Loop):
        carried = [(change(a), change(b), change(c), change(d)) for a, b, c, d in item.carried]
        listed = [(change(inner), tuple(map(change, values))) for inner, values in item.listed]
        collected = [(change(made), tuple(map(change, values))) for made, values in item.collected]
        return Loop(item.turn, mapped(item.count, change), body, carried, listed, collected)
    return Cond(mapped(item.flag, change), body, change(item.made), change(item.otherwise), change(item.result))


def substituted(items: Sequence[Any], values: dict[Value, Value]) -> list[Any]:
    """Copies of statements with other values in place of these."""

    def change(leaf: Any) -> Any:
        return values.get(leaf, leaf) if isinstance(leaf, Value) else leaf

    return [changed(item, change) for item in items]


def path_text(path: Sequence[Any]) -> str:
    """A path as PyTorch writes it: "layer1.0.conv1"."""
    return ".".join(map(str, path))
