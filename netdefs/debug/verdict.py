"""The result of a comparison in a few sentences, in the order in which one asks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netdefs.debug.blocks import path_to

if TYPE_CHECKING:
    from netdefs.debug.inputs import InputFinding
    from netdefs.debug.report import Report
    from netdefs.debug.row import Row

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
    if report.first_bad is None:
        parts.append(_nothing_wrong(report))
    else:
        where = [f"It is {place}." for place in [_place(report)] if place]
        parts += [_outputs(report), _first(report), *where, _over(report), _cause(report), _spread(report)]
    return " ".join(part for part in parts if part)


def answers(report: "Report") -> dict[str, str]:
    """What one asks, in order, and the answers: from the weights to the likely cause."""
    found = {"weights": report.weights.text, "inputs": " ".join(_described(report))}
    if report.first_bad is None:
        return {**found, "outputs": _nothing_wrong(report)}
    row = report.first_bad
    found["outputs"] = _outputs(report)
    found["first wrong layer"] = f"{row.name} ({row.module_type or row.layer_type})"
    found["where"] = _place(report)
    name, _, whose = _first(report).partition(": ")[2].partition(": ")
    found["own or inherited"] = whose or name
    found["over the inputs"] = _over(report)
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
    found = [f"The inputs differ: {f.name}: {f.difference}." for f in report.inputs if f.differs]
    found += [f"Input {finding.name} {finding.problem}." for finding in report.inputs if finding.problem]
    for row in report.rows:
        metrics = row.chained or row.isolated
        if metrics is not None and not metrics.reference_finite:
            return [*found, f"PyTorch's own values hold NaN or infinity from {row.name} on."]
    return found


def _described(report: "Report") -> list[str]:
    """Each input with its range; and what PyTorch does to it otherwise, if that is the cause."""
    found = [_description(f, len(report.labels)) for f in report.inputs]
    cause = report.cause
    return [*found, f"But {cause.text}."] if cause is not None and cause.kind in INPUTS else found


def _description(found: "InputFinding", inputs: int) -> str:
    several = f" in {inputs} inputs" if inputs else ""
    text = f"{found.name}: {tuple(found.shape)} {found.dtype} from {number(found.low)} to {number(found.high)}{several}"
    text += f". {found.difference}" if found.difference else ", the same for both"
    return f"{text}{f'; it {found.problem}' if found.problem else ''}."


def _nothing_wrong(report: "Report") -> str:
    if any(row.void for row in report.rows):
        return _void(report)
    return _agreement(report)


def _place(report: "Report") -> str:
    """In which block the first wrong layer is."""
    row = report.first_bad
    return path_to(report.blocks, row) if row is not None and row.kind == "layer" else ""


def _over(report: "Report") -> str:
    """On how many of several inputs the first wrong layer is wrong, and on which most."""
    row = report.first_bad
    if row is None or row.over is None:
        return ""
    mean = row.over.isolated_mean if row.verdict == "own error" else row.over.chained_mean
    text = f"Wrong with {row.over.wrong} of {row.over.inputs} inputs, most with {report.labels[row.worst_input]}"
    return f"{text}; relative error {number(mean)} on average." if mean is not None else f"{text}."


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
    text += f", with each of {len(report.labels)} inputs" if report.labels else ""
    text += ", once both are fed PyTorch's input" if any(found.differs for found in report.inputs) else ""
    worst, row = max(
        ((m.relative, row) for row in report.rows for m in (row.chained, row.isolated) if m), key=_first_of
    )
    where = f"{row.name}, {report.labels[row.worst_input]}" if report.labels else row.name
    return f"{text}. The largest relative error is {number(worst)}, at {where}."


def _first_of(pair: tuple[float, "Row"]) -> float:
    return pair[0]


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
            f"No {'compared ' if report.left_out else ''}layer has an error of its own: the differences add up, and "
            f"are out of tolerance from {name} on ({_error(row)}, tolerance {number(report.tolerance.chained)})."
            + (f" Or one of the {report.left_out} that were not compared has." if report.left_out else "")
        )
    text = f"First wrong layer: {name}: {_error(row)}."
    if row.isolated_error:
        return f"{text} Whose error it is can't be told: {row.isolated_error}"
    if report.samples is not None:
        return f"{text} Whether that is its own or comes from before it can't be told: the capture holds samples only."
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
