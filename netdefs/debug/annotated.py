"""A report as the network's ONNX file, with the errors as metadata of its nodes: viewers show them on a click."""

import os
from typing import TYPE_CHECKING, Any

from netdefs.debug.nodes import network_of
from netdefs.debug.verdict import number

if TYPE_CHECKING:
    from netdefs.debug.metrics import Metrics
    from netdefs.debug.report import Report
    from netdefs.debug.row import Row

LOWEST_IR = 10  # the first version of ONNX whose nodes have metadata
PREFIX = "netdefs."  # of the entries of the model
SHORT = {"isolated": "iso", "chained": "ch"}  # Netron shows about twelve letters of an entry's name
NAMESPACE = "namespace"  # Model Explorer groups nodes by it


def write_onnx(report: "Report", path: str | os.PathLike[str]) -> None:
    """Writes the network, with what the report says of a layer in the `metadata_props` of its node.

    Raises:
        CompareError: the report was unpickled, or it is of an engine on a GPU.
        FileError: the file can't be written.
    """
    from netdefs.engine import modelfile
    from netdefs.export.save import save

    network = network_of(report)
    model = network.model
    model.ir_version = max(model.ir_version, LOWEST_IR)
    _set(model, {f"{PREFIX}{question.replace(' ', '_')}": answer for question, answer in report.answers.items()})
    for index, node in enumerate(model.graph.node):
        module = node.name.partition("/")[0].rpartition(".")[0]  # what is behind a slash is a helper of the layer
        entries = {NAMESPACE: module.replace(".", "/")} if module else {}
        rows = network.rows.get(index, [])
        for row in rows:
            before = f"{row.name} " if len(rows) > 1 else ""  # a node that makes several tensors
            entries |= {f"{before}{key}": value for key, value in _described(report, row).items()}
        _set(node, entries)
    if network.weights is None:
        modelfile.write(model, path)
    else:
        save(model, network.weights, path, None)


def _described(report: "Report", row: "Row") -> dict[str, str]:
    found = {"verdict": row.verdict + (" (the first wrong layer)" if row is report.first_bad else "")}
    if row.cause is not None:
        found["cause"] = row.cause.text
        found |= {
            name: number(value) for name in ("before", "after") if (value := getattr(row.cause, name)) is not None
        }
    if row.given:
        found["given"] = row.given
    for way in ("isolated", "chained"):
        metrics, shape = getattr(row, way), getattr(row, f"{way}_shape")
        if metrics is not None:
            found |= {way: repr(metrics.relative), **_numbers(metrics, SHORT[way])}
        elif shape is not None:
            found[way] = f"its shape is {list(shape)}, PyTorch's is {list(row.shape)}"
    if row.isolated_error:
        found["isolated"] = row.isolated_error
    return found


def _numbers(metrics: "Metrics", way: str) -> dict[str, str]:
    found = {name: repr(getattr(metrics, name)) for name in ("needed", "cosine", "outside", "max_abs")}
    found |= {"at": str(list(metrics.index)), "PyTorch": repr(metrics.expected), "network": repr(metrics.actual)}
    counts = (metrics.expected_nan, metrics.expected_inf, metrics.actual_nan, metrics.actual_inf)
    if any(counts):
        found["nan, inf"] = "PyTorch {} and {}, network {} and {}".format(*counts)
    return {f"{way}.{name}": value for name, value in found.items()}


def _set(message: Any, entries: dict[str, str]) -> None:
    """Puts entries into a message's metadata, in place of those that have the same key."""
    kept = [(entry.key, entry.value) for entry in message.metadata_props if entry.key not in entries]
    del message.metadata_props[:]
    for key, value in (*kept, *entries.items()):
        message.metadata_props.add(key=key, value=value)
