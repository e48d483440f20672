"""Bodies that are the same but for constants: one pattern, with a `Hole` wherever they differ.

The longest body is the pattern. What it has and others lack becomes optional: a `Cond`.
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
    changed,
    substituted,
)

MISSING = object()
ABSENT = object()  # in a hole: of an instance that has no such statement
MOST_OPTIONAL = 12  # statements in a row that only some instances have
BUDGET = 4000  # tries to match what is optional before it is given up


ELSEWHERE = "/"


class Mismatch(Exception):
    """Statements are not the same."""


class Instance:
    """One body that is matched to the pattern: which of its values and turns are which of the pattern's."""

    def __init__(
        self,
        body: Sequence[Any],
        inputs: Sequence[Value] = (),
        path: Sequence[Any] = (),
        outputs: Sequence[Value] = (),
    ) -> None:
        self.body = list(body)
        self.inputs = list(inputs)
        self.path = tuple(path)
        self.outputs = list(outputs)
        self.values: dict[Value, Value] = {}  # the pattern's -> its own
        self.turns: dict[Turn, Turn] = {}

    def relative(self, path: Sequence[Any]) -> tuple[Any, ...]:
        """A path without that of the body; of a module elsewhere all of it, behind a mark."""
        if tuple(path[: len(self.path)]) != self.path:
            return (ELSEWHERE, *path)
        return tuple(path[len(self.path) :])


