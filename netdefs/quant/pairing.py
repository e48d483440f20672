"""A float network and its quantized version in one ONNX model: both run on one input, and are compared where they are.

Two models are made of the pair. `measuring` holds the float network, the quantized one, and every quantized layer once
more, fed with the float network's values; it gives sums of squares, so that nothing but numbers leaves it, however
large the tensors are. `switched` is the float network in which every layer has a switch to its quantized version, so
that any mixture of the two is a run, not a build.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from netdefs.core.errors import CalibrationError
from netdefs.core.marks import matching
from netdefs.core.network import Network
from netdefs.core.optional import require
from netdefs.core.scope import near
from netdefs.debug.graph import Graph

SWITCHES = "netdefs switches"  # the input that says which layers are quantized, in the order of `Paired.layers`
AXES_INPUT = 18  # the opset from which on ReduceMean's axes are an input
LOW, ALONE, FLOAT = "low: ", "alone: ", "float: "  # before a tensor's name: whose version it is


@dataclasses.dataclass(frozen=True)
class Paired:
    """A float network and its version in lower precision.

    Attributes:
        name: the network's.
        precision: that of the version.
        float_graph: the float network.
        low_graph: its version; half precision in it is emulated.
        layers: the tensors of both that a layer in lower precision computes, in execution order.
        outputs: the float32 outputs that count.
    """

    name: str
    precision: str
    float_graph: Graph
    low_graph: Graph
    layers: list[str]
    outputs: list[str]


def pair(network: Network, low: Network, outputs: str | Sequence[str] = "*") -> Paired:
    """A network in fp32, and the same in lower precision.

    Args:
        network: the one in fp32.
        low: the other.
        outputs: names or globs of the outputs that count.

    Raises:
        CalibrationError: they are not the same network, `low` has nothing in lower precision, or there is no such
            output.
    """
    from netdefs.engine import emulate
    from netdefs.export import to_onnx

    onnx = require("onnx", "cpu")
    models = [to_onnx(network), to_onnx(low)]
    newest = max(model.opset_import[0].version for model in models)
    models = [
        model if model.opset_import[0].version == newest else to_onnx(which, opset=newest)
        for model, which in zip(models, (network, low), strict=True)
    ]
    halves = {
        value.name
        for value in (*models[1].graph.output, *models[1].graph.value_info)
        if value.type.tensor_type.elem_type in emulate.HALF
    }
    if emulate.needs_emulation(models[1]):
        models[1] = emulate.emulate(models[1])
    first, second = Graph(models[0]), Graph(models[1])
    if first.inputs != second.inputs:
        raise CalibrationError(f"The networks have other inputs: {first.inputs} and {second.inputs}.")
    quantized = list(low.info.get("quantized", ()))
    unknown = [name for name in quantized if name not in first]
    if unknown:
        raise CalibrationError(
            f"{low.name} quantizes {unknown[0]!r}, which {network.name} has not.{near(unknown[0], first.producer)}"
        )
    lowered = {*quantized, *(halves & set(low.precisions.layers))}
    layers = [name for name in first.producer if name in second and name in lowered]
    if not layers:
        raise CalibrationError(f"Nothing in {low.name} is in lower precision, so there is nothing to measure.")
    floats = [o.name for o in models[0].graph.output if o.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    names = [name for name in floats if name in second]
    patterns = [outputs] if isinstance(outputs, str) else outputs
    wanted = {name for pattern in patterns for name in matching(names, pattern, CalibrationError)}
    counted = [name for name in names if name in wanted]
    return Paired(network.name, str(low.info.get("precision")), first, second, layers, counted)


def measuring(paired: Paired) -> Any:
    """The onnx.ModelProto that measures every layer.

    Its outputs are scalars, by layer or output `<name>`: "signal <name>", the sum of the float values' squares, "alone
    <name>" and "chained <name>", those of the squares of the errors of the layer fed with the float network's values
    and with its own predecessors'. What is only an output has no "alone".
    """
    build = _Builder(paired)
    for node in paired.float_graph.nodes:
        build.add(node, {})
    build.add_low()
    for name in dict.fromkeys([*paired.layers, *paired.outputs]):
        build.sum_of_squares(f"signal {name}", name)
        build.sum_of_squares(f"chained {name}", name, LOW + name)
        if name in paired.layers:
            build.add_alone(name)
            build.sum_of_squares(f"alone {name}", name, ALONE + name)
    return build.model


def switched(paired: Paired) -> Any:
    """The onnx.ModelProto with a switch for every layer: a further input SWITCHES, (layers,) bool."""
    onnx = require("onnx", "cpu")
    build = _Builder(paired)
    places = {name: i for i, name in enumerate(paired.layers)}
    kind = onnx.TensorProto.BOOL
    build.model.graph.input.append(onnx.helper.make_tensor_value_info(SWITCHES, kind, [len(places)]))
    for node in paired.float_graph.nodes:
        layers = [name for name in node.output if name in places]
        build.add(node, {}, written={name: FLOAT + name for name in layers})
        for name in layers:
            build.add_alone(name)
            build.switch(name, places[name])
    build.model.graph.output.extend(paired.float_graph.model.graph.output)
    return build.model


def shifting(paired: Paired, axes: Mapping[str, tuple[int, int]]) -> Any:
    """The onnx.ModelProto that gives every layer's shift: "shift <name>", the mean error of each channel.

    Args:
        paired: the two networks.
        axes: layer -> the axis of its channels and its number of axes.
    """
    build = _Builder(paired)
    for node in paired.float_graph.nodes:
        build.add(node, {})
    for name, (axis, rank) in axes.items():
        build.add_alone(name)
        build.mean_error(f"shift {name}", name, ALONE + name, [i for i in range(rank) if i != axis])
    return build.model


class _Builder:
    """Puts nodes of both networks into one model; the constants of both are in it."""

    def __init__(self, paired: Paired) -> None:
        onnx = require("onnx", "cpu")
        self._helper, self._numpy = onnx.helper, onnx.numpy_helper
        self._paired = paired
        first, second = paired.float_graph.model, paired.low_graph.model
        domains = {one.domain: one for model in (first, second) for one in model.opset_import}
        self.model = onnx.ModelProto(ir_version=max(first.ir_version, second.ir_version))
        self.model.opset_import.extend(domains.values())
        self.model.graph.name = f"{paired.name} in float and {paired.precision}"
        self.model.graph.input.extend(value for value in first.graph.input if value.name in paired.float_graph.inputs)
        self.model.graph.initializer.extend(first.graph.initializer)
        self._constants = {tensor.name: LOW + tensor.name for tensor in second.graph.initializer}
        for tensor in second.graph.initializer:
            self.model.graph.initializer.add().CopyFrom(tensor)
            self.model.graph.initializer[-1].name = LOW + tensor.name
        self._layers = set(paired.layers)

    def add(self, node: Any, read: Mapping[str, str], written: Mapping[str, str] | None = None) -> None:
        """A node, with other names for some of the tensors that it reads and writes."""
        copied = self.model.graph.node.add()
        copied.CopyFrom(node)
        copied.name = ""
        _rename(copied, read)
        copied.output[:] = [(read if written is None else written).get(name, name) for name in node.output]

    def add_low(self) -> None:
        """The whole network in lower precision, its tensors under names of their own."""
        graph = self._paired.low_graph
        names = self._constants | {name: LOW + name for name in graph.producer}
        for node in graph.nodes:
            self.add(node, names)

    def add_alone(self, layer: str) -> None:
        """A layer in lower precision, computed from the float values of the layers before it.

        What lies in between and has no precision of its own, such as a pool, is a part of it.
        """
        graph = self._paired.low_graph
        steps = graph.steps([layer], self._layers - {layer})
        made = {name: f"{ALONE}{layer} {name}" for name in graph.written_by(steps)}
        for i in steps:
            self.add(graph.nodes[i], self._constants | made | {layer: ALONE + layer})

    def sum_of_squares(self, output: str, name: str, other: str = "") -> None:
        """An output: the sum of the squares of a tensor, or of its differences from another."""
        if other:
            self._node("Sub", [other, name], f"{output} ")
            name = f"{output} "
        self._node("ReduceSumSquare", [name], output, keepdims=0)
        self.model.graph.output.add().name = output

    def mean_error(self, output: str, name: str, other: str, axes: list[int]) -> None:
        """An output: the mean difference of a tensor from another, along some axes."""
        self._node("Sub", [other, name], f"{output} ")
        if self.model.opset_import[0].version < AXES_INPUT:
            self._node("ReduceMean", [f"{output} "], output, axes=axes, keepdims=0)
        else:
            self.model.graph.initializer.append(self._helper.make_tensor(f"{output} axes", 7, [len(axes)], axes))
            self._node("ReduceMean", [f"{output} ", f"{output} axes"], output, keepdims=0)
        self.model.graph.output.add().name = output

    def switch(self, layer: str, place: int) -> None:
        """The layer is its version in lower precision where its switch is on, and else the float one."""
        index = f"{SWITCHES} {place}"
        self.model.graph.initializer.append(self._helper.make_tensor(index, 7, [], [place]))
        self._node("Gather", [SWITCHES, index], f"{index} on", axis=0)
        self._node("Where", [f"{index} on", ALONE + layer, FLOAT + layer], layer)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.model.graph.node.append(self._helper.make_node(kind, inputs, [output], **attributes))


def _rename(node: Any, names: Mapping[str, str]) -> None:
    """Renames what a node reads, and what the graphs inside of it read from outside."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            own.update(name for child in graph.node for name in child.output)
            outside = {name: other for name, other in names.items() if name not in own}
            for child in graph.node:
                _rename(child, outside)
            for value in graph.output:
                value.name = outside.get(value.name, value.name)
