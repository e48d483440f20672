"""A study on the terminal."""

import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from netdefs.quant.cost import Cost, Noise
from netdefs.quant.search import Point, Proposal
from netdefs.quant.study import Study

SHOWN = 15  # layers with the most noise, unless all are asked for
WIDE = 40  # characters of the longest bar
FULL = 60.0  # dB that a bar of this length stands for: more makes no difference to see


def print_study(found: Study, console: Console, full: bool = False) -> None:
    """Prints what was found out.

    Args:
        found: the study.
        console: where to.
        full: show all layers, not only those with the most noise.
    """
    for step, cost in found.costs.items():
        console.print(f"\n[bold]{step} against float32, {cost.pictures} pictures[/bold]")
        console.print(outputs_table(cost))
    layers = found.cost.layers if full else worst(found.cost.layers)
    hidden = len(found.cost.layers) - len(layers)
    which = f": the {len(layers)} of {len(found.cost.layers)} with the most noise of their own" if hidden else ""
    console.print(f"\n[bold]{found.cost.precision} layers{which}[/bold]")
    console.print(layers_table(layers))
    for trouble in found.troubles:
        console.print(f"[red]{trouble.kind}[/red] {trouble}", soft_wrap=True)
    if found.proposal is not None:
        unit = found.proposal.unit or "metric"
        console.print(
            f"\n[bold]kept against accuracy in the search: the target is {found.proposal.target:g} {unit}[/bold]"
        )
        console.print(curve_table(found.proposal))
        for line in conclusion(found):
            console.print(line, soft_wrap=True)


def outputs_table(cost: Cost) -> Table:
    """The noise of the outputs."""
    table = Table("output", "SQNR")
    for each in cost.outputs:
        table.add_row(each.name, decibel(each.chained))
    return table


def layers_table(layers: list[Noise]) -> Table:
    """Layers' noise."""
    table = Table("layer", "alone", "chained")
    for each in layers:
        table.add_row(each.name, decibel(each.alone), decibel(each.chained))
    return table


def worst(layers: list[Noise]) -> list[Noise]:
    """The layers with the most noise of their own, in execution order."""
    limit = sorted((each.alone if each.alone is not None else math.inf) for each in layers)[:SHOWN][-1]
    return [each for each in layers if each.alone is not None and each.alone <= limit][:SHOWN]


def curve_table(proposal: Proposal) -> Table:
    """The curve: how good it is with how many layers kept."""
    table = Table("layers kept", proposal.unit or "metric", "")
    for point, bar in zip(proposal.curve, bars(proposal.curve, proposal.unit), strict=True):
        mark = "[green]" if point.score >= proposal.target else "[red]"
        score = decibel(point.score) if proposal.unit else f"{point.score:g}"
        table.add_row(str(point.kept), score, f"{mark}{bar}[/]")
    return table


def bars(curve: list[Point], unit: str) -> Iterator[str]:
    """A bar for each point."""
    top = FULL if unit else max((abs(point.score) for point in curve), default=1) or 1
    for point in curve:
        share = min(max(point.score / top, 0), 1)
        yield "█" * round(WIDE * share)


def conclusion(found: Study) -> Iterator[str]:
    """What to do, in words."""
    proposal = found.proposal
    assert proposal is not None
    total, count = len(proposal.order), len(proposal.keep)
    target = _score(proposal, proposal.target)
    if not count:
        yield f"The target of {target} is reached with no layer kept: {_score(proposal, proposal.score)}."
        return
    if proposal.confirmed is None:
        yield (
            f"With fewer than all {total} layers kept, the target of {target} is not reached: "
            f"{found.cost.precision} is not for this network, or the calibration is bad. The curve has what fewer give."
        )
        return
    where = f" on {found.kept.pictures} pictures" if proposal.unit and found.kept is not None else ""
    score = _score(proposal, proposal.confirmed)
    yield f"Keep {count} of {total} layers: so defined, the network reaches {score}{where}."
    yield f"  precision={found.precision!r}"
    if count > total / 2:
        yield "More than half of the layers are kept: this precision gains little here. Look at the calibration first."


def decibel(value: float | None) -> str:
    """A number of decibels for a table."""
    if value is None:
        return ""
    return "exact" if value == math.inf else "not finite" if not math.isfinite(value) else f"{value:.1f} dB"


def _score(proposal: Proposal, value: float) -> str:
    return decibel(value) if proposal.unit else f"{value:g}"
