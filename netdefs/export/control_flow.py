"""Loops as ONNX Loop, conditionals as ONNX If."""

from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import helper

from netdefs.core.errors import ExportError
from netdefs.export.context import Context
from netdefs.export.graph import Graph
from netdefs.export.regions import Plan, Region
from netdefs.export.types import BOOL, INT64

Write = Callable[[Iterable[int | Region]], None]


def boundary(c: Context, layer: Any) -> None:
    """Nothing: what stands at the edge of a loop or conditional is written with it."""


def iterator(c: Context, layer: Any) -> None:
    """One slice of a tensor in each iteration: the first one first, or the last one if reversed."""
    index, count = c.graph.loops[id(layer.loop)]
    if layer.reverse:
        if not count:
            raise c.error("it runs backwards in a loop without a trip count.")
        last = c.helper("last", "Sub", count, c.constant("one", 1))
        index = c.helper("index", "Sub", last, index)
    c.emit("Gather", c.inputs[0], index, axis=layer.axis)


def conditional_input(c: Context, layer: Any) -> None:
    """The tensor as it is: ONNX's branches see all that is around them."""
    c.emit("Identity", c.inputs[0])


def write_region(region: Region, plan: Plan, graph: Graph, trt: ModuleType, write: Write) -> None:
    """Writes a loop or a conditional with all that is in it; `write` writes what lies right inside."""
    contexts: dict[str, list[Context]] = {}
    for i in region.layers:
        contexts.setdefault(plan.kinds[i], []).append(Context(graph, plan.layers[i], trt))
    if "CONDITION" in contexts:
        conditional(region, plan, graph, contexts, write)
    elif "TRIP_LIMIT" in contexts:
        loop(region, plan, graph, contexts, write)
    else:
        kind = next(iter(contexts.values()))[0]
        raise kind.error("it belongs to a loop without a trip limit, or a conditional without a condition.")


def loop(region: Region, plan: Plan, graph: Graph, contexts: dict[str, list[Context]], write: Write) -> None:
    """An ONNX Loop: the recurrences are its states, the concatenating outputs its scan outputs."""
    name = graph.unique(region.handle.name)
    states, outputs = contexts.get("RECURRENCE", []), contexts.get("LOOP_OUTPUT", [])
    count, condition = "", ""
    for c in contexts["TRIP_LIMIT"]:
        if c.layer.kind.name == "COUNT":
            count = c.helper("count", "Reshape", c.int64(0), c.constant("scalar", np.zeros(0, np.int64)))
        else:
            condition = c.inputs[0]
    index, proceed = graph.unique(f"{name}/iteration"), graph.unique(f"{name}/condition")
    graph.dtypes.update({index: INT64, proceed: BOOL})
    graph.loops[id(region.handle)] = (index, count)
    first = ""
    if condition:
        initial = {c.outputs[0]: c.inputs[0] for c in states}
        first = condition_at(region, plan, graph, condition, initial, "first", write)
    body: list[onnx.NodeProto] = []
    with graph.nested(body):
        write(plan.items(region))
        following = [c.helper("next", "Identity", c.inputs[1], dtype=c.output_dtype()) for c in states]
        # Without a condition NVIDIA's parser knows no `proceed`: what always holds is as good.
        again = proceed if condition else contexts["TRIP_LIMIT"][0].constant("always", np.array(True))
        if condition:
            later = {c.outputs[0]: tensor for c, tensor in zip(states, following, strict=True)}
            again = condition_at(region, plan, graph, condition, later, "next", write)
        again = add(graph, f"{name}/again", "Identity", again)
        scanned = [c for c in outputs if is_scanned(c, states)]
        slices = [c.helper("each", "Identity", c.inputs[0]) for c in scanned]
    results = [again, *following, *slices]
    proto = helper.make_graph(
        body,
        name,
        [
            helper.make_tensor_value_info(index, INT64, []),
            helper.make_tensor_value_info(proceed, BOOL, []),
            *(helper.make_tensor_value_info(c.outputs[0], c.output_dtype(), None) for c in states),
        ],
        [helper.make_tensor_value_info(x, graph.dtypes[x], [] if x == again else None) for x in results],
        value_info=graph.infos(body),
    )
    finals = [reserve(graph, f"{c.name}/final", c.output_dtype()) for c in states]
    stacks = [reserve(graph, f"{c.name}/stack", c.output_dtype()) for c in scanned]
    inputs = [count, first, *(c.inputs[0] for c in states)]
    graph.add_node("Loop", inputs, [*finals, *stacks], name, f"Loop {name!r}", body=proto)
    for c in outputs:
        if c in scanned:
            stacked(c, stacks[scanned.index(c)])
        else:
            c.emit("Identity", finals[[s.outputs[0] for s in states].index(c.inputs[0])])


