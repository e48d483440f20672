"""The walk over a network's layers, and the model around the graph."""

import os
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import onnx
from onnx import helper

from netdefs.core import trt as tensorrt
from netdefs.core.errors import ExportError
from netdefs.core.marks import matching
from netdefs.core.network import definition_of
from netdefs.core.version import __version__
from netdefs.export.context import Context
from netdefs.export.control_flow import write_region
from netdefs.export.graph import HIGHEST_OPSET, LOWEST_OPSET, Graph, Initializer, taken_by
from netdefs.export.naming import name_dimensions
from netdefs.export.reading import dimensions, layer_type, value_info
from netdefs.export.regions import Plan, Region
from netdefs.export.save import assemble, save
from netdefs.export.table import LAYERS, LEFT_OUT
from netdefs.export.types import onnx_type

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
    model, initializers = to_parts(network, outputs=outputs, opset=opset, strict=strict)
    if path is not None:
        return save(model, initializers, path, external_data)
    if external_data:
        raise ExportError("external_data=True needs a path: the weights go to a file beside it.")
    return assemble(model, initializers)


def to_parts(
    network: Any, *, outputs: Sequence[str] = (), opset: int | None = None, strict: bool = True
) -> tuple[onnx.ModelProto, list[Initializer]]:
    """As `to_onnx`, but nothing is copied: the model without its weights, and these, where the network has them.

    Raises:
        ExportError: as `to_onnx`.
    """
    definition = definition_of(network)
    trt = tensorrt.module_of(definition)
    if opset is not None and not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise ExportError(f"opset {opset}: this writes opset {LOWEST_OPSET} to {HIGHEST_OPSET}.")
    walk = Walk(definition, trt, strict)
    graph = walk.write(Graph(opset or LOWEST_OPSET, fixed=opset is not None))
    while graph.need.opset > graph.opset:
        if graph.fixed:
            raise ExportError(f"opset {opset} is too low: {graph.need.reason} needs {graph.need.opset}.")
        graph = walk.write(Graph(graph.need.opset))
    model = wrap(graph, walk, outputs)
    initializers = used(model.graph, graph.initializers)
    name_dimensions(model, initializers)
    return model, initializers


class Walk:
    """The walk over the layers of one network."""

    def __init__(self, definition: Any, trt: ModuleType, strict: bool) -> None:
        self.definition = definition
        self.trt = trt
        self.strict = strict
        self.layers = [definition.get_layer(i) for i in range(definition.num_layers)]
        for layer in self.layers:
            entry = LAYERS.get(layer_type(layer, trt))
            if entry is not None and hasattr(trt, entry.cls):
                layer.__class__ = getattr(trt, entry.cls)
        self.plan = Plan(self.layers, trt)
        self.inputs = {x.name: x for x in (definition.get_input(i) for i in range(definition.num_inputs))}
        self.tensors = {x.name: x for layer in self.layers for x in map(layer.get_output, range(layer.num_outputs))}

    def write(self, graph: Graph) -> Graph:
        """Writes every layer into an empty graph, which is given back."""
        for name, tensor in (*self.inputs.items(), *self.tensors.items()):
            dimensions(tensor)  # refuses an invalid layer
            graph.names.add(name)
            graph.tensors[name] = tensor
            graph.dtypes[name] = onnx_type(tensor.dtype)

        graph.names.update(layer.name for layer in self.layers)

        def write(items: Iterable[int | Region]) -> None:
            for item in items:
                if isinstance(item, Region):
                    write_region(item, self.plan, graph, self.trt, write)
                else:
                    self.write_layer(graph, self.layers[item])

        write(self.plan.items(self.plan.root))
        return graph

    def write_layer(self, graph: Graph, layer: Any) -> None:
        """Writes one layer through the function that the table names for its type."""
        context, kind = Context(graph, layer, self.trt), layer_type(layer, self.trt)
        written = len(graph.nodes)
        try:
            if kind not in LAYERS:
                why = LEFT_OUT.get(kind, "this layer type is not known.")
                raise context.error(f"{why} strict=False draws it as a node of its own.")
            LAYERS[kind].write(context, layer)
        except ExportError:
            if self.strict:
                raise
            del graph.nodes[written:]
            context.emit(kind, *context.inputs, domain="netdefs")


def used(graph: onnx.GraphProto, initializers: Iterable[Initializer]) -> list[Initializer]:
    """The initializers that a node takes or the model gives out; runtimes warn of others.

    A shape or an axis that TensorRT has as a tensor may have become an attribute, or a constant of another type.
    """
    taken = taken_by(graph.node) | {info.name for info in graph.output}
    return [each for each in initializers if each.name in taken]


def wrap(graph: Graph, walk: Walk, outputs: Sequence[str]) -> onnx.ModelProto:
    """The model around the graph's nodes, still without its weights."""
    definition, trt = walk.definition, walk.trt
    here = {x for node in graph.nodes for x in node.output} | {each.name for each in graph.initializers}
    made = {name: tensor for name, tensor in walk.tensors.items() if name in here}  # the others are inside of loops
    chosen = {x.name: x for x in (definition.get_output(i) for i in range(definition.num_outputs))}
    for pattern in [outputs] if isinstance(outputs, str) else outputs:
        found = {name: made[name] for name in matching(walk.tensors, pattern, ExportError) if name in made}
        if not found:
            raise ExportError(f"outputs: can't give out {pattern!r}. It is inside of a loop or conditional.")
        chosen.update(found)
    if not chosen:
        raise ExportError("The network has no output. Mark one, or name tensors in `outputs`.")
    proto = helper.make_graph(
        graph.nodes,
        definition.name or "network",
        [value_info(tensor, named=True) for tensor in walk.inputs.values()],
        [value_info(tensor) for tensor in chosen.values()],
        value_info=[info for info in graph.infos(graph.nodes) if info.name not in chosen],
    )
    versions = {"": graph.opset, **dict.fromkeys(sorted(graph.domains), 1)}
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    model = helper.make_model(
        proto,
        opset_imports=imports,
        ir_version=max(LOWEST_IR, helper.find_min_ir_version_for(imports, ignore_unknown=True)),
        producer_name="netdefs",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"netdefs": __version__, "tensorrt": f"{trt.__name__} {trt.__version__}"})
    return model
