"""Which row and column everything inside of a block is in: a layered drawing (Sugiyama, Tagawa, Toda 1981).

Nothing here knows sizes: they are the browser's business, or those of `sheet`, and change as blocks open and close.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from netdefs.draw.columns import columns
from netdefs.draw.tracks import tracks
from netdefs.draw.tree import OUTSIDE, Block

SWEEPS = 6


@dataclasses.dataclass
class Spot:
    """Something with a place: a child, a port (where a tensor enters or leaves the block), or a lane that passes a row.

    Attributes:
        kind: "child", "in", "out" or "lane".
        index: of the child, the port or the lane.
        row: 0 has the ports of what comes in, the last row those of what leaves.
        column: from the left.
    """

    kind: str
    index: int
    row: int
    column: int = 0


@dataclasses.dataclass
class Wire:
    """A piece of a tensor's way between a row and the next: from one spot to others, along a track of the gap.

    Attributes:
        tensor: its name.
        gap: number of the row above it.
        top: where it comes from.
        bottom: where it goes.
        back: it runs upwards, to a layer that is drawn above.
        track: its place in the gap, from the top.
    """

    tensor: str
    gap: int
    top: Spot
    bottom: list[Spot]
    back: bool = False
    track: int = 0


@dataclasses.dataclass(frozen=True)
class Lane:
    """A straight way of a tensor through rows."""

    tensor: str
    first: int
    last: int
    column: int


@dataclasses.dataclass
class Layout:
    """A block's inside.

    Attributes:
        rows: how many, without those of the ports.
        columns: how many.
        spots: of the children, in their order.
        entering, leaving: the tensors at the ports, and their spots.
        lanes, wires: what runs between them; a lane is the index of its spots.
        gaps: how many tracks there are between each row and the next.
    """

    rows: int
    columns: int
    spots: list[Spot]
    entering: dict[str, Spot]
    leaving: dict[str, Spot]
    lanes: list[Lane]
    wires: list[Wire]
    gaps: list[int]


def layout(block: Block) -> Layout:
    """Rows, columns and wires of a block's children; the same for the same block always."""
    edges = [
        (net.source, target)
        for net in block.nets.values()
        for target in net.targets
        if OUTSIDE not in (net.source, target)
    ]
    order = _order(len(block.children), edges)
    fed = {target for net in block.nets.values() if net.source == OUTSIDE for target in net.targets}
    rows = _rows(order, edges, fed)
    last = max(rows, default=0) + 1
    spots = [Spot("child", i, row) for i, row in enumerate(rows)]
    entering = {name: Spot("in", i, 0) for i, name in enumerate(block.inputs)}
    leaving = {name: Spot("out", i, last) for i, name in enumerate(block.outputs)}
    wires, lanes = _route(block, spots, entering, leaving)
    grid: list[list[Spot]] = [[] for _ in range(last + 1)]
    for spot in (*entering.values(), *spots, *leaving.values(), *lanes):
        grid[spot.row].append(spot)
    _untangle(grid, wires)
    width = columns(grid, [(wire.top, end) for wire in wires for end in wire.bottom])
    counts = tracks(wires, last)
    return Layout(last - 1, width, spots, entering, leaving, _merge(lanes, wires), wires, counts)


