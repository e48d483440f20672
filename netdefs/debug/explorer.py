"""A report as node data for Google's Model Explorer: one number or word for each node of the network, with its color.

The format is that of `model_explorer.node_data_builder.GraphNodeData`; the ids are those that the ONNX adapter gives
(model-explorer-onnx): a node's own name, and "[value] NAME" for an output of the network.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from netdefs.core.errors import CompareError
from netdefs.core.scope import near
from netdefs.debug.metrics import Metrics
from netdefs.debug.nodes import network_of, node_name

if TYPE_CHECKING:
    from netdefs.debug.report import Report
    from netdefs.debug.row import Row

VERDICT = "verdict"
VERDICT_COLORS = {"own error": "#d63c1e", "wrong": "#d63c1e", "inherited": "#ffc154", "ok": "#dfe9f1"}
WORST_FIRST = tuple(VERDICT_COLORS)
# Steps of ten around the tolerance, and the color of what is below each.
STEPS = (
    *((1e-3, "#e2e9f0"), (1e-2, "#c4d8e5"), (1e-1, "#aecbdf"), (1.0, "#96bed6")),
    *((1e1, "#f9a03f"), (1e2, "#e36d2b"), (1e3, "#c03020")),
)
WORST = "#7a0020"
TO_TOLERANCE = ("relative", "needed")  # errors that are compared with the tolerance
NUMBERS = tuple(
    field.name for field in dataclasses.fields(Metrics) if field.name not in ("index", "ok", "expected", "actual")
)


def node_data(report: "Report", metric: str | None = None) -> dict[str, Any]:
    """The node data, for JSON.

    Args:
        report: of a network or an engine on the CPU.
        metric: "verdict", or a way of feeding and a number: "isolated.relative", "chained.cosine". By default the
            relative error, isolated if that was measured.

    Raises:
        CompareError: there is no such metric, or it was not measured, or there is no network.
    """
    ways = ("isolated", "chained") if report.mode == "both" else (report.mode,)
    known = [VERDICT, *(f"{way}.{name}" for way in ways for name in NUMBERS)]
    metric = metric or f"{ways[0]}.relative"
    if metric not in known:
        raise CompareError(
            f"metric={metric!r}: this report has {VERDICT} and {', '.join(known[1:])}.{near(metric, known)}"
        )
    network = network_of(report)
    outputs = {value.name for value in network.model.graph.output}
    results: dict[str, Any] = {}
    for index, rows in network.rows.items():
        worst = min(rows, key=lambda row: WORST_FIRST.index(row.verdict))  # of several tensors that one node makes
        found = _result(worst, metric)
        if found is None:
            continue
        results[node_name(network.model, index)] = found
        results |= {f"[value] {name}": found for name in network.model.graph.node[index].output if name in outputs}
    data: dict[str, Any] = {"name": f"{report.name}: {metric.replace('.', ' ')}", "results": results}
    way, _, name = metric.partition(".")
    if metric == VERDICT:
        data["showExpandedSummaryOnGroupNode"] = True
    elif name in TO_TOLERANCE:
        tolerance = getattr(report.tolerance, way)
        steps = [{"value": step * tolerance, "bgColor": color} for step, color in STEPS]
        data["thresholds"] = [*steps, {"value": 1e300, "bgColor": WORST}]
    else:
        good, bad = STEPS[0][1], STEPS[-1][1]
        low, high = (bad, good) if name in ("cosine", "sqnr_db") else (good, bad)
        data["gradient"] = [{"stop": 0, "bgColor": low}, {"stop": 1, "bgColor": high}]
    return data


def _result(row: "Row", metric: str) -> dict[str, Any] | None:
    """What a node shows; None if the row has nothing of the kind. Numbers that JSON lacks are words."""
    if metric == VERDICT:
        return {"value": row.verdict, "bgColor": VERDICT_COLORS[row.verdict]}
    way, _, name = metric.partition(".")
    metrics, shape = getattr(row, way), getattr(row, f"{way}_shape")
    if metrics is None:
        return None if shape is None else {"value": f"has the shape {shape}", "bgColor": WORST}
    value = getattr(metrics, name)
    if isinstance(value, float) and not math.isfinite(value):
        equal = name == "sqnr_db" and value > 0
        return {"value": str(value), "bgColor": STEPS[0][1] if equal else WORST}
    return {"value": value}
