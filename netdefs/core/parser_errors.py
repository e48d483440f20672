"""Why NVIDIA's parser does not take an ONNX model, in sentences that name its nodes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netdefs.core import trt as tensorrt
from netdefs.core.errors import FileError, NetdefsError, NetworkError
from netdefs.core.network import Network
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
        model: the onnx.ModelProto, if it can be had. The parser checks no further nodes after some errors; with it, all
            operators that TensorRT lacks are listed nevertheless.
    """
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    said = [re.sub(r"^\w+\.\w+:\d+: ", "", line) for line in net.log.take().splitlines()]
    if any(error.code().name == "MODEL_DESERIALIZE_FAILED" for error in errors):
        return no_model(path, head)
    outside = [line for line in said if re.search("open file|for file|external weights", line)]
    if outside:
        return FileError(
            f"{path} keeps its weights in another file, which can't be read: {outside[0].rstrip('.')}. "
            "Such files belong beside the model, under the name they were written with."
        )
    lacking: dict[str, list[str]] = {}
    found = ((each.node_operator(), _node(each)) for each in errors) if model is None else _nodes(model)
    plugins = {creator.name for creator in net.trt.get_plugin_registry().all_creators}
    for operator, node in found:
        if operator and operator not in plugins and not parser.supports_operator(operator):
            lacking.setdefault(operator, []).append(node)
    others = [error for error in errors if error.node_operator() not in lacking]
    refused: dict[tuple[str, str], list[str]] = {}
    for error in others:
        what, node, reason = _read(error, said)
        refused.setdefault((what, reason), []).append(node)

    parts = [f"{path} can't become a network of {net.trt.__name__} {net.trt.__version__}."]
    if lacking:
        parts += ["TensorRT lacks these operators:", *(f"  {each}: {_listed(lacking[each])}" for each in lacking)]
    if refused:
        parts += ["Its parser says:", *(f"  {what}{_listed(nodes)}: {why}." for (what, why), nodes in refused.items())]
    if all(error.code().name.startswith("UNSUPPORTED") for error in others):
        parts.append(f"On the CPU, netdefs.load_engine({str(path)!r}) may run the model as it is.")
    return NetworkError("\n".join(parts))


def _read(error: Any, said: list[str]) -> tuple[str, str, str]:
    """What an error of the parser is about, which one of them, and the reason."""
    reason = _reason(error.desc())
    if error.func() == "importInput":
        return "Input ", repr(error.file()), reason  # that is where the parser puts its name
    if error.func() == "importInitializers":  # the log tells which, and why
        return "The weights", "", next((line for line in said if "nitializer" in line), reason)
    return (f"{error.node_operator()} ", _node(error), reason) if error.node_operator() else ("The model", "", reason)


def _node(error: Any) -> str:
    """The node that an error is about: its name, or else its place, and what it is inside of."""
    node = repr(error.node_name()) if error.node_name() else f"number {error.node()}"
    return " inside of ".join([node, *reversed(error.local_function_stack())])


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
    return text.rstrip(".!")


def _listed(nodes: list[str]) -> str:
    nodes = list(dict.fromkeys(nodes))
    more = f" and {len(nodes) - LISTED} more" if len(nodes) > LISTED else ""
    return ", ".join(nodes[:LISTED]) + more


def _nodes(model: Any) -> Iterator[tuple[str, str]]:
    """Operator and name of every node of the model, also of those in branches, loops and functions."""
    functions = {function.name for function in model.functions}
    waiting = [model.graph, *model.functions]
    while waiting:
        for node in waiting.pop(0).node:
            if node.op_type not in functions:
                yield node.op_type, repr(node.name) if node.name else f"the one that makes {node.output[0]!r}"
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else attribute.graphs