def _order(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Each child's number in an order in which givers come before takers, as far as there is one."""
    givers: dict[int, set[int]] = defaultdict(set)
    takers: dict[int, set[int]] = defaultdict(set)
    for a, b in edges:
        givers[b].add(a)
        takers[a].add(b)
    waiting = {i: len(givers[i]) for i in range(count)}
    number = [0] * count
    for position in range(count):
        ready = next((i for i, left in waiting.items() if left == 0), None)
        chosen = next(iter(waiting)) if ready is None else ready  # a ring: what is executed first breaks it
        del waiting[chosen]
        number[chosen] = position
        for taker in takers[chosen]:
            if taker in waiting:
                waiting[taker] -= 1
    return number


def _rows(order: Sequence[int], edges: Iterable[tuple[int, int]], fed: Collection[int]) -> list[int]:
    """The row of each child, from 1: right below the lowest of its givers, or above its takers if these are more.

    `fed` are those that are also given something from outside of the block.
    """
    down = sorted({(a, b) if order[a] < order[b] else (b, a) for a, b in edges}, key=lambda edge: order[edge[0]])
    rows = [1] * len(order)
    for a, b in down:
        rows[b] = max(rows[b], rows[a] + 1)
    for i in sorted(range(len(order)), key=lambda i: -order[i]):
        above = sum(b == i for _, b in down)
        below = [rows[b] for a, b in down if a == i]
        if len(below) > above + (i in fed):
            rows[i] = max(rows[i], min(below) - 1)
    return rows


def _route(
    block: Block, spots: Sequence[Spot], entering: dict[str, Spot], leaving: dict[str, Spot]
) -> tuple[list[Wire], list[Spot]]:
    """The wires of all tensors, and the lanes of those that pass rows: all takers of a tensor share them."""
    wires: list[Wire] = []
    lanes: list[Spot] = []
    for name, net in block.nets.items():
        giver = entering[name] if net.source == OUTSIDE else spots[net.source]
        takers = [leaving[name] if target == OUTSIDE else spots[target] for target in net.targets]
        for back in (False, True):
            ends = [spot for spot in takers if (spot.row <= giver.row) == back]
            if not ends:
                continue
            high, low = (ends, [giver]) if back else ([giver], ends)
            for top in high:
                bottom = {spot.row for spot in low}
                for row in range(top.row + 1, max(bottom) + 1):
                    here = [spot for spot in low if spot.row == row]
                    wires.append(Wire(name, row - 1, top, here, back))
                    if row < max(bottom):
                        top = Spot("lane", len(lanes), row)
                        lanes.append(top)
                        here.append(top)
    return wires, lanes


def _untangle(grid: Sequence[list[Spot]], wires: Sequence[Wire]) -> None:
    """Orders each row by the middle of what it is joined to, downwards and upwards in turn, to have few crossings."""
    up: dict[int, list[Spot]] = defaultdict(list)
    down: dict[int, list[Spot]] = defaultdict(list)
    for wire in wires:
        for end in wire.bottom:
            up[id(end)].append(wire.top)
            down[id(wire.top)].append(end)
    best = ([list(row) for row in grid], _crossings(grid, wires))
    for sweep in range(SWEEPS):
        rows, joined = (grid[1:], up) if sweep % 2 == 0 else (grid[-2::-1], down)
        for row in rows:
            place = {id(spot): i for other in grid for i, spot in enumerate(other)}
            middle = {}
            for i, spot in enumerate(row):
                near = joined[id(spot)]
                near = [other for other in near if other.kind != "lane"] or near  # lanes give way to the layers' chain
                others = [place[id(other)] for other in near]
                middle[id(spot)] = sum(others) / len(others) if others else i
            row.sort(key=lambda spot: (middle[id(spot)], spot.kind == "lane"))
        count = _crossings(grid, wires)
        if count < best[1]:
            best = ([list(row) for row in grid], count)
    for row, chosen in zip(grid, best[0], strict=True):
        row[:] = chosen


def _crossings(grid: Sequence[list[Spot]], wires: Sequence[Wire]) -> int:
    place = {id(spot): i for row in grid for i, spot in enumerate(row)}
    by_gap: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for wire in wires:
        by_gap[wire.gap] += [(place[id(wire.top)], place[id(end)]) for end in wire.bottom]
    return sum(
        (a - c) * (b - d) < 0 for pairs in by_gap.values() for i, (a, b) in enumerate(pairs) for c, d in pairs[:i]
    )


def _merge(spots: Sequence[Spot], wires: Sequence[Wire]) -> list[Lane]:
    """Joins the lanes of a tensor that follow each other in a column. Wires between them go, spots get new indices."""
    lanes: list[Lane] = []
    heads = {id(wire.top): wire for wire in wires if wire.top.kind == "lane"}
    tails = {id(end): wire for wire in wires for end in wire.bottom if end.kind == "lane"}
    for spot in spots:  # from the top, each tensor's one after the other
        before = tails[id(spot)].top
        if before.kind == "lane" and before.column == spot.column:
            lane = lanes[before.index]
            lanes[before.index] = dataclasses.replace(lane, last=spot.row)
            spot.index = before.index
        else:
            spot.index = len(lanes)
            lanes.append(Lane(heads[id(spot)].tensor, spot.row, spot.row, spot.column))
    return lanes
