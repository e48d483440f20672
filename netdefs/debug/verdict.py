"""The result of a comparison in a few sentences, in the order in which one asks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netdefs.debug.report import Report, Row

NAMED = 3  # how many names a sentence lists
INPUTS = ("channel_order", "normalization")  # causes that are in what the network makes of its input
WAYS = {
    "chained": "",
    "isolated": ", each fed PyTorch's values",
    "both": ", fed by each other and each fed PyTorch's values",
}


def sentences(report: "Report") -> str:
    """What is wrong with weights and inputs, then the outputs, the first wrong layer, whose error it is, its spread."""
    parts = [*_weights(report), *_inputs(report)]
    if report.ok:
        parts.append(_agreement(report))
    elif report.first_bad is None:
        parts.append(_void(report))
    else:
        parts += [_outputs(report), _first(report), _cause(report), _spread(report)]
    return " ".join(part for part in parts if part)


def answers(report: "Report") -> dict[str, str]:
    """What one asks, in order, and the answers: from the weights to the likely cause."""
    found = {"weights": report.weights.text, "inputs": " ".join(_described(report))}
    if report.ok or report.first_bad is None:
        return {**found, "outputs": _agreement(report) if report.ok else _void(report)}
    row = report.first_bad
    found["outputs"] = _outputs(report)
    found["first wrong layer"] = f"{row.name} ({row.module_type or row.layer_type})"
    name, _, whose = _first(report).partition(": ")[2].partition(": ")
    found["own or inherited"] = whose or name
    found["spread"] = _spread(report) or "No later layer is wrong."
    found["likely cause"] = _cause(report).removeprefix("Likely cause: ")
    return {question: answer for question, answer in found.items() if answer}


def number(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}"


def _weights(report: "Report") -> list[str]:
    if report.weights.status in ("different", "rounded"):
        return [f"The weights differ: {report.weights.text}"]
    return [report.weights.text] if report.weights.status == "unproven" and not report.ok else []


def _inputs(report: "Report") -> list[str]:
    found = [f"Input {finding.name} {finding.problem}." for finding in report.inputs if finding.problem]
    for row in report.rows:
        metrics = row.chained or row.isolated
        if metrics is not None and not metrics.reference_finite:
            return [*found, f"PyTorch's own values hold NaN or infinity from {row.name} on."]
    return found


def _described(report: "Report") -> list[str]:
    """Each input with its range; and what PyTorch does to it otherwise, if that is the cause."""
    found = [
        f"{f.name}: {tuple(f.shape)} {f.dtype} from {number(f.low)} to {number(f.high)}, the same for both"
        f"{f'; it {f.problem}' if f.problem else ''}."
        for f in report.inputs
    ]
    cause = report.cause
    return [*found, f"But {cause.text}."] if cause is not None and cause.kind in INPUTS else found


def _agreement(report: "Report") -> str:
    layers = [row for row in report.rows if row.kind == "layer"]
    outputs = [row for row in report.rows if row.kind == "output"]
    text = f"{report.name}: all {len(layers)} layers agree with PyTorch{WAYS[report.mode]}"
    if len(layers) == 1:
        text = f"{report.name}: {layers[0].name}, the only layer that was compared, agrees with PyTorch"
    if not layers:
        text = f"{report.name}: no layer was compared, but the {_agreeing(outputs)} with PyTorch"
    elif outputs:
        text += f", and so {'does the output' if len(outputs) == 1 else 'do the outputs'} {_names(outputs)}"
    worst, where = max((m.relative, row.name) for row in report.rows for m in (row.chained, row.isolated) if m)
    return f"{text}. The largest relative error is {number(worst)}, at {where}."


def _void(report: "Report") -> str:
    void = [row for row in report.rows if row.void]
    return (
        f"{report.name}: nothing can be said of {len(void)} of {len(report.rows)} tensors, from {void[0].name} on: all "
        "values are NaN or infinite, in PyTorch and in the network. Compare with an input that gives finite ones."
    )


def _agreeing(outputs: Sequence["Row"]) -> str:
    return f"output {outputs[0].name} agrees" if len(outputs) == 1 else f"outputs {_names(outputs)} agree"


def _outputs(report: "Report") -> str:
    outputs = [row for row in report.rows if row.kind == "output"]
    wrong = [row for row in outputs if not row.ok]
    if wrong:
        more = f", and so {'is' if len(wrong) == 2 else 'are'} {_names(wrong[1:])}" if wrong[1:] else ""
        return f"{report.name}: output {wrong[0].name} is wrong ({_error(wrong[0])}){more}."
    fine = f"{_agreeing(outputs)} with PyTorch, but " if outputs else ""
    layers = len(report.rows) - len(outputs)
    bad = len(report.bad)
    verb = "does not" if bad == 1 else "do not"
    rest = "" if fine else " agree with PyTorch"
    return f"{report.name}: {fine}{bad} of {layers} layer{'s' * (layers != 1)} {verb}{rest}."


def _first(report: "Report") -> str:
    row = report.first_bad
    assert row is not None
    name = f"{row.name} ({row.module_type or row.layer_type})"
    if row.verdict == "own error":
        text = f"First wrong layer: {name}: an error of its own ({_error(row, isolated=True)})"
        text += f" when fed PyTorch's {_listed(row.fed)}."
        if row.via:
            text += f" It may also be in what lies between them and has no module: {_listed(row.via)}."
        elif row.given:
            what = f"what {row.given} returns" if row.given != "something else" else row.given
            text += f" But PyTorch feeds it {what}: the network lacks what lies between, or is wired otherwise."
        elif row.kind == "output" and row.isolated is not None:
            text += (
                " The network hands that on as it is: PyTorch returns something else, or does something to it first."
            )
        return text
    if row.verdict == "inherited":
        return (
            f"No layer has an error of its own: the differences add up, and are out of tolerance from {name} on "
            f"({_error(row)}, tolerance {number(report.tolerance.chained)})."
        )
    text = f"First wrong layer: {name}: {_error(row)}."
    if row.isolated_error:
        return f"{text} Whose error it is can't be told: {row.isolated_error}"
    return f"{text} Whether that is its own or comes from before it, mode='both' tells."


def _cause(report: "Report") -> str:
    """Why the first wrong layer is wrong, with the error before and after."""
    cause, row = report.cause, report.first_bad
    if cause is None or row is None:
        return ""
    if cause.after is None:
        return f"None of the known causes explains it: {cause.text}."
    before = "another shape" if cause.before is None else f"relative error {number(cause.before)}"
    how = (
        "PyTorch with the same mistake gives the network's values" if cause.modelled else "without it PyTorch's values"
    )
    return f"Likely cause: {cause.text}: {how} ({before} before, {number(cause.after)} after)."


def _spread(report: "Report") -> str:
    """How many rows after the first wrong one are wrong too, and which of them have errors of their own."""
    first = report.first_bad
    after = [row for row in report.rows[report.rows.index(first) + 1 :] if not row.ok] if first else []
    after = [row for row in after if row.kind == "layer"]  # the outputs were named before
    own = [row for row in after if row.verdict == "own error"]
    rest = len(after) - len(own)
    parts = []
    if rest:
        inherited = first is not None and first.verdict == "own error" and report.mode == "both"
        one, many = ("inherits it", "inherit it") if inherited else ("is wrong too", "are wrong too")
        parts.append(f"1 later layer {one}." if rest == 1 else f"{rest} later layers {many}.")
    if own:
        parts.append(f"Further errors of their own: {_names(own)}.")
    return " ".join(parts)


def _error(row: "Row", isolated: bool = False) -> str:
    """A row's error in words: chained, unless that is right or was not asked for, or `isolated` is given."""
    chained_wrong = row.chained_shape is not None or (row.chained is not None and not row.chained.ok)
    isolated = isolated or not chained_wrong
    shape = row.isolated_shape if isolated else row.chained_shape
    if shape is not None:
        return f"its shape is {shape}, PyTorch's is {row.shape}"
    metrics = row.isolated if isolated else row.chained
    if metrics is None:
        return row.isolated_error
    text = f"relative error {number(metrics.relative)}"
    if (metrics.actual_nan, metrics.actual_inf) != (metrics.expected_nan, metrics.expected_inf):
        ours = f"{metrics.actual_nan} NaN and {metrics.actual_inf} infinite values"
        return f"{text}, {ours} where PyTorch has {metrics.expected_nan} and {metrics.expected_inf}"
    return f"{text}, {metrics.outside:.2%} of its values out of tolerance" if metrics.outside else text


def _names(rows: Sequence["Row"]) -> str:
    return _listed([row.name for row in rows])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
