"""A report as a table of comma-separated values: one line for each row, full precision."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netdefs.debug.metrics import Metrics

if TYPE_CHECKING:
    from netdefs.debug.report import Report
    from netdefs.debug.row import Row

METRICS = tuple(field.name for field in dataclasses.fields(Metrics))
WAYS = ("chained", "isolated")
LISTED = " "  # between the names of a list; names of tensors have none
# The columns, in order. Their names and meanings stay; new ones come behind.
COLUMNS = (
    *("position", "name", "kind", "verdict", "first_bad", "module_type", "layer_type", "shape", "dtype"),
    *(f"{way}_{name}" for way in WAYS for name in ("tolerance", *METRICS, "shape")),
    *("isolated_error", "fed", "via", "given", "cause_kind", "cause_text", "cause_where", "cause_before"),
    *("cause_after", "inputs", "inputs_wrong", "worst_input", "chained_mean", "isolated_mean"),
)


def as_csv(report: "Report") -> str:
    """The table, with a line of column names. What a row lacks is an empty cell; infinities are inf, NaN is nan."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for position, row in enumerate(report.rows):
        table.writerow({name: _cell(value) for name, value in _line(report, row, position).items()})
    return text.getvalue()


def _line(report: "Report", row: "Row", position: int) -> dict[str, Any]:
    line: dict[str, Any] = {
        "position": position,
        "first_bad": row is report.first_bad,
        **{name: getattr(row, name) for name in ("name", "kind", "verdict", "module_type", "layer_type", "dtype")},
        **{name: getattr(row, name) for name in ("shape", "isolated_error", "given")},
        "fed": LISTED.join(row.fed),
        "via": LISTED.join(row.via),
    }
    for way in WAYS:
        line[f"{way}_tolerance"] = getattr(report.tolerance, way)
        line[f"{way}_shape"] = getattr(row, f"{way}_shape")
        metrics = getattr(row, way)
        if metrics is not None:
            line |= {f"{way}_{name}": getattr(metrics, name) for name in METRICS}
    if row.cause is not None:
        line |= {f"cause_{name}": getattr(row.cause, name) for name in ("kind", "text", "where", "before", "after")}
    if row.over is not None:
        line |= {"inputs": row.over.inputs, "inputs_wrong": row.over.wrong, "worst_input": row.worst_input}
        line |= {"chained_mean": row.over.chained_mean, "isolated_mean": row.over.isolated_mean}
    return line


def _cell(value: Any) -> Any:
    """A value as it is written: shapes and indices with x between the numbers, floats so that they can be read back."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "x".join(map(str, value))
    return repr(value) if isinstance(value, float) else value
