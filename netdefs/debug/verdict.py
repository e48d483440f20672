"""The result of a comparison in a few sentences, in the order in which one asks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdefs.debug.report import Report, Row

NAMED = 3  # how many names a sentence lists


def sentences(report: "Report") -> str:
    """What is wrong with weights and inputs, then the outputs, the first wrong layer, whose error it is, its spread."""
    parts = []
    if report.weights.status in ("different", "rounded"):
        parts.append(f"The weights differ: {report.weights.text}")
    parts += [f"Input {finding.name} {finding.problem}." for finding in report.inputs if finding.problem]
    if report.ok:
        parts.append(_agreement(report))
    else:
        parts.append(_outputs(report))
        parts.append(_first(report))
        parts.append(_spread(report))
    return " ".join(part for part in parts if part)


def number(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}"


def count(rows: Sequence[object], word: str) -> str:
    """ "1 layer", "2 layers"."""
    return f"{len(rows)} {word}{'s' * (len(rows) != 1)}"


def error_of(row: "Row", isolated: bool) -> str:
    """A row's error in words: "relative error 0.03", or what is wrong with its shape."""
    shape = row.isolated_shape if isolated else row.chained_shape
    if shape is not None:
        return f"its shape is {shape}, PyTorch's is {row.shape}"
    metrics = row.isolated if isolated else row.chained
    if metrics is None:
        return row.isolated_error
    text = f"relative error {number(metrics.relative)}"
    if (metrics.actual_nan, metrics.actual_inf) != (metrics.expected_nan, metrics.expected_inf):
        ours = f"{metrics.actual_nan} NaN and {metrics.actual_inf} infinite values"
        text += f", {ours} where PyTorch has {metrics.expected_nan} and {metrics.expected_inf}"
    elif not metrics.ok and metrics.outside:
        text += f", {metrics.outside:.2%} of its values out of tolerance"
    return text


def names(rows: Sequence["Row"]) -> str:
    """The first few names."""
    return ", ".join(row.name for row in rows[:NAMED]) + (" ..." if len(rows) > NAMED else "")


def _agreement(report: "Report") -> str:
    layers = [row for row in report.rows if row.kind == "layer"]
    outputs = [row for row in report.rows if row.kind == "output"]
    ways = {
        "chained": "",
        "isolated": ", each fed PyTorch's values",
        "both": ", fed by each other and each fed PyTorch's values",
    }
    if layers:
        text = f"{report.name}: all {count(layers, 'layer')} agree with PyTorch{ways[report.mode]}"
        if outputs:
            text += f", and so {'does the output' if len(outputs) == 1 else 'do the outputs'} {names(outputs)}"
    else:
        text = f"{report.name}: no layer could be compared; the output {names(outputs)} agrees with PyTorch"
    measured = [(m.relative, row.name) for row in report.rows for m in (row.chained, row.isolated) if m is not None]
    worst, where = max(measured)
    return f"{text}. The largest relative error is {number(worst)}, at {where}."


def _outputs(report: "Report") -> str:
    outputs = [row for row in report.rows if row.kind == "output"]
    wrong = [row for row in outputs if not row.ok]
    if wrong:
        row = wrong[0]
        more = f", and so {'is' if len(wrong) == 2 else 'are'} {names(wrong[1:])}" if wrong[1:] else ""
        return f"{report.name}: output {row.name} is wrong ({error_of(row, report.mode == 'isolated')}){more}."
    fine = f"The output {names(outputs)} agrees with PyTorch, but " if outputs else ""
    return f"{report.name}: {fine}{len(report.bad)} of {count(report.rows, 'layer')} do not."


def _first(report: "Report") -> str:
    row = report.first_bad
    assert row is not None
    kind = f" ({row.module_type or row.layer_type})" if row.type else ""
    what = "First wrong layer" if row.kind == "layer" else "First wrong"
    if row.verdict == "own error":
        given = (
            f" given PyTorch's {', '.join(row.fed[:NAMED])}{' ...' if len(row.fed) > NAMED else ''}" if row.fed else ""
        )
        text = f"{what}: {row.name}{kind}: an error of its own, {error_of(row, isolated=True)}{given}."
        if row.via:
            between = ", ".join(row.via[:NAMED]) + (" ..." if len(row.via) > NAMED else "")
            text += f" It may also be in what lies between them and has no module of its own: {between}."
        return text
    if report.mode == "both" and row.verdict == "inherited":
        return (
            "No layer has an error of its own: the differences add up, and are out of tolerance from "
            f"{row.name}{kind} on ({error_of(row, isolated=False)}, tolerance {number(report.tolerance.chained)})."
        )
    text = f"{what}: {row.name}{kind}: {error_of(row, isolated=row.chained is None and row.chained_shape is None)}."
    if row.isolated_error:
        text += f" Whose error it is can't be told: {row.isolated_error}"
    elif report.mode == "chained":
        text += " Whether that is its own or comes from before it, mode='both' tells."
    return text


def _spread(report: "Report") -> str:
    first = report.first_bad
    after = report.rows[report.rows.index(first) + 1 :] if first else []
    inherited = [row for row in after if row.verdict in ("inherited", "wrong")]
    own = [row for row in after if row.verdict == "own error"]
    parts = []
    if inherited:
        verb = "inherits" if len(inherited) == 1 else "inherit"
        parts.append(
            f"{count(inherited, 'later layer')} {verb} it."
            if report.mode == "both"
            else f"{count(inherited, 'later layer')} {'is' if len(inherited) == 1 else 'are'} wrong too."
        )
    if own:
        has = "has" if len(own) == 1 else "have"
        parts.append(
            f"{count(own, 'further layer')} {has} an error of {'its' if len(own) == 1 else 'their'} own: {names(own)}."
        )
    return " ".join(parts)
