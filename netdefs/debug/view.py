"""A report on the terminal: the verdict, then a table."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from netdefs.debug.metrics import Metrics
from netdefs.debug.verdict import number

if TYPE_CHECKING:
    from netdefs.debug.report import Report, Row

AROUND = 2  # rows shown on either side of the first wrong one
SHOWN = 12  # wrong rows shown in all
WIDTH = 120
NAME = 40  # characters of a layer's name that are not folded
COLORS = {"ok": "green", "own error": "bold red", "inherited": "yellow", "wrong": "red"}


def render(report: "Report", full: bool = False) -> RenderableType:
    """The verdict, the table of rows, and what could not be compared; with `full` every row and name."""
    parts: list[RenderableType] = [Text(report.verdict, style="bold green" if report.ok else "bold red")]
    first = report.first_bad
    if first is not None and _detail(first):
        parts.append(Text(_detail(first)))
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
    chained, isolated = report.mode != "isolated", report.mode != "chained"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="fold", min_width=min(max(len(row.name) for row in rows), NAME))
    table.add_column("type", overflow="fold")
    table.add_column("shape", no_wrap=True)
    if chained:
        for title in ("chained", "cosine", "max diff", "outside"):
            table.add_column(title, justify="right", no_wrap=True)
    if isolated:
        for title in ("isolated",) if chained else ("isolated", "cosine", "max diff", "outside"):
            table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        cells = [row.name, row.module_type or row.layer_type, _size(row.shape)]
        if chained:
            cells += _numbers(row.chained, row.chained_shape, "")
        if isolated:
            numbers = _numbers(row.isolated, row.isolated_shape, row.isolated_error)
            cells += numbers[:1] if chained else numbers
        table.add_row(*cells, Text(row.verdict, style=COLORS[row.verdict]))
    return table


def _numbers(metrics: Metrics | None, shape: tuple[int, ...] | None, error: str) -> list[str]:
    """Relative error, cosine, largest difference, share out of tolerance."""
    if metrics is None:
        return [_size(shape) if shape is not None else "failed" if error else "", "", "", ""]
    outside = f"{metrics.outside:.2%}" if metrics.outside else "0"
    return [f"{metrics.relative:.1e}", f"{metrics.cosine:.6f}", f"{metrics.max_abs:.1e}", outside]


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"


def _detail(row: "Row") -> str:
    """Where a row differs most, and its NaN and infinities; isolated if it is wrong there. Empty without numbers."""
    found = [(way, m) for way, m in (("isolated", row.isolated), ("chained", row.chained)) if m and not m.ok]
    if not found:
        return ""
    way, metrics = found[0]
    text = f"{row.name}, {way}: the largest difference is at {list(metrics.index)}, where PyTorch has "
    text += f"{number(metrics.expected)} and the network {number(metrics.actual)}"
    counts = (metrics.expected_nan, metrics.expected_inf, metrics.actual_nan, metrics.actual_inf)
    if any(counts):
        text += "; NaN {} and infinite {} in PyTorch, {} and {} in the network".format(*counts)
    return f"{text}."


def _remarks(report: "Report", full: bool) -> list[str]:
    """Weights, notes, and what has no partner: counted by reason, or with `full` name by name."""
    lines = [report.weights.text, *report.notes]
    if full:
        lines += [f"Weights: {finding.key} {finding.problem}." for finding in report.weights.keys]
    groups: dict[str, list[str]] = {}
    for item in report.unmatched:
        reason, _, detail = item.reason.partition(" (")
        groups.setdefault(f"{item.side} {reason}", []).append(
            f"{item.name} ({detail}" if full and detail else item.name
        )
    if report.aliases:
        names = [f"{name} (that of {twin})" if full else name for name, twin in report.aliases.items()]
        groups["module returns the very tensor of a compared one"] = names
    return lines + [f"Not compared, {reason}: {_some(found, full)}." for reason, found in groups.items()]


def _some(found: Sequence[str], full: bool) -> str:
    if full or len(found) <= 4:
        return ", ".join(found)
    return f"{', '.join(found[:3])} ... ({len(found)} in all)"
