"""Statements that repeat, one numbered module after another, as loops."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netdefs.scaffold.program import (
    Call,
    Column,
    Cond,
    Count,
    Each,
    First,
    Function,
    Hole,
    Index,
    Loop,
    Name,
    Turn,
    Value,
    changed,
    count_statements,
    counting,
    mapped,
    same_constant,
)
from netdefs.scaffold.unify import Instance, Mismatch, Unifier, defaults_of

LONGEST = 12  # statements of one turn
MOST_VARYING = 6  # constants that differ from turn to turn: more nobody would read in one line


def with_loops(body: Sequence[Any], outputs: Sequence[Value]) -> list[Any]:
    """A body in which what repeats has become loops, the innermost first."""
    items = list(body)
    while True:
        fresh: set[Any] = set()  # loops of this pass: before it is over there may be more beside them
        for length in range(1, LONGEST + 1):
            start = 0
            while start + 2 * length <= len(items):
                found = _loop(items, start, length, outputs, fresh)
                if found is not None:
                    end, loop = found
                    items[start:end] = [loop]
                    fresh.add(loop)
                start += 1
        if not fresh:
            return items


def _loop(
    items: list[Any], start: int, length: int, outputs: Sequence[Value], fresh: set[Any]
) -> tuple[int, Loop] | None:
    """Where the longest loop from here on ends, and the loop."""
    turns: list[list[Any]] = []
    for at in range(start, len(items) - length + 1, length):
        body = items[at : at + length]
        if not fresh.isdisjoint(body) or (turns and not all(map(_alike, turns[0], body))):
            break
        turns.append(body)
    for count in range(len(turns), 1, -1):
        loop = _checked(items, start, turns[:count], outputs)
        if loop is not None:
            return start + count * length, loop
    return None


def _alike(a: Any, b: Any) -> bool:
    """Whether two statements could be the same one of different turns."""
    if isinstance(a, Call) and isinstance(b, Call):
        return a.function == b.function and (a.path is None) == (b.path is None)
    return isinstance(a, Loop) and isinstance(b, Loop)


def _checked(items: list[Any], start: int, turns: Sequence[list[Any]], outputs: Sequence[Value]) -> Loop | None:
    """The loop of these turns; None if they are not a loop's."""
    turn = Turn()
    instances = [Instance(body) for body in turns]
    try:
        pattern = Unifier(instances, turn).body()
    except Mismatch:
        return None
    given = _given(turns, instances)
    if given is None:
        return None
    handed, listed = given
    stop = start + len(turns) * len(turns[0])
    later = {value for item in items[stop:] for value in item.values()} | set(outputs)
    last = instances[-1].values
    left = {last.get(made, made): made for made in handed.values()}
    collected: list[tuple[Value, tuple[Value, ...]]] = []
    for made in _made(turns[0]):
        kept = _of_all(made, instances)
        if any(value in later and value not in left for value in kept):
            collected.append((made, kept))
    if not _worth(turns, pattern, turn, len(listed), len(collected), bool(handed)):
        return None
    inside = {value: _like(value) for value in [*handed, *listed]}
    # What the pattern made is what is kept of its first turn: in the loop it needs a name of its own.
    fresh = {made: _like(made) for made, _ in collected}
    body = [changed(item, _in_loop({**inside, **fresh}, turn)) for item in pattern]
    return Loop(
        turn,
        len(turns),
        body,
        [(inside[before], before, fresh.get(made, made), last.get(made, made)) for before, made in handed.items()],
        [(inside[before], values) for before, values in listed.items()],
        [(fresh[made], kept) for made, kept in collected],
    )


def _given(
    turns: Sequence[list[Any]], instances: Sequence[Instance]
) -> tuple[dict[Value, Value], dict[Value, tuple[Value, ...]]] | None:
    """What is another value in every turn, of those that the first is given; None if no loop can give it.

    First what is handed on from turn to turn, and what of a turn it is for the next; then what is from outside of the
    turns, and what it is in each.
    """
    made = _made(turns[0])
    anywhere = {value for body in turns for value in _made(body)}
    handed: dict[Value, Value] = {}
    listed: dict[Value, tuple[Value, ...]] = {}
    for value in dict.fromkeys(value for item in turns[0] for value in item.values()):
        values = _of_all(value, instances)
        if value in made or all(each is value for each in values):
            continue
        before = next((each for each in made if _hands_on(each, values, instances)), None)
        if before is not None:
            if _outlives(value, before, turns[0]):
                return None  # it would need two variables, and nobody would write such a loop
            handed[value] = before
        elif anywhere.isdisjoint(values):
            listed[value] = values
        else:
            return None
    return handed, listed


def _made(body: Sequence[Any]) -> list[Value]:
    """What statements give."""
    return list(dict.fromkeys(value for item in body for value in item.results))


def _of_all(value: Value, instances: Sequence[Instance]) -> tuple[Value, ...]:
    """What a value of the pattern is in every turn."""
    return tuple(instance.values.get(value, value) for instance in instances)


def _hands_on(made: Value, given: Sequence[Value], instances: Sequence[Instance]) -> bool:
    """Whether every turn but the first is given what the one before made."""
    return _of_all(made, instances)[:-1] == tuple(given[1:])


