"""Statements that repeat, one numbered module after another, as loops."""

import dataclasses
from collections.abc import Iterator, Sequence
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
    mapped,
)
from netdefs.scaffold.unify import Instance, Mismatch, Unifier, defaults_of

LONGEST = 12  # statements of one turn
MOST = 6  # constants that differ from turn to turn: more nobody would read in one line


def with_loops(body: Sequence[Any], outputs: Sequence[Value]) -> list[Any]:
    """A body in which what repeats has become loops, the innermost first."""
    items = list(body)
    while True:
        fresh: set[int] = set()  # loops of this pass: before it is over there may be more beside them
        for length in range(1, LONGEST + 1):
            start = 0
            while start + 2 * length <= len(items):
                busy = any(id(item) in fresh for item in items[start : start + 2 * length])
                found = None if busy else _loop(items, start, length, outputs, fresh)
                if found is not None:
                    items[start : found[0]] = [found[1]]
                    fresh.add(id(found[1]))
                start += 1
        if not fresh:
            return items


def _loop(
    items: list[Any], start: int, length: int, outputs: Sequence[Value], fresh: set[int]
) -> tuple[int, Loop] | None:
    """The longest loop from here on, and where it ends."""
    turns = [items[start : start + length]]
    while True:
        at = start + len(turns) * length
        following = items[at : at + length]
        if len(following) < length or any(id(item) in fresh for item in following):
            break
        if not all(_alike(a, b) for a, b in zip(turns[0], following, strict=True)):
            break
        turns.append(following)
    for count in range(len(turns), 1, -1):
        loop = _checked(items, start, turns[:count], outputs)
        if loop is not None:
            return start + count * length, loop
    return None


def _alike(a: Any, b: Any) -> bool:
    """Whether two statements could be the same one of different turns."""
    if type(a) is not type(b):
        return False
    if not isinstance(a, Call):
        return isinstance(a, Loop)
    return (a.function is b.function or a.function == b.function) and (a.path is None) == (b.path is None)


def _checked(items: list[Any], start: int, turns: Sequence[list[Any]], outputs: Sequence[Value]) -> Loop | None:
    """The loop of these turns; None if they are not a loop's."""
    turn = Turn()
    instances = [Instance(body) for body in turns]
    try:
        pattern = Unifier(instances, turn).body()
    except Mismatch:
        return None
    made = list(dict.fromkeys(value for item in turns[0] for value in item.results))
    outside = dict.fromkeys(value for item in turns[0] for value in item.values() if value not in set(made))
    inside_all = {value for body in turns for item in body for value in item.results}
    handed: dict[Value, Value] = {}  # what a turn is given -> what the one before made
    others: dict[Value, tuple[Value, ...]] = {}  # what a turn is given -> that of every turn
    for value in outside:
        images = tuple(instance.values.get(value, value) for instance in instances)
        if all(image is value for image in images[1:]):
            continue
        found = next((o for o in made if _hands_on(o, images, instances)), None)
        if found is not None:
            handed[value] = found
        elif inside_all.isdisjoint(images):
            others[value] = images
        else:
            return None
    count = len(turns)
    stop = start + count * len(turns[0])
    later = {value for item in items[stop:] for value in item.values()} | set(outputs)
    last = instances[-1].values
    left = {last.get(each, each): each for each in handed.values()}
    collected = []
    for each in made:
        kept = tuple(instance.values.get(each, each) for instance in instances)
        if any(value in later and value not in left for value in kept):
            collected.append((each, kept))
    if any(value in later for value in left) and any(each in left.values() for each, _ in collected):
        return None
    if not (handed or others) or not _worth(turns, pattern, turn, len(others), len(collected), bool(handed)):
        return None
    carried, inside = [], {}
    for before, each in handed.items():
        inner = Value(before.kind, before.shape, before.dtype, before.hint)
        inside[before] = inner
        carried.append((inner, before, each, last.get(each, each)))
    listed = []
    for before, values in others.items():
        inner = Value(before.kind, before.shape, before.dtype, before.hint)
        inside[before] = inner
        listed.append((inner, values))
    # What the pattern made is what is kept of its first turn: in the loop it needs a name of its own.
    fresh = {each: Value(each.kind, each.shape, each.dtype, each.hint) for each, _ in collected}
    inside.update(fresh)

    def change(leaf: Any) -> Any:
        if isinstance(leaf, Hole):
            if all(isinstance(value, Column) for value in leaf.values):  # each turn has a sequence for a loop inside
                return Each(Column(tuple(value.values for value in leaf.values), turn), leaf.values[0].turn)
            return Column(leaf.values, turn)
        return inside.get(leaf, leaf) if isinstance(leaf, Value) else leaf

    body = [changed(item, change) for item in pattern]
    carried = [(inner, before, fresh.get(each, each), after) for inner, before, each, after in carried]
    return Loop(turn, count, body, carried, listed, [(fresh[each], kept) for each, kept in collected])


