"""The walk over a network's layers, and the model around the graph."""

import fnmatch
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import onnx
from onnx import helper

from netdefs.core import trt as tensorrt
from netdefs.core.errors import ExportError
from netdefs.core.scope import near
from netdefs.core.version import __version__
from netdefs.export.graph import LOWEST_OPSET, Context, Graph, dimensions, layer_type
from netdefs.export.save import assemble, save
from netdefs.export.table import LAYERS
from netdefs.export.types import onnx_type

HIGHEST_OPSET = onnx.defs.onnx_opset_version()
LOWEST_IR = 8


def to_onnx(
    network: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    outputs: Sequence[str] = (),
    opset: int | None = None,
    strict: bool = True,
    external_data: bool | None = None,
) -> onnx.ModelProto:
    """Writes a TensorRT network as an ONNX model with the same tensor and layer names.

    Args:
        network: an `INetworkDefinition` of any origin, or an object whose `definition` is one.
        path: the model is also written there, replacing what is there only when all is written.
        outputs: names or glob patterns (`*` also matches dots) of further tensors that become outputs of the model.
        opset: ONNX's operator set; by default the lowest, from 13 on, that holds the content.
        strict: False writes a layer that can't be expressed as a node of the domain `netdefs`, for viewers to draw.
        external_data: True puts the weights into `<path>.data`; None does so only where one file can't hold them.

    Returns:
        The model. With external data it refers to the file beside `path` and holds no large weights itself.

    Raises:
        ExportError: a layer can't be written, `opset` is too low for one, or a name in `outputs` matches nothing.
        FileError: `path` can't be written.
    """
    definition = getattr(network, "definition", network)
    trt = tensorrt.module_of(definition)
    if opset is not None and not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise ExportError(f"opset {opset}: this writes opset {LOWEST_OPSET} to {HIGHEST_OPSET}.")
    layers = sorted_layers(definition)
    graph = write_layers(definition, layers, trt, Graph(opset or LOWEST_OPSET, fixed=opset is not None), strict)
    while graph.need.opset > graph.opset:
        if graph.fixed:
            raise ExportError(f"opset {opset} is too low: {graph.need.reason} needs {graph.need.opset}.")
        graph = write_layers(definition, layers, trt, Graph(graph.need.opset), strict)
    model = wrap(graph, definition, layers, trt, outputs)
    if path is not None:
        return save(model, graph.initializers, path, external_data)
    if external_data:
        raise ExportError("external_data=True needs a path: the weights go to a file beside it.")
    return assemble(model, graph.initializers)


def sorted_layers(definition: Any) -> list[Any]:
    """The layers of a network, each cast to its class, every one after those that it takes tensors from."""
    trt = tensorrt.module_of(definition)
    layers = [definition.get_layer(i) for i in range(definition.num_layers)]
    maker: dict[str, int] = {}
    for i, layer in enumerate(layers):
        entry = LAYERS.get(layer_type(layer, trt))
        if entry is not None and hasattr(trt, entry.cls):
            layer.__class__ = getattr(trt, entry.cls)
        for j in range(layer.num_outputs):
            name = layer.get_output(j).name
            if name in maker:
                raise ExportError(
                    f"Two layers make a tensor called {name!r}: {layers[maker[name]].name!r}, {layer.name!r}."
                )
            maker[name] = i
    order: list[int] = []
    state = [0] * len(layers)  # 0 new, 1 being visited, 2 done
    for root in range(len(layers)):
        stack = [root]
        while stack:
            i = stack[-1]
            if state[i] == 0:
                state[i] = 1
                stack += [j for j in reversed(sources(layers[i], layer_type(layers[i], trt), maker)) if state[j] == 0]
            else:
                stack.pop()
                if state[i] == 1:
                    state[i] = 2
                    order.append(i)
    return [layers[i] for i in order]


def sources(layer: Any, kind: str, maker: dict[str, int]) -> list[int]:
    """The layers that must come before `layer`. A recurrence's second input comes from later in its loop's body."""
    count = 1 if kind == "RECURRENCE" else layer.num_inputs
    tensors = [layer.get_input(i) for i in range(count)]
    return [maker[x.name] for x in tensors if x is not None and x.name in maker]


def write_layers(definition: Any, layers: list[Any], trt: ModuleType, graph: Graph, strict: bool) -> Graph:
    """Writes every layer into an empty graph, which is given back."""
    for i in range(definition.num_inputs):
        tensor = definition.get_input(i)
        graph.names.add(tensor.name)
        graph.dtypes[tensor.name] = onnx_type(tensor.dtype)
    for layer in layers:
        for i in range(layer.num_outputs):
            tensor = layer.get_output(i)
            dimensions(tensor)  # refuses an invalid layer
            graph.names.add(tensor.name)
            graph.dtypes[tensor.name] = onnx_type(tensor.dtype)
    for layer in layers:
        write_layer(graph, layer, trt, strict)
    return graph


def write_layer(graph: Graph, layer: Any, trt: ModuleType, strict: bool) -> None:
    """Writes one layer through the function that the table names for its type."""
    context = Context(graph, layer, trt)
    entry = LAYERS.get(layer_type(layer, trt))
    marker = len(graph.nodes)
    try:
        if entry is None:
            raise context.error("this layer type has no ONNX counterpart. strict=False draws it as a node of its own.")
        entry.write(context, layer)
    except ExportError:
        if strict:
            raise
        del graph.nodes[marker:]
        context.emit(layer_type(layer, trt), *context.inputs, domain="netdefs")


def wrap(graph: Graph, definition: Any, layers: list[Any], trt: ModuleType, outputs: Sequence[str]) -> onnx.ModelProto:
    """The model around the graph's nodes, still without its weights."""
    made = {}
    for layer in layers:
        for i in range(layer.num_outputs):
            tensor = layer.get_output(i)
            made[tensor.name] = tensor
    inputs = [definition.get_input(i) for i in range(definition.num_inputs)]
    chosen = {definition.get_output(i).name: definition.get_output(i) for i in range(definition.num_outputs)}
    for pattern in outputs:
        found = [name for name in made if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise ExportError(f"outputs: no tensor of the network matches {pattern!r}.{near(pattern, made)}")
        chosen.update((name, made[name]) for name in found)
    proto = helper.make_graph(
        graph.nodes,
        definition.name or "network",
        [value_info(tensor, named=True) for tensor in inputs],
        [value_info(tensor) for tensor in chosen.values()],
        value_info=[value_info(tensor) for name, tensor in made.items() if name not in chosen],
    )
    imports = [
        helper.make_opsetid("", graph.opset),
        *(helper.make_opsetid(domain, 1) for domain in sorted(graph.domains)),
    ]
    model = helper.make_model(
        proto,
        opset_imports=imports,
        ir_version=max(LOWEST_IR, helper.find_min_ir_version_for(imports, ignore_unknown=True)),
        producer_name="netdefs",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"netdefs": __version__, "tensorrt": f"{trt.__name__} {trt.__version__}"})
    return model


def value_info(tensor: Any, named: bool = False) -> onnx.ValueInfoProto:
    """A tensor's name, type and shape. With `named`, a dynamic dimension that TensorRT has no name for is given one."""
    shape: list[int | str | None] = []
    for axis, size in enumerate(dimensions(tensor)):
        name = tensor.get_dimension_name(axis) if tensor.is_network_input else None
        shape.append(size if size >= 0 else name or (f"{tensor.name}_{axis}" if named else None))
    return helper.make_tensor_value_info(tensor.name, onnx_type(tensor.dtype), shape)
