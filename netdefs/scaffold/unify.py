"""Bodies that are the same but for constants: one pattern, with a `Hole` wherever they differ.

Turns of a loop are matched so. For instances of a class, of which some may lack statements, see `optional`.
"""

import inspect
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netdefs.core.network import Network
from netdefs.scaffold.library import block_of, written
from netdefs.scaffold.program import (
    REQUIRED,
    Arg,
    Call,
    Column,
    Cond,
    Count,
    Dim,
    Each,
    First,
    Function,
    Hole,
    Index,
    Loop,
    Math,
    Name,
    Param,
    Turn,
    Value,
    same_constant,
)

ELSEWHERE = "/"  # before the path of a module that is not inside of the one whose body it is


class Mismatch(Exception):
    """Statements are not the same."""


class Instance:
    """One body that is matched to the pattern: which of its values and turns are which of the pattern's.

    Args:
        body: its statements.
        path: of the unit that it is the body of: paths are compared from there on.
        outputs: what of it is used after it.
    """

    def __init__(self, body: Sequence[Any], path: Sequence[Any] = (), outputs: Sequence[Value] = ()) -> None:
        self.body = list(body)
        self.path = tuple(path)
        self.outputs = list(outputs)
        self.values: dict[Value, Value] = {}  # the pattern's -> its own
        self.turns: dict[Turn, Turn] = {}

    def relative(self, path: Sequence[Any]) -> tuple[Any, ...]:
        """A path without that of the body; of a module elsewhere all of it, after `ELSEWHERE`."""
        inside = tuple(path[: len(self.path)]) == self.path
        return tuple(path[len(self.path) :]) if inside else (ELSEWHERE, *path)


def defaults_of(function: Any) -> Mapping[str, Any]:
    """The defaults of what a statement calls, by name."""
    if isinstance(function, Function):
        return {name: value for name, value in function.parameters.items() if value is not REQUIRED}
    if all(part.isidentifier() for part in function.split(".")) and "." in function:
        found = block_of(function)
    else:
        found = getattr(Network, function, None) if function.isidentifier() else None
    if found is None:
        return {}
    parameters = inspect.signature(found).parameters.values()
    return {each.name: written(each.default) for each in parameters if each.default is not inspect.Parameter.empty}


