"""Why NVIDIA's parser does not take an ONNX model, in sentences that name its nodes."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netdefs.core import trt as tensorrt
from netdefs.core.errors import FileError, NetdefsError, NetworkError
from netdefs.core.network import Network
from netdefs.core.parser_probe import graphs_of, needs_plugin, plugin_operators, refusals
from netdefs.core.sniff import looks_like

LISTED = 3  # how many nodes of one operator are named


def no_model(path: Path, head: bytes) -> NetworkError:
    """The error for a file that begins with `head` and is not a whole ONNX model."""
    kind = looks_like(head)
    if kind is None:
        return NetworkError(f"{path} is not an ONNX model: it is empty.")
    if head.startswith(b"\x08"):  # where every ONNX model begins
        return NetworkError(
            f"{path} holds no whole ONNX model: it is damaged or cut short. Export or download it again."
        )
    return NetworkError(f"{path} is not an ONNX model: it looks like {kind}.")


def explain(parser: Any, net: Network, path: Path, head: bytes, model: Any | None) -> NetdefsError:
    """The error for what the parser just refused.

    Args:
        parser: trt.OnnxParser.
        net: the network that it should have filled.
        path: the file.
        head: its first bytes.
        model: the onnx.ModelProto, if it can be had. The parser stops at some errors; with the model, all operators
            that TensorRT lacks and all attributes that it can't take are listed nevertheless.
    """
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    said = [re.sub(r"^\w+\.\w+:\d+: ", "", line) for line in net.trt_log.take().splitlines()]
    if any(error.code().name == "MODEL_DESERIALIZE_FAILED" for error in errors):
        return no_model(path, head)
    outside = [line for line in said if re.search("open file|for file|external weights", line)]
    if outside:
        return FileError(
            f"{path} keeps its weights in another file, which can't be read: {outside[0].rstrip('.')}. "
            "Such files belong beside the model, under the name they were written with."
        )
    lacking, plugins = _lacking(parser, net, path, errors, model)
    found = ((error, model and model.graph) for error in errors)
    refused: dict[tuple[str, str], list[str]] = {}
    unsupported = True
    for error, graph in itertools.chain(found, refusals(net, model) if model else ()):
        if error.node_operator() not in lacking.keys() | plugins.keys():
            what, node, reason = _read(error, said, graph)
            refused.setdefault((what, reason), []).append(node)
            unsupported &= error.code().name.startswith("UNSUPPORTED")

    parts = [f"{path} can't become a network of {net.trt.__name__} {net.trt.__version__}."]
    for title, operators in (
        ("TensorRT lacks these operators:", lacking),
        ("TensorRT would need plugins for these, which are not there:", plugins),
    ):
        if operators:
            parts += [title, *(f"  {each}: {_listed(nodes)}" for each, nodes in operators.items())]
    if refused:
        parts.append("Its parser says:")
    for (what, why), nodes in refused.items():
        gap = "" if not nodes[0] else " " if nodes[0].startswith(("'", '"')) else ", "
        parts.append(f"  {what}{gap}{_listed(nodes)}: {why}.")
    if unsupported:
        parts.append(f"On the CPU, netdefs.load_engine({str(path)!r}) may run the model as it is.")
    return NetworkError("\n".join(parts))


def _lacking(
    parser: Any, net: Network, path: Path, errors: list[Any], model: Any | None
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The operators that TensorRT does not know, and those that it only has plugins for, each with all its nodes."""
    creators = {creator.name for creator in net.trt.get_plugin_registry().all_creators}
    lacking: dict[str, list[str]] = {}
    known: dict[str, list[str]] = {}
    found = ((each.node_operator(), _node(each, None)) for each in errors) if model is None else _nodes(model)
    for operator, node in found:
        if operator and operator not in creators:
            (known if parser.supports_operator(operator) else lacking).setdefault(operator, []).append(node)
    plugins = {error.node_operator() for error in errors if needs_plugin(error)}
    if model is not None:
        plugins |= plugin_operators(net, path, known.keys() - plugins)
    return lacking, {operator: nodes for operator, nodes in known.items() if operator in plugins}


def _read(error: Any, said: list[str], graph: Any | None) -> tuple[str, str, str]:
    """What an error of the parser is about, which one of them, and the reason. `graph` is where its node is."""
    reason = _reason(error.desc()) or "it gives no reason"
    if error.func() == "importInput":
        name = error.file()  # that is where the parser puts it
        return "Input", repr(name), _wrong_type(name, graph) if "date type" in reason and graph else reason
    if error.func() == "importInitializers":  # the log tells which, and why
        return "The weights", "", next((line for line in said if "nitializer" in line), reason)
    if error.node_operator():
        return error.node_operator(), _node(error, graph), reason
    made = [node for node in graph.node if error.func() == f"import{node.op_type}"] if graph else []
    if made:  # the parser does not tell which
        return made[0].op_type, f"{'one of ' if made[1:] else ''}{_listed(list(map(_called, made)))}", reason
    return "The model", "", reason


def _wrong_type(name: str, graph: Any) -> str:
    """What is wrong with the type of a graph's input."""
    types = [value.type for value in graph.input if value.name == name]
    if not types or not types[0].HasField("tensor_type"):
        return "it is no tensor"
    from onnx import TensorProto

    return f"TensorRT has no type {TensorProto.DataType.Name(types[0].tensor_type.elem_type).lower()}"


def _node(error: Any, graph: Any | None) -> str:
    """The node that an error is about: its name, or else its place, and what it is inside of."""
    outer = list(reversed(error.local_function_stack()))
    if error.node_name():
        return " inside of ".join([repr(error.node_name()), *outer])
    if graph is None:
        return " inside of ".join([f"number {error.node()}", *outer])
    node = graph.node[error.node()]
    if node.op_type == error.node_operator() and not outer:
        return _called(node)
    return " inside of ".join(["one", *(outer or [_called(node)])])  # the number is that of the function or branch


def _reason(text: str) -> str:
    """What an error of the parser says, without the C++ around it."""
    lines = [line for line in text.splitlines() if not any(part in line for part in tensorrt.NOISE)]
    text = " ".join(line for line in lines if not line.startswith("Invalid Node - "))
    for pattern in (
        r'&& "(?P<reason>.*)"$',  # condition && "reason"
        r"Error Code \d+: [\w ]+ \((?P<reason>.*?) In \S+ at \S+\)",  # Error Code 4: kind (reason In function at file)
        r"^Assertion failed: .*?[^:]: (?P<reason>.*)$",  # Assertion failed: condition: reason
    ):
        match = re.search(pattern, text)
        if match:
            text = match["reason"].replace('" "', "")
            break
    return text.rstrip(".! ")


def _listed(nodes: list[str]) -> str:
    nodes = list(dict.fromkeys(nodes))
    more = f" and {len(nodes) - LISTED} more" if len(nodes) > LISTED else ""
    return ", ".join(nodes[:LISTED]) + more


def _called(node: Any) -> str:
    return repr(node.name) if node.name else f"the one that makes {node.output[0]!r}"


def _nodes(model: Any) -> Iterator[tuple[str, str]]:
    """Operator and name of every node of the model, also of those in branches, loops and functions."""
    functions = {function.name for function in model.functions}
    for graph in graphs_of(model):
        yield from ((node.op_type, _called(node)) for node in graph.node if node.op_type not in functions)
