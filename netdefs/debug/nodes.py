"""The ONNX nodes that make the tensors of a report's rows: where viewers of the network show its errors."""

from typing import TYPE_CHECKING, Any, NamedTuple

from netdefs.core.errors import CompareError
from netdefs.core.optional import require

if TYPE_CHECKING:
    from netdefs.debug.report import Report
    from netdefs.debug.row import Row


class Network(NamedTuple):
    """A compared network as ONNX: the model without its large weights, what writes both, and its rows' nodes."""

    model: Any
    weights: Any  # list[netdefs.export.save.Initializer]; None where the weights are in the model
    rows: "dict[int, list[Row]]"  # index of a node -> the rows that it makes, outputs included


def network_of(report: "Report") -> Network:
    """The network that a report is about, as `netdefs.to_onnx` writes it.

    Raises:
        CompareError: the report was unpickled, or it is of an engine on a GPU.
    """
    require("onnx", "cpu")
    from netdefs.engine import Engine, modelfile
    from netdefs.export import to_parts

    if report.session is None:
        raise CompareError("This report was unpickled, without the network. Call compare again.")
    subject = report.session.subject
    if subject.graph is None:
        raise CompareError(
            "An engine on a GPU has no layers that could be written as ONNX. Compare the network it was built from."
        )
    if isinstance(subject.source, Engine):
        model, weights = modelfile.copy(subject.source.model), None  # type: ignore[attr-defined]
    else:
        model, weights = to_parts(subject.source)
    made = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    rows: dict[int, list[Row]] = {}
    for row in report.rows:
        tensor = subject.known_as.get(row.name, row.name)
        if tensor in made:
            rows.setdefault(made[tensor], []).append(row)
    return Network(model, weights, rows)


def node_name(model: Any, index: int) -> str:
    """The name of a node, or how the ONNX adapter of Model Explorer calls one that has none."""
    return str(model.graph.node[index].name or f"<node_{index}>")
