"""A report on the terminal: the verdict, then a table."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from netdefs.debug.metrics import Metrics
from netdefs.debug.verdict import number

if TYPE_CHECKING:
    from netdefs.debug.report import Report
    from netdefs.debug.row import Row

AROUND = 2  # rows shown on either side of the first wrong one
SHOWN = 12  # wrong rows shown in all
WIDTH = 120
LINES = 39  # of a summary: with the prompt it fits a terminal of 40
TOP = 18  # of them for the answers
BOTTOM = 6  # of them for notes and lists of what was not compared
LONGEST = 56  # letters of a name; columns are left out before more of it goes
ANSWERS = {"outputs": "bold red", "first wrong layer": "bold red", "likely cause": "bold"}
COLORS = {"ok": "green", "own error": "bold red", "inherited": "yellow", "wrong": "red"}


def render(report: "Report", full: bool = False) -> RenderableType:
    """The verdict, the table of rows, and what could not be compared.

    It has at most 39 lines on a terminal of 80 columns or more; with `full` every row and name.
    """
    if not full:
        return Summary(report)
    top = Text(report.verdict, style="bold green") if report.ok else _answers(report.answers)
    parts = [top, *[Text(line) for line in _details(report)], Rows(report, report.rows)]
    return Group(*parts, *[Text(line, style="dim") for line in _remarks(report, full)])


class Summary:
    """What fits a terminal: lists end where their room does, and then say how much is left out."""

    def __init__(self, report: "Report") -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report, width = self.report, options.max_width
        if report.ok:
            top: list[RenderableType] = [_cut(report.verdict, console, width, TOP // 3, "bold green")]
        else:
            top = [_answers(self._answers(console, width))]
        top += [_cut(line, console, width, 2) for line in _details(report)]
        bottom = self._remarks(console, width)
        used = sum(len(console.render_lines(part, options)) for part in (*top, *bottom, Rows(report, [])))
        rows = _first(_ranked(report), LINES - used - 1, report.rows)
        yield from top
        yield Rows(report, rows, cut=True)
        if len(rows) < len(report.rows):
            yield Text(_hidden(len(report.rows) - len(rows), "row"), style="dim")
        yield from bottom

    def _answers(self, console: Console, width: int) -> dict[str, str]:
        """The answers, long ones cut so that all of them have room."""
        answers = self.report.answers
        room = width - max(map(len, answers)) - 1
        for limit in (6, 4, 3, 2):
            cut = {question: _cut(answer, console, room, limit).plain for question, answer in answers.items()}
            if sum(text.count("\n") + 1 for text in cut.values()) <= TOP:
                break
        return cut

    def _remarks(self, console: Console, width: int) -> list[RenderableType]:
        lines = _remarks(self.report, full=False)
        shown: list[RenderableType] = []
        used = 0
        for i, line in enumerate(lines):
            text = _cut(line, console, width, 2, "dim")
            used += text.plain.count("\n") + 1
            if used > BOTTOM - (i < len(lines) - 1):
                shown.append(Text(_hidden(len(lines) - i, "more note"), style="dim"))
                break
            shown.append(text)
        return shown


def _hidden(count: int, what: str) -> str:
    return f"1 {what} is not shown." if count == 1 else f"{count} {what}s are not shown."


def _cut(text: str, console: Console, width: int, limit: int, style: str = "") -> Text:
    """A text broken into lines of `width`, at most `limit` of them."""
    lines = [line.plain for line in Text(text).wrap(console, width, overflow="fold")]
    if len(lines) > limit:
        lines = [*lines[: limit - 1], f"{lines[limit - 1][: width - 2]} …"]
    return Text("\n".join(line.rstrip() for line in lines), style=style)


def _answers(answers: Mapping[str, str]) -> RenderableType:
    """The questions and their answers side by side."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for question, answer in answers.items():
        table.add_row(question, Text(answer, style=ANSWERS.get(question, "")))
    return table


def as_text(report: "Report", full: bool = False) -> str:
    """`render` as plain text."""
    target = io.StringIO()
    Console(file=target, width=WIDTH, color_system=None, highlight=False).print(render(report, full))
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines()).rstrip()


def _ranked(report: "Report") -> list["Row"]:
    """The rows worth seeing, the most important first: the first wrong one and its neighbors, outputs, further wrong
    ones; or the least exact.
    """
    rows = report.rows
    outputs = [row for row in rows if row.kind == "output"][:SHOWN]
    first = report.first_bad
    if first is None:
        by_error = sorted(rows, key=lambda row: max(_relative(row.chained), _relative(row.isolated)), reverse=True)
        return [*outputs, *by_error[: 2 * AROUND]]
    at = next(i for i, row in enumerate(rows) if row is first)
    own = [row for row in rows if row.verdict == "own error"][:SHOWN]
    around = rows[max(at - AROUND, 0) : at + AROUND + 1]
    return [first, *outputs[:2], *own[:AROUND], *around, *own, *report.bad[:SHOWN], *outputs]