def is_scanned(c: Context, states: Sequence[Context]) -> bool:
    """True if a loop's output collects a tensor's values; False if it is the final value of a recurrence."""
    return c.layer.kind.name != "LAST_VALUE" or c.inputs[0] not in {s.outputs[0] for s in states}


def stacked(c: Context, stack: str) -> None:
    """A loop's output from the values of all iterations, stacked along a new first axis.

    TensorRT is told the result's length in advance; they differ where a condition ends the loop before that.
    """
    kind, rank = c.layer.kind.name, len(c.output_shape())
    if kind == "LAST_VALUE":
        c.emit("Gather", stack, c.constant("last", -1), axis=0)
        return
    if kind == "REVERSE":
        ends = [c.constant(what, np.array([n])) for what, n in (("start", -1), ("end", np.iinfo(np.int64).min))]
        more = [c.constant(what, np.array([n])) for what, n in (("axis", 0), ("step", -1))]
        stack = c.helper("reversed", "Slice", stack, *ends, *more)
    axis = c.layer.axis
    c.emit("Transpose", stack, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank)])


def condition_at(
    region: Region, plan: Plan, graph: Graph, condition: str, values: dict[str, str], when: str, write: Write
) -> str:
    """The loop's condition, computed for given values of the recurrences, by a second copy of the layers that it needs.

    TensorRT tests it at the start of an iteration, ONNX wants it at the end of the one before.
    """
    if condition in values:
        return values[condition]
    items = plan.needed(region, [condition])
    kinds = {plan.kinds[i] for i in items if isinstance(i, int)}
    if "ITERATOR" in kinds or len([i for i in items if isinstance(i, int)]) < len(items):
        raise ExportError(f"Loop {region.handle.name!r}: its condition depends on an iterator, or on a nested loop.")
    nodes: list[onnx.NodeProto] = []
    with graph.nested(nodes):
        write(items)
    renamed = dict(values)
    for node in nodes:
        node.name = graph.unique(f"{node.name}/{when}")
        for tensor in node.output:
            renamed[tensor] = reserve(graph, f"{tensor}/{when}", graph.dtypes[tensor])
    rename(nodes, renamed)
    graph.nodes += nodes
    return renamed.get(condition, condition)


def conditional(region: Region, plan: Plan, graph: Graph, contexts: dict[str, list[Context]], write: Write) -> None:
    """An ONNX If: each branch holds the layers inside the conditional that its outputs need."""
    outputs = contexts.get("CONDITIONAL_OUTPUT", [])
    if not outputs:
        return
    branches = []
    made: set[str] = set()
    for which, what in enumerate(("then", "else")):
        nodes: list[onnx.NodeProto] = []
        with graph.nested(nodes):
            write(plan.needed(region, [c.inputs[which] for c in outputs]))
            again = {tensor for node in nodes for tensor in node.output} & made
            rename(nodes, renamed := {x: reserve(graph, f"{x}/{what}", graph.dtypes[x]) for x in again})
            made |= {tensor for node in nodes for tensor in node.output}
            tensors = [c.inputs[which] for c in outputs]
            results = [c.helper(what, "Identity", renamed.get(x, x)) for c, x in zip(outputs, tensors, strict=True)]
        infos = [helper.make_tensor_value_info(x, graph.dtypes[x], None) for x in results]
        branches.append(helper.make_graph(nodes, f"{outputs[0].name}/{what}", [], infos, value_info=graph.infos(nodes)))
    condition = contexts["CONDITION"][0].inputs[0]
    outputs[0].emit(
        "If", condition, outputs=[c.outputs[0] for c in outputs], then_branch=branches[0], else_branch=branches[1]
    )


def reserve(graph: Graph, name: str, dtype: int) -> str:
    """A free tensor name, and its type."""
    name = graph.unique(name)
    graph.dtypes[name] = dtype
    return name


def add(graph: Graph, name: str, op: str, tensor: str) -> str:
    """Adds a node that belongs to no layer; returns its output."""
    name = reserve(graph, name, graph.dtypes[tensor])
    graph.add_node(op, [tensor], [name], name, name)
    return name


def rename(nodes: Iterable[onnx.NodeProto], names: dict[str, str]) -> None:
    """Renames tensors in nodes, and in the graphs inside them."""
    for node in nodes:
        for field in (node.input, node.output):
            for i, tensor in enumerate(field):
                field[i] = names.get(tensor, tensor)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                rename(attribute.g.node, names)
