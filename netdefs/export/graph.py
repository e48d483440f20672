"""What layer functions write to: the ONNX graph under construction, and one layer's view of it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from netdefs.core.errors import ExportError
from netdefs.export.types import NUMPY_TYPES, onnx_type, read_weights, type_name

LOWEST_OPSET = 13
INT64 = TensorProto.INT64
BOOL = TensorProto.BOOL


@dataclass
class Initializer:
    """A constant of the model. `values` is flat, usually a view of the network's own memory: it is copied last."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return int(self.values.nbytes)


@dataclass
class Need:
    """The lowest opset that can hold what was written so far, and what asked for it."""

    opset: int = LOWEST_OPSET
    reason: str = ""


@dataclass
class Graph:
    """The ONNX graph under construction.

    It is written for one opset; a layer that needs a higher one says so in `need`, and the exporter then starts again.
    """

    opset: int
    fixed: bool = (
        False  # the caller asked for this opset: nothing may ask for a higher one just to be shorter or faster
    )
    need: Need = field(default_factory=Need)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[Initializer] = field(default_factory=list)
    dtypes: dict[str, int] = field(default_factory=dict)  # every tensor's element type
    constants: dict[str, np.ndarray] = field(default_factory=dict)  # tensors whose value is known now
    names: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)

    def unique(self, name: str) -> str:
        """`name`, or the first of `name_1`, `name_2` ... that is free; taken from then on."""
        free, count = name, 0
        while free in self.names:
            count += 1
            free = f"{name}_{count}"
        self.names.add(free)
        return free

    def require(self, opset: int, reason: str) -> None:
        """Says that what is being written needs at least this opset."""
        if opset > self.need.opset:
            self.need = Need(opset, reason)

    def add_initializer(self, name: str, dtype: int, shape: Sequence[int], values: np.ndarray) -> str:
        """A constant of the model, under a name that is free already: returns the name."""
        self.dtypes[name] = dtype
        self.initializers.append(Initializer(name, dtype, tuple(shape), values))
        if dtype in NUMPY_TYPES:
            self.constants[name] = values.reshape(tuple(shape))
        return name

    def add_node(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        owner: str,
        doc: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> None:
        """Adds a node; `owner` is the layer in words, for errors. The inputs' types may ask for a higher opset."""
        if domain:
            self.domains.add(domain)
        else:
            known = tuple(self.dtypes.get(x, TensorProto.UNDEFINED) if x else None for x in inputs)
            opset = lowest_opset(op, known, self.opset)
            if opset is None:
                kinds = ", ".join(sorted({type_name(x) for x in known if x is not None}))
                raise ExportError(f"{owner} can't be written: ONNX's {op} does not take {kinds}.")
            self.require(opset, f"{owner}: {op} of {type_name(self.dtypes[inputs[0]]) if inputs else 'this form'}")
        # Attributes that are None were not asked for: ONNX's default holds.
        given = {key: value for key, value in attributes.items() if value is not None}
        node = helper.make_node(
            op, list(inputs), list(outputs), name=name, doc_string=doc, domain=domain or None, **given
        )
        self.nodes.append(node)


@functools.cache
def lowest_opset(op: str, dtypes: tuple[int | None, ...], opset: int) -> int | None:
    """The lowest opset from `opset` on in which ONNX's `op` takes inputs of these types; None if there is none."""
    for version in range(opset, onnx.defs.onnx_opset_version() + 1):
        try:
            formals = onnx.defs.get_schema(op, version, "").inputs
        except onnx.defs.SchemaError:
            continue  # the operator came later
        admitted = True
        for i, dtype in enumerate(dtypes):
            if dtype and not admits(formals[min(i, len(formals) - 1)], dtype):
                admitted = False
        if (admitted and len(dtypes) <= len(formals)) or (admitted and variadic(formals)):
            return version
    return None


def variadic(formals: Sequence[Any]) -> bool:
    """True if the last formal parameter may be repeated."""
    return bool(formals) and formals[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic


def admits(formal: Any, dtype: int) -> bool:
    """True if an operator's formal parameter takes tensors of this element type."""
    return f"tensor({type_name(dtype)})" in formal.types


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


def layer_type(layer: Any, trt: ModuleType) -> str:
    """The name of a layer's LayerType. Activation and pooling layers hide it behind a `type` of their own."""
    return str(trt.ILayer.type.fget(layer).name)


def dimensions(tensor: Any) -> tuple[int, ...]:
    """A TensorRT tensor's shape, -1 for a dynamic dimension.

    Raises:
        ExportError: TensorRT can't tell it: the layer that makes it is not valid.
    """
    try:
        return tuple(int(size) for size in tensor.shape)
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"Tensor {tensor.name!r} has no shape: TensorRT refuses the layer that makes it.") from error


def axes_of(mask: int) -> list[int]:
    """The axes in one of TensorRT's bit masks."""
    return [axis for axis in range(32) if mask >> axis & 1]