def _first(ranked: Sequence["Row"], count: int, rows: Sequence["Row"]) -> list["Row"]:
    """The first `count` rows of a ranking, in execution order."""
    keep = set(list(dict.fromkeys(id(row) for row in ranked))[: max(count, 1)])
    return [row for row in rows if id(row) in keep]


def _relative(metrics: Metrics | None) -> float:
    return metrics.relative if metrics is not None else 0.0


class Rows:
    """The table of some rows. On a narrow terminal it leaves out what tells least: the cosine, the type, the shape.

    With `cut` long names lose their beginning, so that each row is one line.
    """

    def __init__(self, report: "Report", rows: Sequence["Row"], cut: bool = False) -> None:
        self.report, self.rows, self.cut = report, rows, cut

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = max((cell_len(row.name) for row in self.rows), default=0)
        for left_out in ((), ("cosine",), ("cosine", "type"), ("cosine", "type", "shape")):
            letters = min(longest, LONGEST) if self.cut and left_out else longest
            table = self._table(left_out, letters)
            needed = Measurement.get(console, options.update(max_width=1000), table).maximum
            if needed <= options.max_width:
                break
        if self.cut and needed > options.max_width:
            table = self._table(left_out, max(letters - (needed - options.max_width), 8))
        yield table

    def _table(self, left_out: Sequence[str], letters: int) -> Table:
        ways = {"both": ("chained", "isolated")}.get(self.report.mode, (self.report.mode,))
        details = [title for title in ("cosine", "max diff", "outside") if title not in left_out]
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
        table.add_column("layer", no_wrap=self.cut, overflow="ellipsis" if self.cut else "fold")
        for title in ("type", "shape"):
            if title not in left_out:
                table.add_column(title, no_wrap=True)
        for title in (ways[0], *details, *ways[1:]):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        for row in self.rows:
            cells = {
                "layer": _end(row.name, letters),
                "type": row.module_type or row.layer_type,
                "shape": _size(row.shape),
            }
            cells |= _numbers(row.isolated, row.isolated_shape, row.isolated_error, "isolated")
            cells |= _numbers(row.chained, row.chained_shape, "", "chained") if "chained" in ways else {}
            shown = [Text(" ".join(cells[str(column.header)].splitlines())) for column in table.columns[:-1]]
            table.add_row(*shown, Text(row.verdict, style=COLORS[row.verdict]))
        return table


def _end(name: str, room: int) -> str:
    """A name, or as much of its end as has room: some letters are two cells wide."""
    if cell_len(name) <= room:
        return name
    end = next(name[i:] for i in range(len(name) + 1) if cell_len(name[i:]) < room)
    return f"…{end}"


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


def _details(report: "Report") -> list[str]:
    """Where the first wrong row differs most, and its NaN and infinities; isolated if it is wrong there.

    Empty without numbers.
    """
    row = report.first_bad
    if row is None:
        return []
    found = [(way, m) for way, m in (("isolated", row.isolated), ("chained", row.chained)) if m and not m.ok]
    if not found:
        return []
    way, metrics = found[0]
    text = f"{row.name}, {way}: the largest difference is at {list(metrics.index)}, where PyTorch has "
    text += f"{number(metrics.expected)} and the network {number(metrics.actual)}"
    counts = (metrics.expected_nan, metrics.expected_inf, metrics.actual_nan, metrics.actual_inf)
    if any(counts):
        text += "; NaN {} and infinite {} in PyTorch, {} and {} in the network".format(*counts)
    return [f"{text}."]


def _remarks(report: "Report", full: bool) -> list[str]:
    """Weights, notes, and what has no partner: counted by reason, or with `full` name by name."""
    lines = [*([report.weights.text] if report.ok else []), *report.notes]  # else it is among the answers
    if full:
        lines += [f"Weights: {finding.key} {finding.problem}." for finding in report.weights.keys]
    return lines + [f"Not compared, {why}: {_some(found, full)}." for why, found in grouped(report, full).items()]


def grouped(report: "Report", full: bool = False) -> dict[str, list[str]]:
    """What was not compared, by the reason; with `full` the names have the details behind them."""
    groups: dict[str, list[str]] = {}
    for item in report.unmatched:
        reason, _, detail = item.reason.partition(" (")
        groups.setdefault(f"{item.side} {reason}", []).append(
            f"{item.name} ({detail}" if full and detail else item.name
        )
    if report.aliases:
        names = [f"{name} (that of {twin})" if full else name for name, twin in report.aliases.items()]
        groups["module returns the very tensor of a compared one"] = names
    return groups


def _some(found: Sequence[str], full: bool) -> str:
    if full or len(found) <= 4:
        return ", ".join(found)
    return f"{', '.join(found[:3])} ... ({len(found)} in all)"
