"""A report on the terminal block by block: those on the way to the first wrong layer, and what is beside them."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from netdefs.debug.blocks import Block
    from netdefs.debug.report import Report

COLORS = {"ok": "green", "own error": "bold red", "wrong": "yellow"}


def render_blocks(report: "Report", full: bool = False) -> RenderableType:
    """The verdict and a table of blocks: of the others than those on the way, only the outermost; or all if `full`."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("block", overflow="fold")
    table.add_column("type", no_wrap=True)
    for title in ("layers", "wrong", "own error", "chained", "isolated"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("first wrong layer", overflow="fold")
    first = report.first_bad.name if report.first_bad is not None else ""
    blocks = report.blocks
    for block in blocks:
        outer, _, inner = block.name.rpartition(".")
        if full or not outer or first.startswith(f"{outer}."):
            state = "ok" if block.ok else "own error" if block.own else "wrong"
            table.add_row(
                Text("  " * block.depth + (f".{inner}" if outer else inner), style=COLORS[state]),
                block.type,
                str(block.rows),
                str(block.wrong),
                str(block.own),
                *_errors(block),
                block.first_bad.removeprefix(f"{block.name}.") if block.name != block.first_bad else "its end",
            )
    style = "bold green" if report.ok else ""
    rest = "" if blocks else "No module that contains others was compared."
    return Group(Text(report.verdict, style=style), table if blocks else Text(rest, style="dim"))


def _errors(block: "Block") -> list[str]:
    return ["" if error is None else f"{error:.1e}" for error in (block.chained, block.isolated)]
