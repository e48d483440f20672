"""Tracks: in the gap between two rows, every tensor has its own height to run sideways at."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdefs.draw.ranks import Wire


def tracks(wires: "Sequence[Wire]", gaps: int) -> list[int]:
    """Gives every wire its track, 0 being the highest; returns how many tracks each gap has.

    Two wires share a track only if no column sees both. Where one goes down from a column and another comes down into
    the same column, the first has the higher track: their vertical parts would lie on each other.
    """
    by_gap: dict[int, list[Wire]] = defaultdict(list)
    for wire in wires:
        if not _passes(wire):
            by_gap[wire.gap].append(wire)
    return [_assign(by_gap[gap]) for gap in range(gaps)]


def _passes(wire: "Wire") -> bool:
    """A lane that goes on in the same column, and nothing else: it needs no track."""
    ends = [wire.top, *wire.bottom]
    return all(end.kind == "lane" and end.column == wire.top.column for end in ends)


def _assign(wires: "Sequence[Wire]") -> int:
    spans = [_span(wire) for wire in wires]
    above: list[set[int]] = [set() for _ in wires]  # wires that must be higher
    for i, wire in enumerate(wires):
        for j, other in enumerate(wires):
            if i != j and any(end.column == wire.top.column for end in other.bottom):
                above[j].add(i)
    left = set(range(len(wires)))
    taken: list[list[tuple[int, int]]] = []  # the spans in each track
    while left:
        free = [i for i in left if not above[i] & left] or list(left)  # a ring can't be had without an overlap
        i = min(free, key=lambda k: (spans[k], k))
        left.remove(i)
        first = max((wires[j].track + 1 for j in above[i] - left - {i}), default=0)
        track = next(
            (t for t in range(first, len(taken)) if all(not _overlap(spans[i], span) for span in taken[t])), len(taken)
        )
        if track == len(taken):
            taken.append([])
        taken[track].append(spans[i])
        wires[i].track = track
    return len(taken)


def _span(wire: "Wire") -> tuple[int, int]:
    places = [wire.top.column, *(end.column for end in wire.bottom)]
    return min(places), max(places)


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
