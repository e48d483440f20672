"""One layer's view of the graph: what layer functions write with."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from netdefs.core.errors import ExportError
from netdefs.export.graph import Graph
from netdefs.export.reading import dimensions, layer_type, read_weights
from netdefs.export.types import INT64, NUMPY_TYPES, onnx_type, type_name


class Context:
    """One layer's view of the graph: its tensors by name, and ways to add nodes and constants that carry its name.

    `inputs` and `outputs` hold tensor names in TensorRT's order; an input that is not connected is "".
    """

    def __init__(self, graph: Graph, layer: Any, trt: ModuleType) -> None:
        self.graph = graph
        self.layer = layer
        self.trt = trt
        self.name: str = layer.name
        tensors = [layer.get_input(i) for i in range(layer.num_inputs)]
        self.inputs = ["" if tensor is None else str(tensor.name) for tensor in tensors]
        self.outputs = [str(layer.get_output(i).name) for i in range(layer.num_outputs)]

    @property
    def owner(self) -> str:
        """The layer in words, for errors."""
        return f"Layer {self.name!r} ({layer_type(self.layer, self.trt)})"

    @property
    def opset(self) -> int:
        """The opset that is being written for."""
        return self.graph.opset

    def require(self, opset: int, reason: str) -> None:
        """Says that this layer needs at least this opset."""
        self.graph.require(opset, f"{self.owner}: {reason}")

    def prefer(self, opset: int) -> None:
        """Says that this layer is better written in this opset, unless the caller chose one."""
        if not self.graph.fixed:
            self.require(opset, "a better form")

    def error(self, reason: str) -> ExportError:
        """An error about this layer."""
        return ExportError(f"{self.owner} can't be written as ONNX: {reason}")

    # What the tensors are.

    def dtype(self, tensor: str) -> int:
        """The ONNX element type of a tensor."""
        return self.graph.dtypes[tensor]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of an input, -1 for a dynamic dimension."""
        return dimensions(self.layer.get_input(index))

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of an output, -1 for a dynamic dimension."""
        return dimensions(self.layer.get_output(index))

    def output_dtype(self, index: int = 0) -> int:
        """The ONNX element type of an output."""
        return onnx_type(self.layer.get_output(index).dtype)

    def connected(self, index: int) -> bool:
        """True if the layer has this input."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def known(self, tensor: str) -> np.ndarray | None:
        """The value of a tensor if it is a constant."""
        return self.graph.constants.get(tensor)

    # Nodes and constants.

    def emit(
        self, op: str, *inputs: str, outputs: Sequence[str] | None = None, domain: str = "", **attributes: Any
    ) -> None:
        """Adds the node that has the layer's name and makes its outputs."""
        outputs = self.outputs if outputs is None else outputs
        doc = self.layer.metadata or ""
        self.graph.add_node(op, inputs, outputs, self.name, self.owner, doc, domain, **attributes)

    def helper(self, what: str, op: str, *inputs: str, dtype: int | None = None, **attributes: Any) -> str:
        """Adds a node `<layer>/<what>`; returns its output, whose type is the first input's unless `dtype` is given."""
        name = self.graph.unique(f"{self.name}/{what}")
        self.graph.dtypes[name] = self.dtype(inputs[0]) if dtype is None else dtype
        self.graph.add_node(op, inputs, [name], name, self.owner, **attributes)
        return name

    def finish(self, tensor: str, output: int = 0) -> None:
        """Makes a tensor the layer's output, under its name and of its type."""
        wanted = self.output_dtype(output)
        if self.dtype(tensor) == wanted:
            self.emit("Identity", tensor, outputs=[self.outputs[output]])
        else:
            self.emit("Cast", tensor, outputs=[self.outputs[output]], to=wanted)

    def weight(self, what: str, weights: Any, shape: Sequence[int]) -> str:
        """An initializer `<layer>.<what>` with a layer's own weights; not copied."""
        dtype, values = read_weights(weights)
        return self.graph.add_initializer(self.graph.unique(f"{self.name}.{what}"), dtype, shape, values)

    def constant(self, what: str, value: Any, dtype: int | None = None) -> str:
        """An initializer `<layer>/<what>`; of int64 for Python ints, unless a type is given."""
        if dtype is None:
            array = np.asarray(value)
            dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            values = array
        elif dtype in NUMPY_TYPES:
            values = np.asarray(value).astype(NUMPY_TYPES[dtype])
        else:
            tensor = helper.make_tensor(
                "", dtype, np.shape(value), np.asarray(value, np.float32).reshape(-1), raw=False
            )
            values = onnx.numpy_helper.to_array(tensor).view(np.uint16 if dtype == TensorProto.BFLOAT16 else np.uint8)
        flat = np.ascontiguousarray(values).reshape(-1)
        return self.graph.add_initializer(self.graph.unique(f"{self.name}/{what}"), dtype, np.shape(value), flat)

    def cast(self, tensor: str, dtype: int) -> str:
        """A tensor in another type; the tensor itself if it has it already."""
        if self.dtype(tensor) == dtype:
            return tensor
        value = self.known(tensor)
        if value is not None and value.size <= 64 and dtype in NUMPY_TYPES:
            return self.constant(type_name(dtype), value, dtype)
        return self.helper(type_name(dtype), "Cast", tensor, dtype=dtype, to=dtype)

    def int64(self, index: int) -> str:
        """An input as int64: ONNX wants shapes, axes and counts in that type, TensorRT takes int32 too."""
        return self.cast(self.inputs[index], INT64)

    # Operators whose form changes with the opset.

    def reduce(self, op: str, tensor: str, axes: Sequence[int], keep: bool, what: str | None = None) -> str:
        """A reduction as the helper `what`, or as the layer's node. Opset 18 made axes an input."""
        as_input = op == "ReduceSum" or self.opset >= 18
        inputs = (tensor, self.constant("axes", np.array(axes, np.int64))) if as_input else (tensor,)
        attributes: dict[str, Any] = {"keepdims": int(keep)}
        if not as_input:
            attributes["axes"] = list(axes)
        if what is None:
            self.emit(op, *inputs, outputs=self.outputs[:1], **attributes)
            return self.outputs[0]
        return self.helper(what, op, *inputs, **attributes)

    def pad(self, what: str, tensor: str, before: Sequence[int], after: Sequence[int], value: float = 0) -> str:
        """A tensor padded by a constant on all its axes; itself if there is nothing to pad."""
        if not any(before) and not any(after):
            return tensor
        pads = self.constant(f"{what}.pads", np.array([*before, *after], np.int64))
        fill = self.constant(f"{what}.value", value, self.dtype(tensor))
        return self.helper(what, "Pad", tensor, pads, fill)
