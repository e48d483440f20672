"""The part of a network that one layer or block is, with what it is fed and what PyTorch has for it."""

import dataclasses
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError, EngineError
from netdefs.core.optional import require
from netdefs.core.scope import near
from netdefs.debug.lean import execute
from netdefs.debug.measurement import ROUNDOFF
from netdefs.debug.metrics import Metrics, measure, rms
from netdefs.debug.report import Report
from netdefs.debug.rounding import size_of_terms
from netdefs.debug.row import Row
from netdefs.debug.session import Session
from netdefs.debug.stored import torch_module

COMPUTED = "computed"  # the name of the model's output where it is fed a tensor of its own name


@dataclasses.dataclass(frozen=True)
class Piece:
    """A layer or block on its own.

    Attributes:
        name: the layer or block.
        whole: it is a block, cut out with all that is inside it.
        module: the PyTorch module, or None: a function, an output, or a reference that was read from a file.
        module_type: its class, or the name of the function.
        layer_type: what computes it in the network.
        model: its nodes and weights, an onnx.ModelProto with one output.
        fed: PyTorch's values of what it reads, and inputs of the network, by tensor.
        given: the tensors that PyTorch gives the module.
        expected: PyTorch's result.
        floor: what rounding alone may add to a value.
        found: how the network's result differs; None if it has another shape, or can't be had.
        problem: that, in words.
        label: of several inputs, the one that this is.
    """

    name: str
    whole: bool
    module: Any
    module_type: str
    layer_type: str
    model: Any
    fed: dict[str, np.ndarray]
    given: list[np.ndarray]
    expected: np.ndarray
    floor: float
    found: Metrics | None
    problem: str
    label: str


def cut_piece(report: Report, session: Session, name: str) -> Piece:
    """Cuts a layer or block out of the network. PyTorch runs once more, for the values that this takes.

    Raises:
        CompareError: there is no such row or block, or the network is an engine that can't be cut.
    """
    subject = session.subject
    graph = subject.graph
    if report.samples is not None:
        raise CompareError("A layer can't be fed samples, and its capture holds no more: capture without samples=.")
    if graph is None:
        raise CompareError(
            "A layer can't be cut out of an engine on a GPU. Compare the network that it was built from, and write the "
            "repro of that."
        )
    if report.observer is not None:
        raise CompareError(
            f"These are the errors of an engine for {report.observer.target}, and a repro runs the network's layers "
            "with ONNX Runtime. Compare without target=: if a layer is wrong there too, write the repro of that."
        )
    blocks = {block.name for block in report.blocks}
    tensor = report.aliases.get(name, name)
    row = next((row for row in report.rows if row.name == tensor), None)
    if row is None:
        raise CompareError(_no_row(report, name, blocks))
    feed = session.feeds[row.worst_input]
    plan, reference = session.plan(feed), session.reference(feed)
    whole = name in blocks
    pair = next(pair for pair in plan.matching.pairs if pair.tensor == tensor)
    sources = {pair.tensor: pair.source for pair in plan.matching.pairs if pair.kind == "layer"}
    cut = {each for each in sources if not (whole and (each == tensor or each.startswith(f"{name}.")))}
    steps = graph.steps([tensor], cut)
    reads = [each for each in graph.read_by(steps) if each in cut or each in graph.inputs]
    modules = reference.modules()
    module = torch_module(modules.get(name)) if pair.kind == "layer" else None
    values: dict[str, np.ndarray] = {}
    given: dict[str, list[np.ndarray]] = {}
    wanted = {pair.source} | {sources[each] for each in reads if each in sources}
    reference.observe({name} if module is not None else (), wanted, values.__setitem__, given.__setitem__)
    fed = {
        each: subject.as_typed(each, values[sources[each]]) if each in sources else feed.network[each] for each in reads
    }
    model, names, feeds = graph.piece([tensor], steps, fed)
    expected = values[pair.source]
    floor = row.floor
    if whole:
        floor = ROUNDOFF * size_of_terms(graph, steps, tensor, {each: rms(array) for each, array in fed.items()})
    found, problem = None, ""
    try:
        result = execute(model, feeds)[names[tensor]]
    except EngineError as error:
        problem = f"It can't be computed from PyTorch's values: {error}"
    else:
        if result.shape == expected.shape:
            found = measure(expected, result, report.tolerance.isolated, floor)
        else:
            problem = f"Its shape is {tuple(result.shape)}, PyTorch's is {tuple(expected.shape)}."
    return Piece(
        name=name,
        whole=whole,
        module=module,
        module_type=type(module).__name__ if module is not None else row.module_type,
        layer_type=row.layer_type,
        model=_closed(model, feeds, fed),
        fed=fed,
        given=given.get(name, []),
        expected=expected,
        floor=floor,
        found=found,
        problem=problem,
        label=report.labels[row.worst_input] if report.labels else "",
    )


def _closed(model: Any, feeds: dict[str, np.ndarray], fed: dict[str, np.ndarray]) -> Any:
    """The model with its weights in it: what it is to be fed are then the values of PyTorch alone."""
    onnx = require("onnx", "cpu")
    weights = {name: array for name, array in feeds.items() if name not in fed}
    kept = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
    return model


def _no_row(report: Report, name: str, blocks: set[str]) -> str:
    names = [row.name for row in report.rows]
    if name in blocks:
        ends = [row.name for row in report.rows if row.name.startswith(f"{name}.")]
        return f"The block {name} has no result of its own that was compared. Take one inside it, such as {ends[-1]}."
    reason = next((f" It {item.reason}." for item in report.unmatched if item.name == name), "")
    return f"There is no row or block {name!r} in this report.{reason}{near(name, [*names, *blocks])}"


def first_wrong(report: Report) -> Row:
    """The first wrong layer.

    Raises:
        CompareError: there is none.
    """
    if report.first_bad is None:
        raise CompareError("All layers agree: there is no first wrong one. Name the layer or block to write.")
    return report.first_bad
