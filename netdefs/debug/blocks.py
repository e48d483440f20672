"""The blocks of a network: how each agrees as a whole, so that one can go from the outside to the wrong layer."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdefs.debug.row import Row


@dataclasses.dataclass(frozen=True)
class Block:
    """A module that contains others, over all that was compared in it.

    Attributes:
        name: the module.
        type: its class.
        depth: how many modules it is inside of.
        rows: how many layers in it were compared.
        wrong: how many of them are wrong in any way.
        own: how many of them have an error of their own.
        chained, isolated: the largest relative errors; None where that was not measured. The last layer's chained error
            is the block's result; its largest isolated one is the worst that it does itself.
        first_bad: the first layer in it with an error of its own; if there is none, the first that is wrong; or "".
    """

    name: str
    type: str
    depth: int
    rows: int
    wrong: int
    own: int
    chained: float | None
    isolated: float | None
    first_bad: str

    @property
    def ok(self) -> bool:
        """Whether all of it agrees."""
        return not self.wrong


def blocks_of(rows: Sequence["Row"], modules: Mapping[str, str]) -> list[Block]:
    """The blocks in execution order of their first layers, each before those inside it.

    Args:
        rows: of a report.
        modules: every module and its class: a layer without one may be named after it, as the ReLU bn1.relu behind bn1,
            which makes that no block.
    """
    inside: dict[str, list[Row]] = {}
    for row in rows:
        for name in _around(row.name) if row.kind == "layer" else ():
            inside.setdefault(name, []).append(row)
    parents = {around for name in modules for around in _around(name)[:-1]}
    return [_block(name, modules.get(name, ""), found) for name, found in inside.items() if name in parents]


def path_to(blocks: Sequence[Block], row: "Row") -> str:
    """In which block a row is, and how many of those beside it come before it and agree; "" if it is in none."""
    around = [block for block in blocks if row.name == block.name or row.name.startswith(f"{block.name}.")]
    if not around:
        return ""
    text = f"the end of {row.name}" if row.name == around[-1].name else f"inside {around[-1].name}"
    for outer, inner in itertools.pairwise(around):
        beside = [b for b in blocks if b.depth == inner.depth and b.name.startswith(f"{outer.name}.")]
        if len(beside) > 1:
            before = beside[: beside.index(inner)]
            return f"{text}; {outer.name} has {len(beside)} blocks, and {_agreeing(before, inner.name)}"
    return text


def _agreeing(before: Sequence[Block], name: str) -> str:
    right = sum(block.ok for block in before)
    if not before:
        return f"{name} is the first"
    if right == len(before):
        return f"the one before {name} agrees" if right == 1 else f"the {right} before {name} agree"
    return f"{right} of the {len(before)} before {name} agree{'s' * (right == 1)}"


def _around(name: str) -> list[str]:
    """The dotted names around one from the outside, itself last: a block's last layer has the block's name."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]


def _block(name: str, kind: str, rows: Sequence["Row"]) -> Block:
    own = [row.name for row in rows if row.verdict == "own error"]
    wrong = [row.name for row in rows if not row.ok]
    return Block(
        name=name,
        type=kind,
        depth=name.count("."),
        rows=len(rows),
        wrong=len(wrong),
        own=len(own),
        chained=max((row.chained.relative for row in rows if row.chained), default=None),
        isolated=max((row.isolated.relative for row in rows if row.isolated), default=None),
        first_bad=next(iter([*own, *wrong]), ""),
    )
