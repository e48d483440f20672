"""Columns for what is in rows: chains become straight lines.

After the vertical alignment of Brandes and Köpf, "Fast and Simple Horizontal Coordinate Assignment", 2001, done twice,
by the row above and by the row below; columns are whole numbers, so that a grid can hold them.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdefs.draw.ranks import Spot

Edges = Sequence[tuple["Spot", "Spot"]]


def columns(grid: "Sequence[list[Spot]]", edges: "Edges") -> int:
    """Gives every spot a column, in the order that its row has; returns how many columns there are."""
    spots = [spot for row in grid for spot in row]
    best: tuple[float, dict[int, int]] | None = None
    for upwards in (False, True):
        found = _compacted(grid, _aligned(grid, edges, upwards))
        bent = sum(min(abs(found[id(a)] - found[id(b)]), 3) + (found[id(a)] != found[id(b)]) for a, b in edges)
        cost = bent + 0.5 * max(found.values(), default=0)
        if best is None or cost < best[0]:
            best = (cost, found)
    assert best is not None
    for spot in spots:
        spot.column = best[1][id(spot)]
    return max(best[1].values(), default=-1) + 1


def _aligned(grid: "Sequence[list[Spot]]", edges: "Edges", upwards: bool) -> dict[int, int]:
    """Spot -> the first spot of the straight line that it is in; lines don't cross."""
    place = {id(spot): i for row in grid for i, spot in enumerate(row)}
    barred = _barred(edges, place)
    joined: dict[int, list[Spot]] = defaultdict(list)
    for top, bottom in edges:
        if (id(top), id(bottom)) not in barred:
            here, there = (top, bottom) if upwards else (bottom, top)
            joined[id(here)].append(there)
    line = {id(spot): id(spot) for row in grid for spot in row}
    for row in reversed(grid) if upwards else grid:
        free = 0  # what is left of it in the other row is taken, or would cross
        for spot in row:
            near = [other for other in joined[id(spot)] if other.kind != "lane"] or joined[id(spot)]
            others = sorted(near, key=lambda other: place[id(other)])
            middle = (len(others) - 1) // 2
            for other in others[middle : middle + 2 - len(others) % 2]:
                if place[id(other)] >= free and line[id(spot)] == id(spot):
                    line[id(spot)] = line[id(other)]
                    free = place[id(other)] + 1
    return line


def _barred(edges: "Edges", place: dict[int, int]) -> set[tuple[int, int]]:
    """Edges that cross a lane: the lane is to be straight."""
    passing = [(a, b) for a, b in edges if a.kind == b.kind == "lane"]
    by_row: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for a, b in passing:
        by_row[a.row].append((place[id(a)], place[id(b)]))
    return {
        (id(a), id(b))
        for a, b in edges
        if not a.kind == b.kind == "lane" and any((place[id(a)] - c) * (place[id(b)] - d) < 0 for c, d in by_row[a.row])
    }


def _compacted(grid: "Sequence[list[Spot]]", line: dict[int, int]) -> dict[int, int]:
    """Spot -> column: every line as far to the left as its neighbors let it."""
    right: dict[int, set[int]] = defaultdict(set)
    left: dict[int, int] = dict.fromkeys(line.values(), 0)
    for a, b in _neighbors(grid):
        if line[id(b)] not in right[line[id(a)]]:
            right[line[id(a)]].add(line[id(b)])
            left[line[id(b)]] += 1
    column = dict.fromkeys(left, 0)
    ready = [first for first, count in left.items() if count == 0]
    while ready:
        first = ready.pop()
        for other in right[first]:
            column[other] = max(column[other], column[first] + 1)
            left[other] -= 1
            if left[other] == 0:
                ready.append(other)
    return {spot: column[first] for spot, first in line.items()}


def _neighbors(grid: "Sequence[list[Spot]]") -> "Iterable[tuple[Spot, Spot]]":
    for row in grid:
        yield from itertools.pairwise(row)
