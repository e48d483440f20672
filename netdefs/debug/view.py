"""A report on the terminal: the verdict, then a table."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from netdefs.debug.metrics import Metrics
from netdefs.debug.verdict import number

if TYPE_CHECKING:
    from netdefs.debug.report import Report, Row

AROUND = 2  # rows shown on either side of the first wrong one
SHOWN = 12  # wrong rows shown in all
WIDTH = 120
ANSWERS = {"outputs": "bold red", "first wrong layer": "bold red", "likely cause": "bold"}
COLORS = {"ok": "green", "own error": "bold red", "inherited": "yellow", "wrong": "red"}


def render(report: "Report", full: bool = False) -> RenderableType:
    """The verdict, the table of rows, and what could not be compared; with `full` every row and name."""
    parts: list[RenderableType] = [Text(report.verdict, style="bold green")] if report.ok else [_answers(report)]
    first = report.first_bad
    if first is not None and _detail(first):
        parts.append(Text(_detail(first)))
    rows = report.rows if full else _chosen(report)
    parts.append(Rows(report, rows))
    if len(rows) < len(report.rows):
        parts.append(Text(f"{len(report.rows) - len(rows)} rows are not shown.", style="dim"))
    parts += [Text(line, style="dim") for line in _remarks(report, full)]
    return Group(*parts)


def _answers(report: "Report") -> RenderableType:
    """The questions and their answers side by side."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for question, answer in report.answers.items():
        table.add_row(question, Text(answer, style=ANSWERS.get(question, "")))
    return table


def as_text(report: "Report", full: bool = False) -> str:
    """`render` as plain text."""
    target = io.StringIO()
    Console(file=target, width=WIDTH, color_system=None, highlight=False).print(render(report, full))
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines()).rstrip()


def _chosen(report: "Report") -> list["Row"]:
    """The rows worth seeing: outputs, the first wrong one and its neighbors, further wrong ones; or the least exact."""
    rows = report.rows
    keep = {id(row) for row in rows if row.kind == "output"}
    if report.ok:
        by_error = sorted(rows, key=lambda row: max(_relative(row.chained), _relative(row.isolated)), reverse=True)
        keep |= {id(row) for row in by_error[: 2 * AROUND]}
    elif report.first_bad is not None:
        at = next(i for i, row in enumerate(rows) if row is report.first_bad)
        keep |= {id(row) for row in rows[max(at - AROUND, 0) : at + AROUND + 1]}
        keep |= {id(row) for row in [row for row in rows if row.verdict == "own error"][:SHOWN]}
        keep |= {id(row) for row in report.bad[:SHOWN]}
    return [row for row in rows if id(row) in keep]


def _relative(metrics: Metrics | None) -> float:
    return metrics.relative if metrics is not None else 0.0


class Rows:
    """The table of some rows. On a narrow terminal it leaves out what tells least: the cosine, the type, the shape."""

    def __init__(self, report: "Report", rows: Sequence["Row"]) -> None:
        self.report, self.rows = report, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for left_out in ((), ("cosine",), ("cosine", "type"), ("cosine", "type", "shape")):
            table = self._table(left_out)
            if Measurement.get(console, options.update(max_width=1000), table).maximum <= options.max_width:
                break
        yield table

    def _table(self, left_out: Sequence[str]) -> Table:
        ways = {"both": ("chained", "isolated")}.get(self.report.mode, (self.report.mode,))
        details = [title for title in ("cosine", "max diff", "outside") if title not in left_out]
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        table.add_column("layer", overflow="fold")
        for title in ("type", "shape"):
            if title not in left_out:
                table.add_column(title, no_wrap=True)
        for title in (ways[0], *details, *ways[1:]):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        for row in self.rows:
            cells = {"layer": row.name, "type": row.module_type or row.layer_type, "shape": _size(row.shape)}
            cells |= _numbers(row.isolated, row.isolated_shape, row.isolated_error, "isolated")
            cells |= _numbers(row.chained, row.chained_shape, "", "chained") if "chained" in ways else {}
            shown = [cells[str(column.header)] for column in table.columns[:-1]]
            table.add_row(*shown, Text(row.verdict, style=COLORS[row.verdict]))
        return table


def _numbers(metrics: Metrics | None, shape: tuple[int, ...] | None, error: str, way: str) -> dict[str, str]:
    """Relative error (under the title `way`), cosine, largest difference, share out of tolerance."""
    if metrics is None:
        what = _size(shape) if shape is not None else "failed" if error else ""
        return {way: what, "cosine": "", "max diff": "", "outside": ""}
    return {
        way: f"{metrics.relative:.1e}",
        "cosine": f"{metrics.cosine:.6f}",
        "max diff": f"{metrics.max_abs:.1e}",
        "outside": f"{metrics.outside:.2%}" if metrics.outside else "0",
    }


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
    lines = [*([report.weights.text] if report.ok else []), *report.notes]  # else it is among the answers
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
