"""What is to be explained: a tensor that a few of the network's nodes compute otherwise than PyTorch does."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.graph import Graph
from netdefs.debug.metrics import Metrics, measure, rms
from netdefs.debug.run import Arrays, Execute

EXACT, HALF = " (exact)", " (half)"  # what emulated rounding appends to a tensor's name
ROUNDOFF = 4 * 2.0**-24


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A possible cause, and a way to test it.

    Attributes:
        kind: a word for it.
        text: it in words: "its eps is 0.001, PyTorch's is 1e-05".
        values: computes the tensors of the case as they would be, by name: undone, if the mistake is undone. What they
            make of the case's target must then be PyTorch's value.
        ours: the other way round: computes what PyTorch makes if it makes the mistake too. That must be the network's.
        where: the tensor with the mistake; by default the target.
    """

    kind: str
    text: str
    values: Callable[[], Mapping[str, np.ndarray]] | None = None
    ours: Callable[[], np.ndarray] | None = None
    where: str = ""


def made(tensor: str, function: Callable[..., Any], *arguments: Any) -> Callable[[], Mapping[str, np.ndarray]]:
    """For `Candidate.values`: one tensor, computed by `function(*arguments)` when it is asked for."""
    return lambda: {tensor: function(*arguments)}


class Case:
    """A few nodes of the network, fed with PyTorch's values, and what PyTorch has for their last tensor.

    Args:
        graph: the network.
        steps: its nodes that count.
        feeds: what they read from outside.
        target: the tensor to explain.
        expected: PyTorch's value of it.
        execute: runs an onnx.ModelProto on feeds.
        tolerance: what agrees.

    Attributes:
        row: the compared layer.
        nodes: what computes the target; padding is a part of the convolution or pool behind it.
        constants: weights and other constants by name.
        values: every tensor of the case, feeds included, as the network computes it.
        module: PyTorch's module, if `nodes` are all of it and nothing else.
        given: what PyTorch gives it.
        convolution: the convolution that was folded into the module, a batch norm.
        inputs: the feeds that are inputs of the network.
        others: PyTorch's values that have the shape of one in the case, and that it could have read: by module.
        lacking: modules that run before and that the network has no layer for.
        modules: all of PyTorch's modules, by name.
        precision: of the network.
    """

    def __init__(
        self,
        graph: Graph,
        steps: Sequence[int],
        feeds: Mapping[str, np.ndarray],
        target: str,
        expected: np.ndarray,
        execute: Execute,
        tolerance: float,
    ) -> None:
        self.graph, self.steps, self.execute, self.tolerance = graph, list(steps), execute, tolerance
        self.target, self.expected, self.row = target, expected, target
        self.nodes, self.constants = simplified(graph, steps, target)
        read = {name for node in self.nodes for name in node.input} | {target}
        self.feeds: Arrays = {name: array for name, array in feeds.items() if name in read}
        self.floor = ROUNDOFF * max([rms(array) for array in self.feeds.values()], default=0.0)
        self.values: Arrays = dict(self.feeds)
        names = [name for node in self.nodes for name in node.output if name and not name.endswith(HALF)]
        if names:
            self.values |= self._run(self.nodes, self.feeds, names)
        self.module: Any = None
        self.given: np.ndarray | None = None
        self.convolution: Any = None
        self.inputs: tuple[str, ...] = ()
        self.others: Arrays = {}
        self.lacking: dict[str, Any] = {}
        self.modules: Mapping[str, Any] = {}
        self.precision = "fp32"

    @property
    def ours(self) -> np.ndarray:
        """The network's value of the target."""
        return self.values[self.target]

    @property
    def tensors(self) -> list[str]:
        """The tensors of the case in execution order, feeds first; not what lies between a value and its rounding."""
        return [name for name in self.values if not name.endswith(EXACT)]

    def with_values(self, changed: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target if some tensors have other values than the network gives them."""
        if self.target in changed:
            return changed[self.target]
        dirty, nodes = set(changed), []
        for node in self.nodes:
            if dirty.intersection(node.input) and not dirty.intersection(map(plain, node.output)):
                nodes.append(node)
                dirty.update(node.output)
        if self.target not in dirty:
            return self.ours
        return self._run(nodes, {**self.values, **changed}, [self.target])[self.target]

    def again(self, node: Any, inputs: Sequence[str] | None = None, **attributes: Any) -> np.ndarray:
        """What a node gives with other attributes, or other inputs."""
        onnx = require("onnx", "cpu")
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        if inputs is not None:
            changed.input[:] = inputs
        kept = [attribute for attribute in node.attribute if attribute.name not in attributes]
        del changed.attribute[:]
        changed.attribute.extend(kept)
        changed.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
        return self._run([changed], self.values, [changed.output[0]])[changed.output[0]]

    def constant(self, name: str) -> np.ndarray | None:
        """A weight or another constant; None if it is none."""
        return self.constants.get(name)

    def inputs_of(self, node: Any) -> list[str]:
        """What a node reads that is no constant."""
        return [name for name in node.input if name and name not in self.constants]

    def maker(self, tensor: str) -> Any:
        """The node that makes a tensor; None for what is fed. Rounding is looked through."""
        for node in self.nodes:
            if tensor in node.output and node.op_type != "Cast":
                return node
            if f"{tensor}{EXACT}" in node.output:
                return node
        return None

    def compare(self, expected: np.ndarray, found: np.ndarray) -> Metrics | None:
        """The metrics of a tensor; None if its shape is another."""
        if found.shape != expected.shape:
            return None
        return measure(expected, found, self.tolerance, self.floor)

    def unrounded(self) -> np.ndarray | None:
        """The target without any rounding to half precision; None if there is none."""
        nodes: list[Any] = []
        renamed: dict[str, str] = {}
        onnx = require("onnx", "cpu")
        for node in self.nodes:
            if node.op_type == "Cast" and node.input[0] not in self.constants:
                renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
                continue
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [renamed.get(name, name) for name in node.input]
            nodes.append(copy)
        if not renamed:
            return None
        target = renamed.get(self.target, self.target)
        if target in self.feeds:
            return self.feeds[target]
        return self._run(nodes, self.feeds, [target])[target]

    def _run(self, nodes: Sequence[Any], values: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Arrays:
        onnx = require("onnx", "cpu")
        whole = self.graph.model
        model = onnx.ModelProto(ir_version=whole.ir_version, opset_import=whole.opset_import, functions=whole.functions)
        model.graph.name = "case"
        model.graph.node.extend(nodes)
        made = {name for node in nodes for name in node.output}
        read = dict.fromkeys(name for node in nodes for name in node.input if name and name not in made)
        for name in read:
            if name in self.constants:
                model.graph.initializer.append(onnx.numpy_helper.from_array(self.constants[name], name))
            else:
                kind = onnx.helper.np_dtype_to_tensor_dtype(values[name].dtype)
                model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        for name in outputs:
            model.graph.output.add().name = name
        return self.execute(model, {value.name: values[value.name] for value in model.graph.input})


def plain(tensor: str) -> str:
    """The name of a tensor without what rounding appends."""
    return tensor.removesuffix(EXACT).removesuffix(HALF)


def simplified(graph: Graph, steps: Sequence[int], target: str) -> tuple[list[Any], dict[str, np.ndarray]]:
    """The nodes `steps` without those that only make constants, and padding as a part of what it is for."""
    onnx = require("onnx", "cpu")
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {}
    for i in steps:
        node = onnx.NodeProto()
        node.CopyFrom(graph.nodes[i])
        for name in node.input:
            found = graph.constant(name)
            if found is not None:
                constants[name] = found
        if node.op_type == "Cast" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]].astype(np.float32)
        elif node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        else:
            nodes.append(node)
    return _with_pads(nodes, constants, target), constants


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values."""
    onnx = require("onnx", "cpu")
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def _with_pads(nodes: list[Any], constants: Mapping[str, np.ndarray], target: str) -> list[Any]:
    """Zeros that are put around the input of a convolution become its padding: that is how one thinks of them."""
    onnx = require("onnx", "cpu")
    for pad in [node for node in nodes if node.op_type == "Pad"]:
        gone, out = [pad], pad.output[0]
        readers = [node for node in nodes if out in node.input]
        while len(readers) == 1 and readers[0].op_type == "Cast" and out != target:  # rounding zeros changes nothing
            gone.append(readers[0])
            out = readers[0].output[0]
            readers = [node for node in nodes if out in node.input]
        pads = constants.get(pad.input[1]) if len(pad.input) > 1 else None
        value = constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
        plain_zeros = attributes_of(pad).get("mode", "constant") == "constant" and value is not None and not value.any()
        if len(readers) != 1 or readers[0].op_type != "Conv" or pads is None or not plain_zeros or min(pads) < 0:
            continue
        if out == target or len(pads) != 8 or pads[[0, 1, 4, 5]].any():
            continue
        conv = readers[0]
        own = list(attributes_of(conv).get("pads", (0, 0, 0, 0)))
        joined = [int(a + b) for a, b in zip(own, pads[[2, 3, 6, 7]], strict=True)]
        kept = [attribute for attribute in conv.attribute if attribute.name != "pads"]
        del conv.attribute[:]
        conv.attribute.extend([*kept, onnx.helper.make_attribute("pads", joined)])
        conv.input[:] = [pad.input[0] if name == out else name for name in conv.input]
        nodes = [node for node in nodes if not any(node is other for other in gone)]
    return nodes
