"""Sizes and places for the static formats: the grids of `ranks` with what is in them measured.

The page leaves this to the browser; the way that wires take is the same there (wires.js).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netdefs.draw.text import LINE, Text, card_lines, width

GAP_LABEL, GAP_TRACK, GAP_ARROW, GAP_EMPTY = 16.0, 9.0, 12.0, 6.0
COLUMN_GAP, SIDE, TOP, BOTTOM, HEAD = 26.0, 16.0, 4.0, 8.0, 22.0
LANE, PORT = 26.0, 17.0
LEAST, MARGIN = 132.0, 12.0  # a card's width, and what is left free beside its text

Node = Mapping[str, Any]


@dataclasses.dataclass
class Box:
    """A card or an open block.

    Attributes:
        node: its data.
        width, height: pixels.
        lines: a card's text.
        inside: an open block's children.
        columns, rows: where an open block's columns begin and what they measure; its rows and gaps alike.
        x, y: its place on the sheet.
        moved: the middles of those children and ports that are not in the middle of their columns.
    """

    node: Node
    width: float
    height: float
    lines: list[Text]
    inside: "list[Box]" = dataclasses.field(default_factory=list)
    columns: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    rows: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    moved: dict[tuple[str, int], float] = dataclasses.field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether its children are shown."""
        return bool(self.columns)

    def middle(self, column: int) -> float:
        """The middle of a column, on the sheet."""
        start, size = self.columns[column]
        return self.x + start + size / 2

    def top(self, row: int) -> float:
        """Where a row begins, on the sheet; 0 is that of the ports."""
        return self.y + self.rows[2 * row][0]

    def bottom(self, row: int) -> float:
        """Where a row ends, on the sheet."""
        start, size = self.rows[2 * row]
        return self.y + start + size

    def port(self, tensor: str, side: str) -> float:
        """The middle of the port of a tensor."""
        return self.at(side, [value["name"] for value in self.node[side]].index(tensor))

    def at(self, side: str, index: int) -> float:
        """The middle of a port, on the sheet."""
        known = self.moved.get((side, index))
        return known if known is not None else self.middle(self.node["entering" if side == "in" else "leaving"][index])


def arrange(root: Node, depth: int, x: float = 0.0, y: float = 0.0) -> Box:
    """The boxes of a drawing that is open down to `depth`, with their places.

    Args:
        root: of what `describe` made.
        depth: blocks that lie deeper are cards.
        x, y: where the drawing begins.
    """
    box = _measure(root, depth, 0.0)
    _place(box, x, y)
    for each in reversed(list(boxes(box))):  # the inner first
        if each.open:
            _straighten(each)
    return box


def boxes(box: Box) -> Iterator[Box]:
    """A box and all that is in it, the outer first."""
    yield box
    for inner in box.inside:
        yield from boxes(inner)


def _measure(node: Node, depth: int, least: float) -> Box:
    if node["kind"] == "block" and depth >= 0:
        return _measure_block(node, depth)
    lines = card_lines(node)
    wide = max([LEAST, least, *(line.width + 2 * MARGIN for line in lines)])
    return Box(node, round(wide), round(LINE * len(lines) + 10), lines)


def _measure_block(node: Node, depth: int) -> Box:
    inside = [_measure(child, depth - 1, node["slots"][i]) for i, child in enumerate(node["children"])]
    wide = [0.0] * max(node["columns"], 1)
    high = [0.0] * (node["rows"] + 2)
    for box in inside:
        row, column = box.node["at"]
        wide[column], high[row] = max(wide[column], box.width), max(high[row], box.height)
    for _, _, _, column in node["lanes"]:
        wide[column] = max(wide[column], LANE)
    for side, row, places in (("in", 0, node["entering"]), ("out", node["rows"] + 1, node["leaving"])):
        for value, column in zip(node[side], places, strict=True):
            wide[column] = max(wide[column], port_width(node["dims"][value["name"]]))
            high[row] = PORT
    head = width(node["label"], bold=True) + width(f"  {node['type']}  {node['size']}") + 40
    columns, end = _line_up(wide, [COLUMN_GAP] * (len(wide) - 1), SIDE)
    missing = max(0.0, head - (end + SIDE)) / 2
    rows, bottom = _line_up(high, [_gap(node, gap) for gap in range(len(node["gaps"]))], HEAD + TOP)
    both: list[tuple[float, float]] = []
    for i, place in enumerate(rows):
        both.append(place)
        if i + 1 < len(rows):
            start = place[0] + place[1]
            both.append((start, rows[i + 1][0] - start))
    return Box(
        node,
        round(end + SIDE + 2 * missing),
        round(bottom + BOTTOM),
        [],
        inside,
        [(start + missing, size) for start, size in columns],
        both,
    )


def port_width(text: str) -> float:
    """How wide the pill is that a port shows."""
    return width(text, size=11) + 14


def _gap(node: Node, gap: int) -> float:
    if not any(wire["gap"] == gap for wire in node["wires"]):
        return GAP_EMPTY
    return GAP_LABEL + GAP_TRACK * node["gaps"][gap] + GAP_ARROW


def _line_up(sizes: Sequence[float], gaps: Sequence[float], start: float) -> tuple[list[tuple[float, float]], float]:
    """Puts sizes one after the other: where each begins and its size, and where the last ends."""
    found = []
    for i, size in enumerate(sizes):
        found.append((start, size))
        start += size + (gaps[i] if i < len(gaps) else 0)
    return found, start


