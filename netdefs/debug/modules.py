"""Networks that came through ONNX: their tensors under the names of the PyTorch modules that they are the output of."""

from collections.abc import Mapping
from typing import Any

from netdefs.core.optional import require

UNNAMED = "onnx::"  # before the names of tensors that are no module's output: relu may be both a tensor and a module


def under_module_names(model: Any, modules: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
    """A copy of the model with its tensors renamed; inputs and outputs keep their names.

    Args:
        model: onnx.ModelProto.
        modules: tensor -> module, as `netdefs.from_onnx` puts it into a network's `info`.

    Returns:
        The model, and its new names -> the old ones.
    """
    onnx = require("onnx", "cpu")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outputs = {value.name for value in copy.graph.output}
    made = [name for node in copy.graph.node for name in node.output if name]
    new = {name: modules.get(name, UNNAMED + name) for name in made if name in modules or name not in outputs}
    _rename(copy.graph, new)
    for value in copy.graph.value_info:
        value.name = new.get(value.name, value.name)
    for value in copy.graph.output:
        if new.get(value.name, value.name) != value.name:  # the layer has the module's name, and hands its result on
            copy.graph.node.append(onnx.helper.make_node("Identity", [new[value.name]], [value.name]))
            copy.graph.value_info.add(name=new[value.name], type=value.type)
    return copy, {after: before for before, after in new.items()}


def _rename(graph: Any, new: Mapping[str, str]) -> None:
    """Gives the tensors that the nodes of a graph, and of its inner graphs, read and write their new names."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _rename(inner, new)
                for value in inner.output:
                    value.name = new.get(value.name, value.name)