def defaults_of(function: Any) -> Mapping[str, Any]:
    """The defaults of what a statement calls."""
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
        outputs: what is used of the pattern after its body.
    """

    def __init__(self, instances: Sequence[Instance], turn: Turn | None = None, outputs: Sequence[Value] = ()) -> None:
        self.instances = list(instances)
        self.turn = turn
        self.outputs = list(outputs)  # what is used of the pattern after its body
        self.renamed: dict[Value, Value] = {}  # of these: what stands for it, or for what replaces it
        self.counts: dict[Turn, list[Any]] = {}  # of the pattern's loops: how many turns each instance has
        self.left = BUDGET

    def body(self) -> list[Any]:
        """The pattern's body with holes.

        Raises:
            Mismatch: they are not the same.
        """
        bodies = [each.body for each in self.instances]
        if len({len(body) for body in bodies}) == 1:
            return [self.statement(items) for items in zip(*bodies, strict=True)]
        if self.turn is not None:
            raise Mismatch
        return self._with_options()

    def statement(self, items: Sequence[Any]) -> Any:
        """One statement of the pattern, with holes where the instances' differ."""
        pattern = items[0]
        if any(type(item) is not type(pattern) for item in items):
            items = self._as_loops(items)
            pattern = items[0]
        if isinstance(pattern, Call):
            return self._call(items)
        if isinstance(pattern, Loop):
            return self._loop(items)
        return self._cond(items)

    def _call(self, items: Sequence[Call]) -> Call:
        pattern = items[0]
        for item in items[1:]:
            same = item.function is pattern.function or (
                isinstance(item.function, str) and item.function == pattern.function
            )
            if not same or item.array != pattern.array or len(item.results) != len(pattern.results):
                raise Mismatch
            if len(item.inputs) != len(pattern.inputs):
                raise Mismatch
        path = self._path([item.path for item in items])
        inputs = [self.argument(each) for each in zip(*(item.inputs for item in items), strict=True)]
        defaults = defaults_of(pattern.function)
        keys = dict.fromkeys(key for item in items for key in item.options)
        options = {}
        for key in keys:
            found = [item.options.get(key, defaults.get(key, MISSING)) for item in items]
            if any(value is MISSING for value in found):
                raise Mismatch
            options[key] = self.argument(found)
        self._bind([item.results for item in items])
        return Call(pattern.function, inputs, path, options, pattern.results, pattern.array, pattern.named)

    def _loop(self, items: Sequence[Loop]) -> Loop:
        pattern = items[0]
        if any(len(item.carried) != len(pattern.carried) or len(item.body) != len(pattern.body) for item in items):
            raise Mismatch
        shapes = {(item.count,) * bool(item.listed or item.collected) for item in items}
        if len(shapes) != 1 or len({(len(item.listed), len(item.collected)) for item in items}) != 1:
            raise Mismatch
        count = self.argument([item.count for item in items])
        for instance, item in zip(self.instances, items, strict=True):
            instance.turns[pattern.turn] = item.turn
        carried = list(zip(*(item.carried for item in items), strict=True))
        for each in carried:
            self.argument([before for _, before, _, _ in each])
        for each in zip(*(item.listed for item in items), strict=True):
            self.argument([values for _, values in each])
            self._bind([[inner] for inner, _ in each])
        self._bind([[inner for inner, _, _, _ in item.carried] for item in items])
        self.counts[pattern.turn] = [item.count for item in items]
        body = [self.statement(each) for each in zip(*(item.body for item in items), strict=True)]
        for each in carried:
            self.argument([made for _, _, made, _ in each])
        for each in zip(*(item.collected for item in items), strict=True):
            self.argument([made for made, _ in each])
        self._bind([item.results for item in items])
        return Loop(pattern.turn, count, body, pattern.carried, pattern.listed, pattern.collected)

    def _cond(self, items: Sequence[Cond]) -> Cond:
        pattern = items[0]
        if any(len(item.body) != len(pattern.body) for item in items):
            raise Mismatch
        flag = self.argument([item.flag for item in items])
        self.argument([item.otherwise for item in items])
        body = [self.statement(each) for each in zip(*(item.body for item in items), strict=True)]
        self.argument([item.made for item in items])
        self._bind([item.results for item in items])
        return Cond(flag, body, pattern.made, pattern.otherwise, pattern.result)

    def argument(self, found: Sequence[Arg]) -> Arg:
        """What the pattern has for an argument: values must be those that belong together, constants may differ."""
        pattern = found[0]
        several = {type(each) for each in found}
        if len(several) > 1 and not several.isdisjoint((Value, Dim, Math, Name)):
            raise Mismatch
        if isinstance(pattern, Value):
            for instance, value in zip(self.instances, found, strict=True):
                if instance.values.setdefault(pattern, value) is not value:
                    raise Mismatch
            return pattern
        if isinstance(pattern, Dim):
            if any(each.axis != pattern.axis for each in found):
                raise Mismatch
            return Dim(self.argument([each.value for each in found]), pattern.axis)
        if isinstance(pattern, Math):
            if any(each.operator != pattern.operator for each in found):
                raise Mismatch
            sides = ([each.left for each in found], [each.right for each in found])
            return Math(pattern.operator, self.argument(sides[0]), self.argument(sides[1]))
        if isinstance(pattern, Name):
            path = self._path([each.path for each in found])
            assert path is not None
            return Name(path)
        if any(isinstance(each, tuple) for each in found):
            plain = not any(_has_value(each) for each in found)
            if not plain:
                if any(not isinstance(each, tuple) or len(each) != len(pattern) for each in found):
                    raise Mismatch
                return tuple(self.argument(each) for each in zip(*found, strict=True))
        return self.constant(found)

    def constant(self, found: Sequence[Any]) -> Arg:
        """A constant of the pattern, or a hole."""
        if len(found) == 1:
            return found[0]
        if any(isinstance(each, Each) for each in found):
            if not all(isinstance(each, Each) and self._same_turn(found[0].turn, each.turn) for each in found):
                raise Mismatch
            return Each(self.constant([each.sequence for each in found]), found[0].turn)
        if any(isinstance(each, Column | First) for each in found):
            return self._varying(found)
        if all(isinstance(each, Function) or callable(each) for each in found):
            if any(each is not found[0] for each in found):
                raise Mismatch
            return found[0]
        if any(isinstance(each, Param) for each in found):
            raise Mismatch
        return found[0] if all(_same(each, found[0]) for each in found) else Hole(tuple(found))

    def _varying(self, found: Sequence[Any]) -> Arg:
        """A constant that differs from turn to turn in some instance."""
        turn = next(each.turn for each in found if isinstance(each, Column | First))
        turn = next((mine for mine, own in self._turns() if own is turn), turn)
        if all(isinstance(each, First) for each in found):
            first, rest = ([each.first for each in found], [each.rest for each in found])
            return First(self.constant(first), self.constant(rest), turn)
        if turn not in self.counts or any(not isinstance(count, int) for count in self.counts[turn]):
            raise Mismatch
        columns = []
        for each, count in zip(found, self.counts[turn], strict=True):
            if isinstance(each, First):
                columns.append((each.first, *[each.rest] * (count - 1)))
            else:
                columns.append(each.values if isinstance(each, Column) else (each,) * count)
        if all(all(_same(value, column[-1]) for value in column[1:]) for column in columns):
            rests = [column[-1] if len(column) > 1 else MISSING for column in columns]
            known = next(rest for rest in rests if rest is not MISSING)
            rests = [known if rest is MISSING else rest for rest in rests]
            return First(self.constant([column[0] for column in columns]), self.constant(rests), turn)
        if all(len(column) == len(columns[0]) and _same(column, columns[0]) for column in columns):
            return Column(columns[0], turn)
        return Hole(tuple(Column(column, turn) for column in columns))

    def _same_turn(self, pattern: Turn, turn: Turn) -> bool:
        return pattern is turn or (pattern, turn) in set(self._turns())

    def _turns(self) -> Iterator[tuple[Turn, Turn]]:
        for instance in self.instances:
            yield from instance.turns.items()

    def _path(self, paths: Sequence[Any]) -> tuple[Any, ...] | None:
        if any(path is None for path in paths):
            if any(path is not None for path in paths):
                raise Mismatch
            return None
        rests = [instance.relative(path) for instance, path in zip(self.instances, paths, strict=True)]
        if len({len(rest) for rest in rests}) != 1:
            raise Mismatch
        parts = [self._part(each) for each in zip(*rests, strict=True)]
        return tuple(parts[1:]) if parts[:1] == [ELSEWHERE] else (*self.instances[0].path, *parts)

    def _part(self, parts: Sequence[Any]) -> Any:
        split = [_pieces(part) for part in parts]
        if len({len(pieces) for pieces in split}) != 1:
            raise Mismatch
        pieces = [self._piece(each) for each in zip(*split, strict=True)]
        if all(isinstance(piece, str) for piece in pieces):
            return "".join(pieces)
        joined: list[Any] = []
        for piece in pieces:
            if isinstance(piece, str) and joined and isinstance(joined[-1], str):
                joined[-1] += piece
            elif piece != "":
                joined.append(piece)
        return Index(tuple(joined))

    def _piece(self, pieces: Sequence[Any]) -> Any:
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
        for instance, values in zip(self.instances, results, strict=True):
            for pattern, value in zip(results[0], values, strict=True):
                if pattern.kind != value.kind or instance.values.setdefault(pattern, value) is not value:
                    raise Mismatch

    def _as_loops(self, items: Sequence[Any]) -> list[Any]:
        """Where some instances have a loop and others its single turn: loops of one turn."""
        raise Mismatch

    # Statements that only some instances have.

    def _with_options(self) -> list[Any]:
        bodies = [each.body for each in self.instances]
        longest = max(range(len(bodies)), key=lambda k: len(bodies[k]))
        if longest:
            raise Mismatch  # the pattern must be the longest
        found = self._from([0] * len(bodies))
        if found is None:
            raise Mismatch
        return found

    def _from(self, at: list[int]) -> list[Any] | None:
        """The pattern from these statements on; None if that can't be."""
        self.left -= 1
        if self.left < 0:
            raise Mismatch
        bodies = [each.body for each in self.instances]
        done = [position == len(body) for position, body in zip(at, bodies, strict=True)]
        if all(done):
            return [] if self._ends() else None
        if done[0]:
            return None
        saved = self._save()
        everyone = list(range(len(bodies)))
        here = [k for k in everyone if not done[k] and self._fits(at, k)]
        if len(here) == len(everyone):
            try:
                item = self.statement([body[position] for body, position in zip(bodies, at, strict=True)])
                rest = self._from([position + 1 for position in at])
                if rest is not None:
                    return [item, *rest]
            except Mismatch:
                pass
            self._restore(saved)
        ahead = [len(body) - position for body, position in zip(bodies, at, strict=True)]
        for length in range(min(MOST_OPTIONAL, ahead[0] - min(ahead)), 0, -1):
            found = self._optional(at, length)
            if found is not None:
                return found
            self._restore(saved)
        return None

    def _ends(self) -> bool:
        """Whether what stands for the pattern's outputs are outputs of every instance."""
        known = [each for each in self.instances if each.outputs]
        return all(each.values.get(value) in each.outputs for each in known for value in self.outputs)

    def _fits(self, at: list[int], k: int) -> bool:
        """Whether the statement of instance k could be the pattern's."""
        mine, other = self.instances[0].body[at[0]], self.instances[k].body[at[k]]
        if type(mine) is not type(other):
            return False
        if not isinstance(mine, Call):
            return True
        same = mine.function is other.function or mine.function == other.function
        if not same:
            return False
        if mine.path is None or other.path is None:
            return mine.path is other.path
        return self.instances[0].relative(mine.path) == self.instances[k].relative(other.path)

    def _optional(self, at: list[int], length: int) -> list[Any] | None:
        """The pattern where the next `length` statements are there only in the instances that have them."""
        pattern = self.instances[0].body[at[0] : at[0] + length]
        later = self.instances[0].body[at[0] + length :]
        inside = [value for item in pattern for value in item.results]
        used = {value for item in later for value in item.values()} | set(self.outputs)
        made = [value for value in inside if value in used]
        if len(made) != 1:
            return None
        having: list[int] = []
        lacking: list[int] = []
        for k, instance in enumerate(self.instances):
            theirs = instance.body[at[k] : at[k] + length]
            fits = len(theirs) == length and all(
                self._fits([at[0] + i if n == 0 else at[n] + i for n in range(len(at))], k) for i in range(length)
            )
            (having if fits else lacking).append(k)
        if not lacking:
            return None
        saved = self._save()
        part = Unifier([self.instances[k] for k in having])
        try:
            bodies = [self.instances[k].body[at[k] : at[k] + length] for k in having]
            body = [part.statement(items) for items in zip(*bodies, strict=True)]
        except Mismatch:
            self._restore(saved)
            return None
        candidates = dict.fromkeys(
            value for item in pattern for value in item.values() if value not in inside and value.kind == made[0].kind
        )
        middle = self._save()
        for otherwise in candidates:
            result = Value(made[0].kind, made[0].shape, made[0].dtype, made[0].hint)
            if any(otherwise not in self.instances[k].values for k in lacking):
                continue
            for k in lacking:
                self.instances[k].values[made[0]] = self.instances[k].values[otherwise]
            rest = self._from([position + (length if k in having else 0) for k, position in enumerate(at)])
            if rest is not None:
                body = [_spread(item, having, len(self.instances)) for item in body]
                flag = Hole(tuple(k in having for k in range(len(self.instances))))
                return [Cond(flag, body, made[0], otherwise, result), *_renamed(rest, made[0], result, self)]
            self._restore(middle)
        return None

    def _save(self) -> list[tuple[dict[Value, Value], dict[Turn, Turn]]]:
        return [(dict(each.values), dict(each.turns)) for each in self.instances]

    def _restore(self, saved: Sequence[tuple[dict[Value, Value], dict[Turn, Turn]]]) -> None:
        for each, (values, turns) in zip(self.instances, saved, strict=True):
            each.values, each.turns = dict(values), dict(turns)