def _place(box: Box, x: float, y: float) -> None:
    box.x, box.y = x, y
    for inner in box.inside:
        row, column = inner.node["at"]
        _place(inner, round(box.middle(column) - inner.width / 2), box.top(row))


def _straighten(box: Box) -> None:
    """Moves cards and ports below or above what they are joined to in their column, first upwards from open blocks."""
    wires = [wire for wire in box.node["wires"] if not wire["back"]]
    for upwards in (True, False):
        for wire in sorted(wires, key=lambda wire: wire["gap"], reverse=upwards):
            for end in wire["bottom"]:
                _follow(box, wire, *((wire["top"], end) if upwards else (end, wire["top"])), below=upwards)


def _follow(box: Box, wire: Mapping[str, Any], end: Sequence[Any], other: Sequence[Any], below: bool) -> None:
    key, there = (end[0], end[1]), (other[0], other[1])
    column = _column(box, end)
    if "lane" in (end[0], other[0]) or key in box.moved or _is_open(box, end) or column != _column(box, other):
        return
    if not _is_open(box, other) and there not in box.moved:
        return
    x = _end(box, wire, other, below=not below)[0] if _is_open(box, other) else box.moved[there]
    start, size = box.columns[column]
    moved = box.inside[end[1]] if end[0] == "child" else None
    wide = moved.width if moved is not None else port_width(box.node["dims"][wire["tensor"]])
    left = box.x + start
    box.moved[key] = max(left + wide / 2, min(x, left + size - wide / 2))
    if moved is not None:
        moved.x = box.moved[key] - wide / 2


def _is_open(box: Box, end: Sequence[Any]) -> bool:
    return end[0] == "child" and box.inside[end[1]].open


def _column(box: Box, end: Sequence[Any]) -> int:
    if end[0] == "child":
        return int(box.inside[end[1]].node["at"][1])
    if end[0] == "lane":
        return int(box.node["lanes"][end[1]][3])
    return int(box.node["entering" if end[0] == "in" else "leaving"][end[1]])


@dataclasses.dataclass(frozen=True)
class Path:
    """The line of a tensor: its points by SVG's commands, its arrow heads, and the label at its start."""

    tensor: str
    way: str
    arrows: str = ""
    back: bool = False
    label: tuple[float, float, str] | None = None


def paths(box: Box) -> Iterator[Path]:
    """The lines inside of an open block."""
    node = box.node
    for tensor, first, last, column in node["lanes"]:
        yield Path(tensor, f"M{_n(box.middle(column))} {_n(box.top(first))}V{_n(box.bottom(last))}")
    for wire in node["wires"]:
        x, y = _end(box, wire, wire["top"], below=True)
        start, _ = box.rows[2 * wire["gap"] + 1]
        track = box.y + start + GAP_LABEL + GAP_TRACK * wire["track"] + GAP_TRACK / 2
        way, arrows = "", ""
        if wire["back"] and wire["top"][0] == "child":
            arrows = f"M{_n(x - 4)} {_n(y + 7)}L{_n(x)} {_n(y)}L{_n(x + 4)} {_n(y + 7)}z"
        for end in wire["bottom"]:
            if end[0] == wire["top"][0] == "lane" and end[1] == wire["top"][1]:
                continue  # the lane is drawn as a whole
            to_x, to_y = _end(box, wire, end, below=False)
            if abs(to_x - x) < 3:
                to_x = x
                way += f"M{_n(x)} {_n(y)}V{_n(to_y)}"
            else:
                way += _bent(x, y, track, to_x, to_y)
            if end[0] != "lane" and not wire["back"]:
                arrows += f"M{_n(to_x - 4)} {_n(to_y - 7)}L{_n(to_x)} {_n(to_y)}L{_n(to_x + 4)} {_n(to_y - 7)}z"
        closed = wire["top"][0] == "child" and not box.inside[wire["top"][1]].open and not wire["back"]
        label = (x + 5, y + 12, node["dims"][wire["tensor"]]) if closed else None
        if way:
            yield Path(wire["tensor"], way, arrows, wire["back"], label)


def _bent(x: float, y: float, track: float, to_x: float, to_y: float) -> str:
    r = min(5.0, abs(to_x - x) / 2)
    s = r if to_x > x else -r
    return (
        f"M{_n(x)} {_n(y)}V{_n(track - r)}q0 {_n(r)} {_n(s)} {_n(r)}H{_n(to_x - s)}"
        f"q{_n(s)} 0 {_n(s)} {_n(r)}V{_n(to_y)}"
    )


def _end(box: Box, wire: Mapping[str, Any], end: Sequence[Any], below: bool) -> tuple[float, float]:
    """The place of a wire's end; `below`: at the lower side of what it is at."""
    kind, index = end[0], end[1]
    if kind == "lane":
        column = box.node["lanes"][index][3]
        return box.middle(column), box.bottom(wire["gap"]) if below else box.top(wire["gap"] + 1)
    if kind == "in":
        return box.at("in", index), box.bottom(0)
    if kind == "out":
        return box.at("out", index), box.top(box.node["rows"] + 1)
    inner = box.inside[index]
    y = inner.y + (inner.height if below else 0.0)
    if inner.open and not wire["back"]:
        return inner.port(wire["tensor"], "out" if below else "in"), y
    return inner.x + inner.width * (end[2] + 1) / (end[3] + 1), y


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
