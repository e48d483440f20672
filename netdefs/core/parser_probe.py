"""What else NVIDIA's parser would refuse of a model: it stops at the first node that it can't import.

The parser itself is asked, with small models that hold no weights to speak of. This takes the package onnx.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from netdefs.core.network import Network

SMALL = 1024  # a weight of so many values is likely a shape, axes or the like, on which it depends what a node becomes


def graphs_of(model: Any) -> Iterator[Any]:
    """A model's graph, its functions, and all branches and loop bodies inside of them."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop(0)
        yield graph
        for node in graph.node:
            waiting += inner_graphs(node)


def inner_graphs(node: Any) -> list[Any]:
    """The branches of a conditional, the body of a loop."""
    graphs: list[Any] = []
    for attribute in node.attribute:
        graphs += [attribute.g] if attribute.HasField("g") else attribute.graphs
    return graphs


def needs_plugin(error: Any) -> bool:
    """True if an error of the parser is about a plugin that this TensorRT does not have."""
    said = error.desc().replace(error.node_name(), "") if error.node_name() else error.desc()
    return "plugin" in said.lower()


def refusals(net: Network, model: Any) -> Iterator[tuple[Any, Any]]:
    """The parser's errors about attributes of nodes, all there are, each with the graph that its node's number is for.

    After a node that it refuses, the parser checks the attributes of all others and imports none: so one of an unknown
    operator comes first. Functions are checked where they are called.
    """
    import onnx

    unknown = onnx.helper.make_node("netdefs.unknown", [], ["netdefs.unknown"])
    for graph in graphs_of(model):
        if isinstance(graph, onnx.FunctionProto):
            continue
        asked = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
        asked.graph.name = "graph"
        asked.graph.node.extend([unknown, *graph.node])
        for error in _errors(net, asked):
            if error.node_operator() != unknown.op_type:
                yield error, asked.graph


def plugin_operators(net: Network, path: Path, operators: Collection[str]) -> set[str]:
    """Those of `operators` that the parser would make plugins of which this TensorRT does not have.

    Nodes of the model at `path` are given to a parser one by one, with inputs of the types and shapes that they have in
    the model. Where these are not known, as behind an unknown operator, a node is left out.
    """
    import onnx

    found: set[str] = set()
    tried: set[bytes] = set()
    model = _inferred(onnx.load(path, load_external_data=False))
    for node, known in _nodes_and_values(model.graph, {}):
        if node.op_type not in operators or node.op_type in found:
            continue
        alone = _alone(node, known)
        if alone is None:
            continue
        asked = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=alone)
        content = asked.SerializeToString(deterministic=True)
        if content not in tried:
            tried.add(content)
            if any(map(needs_plugin, _errors(net, asked))):
                found.add(node.op_type)
    return found


def _errors(net: Network, model: Any) -> Iterator[Any]:
    """What the parser says of a model, which goes into a network of its own."""
    trt = net.trt
    definition = net.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, net.trt_log.bridge)
    parser.parse(model.SerializeToString())
    net.trt_log.take()
    for i in range(parser.num_errors):
        yield parser.get_error(i)  # which is valid as long as the parser is there


def _inferred(model: Any) -> Any:
    """The model without functions and large weights, with the shapes of its tensors as far as ONNX can tell them."""
    import onnx
    import onnx.inliner

    graph = model.graph
    kept = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    kept.graph.name = "graph"
    kept.graph.node.extend(graph.node)
    kept.graph.value_info.extend(graph.value_info)
    kept.graph.output.extend(graph.output)
    kept.graph.input.extend(graph.input)
    given = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= SMALL and tensor.data_location != tensor.EXTERNAL:
            kept.graph.initializer.append(tensor)
        elif tensor.name not in given:
            kept.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        return onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(kept))
    except Exception:  # what onnx's C++ code raises; the model itself says some shapes
        return kept


def _nodes_and_values(graph: Any, outside: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every node, also in inner graphs, with what is known of the tensors it can read: a type, or for some a value."""
    known = dict(outside)
    known.update((info.name, info) for info in (*graph.value_info, *graph.output, *graph.input))
    known.update((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            known.update((node.output[0], each.t) for each in node.attribute if each.HasField("t"))
        yield node, known
        for inner in inner_graphs(node):
            yield from _nodes_and_values(inner, known)


def _alone(node: Any, known: Mapping[str, Any]) -> Any | None:
    """A graph of a copy of this node, nameless, so that like ones are equal; None if it can't be had."""
    import onnx

    names = list(dict.fromkeys(name for name in node.input if name))
    if inner_graphs(node) or not all(name in known for name in names):
        return None
    short = {name: f"x{i}" for i, name in enumerate(names)} | {"": ""}
    copy = onnx.NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
    copy.input.extend(short[name] for name in node.input)
    copy.output.extend(f"y{i}" if name else "" for i, name in enumerate(node.output))
    graph = onnx.GraphProto(name="graph", node=[copy])
    for name in names:
        value = known[name]
        if isinstance(value, onnx.TensorProto):
            graph.initializer.append(value)
            graph.initializer[-1].name = short[name]
        elif value.type.tensor_type.HasField("shape"):
            graph.input.add(name=short[name], type=value.type)
        else:
            return None
    return graph
