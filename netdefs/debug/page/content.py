"""What the page knows: the report as plain JSON, kept small, and the drawing of the network."""

import dataclasses
from typing import TYPE_CHECKING, Any

from netdefs.core.errors import NetdefsError
from netdefs.debug.details import Details

if TYPE_CHECKING:
    from netdefs.debug.report import Report
    from netdefs.debug.row import Row

PICTURED = 100  # rows that have pictures of their values; each takes about 3 kB
DIGITS = 6  # of numbers that are only shown
NEAR = 0.1  # of the tolerance: a layer's own error below that is rounding, of which nobody needs a picture


def content(report: "Report") -> dict[str, Any]:
    """The report, in what `json.dumps` takes. Numbers that JSON lacks are the words "inf", "-inf" and "nan"."""
    from netdefs.debug.report import standard

    known_as = report.session.subject.known_as if report.session else {}
    pictured = 0
    rows = []
    for row in report.rows:
        shown = _row(row, report.tolerance.isolated)
        shown["tensor"] = known_as.get(row.name, row.name)  # what the drawing knows it as
        for details in shown["details"].values():
            pictured += bool(details["pictures"])
            if pictured > PICTURED:
                details["pictures"] = ()
        rows.append(shown)
    return dict(
        standard(
            {
                "network": report.name,
                "precision": report.precision,
                "mode": report.mode,
                "tolerance": dataclasses.asdict(report.tolerance),
                "answers": report.answers,
                "inputs_differ": any(finding.differs for finding in report.inputs),
                "labels": report.labels,
                "detailed": any(row.chained_details or row.isolated_details for row in report.rows),
                "rows": rows,
            }
        )
    )


def drawn(report: "Report") -> tuple[dict[str, Any] | None, str]:
    """The drawing of the network that was compared, and if there is none, why."""
    from netdefs.draw import drawing

    if report.session is None:
        return None, "This report was unpickled, without the network: there is nothing to draw."
    try:
        return drawing(report.session.subject.source), ""
    except NetdefsError as error:
        return None, f"The network can't be drawn. {error}"


def _row(row: "Row", tolerance: float) -> dict[str, Any]:
    shown = {
        name: getattr(row, name)
        for name in (
            *("name", "kind", "module_type", "layer_type", "type", "shape", "dtype", "void", "fed", "via", "given"),
            *("chained_shape", "isolated_shape", "isolated_error"),
        )
    }
    for way in ("chained", "isolated"):
        metrics = getattr(row, way)
        shown[way] = None if metrics is None else _short(dataclasses.asdict(metrics), exact=("needed",))
    shown["cause"] = None if row.cause is None else dataclasses.asdict(row.cause)
    shown["over"] = None if row.over is None else {**dataclasses.asdict(row.over), "worst": row.worst_input}
    rounding = row.chained is not None and row.isolated is not None and row.isolated.needed < NEAR * tolerance
    found = {"chained": row.chained_details, "isolated": None if rounding else row.isolated_details}
    shown["details"] = {way: _details(details) for way, details in found.items() if details is not None}
    return shown


def _details(details: Details) -> dict[str, Any]:
    found: dict[str, Any] = _short(dataclasses.asdict(details))
    return {**found, "channels": _short(details.channels, digits=3)}


def _short(value: Any, exact: tuple[str, ...] = (), digits: int = DIGITS) -> Any:
    """A value whose numbers have no more digits than are shown."""
    if isinstance(value, dict):
        return {key: item if key in exact else _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item, digits=digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