def _renamed(rest: list[Any], made: Value, result: Value, unifier: Unifier) -> list[Any]:
    """What comes after an option uses either value."""
    for instance in unifier.instances:
        if made in instance.values:
            instance.values[result] = instance.values[made]
    unifier.renamed[made] = result
    return substituted(rest, {made: result})


def _spread(item: Any, having: Sequence[int], count: int) -> Any:
    """A statement that only these instances have, with holes that are as wide as all others."""

    def change(leaf: Any) -> Any:
        if not isinstance(leaf, Hole) or len(leaf.values) == count:
            return leaf
        known = dict(zip(having, leaf.values, strict=True))
        return Hole(tuple(known.get(k, ABSENT) for k in range(count)))

    return changed(item, change)


def _has_value(arg: Arg) -> bool:
    if isinstance(arg, tuple):
        return any(_has_value(each) for each in arg)
    return isinstance(arg, Value | Dim | Math | Name)


def _same(a: Any, b: Any) -> bool:
    return (type(a) is type(b) and a is b) or (type(a) is type(b) and not hasattr(a, "numpy") and a == b)


def _pieces(part: str | Index) -> list[Any]:
    """A part of a path as texts without numbers, and numbers."""
    pieces = part.pieces if isinstance(part, Index) else (part,)
    found: list[Any] = []
    for piece in pieces:
        if isinstance(piece, Count):
            # Numbers and texts take turns, so that parts with and without a counter are split alike.
            found = found or [""]
            found.append(piece)
            continue
        split = re.split(r"(\d+)", piece)
        found += split if not found or isinstance(found[-1], Count) else [found.pop() + split[0], *split[1:]]
    return [*found, ""] if isinstance(found[-1], Count) else found
