"""A report on the terminal: the verdict, then a table."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from netdefs.debug.metrics import Metrics
from netdefs.debug.verdict import count, number

if TYPE_CHECKING:
    from netdefs.debug.report import Report, Row

AROUND = 2  # rows shown on either side of the first wrong one
SHOWN = 12  # wrong rows shown in all
WIDTH = 120
COLORS = {"ok": "green", "own error": "bold red", "inherited": "yellow", "wrong": "red"}


def render(report: "Report", full: bool = False) -> RenderableType:
    """The verdict, the table of rows, and what could not be compared; with `full` every row and name."""
    parts: list[RenderableType] = [Text(report.verdict, style="bold green" if report.ok else "bold red")]
    first = report.first_bad
    if first is not None:
        parts += [Text(line) for line in _details(first)]
    rows = report.rows if full else _chosen(report)
    parts.append(_table(report, rows))
    if len(rows) < len(report.rows):
        parts.append(Text(f"{len(report.rows) - len(rows)} rows are not shown.", style="dim"))
    parts += [Text(line, style="dim") for line in _remarks(report, full)]
    return Group(*parts)


def as_text(report: "Report", full: bool = False) -> str:
    """`render` as plain text."""
    target = io.StringIO()
    Console(file=target, width=WIDTH, color_system=None, highlight=False).print(render(report, full))
    return target.getvalue().rstrip()


def _chosen(report: "Report") -> list["Row"]:
    """The rows worth seeing: outputs, the first wrong one and its neighbors, further wrong ones; or the least exact."""
    rows = report.rows
    keep = {id(row) for row in rows if row.kind == "output"}
    if report.ok:
        by_error = sorted(rows, key=lambda row: max(_relative(row.chained), _relative(row.isolated)), reverse=True)
        keep |= {id(row) for row in by_error[: 2 * AROUND]}
    else:
        at = next(i for i, row in enumerate(rows) if row is report.first_bad)
        keep |= {id(row) for row in rows[max(at - AROUND, 0) : at + AROUND + 1]}
        keep |= {id(row) for row in [row for row in rows if row.verdict == "own error"][:SHOWN]}
        keep |= {id(row) for row in report.bad[:SHOWN]}
    return [row for row in rows if id(row) in keep]


def _relative(metrics: Metrics | None) -> float:
    return metrics.relative if metrics is not None else 0.0


def _table(report: "Report", rows: Sequence["Row"]) -> Table:
    table = Table(pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="fold")
    table.add_column("type")
    table.add_column("shape")
    if report.mode != "isolated":
        table.add_column("chained:\nrel. error", justify="right")
        table.add_column("\ncosine", justify="right")
        table.add_column("\nSQNR dB", justify="right")
        table.add_column("\nmax |diff|", justify="right")
        table.add_column("\noutside", justify="right")
    if report.mode != "chained":
        table.add_column("isolated:\nrel. error", justify="right")
        table.add_column("\noutside", justify="right")
    table.add_column("verdict")
    for row in rows:
        cells = [row.name, row.type.replace(", ", "\n"), "×".join(map(str, row.shape))]
        if report.mode != "isolated":
            cells += _numbers(row.chained, row.chained_shape, "")
        if report.mode != "chained":
            error, _, _, _, outside = _numbers(row.isolated, row.isolated_shape, row.isolated_error)
            cells += [error, outside]
        table.add_row(*cells, Text(row.verdict, style=COLORS[row.verdict]))
    return table


def _numbers(metrics: Metrics | None, shape: tuple[int, ...] | None, error: str) -> list[str]:
    if metrics is None:
        return ["×".join(map(str, shape)) if shape is not None else "failed" if error else "", "", "", "", ""]
    return [
        f"{metrics.relative:.1e}",
        f"{metrics.cosine:.6f}",
        f"{metrics.sqnr_db:.1f}",
        f"{metrics.max_abs:.1e}",
        f"{metrics.outside:.2%}" if metrics.outside else "0",
    ]


def _details(row: "Row") -> list[str]:
    """Where a row differs most, and its NaN and infinities."""
    lines = []
    for way, metrics in (("isolated", row.isolated), ("chained", row.chained)):
        if metrics is None or metrics.ok:
            continue
        line = f"  {row.name}, {way}: "
        line += f"at {list(metrics.index)} PyTorch has {number(metrics.expected)}, the network {number(metrics.actual)}"
        line += f"; cosine {metrics.cosine:.6f}; {metrics.outside:.2%} of the values out of tolerance"
        bad = (metrics.expected_nan, metrics.expected_inf, metrics.actual_nan, metrics.actual_inf)
        if any(bad):
            line += "; NaN {} and infinite {} in PyTorch, {} and {} in the network".format(*bad)
        lines.append(f"{line}.")
    return lines


def _remarks(report: "Report", full: bool) -> list[str]:
    """Weights, notes, and what has no partner: counted by reason, or with `full` name by name."""
    lines = [report.weights.text, *report.notes]
    lines += (
        [
            f"{count(list(report.aliases), 'module')} return the very tensor of another: {_some(list(report.aliases), full)}."
        ]
        if report.aliases
        else []
    )
    kinds: dict[tuple[str, str], list[str]] = {}
    for item in report.unmatched:
        reason = "is folded into its batch norm" if item.reason.startswith("is folded") else item.reason
        kinds.setdefault((item.side, reason), []).append(item.name)
    for (side, reason), found in kinds.items():
        lines.append(f"Not compared: {side} {reason}: {_some(found, full)}")
    return lines


def _some(found: Sequence[str], full: bool) -> str:
    if full or len(found) <= 4:
        return ", ".join(found)
    return f"{', '.join(found[:3])} ... ({len(found)} in all)"
