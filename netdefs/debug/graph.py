"""Cutting an ONNX model into pieces that run alone."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.lean import PLACE

COMPUTED = " (computed)"  # a tensor that a piece both reads from outside and computes gets this behind its name


class Graph:
    """An ONNX model with the lookups that cutting needs.

    Args:
        model: onnx.ModelProto; it is not changed.
        values: those of its weights that are not in it: see `netdefs.debug.lean`.
    """

    def __init__(self, model: Any, values: Mapping[str, np.ndarray] = MappingProxyType({})) -> None:
        self.model = model
        self._values = values
        self.nodes = list(model.graph.node)
        self.producer = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = [value.name for value in model.graph.input if value.name not in self._constants]
        self._reads = [_reads(node) for node in self.nodes]

    def __contains__(self, tensor: object) -> bool:
        return tensor in self.producer

    def steps(self, outputs: Iterable[str], known: Collection[str]) -> list[int]:
        """The nodes, in execution order, that compute `outputs` when the tensors in `known` need not be computed.

        The nodes that make `outputs` are among them even if `known` names these.
        """
        wanted, found = [self.producer[name] for name in outputs], set()
        while wanted:
            node = wanted.pop()
            if node not in found:
                found.add(node)
                wanted += [self.producer[x] for x in self._reads[node] if x in self.producer and x not in known]
        return sorted(found)

    def constant(self, name: str) -> np.ndarray | None:
        """A weight, or another constant that the model holds."""
        onnx, tensor = require("onnx", "cpu"), self._constants.get(name)
        if tensor is None:
            return None
        place = _place(tensor)
        if not place:
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        return self._values[place].view(kind).reshape(tuple(tensor.dims))

    def kernels(self, folded: Collection[str]) -> dict[str, np.ndarray]:
        """The weights of convolutions by name; a batch norm was folded into those of the layers `folded`."""
        found = {}
        for node in self.nodes:
            if node.op_type == "Conv" and node.output[0] not in folded:
                kernel = self.constant(node.input[1])
                if kernel is not None and node.input[1] == f"{node.output[0]}.weight":
                    found[node.input[1]] = kernel
        return found

    def read_by(self, steps: Iterable[int]) -> list[str]:
        """The tensors that nodes read, weights and other constants left out, each once."""
        return list(dict.fromkeys(x for i in steps for x in self._reads[i] if x not in self._constants))

    def written_by(self, steps: Iterable[int]) -> list[str]:
        """The tensors that nodes write."""
        return [name for i in steps for name in self.nodes[i].output if name]

    def constant_bytes(self, steps: Iterable[int]) -> int:
        """The size of the weights and other constants in the model that nodes read: each piece holds a copy of them."""
        names = {x for i in steps for x in self._reads[i] if x in self._constants}
        return sum(self._constants[name].ByteSize() for name in names)

    def piece(
        self, outputs: Sequence[str], steps: Sequence[int], fed: Mapping[str, np.ndarray]
    ) -> tuple[Any, dict[str, str], dict[str, np.ndarray]]:
        """A model of the nodes `steps` that reads the tensors `fed` as inputs and gives `outputs`.

        Returns:
            The onnx.ModelProto; the name in it of each of `outputs`, since what is both fed and computed needs two; and
            all that it must be fed: weights that are not in the model are inputs as well.
        """
        onnx = require("onnx", "cpu")
        inputs = [name for name in self.read_by(steps) if name in fed]
        renamed = {name: name + COMPUTED for name in self.written_by(steps) if name in inputs}
        names = {name: renamed.get(name, name) for name in outputs}
        whole = self.model
        model = onnx.ModelProto(ir_version=whole.ir_version, opset_import=whole.opset_import, functions=whole.functions)
        model.graph.name = "piece"
        for i in steps:
            node = model.graph.node.add()
            node.CopyFrom(self.nodes[i])
            node.output[:] = [renamed.get(name, name) for name in node.output]
        feeds = {name: fed[name] for name in inputs}
        for name in inputs:
            kind = onnx.helper.np_dtype_to_tensor_dtype(fed[name].dtype)
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        for name in dict.fromkeys(x for i in steps for x in self._reads[i] if x in self._constants):
            tensor = self._constants[name]
            if not _place(tensor):
                model.graph.initializer.append(tensor)
                continue
            found = self.constant(name)
            assert found is not None
            feeds[name] = found
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, found.shape))
        for name in names.values():
            model.graph.output.add().name = name  # its type is inferred
        return model, names, feeds


def _place(tensor: Any) -> str:
    """Where the values of a weight are that is not in the model; else empty."""
    return next((entry.value for entry in tensor.external_data if entry.key == PLACE), "")


def _reads(node: Any) -> list[str]:
    """The tensors a node reads, those that its inner graphs take from outside included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            inner = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            for child in graph.node:
                names += [name for name in _reads(child) if name not in inner]
                inner.update(child.output)
    return names