def _outlives(given: Value, made: Value, body: Sequence[Any]) -> bool:
    """Whether a turn needs what it was given after it has made what it hands on in its place."""
    at = next(i for i, item in enumerate(body) if made in item.results)
    return any(given in list(item.values()) for item in body[at + 1 :])


def _like(value: Value) -> Value:
    """A value of the same kind and size, for the inside of a loop."""
    return Value(value.kind, value.shape, value.dtype, value.hint)


def _in_loop(names: Mapping[Value, Value], turn: Turn) -> Callable[[Any], Any]:
    """Makes arguments of a pattern those of a loop's body: its own values, and what differs from turn to turn."""

    def change(leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return names.get(leaf, leaf)
        if not isinstance(leaf, Hole):
            return leaf
        if all(isinstance(value, Column) for value in leaf.values):  # each turn has a sequence for a loop inside
            return Each(Column(tuple(value.values for value in leaf.values), turn), leaf.values[0].turn)
        return Column(leaf.values, turn)

    return change


def _worth(
    turns: Sequence[list[Any]], pattern: Sequence[Any], turn: Turn, listed: int, collected: int, handed: bool
) -> bool:
    """Whether a loop is shorter by more than its own lines, or may be of another length in other instances."""
    if not handed and not listed:
        return False
    if len(_holes(pattern)) > MOST_VARYING:
        return False
    counted = [part for item in pattern for part in counting(item, turn)]
    if not counted and not all(isinstance(item, Call) and item.array for item in pattern):
        return False
    if listed or collected:
        return count_statements(turns[0]) * (len(turns) - 1) - 1 - listed - 2 * collected > 1
    if len(turns) > 2 or len(turns[0]) > 2:
        return True
    # Two short turns are a loop only of what is long itself, in a numbered list: "blocks.0" and not "block0".
    calls = any(not isinstance(item, Call) or isinstance(item.function, Function) or item.block for item in turns[0])
    return calls and not any(isinstance(part.pieces[0], str) for part in counted)


def _holes(pattern: Sequence[Any]) -> set[Hole]:
    """The constants that differ from turn to turn."""
    found: set[Hole] = set()

    def note(leaf: Any) -> Any:
        if isinstance(leaf, Hole):
            found.add(leaf)
        return leaf

    for item in pattern:
        changed(item, note)
    return found


def unrolled(body: Sequence[Any]) -> list[Any]:
    """A body in which loops of two turns of one statement are two statements, if the turns differ."""
    made: list[Any] = []
    for item in body:
        if isinstance(item, Loop | Cond):
            item = dataclasses.replace(item, body=unrolled(item.body))
        if isinstance(item, Loop) and _is_pair(item):
            made += _two_turns(item)
        else:
            made.append(item)
    return made


def _is_pair(loop: Loop) -> bool:
    """Whether a loop is two turns of one statement, and these differ in more than paths."""
    if loop.listed or loop.collected or loop.count != 2 or len(loop.body) != 1:
        return False
    (item,) = loop.body
    return isinstance(item, Call) and _varies(item, loop.turn)


def _two_turns(loop: Loop) -> list[Call]:
    """The one statement of a loop in its first turn, and in its second."""
    (item,) = loop.body
    first = {inner: before for inner, before, _, _ in loop.carried}
    first |= {value: dataclasses.replace(value) for value in item.results}
    second: dict[Value, Value] = {inner: first[made] for inner, _, made, _ in loop.carried}
    second |= {value: dataclasses.replace(value) for value in item.results}
    second |= {made: left for _, _, made, left in loop.carried}
    return [_turned(item, loop.turn, number, values) for number, values in enumerate((first, second))]


def _varies(call: Call, turn: Turn) -> bool:
    """Whether what a statement is given differs from turn to turn."""
    arguments = [*call.inputs, *call.options.values()]
    leaves: list[Any] = []
    for value in arguments:
        mapped(value, leaves.append)
    return any(isinstance(each, Column | First) and each.turn is turn for each in [*leaves, *arguments])


def _turned(call: Call, turn: Turn, number: int, values: dict[Value, Value]) -> Call:
    """A statement of a loop as it is in one turn."""

    def path(parts: Any) -> Any:
        return tuple(_indexed(part, turn, number) if isinstance(part, Index) else part for part in parts)

    def leaf(each: Any) -> Any:
        if isinstance(each, Value):
            return values.get(each, each)
        if isinstance(each, Column) and each.turn is turn:
            return each.values[number]
        return Name(path(each.path)) if isinstance(each, Name) else each

    def argument(value: Any) -> Any:
        if isinstance(value, First) and value.turn is turn:
            value = value.rest if number else value.first
        return mapped(value, leaf)

    options = {key: argument(value) for key, value in call.options.items()}
    defaults = defaults_of(call.function)
    options = {
        key: value for key, value in options.items() if key not in defaults or not same_constant(value, defaults[key])
    }
    return Call(
        call.function,
        [argument(value) for value in call.inputs],
        None if call.path is None else path(call.path),
        options,
        [values.get(value, value) for value in call.results],
        call.array,
        call.named,
    )


def _indexed(part: Index, turn: Turn, number: int) -> str | Index:
    """A part of a path as it is in one turn."""
    pieces = [
        str(piece.start + piece.step * number) if isinstance(piece, Count) and piece.turn is turn else piece
        for piece in part.pieces
    ]
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return "".join(texts) if len(texts) == len(pieces) else Index(tuple(pieces))