def _worth(
    turns: Sequence[list[Any]], pattern: Sequence[Any], turn: Turn, listed: int, collected: int, handed: bool
) -> bool:
    """Whether a loop is shorter by more than its own lines, or may be of another length in other instances."""
    counting = [part for item in pattern for part in _counting(item, turn)]
    if len(set(_holes(pattern))) > MOST:
        return False
    if not counting and not all(isinstance(item, Call) and item.array for item in pattern):
        return False
    if listed or collected or not handed:
        return sum(map(_size, turns[0])) * (len(turns) - 1) - 1 - listed - 2 * collected > 1
    if len(turns) > 2 or len(turns[0]) > 2:
        return True
    calls = any(not isinstance(item, Call) or _is_block(item) for item in turns[0])
    return calls and not any(isinstance(part.pieces[0], str) for part in counting)


def _holes(pattern: Sequence[Any]) -> Iterator[Hole]:
    """The constants that differ from turn to turn."""
    found: list[Any] = []

    def note(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    for item in pattern:
        changed(item, note)
    yield from (leaf for leaf in found if isinstance(leaf, Hole))


def _is_block(item: Call) -> bool:
    """Whether it calls a function of the draft, or a block of the library."""
    return isinstance(item.function, Function) or (not item.array and "." in item.function)


def _size(item: Any) -> int:
    return 1 if isinstance(item, Call) else 1 + sum(map(_size, item.body))


def _hands_on(made: Value, images: Sequence[Value], instances: Sequence[Instance]) -> bool:
    return all(instances[k - 1].values.get(made, made) is images[k] for k in range(1, len(images)))


def _counting(item: Any, turn: Turn) -> Iterator[Index]:
    """The parts of paths in a statement that count with this turn."""
    if isinstance(item, Call):
        paths = [item.path or (), *(value.path for value in item.options.values() if isinstance(value, Name))]
        yield from (part for path in paths for part in path if isinstance(part, Index) and part.counts(turn))
    else:
        for each in item.body:
            yield from _counting(each, turn)


def unrolled(body: Sequence[Any]) -> list[Any]:
    """A body in which loops of two turns of one statement are two statements, if the turns differ."""
    made: list[Any] = []
    for item in body:
        if not isinstance(item, Loop):
            made.append(dataclasses.replace(item, body=unrolled(item.body)) if isinstance(item, Cond) else item)
            continue
        item = dataclasses.replace(item, body=unrolled(item.body))
        if (
            item.listed
            or item.collected
            or item.count != 2
            or len(item.body) != 1
            or not isinstance(item.body[0], Call)
            or not _varies(item)
        ):
            made.append(item)
            continue
        handed: dict[Value, Value] = {inner: before for inner, before, _, _ in item.carried}
        for number in range(2):
            values = dict(handed)
            for value in item.body[0].results:
                values[value] = dataclasses.replace(value)
            if number == 1:
                values.update({each: left for _, _, each, left in item.carried})
            made.append(_turned(item.body[0], item.turn, number, values))
            handed = {inner: values[each] for inner, _, each, _ in item.carried}
    return made


def _varies(loop: Loop) -> bool:
    found: list[Any] = []
    for item in loop.body:
        for value in [*item.inputs, *item.options.values()]:
            mapped(value, found.append)
            found += _firsts(value)
    return any(isinstance(leaf, Column | First) and leaf.turn is loop.turn for leaf in found)


def _firsts(value: Any) -> list[First]:
    return [value] if isinstance(value, First) else []


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
    options = {key: value for key, value in options.items() if key not in defaults or not _is(value, defaults[key])}
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


def _is(value: Any, usual: Any) -> bool:
    return type(value) is type(usual) and not isinstance(value, Value) and value == usual