class Unifier:
    """Matches instances to the first of them, the pattern.

    Args:
        instances: the pattern first.
        turn: the counter of a loop whose turns they are: paths may then count from instance to instance.
    """

    def __init__(self, instances: Sequence[Instance], turn: Turn | None = None) -> None:
        self.instances = list(instances)
        self.turn = turn
        self.counts: dict[Turn, list[Arg]] = {}  # of the pattern's loops: how many turns each instance has

    def body(self) -> list[Any]:
        """The pattern's body with holes.

        Raises:
            Mismatch: they are not the same.
        """
        bodies = [each.body for each in self.instances]
        if len({len(body) for body in bodies}) != 1:
            raise Mismatch
        return [self.statement(items) for items in zip(*bodies, strict=True)]

    def statement(self, items: Sequence[Any]) -> Any:
        """One statement of the pattern, with holes where the instances' differ.

        Raises:
            Mismatch: they are not the same.
        """
        pattern = items[0]
        if any(type(item) is not type(pattern) for item in items):
            raise Mismatch
        if isinstance(pattern, Call):
            return self._call(items)
        if isinstance(pattern, Loop):
            return self._loop(items)
        return self._cond(items)

    def _call(self, items: Sequence[Call]) -> Call:
        pattern = items[0]
        for item in items[1:]:
            if item.function != pattern.function or item.array != pattern.array:
                raise Mismatch
            if len(item.inputs) != len(pattern.inputs) or len(item.results) != len(pattern.results):
                raise Mismatch
        path = self._path([item.path for item in items])
        inputs = [self._argument(each) for each in zip(*(item.inputs for item in items), strict=True)]
        defaults = defaults_of(pattern.function)
        options = {}
        for key in dict.fromkeys(key for item in items for key in item.options):
            if key not in defaults and any(key not in item.options for item in items):
                raise Mismatch
            options[key] = self._argument([item.options.get(key, defaults.get(key)) for item in items])
        self._bind([item.results for item in items])
        return Call(pattern.function, inputs, path, options, pattern.results, pattern.array, pattern.named)

    def _loop(self, items: Sequence[Loop]) -> Loop:
        pattern = items[0]
        if len({(len(item.carried), len(item.body), len(item.listed), len(item.collected)) for item in items}) != 1:
            raise Mismatch
        # Lists of values have one for each turn: no argument can say how many.
        if (pattern.listed or pattern.collected) and any(item.count != pattern.count for item in items):
            raise Mismatch
        count = self._argument([item.count for item in items])
        for instance, item in zip(self.instances, items, strict=True):
            instance.turns[pattern.turn] = item.turn
        carried = list(zip(*(item.carried for item in items), strict=True))
        for each in carried:
            self._argument([before for _, before, _, _ in each])
        for each in zip(*(item.listed for item in items), strict=True):
            self._argument([values for _, values in each])
            self._bind([[inner] for inner, _ in each])
        self._bind([[inner for inner, _, _, _ in item.carried] for item in items])
        self.counts[pattern.turn] = [item.count for item in items]
        body = [self.statement(each) for each in zip(*(item.body for item in items), strict=True)]
        for each in carried:
            self._argument([made for _, _, made, _ in each])
        for each in zip(*(item.collected for item in items), strict=True):
            self._argument([made for made, _ in each])
        self._bind([item.results for item in items])
        return Loop(pattern.turn, count, body, pattern.carried, pattern.listed, pattern.collected)

    def _cond(self, items: Sequence[Cond]) -> Cond:
        pattern = items[0]
        if any(len(item.body) != len(pattern.body) for item in items):
            raise Mismatch
        flag = self._argument([item.flag for item in items])
        self._argument([item.otherwise for item in items])
        body = [self.statement(each) for each in zip(*(item.body for item in items), strict=True)]
        self._argument([item.made for item in items])
        self._bind([item.results for item in items])
        return Cond(flag, body, pattern.made, pattern.otherwise, pattern.result)

    def _argument(self, found: Sequence[Arg]) -> Arg:
        """What the pattern has for an argument: values must be those that belong together, constants may differ."""
        pattern = found[0]
        kinds = {type(each) for each in found}
        if len(kinds) > 1 and not kinds.isdisjoint((Value, Dim, Math, Name)):
            raise Mismatch
        if isinstance(pattern, Value):
            for instance, value in zip(self.instances, found, strict=True):
                if instance.values.setdefault(pattern, value) is not value:
                    raise Mismatch
            return pattern
        if isinstance(pattern, Dim):
            if any(each.axis != pattern.axis for each in found):
                raise Mismatch
            return Dim(self._argument([each.value for each in found]), pattern.axis)
        if isinstance(pattern, Math):
            if any(each.operator != pattern.operator for each in found):
                raise Mismatch
            left = self._argument([each.left for each in found])
            return Math(pattern.operator, left, self._argument([each.right for each in found]))
        if isinstance(pattern, Name):
            path = self._path([each.path for each in found])
            assert path is not None
            return Name(path)
        if any(_has_value(each) for each in found):  # by now only tuples can have one
            if any(not isinstance(each, tuple) or len(each) != len(pattern) for each in found):
                raise Mismatch
            return tuple(self._argument(each) for each in zip(*found, strict=True))
        return self._constant(found)

    def _constant(self, found: Sequence[Any]) -> Arg:
        """A constant of the pattern, or a hole."""
        if len(found) == 1:
            return found[0]
        if any(isinstance(each, Each) for each in found):
            if not all(isinstance(each, Each) and self._same_turn(found[0].turn, each.turn) for each in found):
                raise Mismatch
            return Each(self._constant([each.sequence for each in found]), found[0].turn)
        if any(isinstance(each, Column | First) for each in found):
            return self._varying(found)
        if all(isinstance(each, Function) or callable(each) for each in found):
            if any(each is not found[0] for each in found):
                raise Mismatch
            return found[0]
        if any(isinstance(each, Param) for each in found):
            raise Mismatch
        return found[0] if all(same_constant(each, found[0]) for each in found) else Hole(tuple(found))

    def _varying(self, found: Sequence[Any]) -> Arg:
        """A constant that differs from turn to turn in some instance."""
        turn = next(each.turn for each in found if isinstance(each, Column | First))
        turn = next((pattern for pattern, own in self._turns() if own is turn), turn)
        if all(isinstance(each, First) for each in found):
            first, rest = ([each.first for each in found], [each.rest for each in found])
            return First(self._constant(first), self._constant(rest), turn)
        if turn not in self.counts or any(not isinstance(count, int) for count in self.counts[turn]):
            raise Mismatch
        columns = [_column(each, count) for each, count in zip(found, self.counts[turn], strict=True)]
        if all(same_constant(value, column[-1]) for column in columns for value in column[1:]):
            first, rest = ([column[0] for column in columns], [column[-1] for column in columns])
            return First(self._constant(first), self._constant(rest), turn)
        if all(same_constant(column, columns[0]) for column in columns):
            return Column(columns[0], turn)
        return Hole(tuple(Column(column, turn) for column in columns))

    def _same_turn(self, pattern: Turn, turn: Turn) -> bool:
        return pattern is turn or any(instance.turns.get(pattern) is turn for instance in self.instances)

    def _turns(self) -> Iterator[tuple[Turn, Turn]]:
        """The counters of the pattern's loops, each with an instance's own."""
        for instance in self.instances:
            yield from instance.turns.items()

    def _path(self, paths: Sequence[Any]) -> tuple[Any, ...] | None:
        """What the pattern has for a path: the same below that of each body, but for numbers that count."""
        if any(path is None for path in paths):
            if any(path is not None for path in paths):
                raise Mismatch
            return None
        rests = [instance.relative(path) for instance, path in zip(self.instances, paths, strict=True)]
        if len({len(rest) for rest in rests}) != 1:
            raise Mismatch
        parts = [self._part(each) for each in zip(*rests, strict=True)]
        return tuple(parts[1:]) if parts[:1] == [ELSEWHERE] else (*self.instances[0].path, *parts)

    def _part(self, parts: Sequence[Any]) -> str | Index:
        """What the pattern has for a part of a path."""
        split = [_pieces(part) for part in parts]
        if len({len(pieces) for pieces in split}) != 1:
            raise Mismatch
        pieces: list[Any] = [self._piece(each) for each in zip(*split, strict=True)]
        if all(isinstance(piece, str) for piece in pieces):
            return "".join(pieces)
        joined: list[Any] = []
        for piece in pieces:
            if isinstance(piece, str) and joined and isinstance(joined[-1], str):
                joined[-1] += piece
            elif piece != "":
                joined.append(piece)
        return Index(tuple(joined))

    def _piece(self, pieces: Sequence[Any]) -> str | Count:
        """What the pattern has for a text or a number in a part of a path."""
        pattern = pieces[0]
        if isinstance(pattern, Count):
            for instance, piece in zip(self.instances, pieces, strict=True):
                if not isinstance(piece, Count) or instance.turns.get(pattern.turn, pattern.turn) is not piece.turn:
                    raise Mismatch
                if (piece.start, piece.step) != (pattern.start, pattern.step):
                    raise Mismatch
            return pattern
        if any(isinstance(piece, Count) for piece in pieces):
            raise Mismatch
        if all(piece == pattern for piece in pieces):
            return pattern
        if self.turn is None or any(not piece.isdigit() or str(int(piece)) != piece for piece in pieces):
            raise Mismatch
        numbers = [int(piece) for piece in pieces]
        step = numbers[1] - numbers[0]
        if step < 1 or any(b - a != step for a, b in itertools.pairwise(numbers)):
            raise Mismatch
        return Count(self.turn, numbers[0], step)

    def _bind(self, results: Sequence[Sequence[Value]]) -> None:
        """Notes which values that the instances make are which of the pattern's."""
        for instance, values in zip(self.instances, results, strict=True):
            for pattern, value in zip(results[0], values, strict=True):
                if pattern.kind != value.kind or instance.values.setdefault(pattern, value) is not value:
                    raise Mismatch


def _column(constant: Any, count: int) -> tuple[Any, ...]:
    """A constant for every turn of a loop, of which there are two at least."""
    if isinstance(constant, First):
        return (constant.first, *[constant.rest] * (count - 1))
    return constant.values if isinstance(constant, Column) else (constant,) * count


def _has_value(arg: Arg) -> bool:
    """Whether there is anything in an argument that is no constant."""
    if isinstance(arg, tuple):
        return any(_has_value(each) for each in arg)
    return isinstance(arg, Value | Dim | Math | Name)


def _pieces(part: str | Index) -> list[Any]:
    """A part of a path as texts without numbers, and numbers: the first, the third ... are texts, and may be empty."""
    found: list[Any] = [""]
    for piece in part.pieces if isinstance(part, Index) else (part,):
        if isinstance(piece, Count):
            found += [piece, ""]
        else:
            text, *rest = re.split(r"(\d+)", piece)
            found[-1] += text
            found += rest
    return found
