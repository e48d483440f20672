"""The layers of an `INetworkDefinition`, as they are drawn."""

import re
from collections.abc import Mapping
from typing import Any

from netdefs.core import trt as tensorrt
from netdefs.core.network import Network, definition_of
from netdefs.draw.layers import values, words
from netdefs.draw.tree import Block, Layer, Shape, Value, grow

# Layer types whose class is not called after them.
CLASSES = {
    "CONCATENATION": "IConcatenationLayer",
    "ELEMENTWISE": "IElementWiseLayer",
    "NMS": "INMSLayer",
    "PARAMETRIC_RELU": "IParametricReLULayer",
    "LRN": "ILRNLayer",
    "SOFTMAX": "ISoftMaxLayer",
    "TOPK": "ITopKLayer",
}
OWN_WEIGHTS = {"CONVOLUTION": ("kernel", "bias"), "DECONVOLUTION": ("kernel", "bias"), "SCALE": ("scale", "shift")}
DTYPES = {"float": "float32", "half": "float16", "bf16": "bfloat16"}  # as PyTorch says it
NOT_OURS = re.compile(r"^/")  # names that torch's exporter gives to what is no module's output


def network_tree(network: Any) -> Block:
    """The blocks and layers of a network.

    Constants are not drawn: the layer that takes one lists it among its parameters, or among its weights.

    Args:
        network: a `Network` or a raw `INetworkDefinition`.

    Raises:
        NetworkError: it is neither.
    """
    reader = _Reader(network)
    return grow([*reader.inputs(), *reader.layers(), *reader.outputs()])


class _Reader:
    """Reads one network."""

    def __init__(self, network: Any) -> None:
        self.definition = definition_of(network)
        self.trt = tensorrt.module_of(self.definition)
        self.modules: Mapping[str, str] = getattr(network, "info", {}).get("modules", {})
        self.taken: dict[str, tuple[int, ...]] = {}
        self.by_module: dict[str, list[str]] = {}
        if isinstance(network, Network):
            self.taken = network.weights.taken
            for key in self.taken:
                module = key.rpartition(".")[0]
                self.by_module.setdefault(network.folded.get(module, module), []).append(key)
        self.constants: dict[str, str] = {}
        self.ids: set[str] = set()
        inputs = [self.definition.get_input(i) for i in range(self.definition.num_inputs)]
        self.batch = next((x.get_dimension_name(0) for x in inputs if len(x.shape) and x.shape[0] < 0), "")

    def inputs(self) -> list[Layer]:
        """The network's inputs."""
        given = [self.definition.get_input(i) for i in range(self.definition.num_inputs)]
        return [Layer(f"input:{x.name}", x.name, "Input", [], [], [self.value(x)], kind="input") for x in given]

    def outputs(self) -> list[Layer]:
        """The network's outputs."""
        made = [self.definition.get_output(i) for i in range(self.definition.num_outputs)]
        return [Layer(f"output:{x.name}", x.name, "Output", [], [self.value(x)], [], kind="output") for x in made]

    def layers(self) -> list[Layer]:
        """Its layers; of constants only those that are outputs."""
        found = []
        for i in range(self.definition.num_layers):
            layer = self.definition.get_layer(i)
            kind = str(self.trt.ILayer.type.fget(layer).name)  # some classes have a `type` of their own
            made = [x for x in map(layer.get_output, range(layer.num_outputs)) if x is not None]
            if kind == "CONSTANT" and not any(x.is_network_output for x in made):
                layer.__class__ = self.trt.IConstantLayer
                self.constants[made[0].name] = values(layer)
                continue
            found.append(self.layer(layer, kind, made))
        return found

    def layer(self, layer: Any, kind: str, made: list[Any]) -> Layer:
        """One layer."""
        name = CLASSES.get(kind) or f"I{''.join(part.capitalize() for part in kind.split('_'))}Layer"
        if hasattr(self.trt, name):
            layer.__class__ = getattr(self.trt, name)
        given = [x for x in map(layer.get_input, range(layer.num_inputs)) if x is not None]
        path = self.path(layer, made)
        own = self.own_weights(layer, kind, path)
        batch_norm = any(key.endswith(".running_mean") for key, _ in own)
        title, params = words(layer, kind, batch_norm)
        for x in given:
            if x.name in self.constants:
                if x.name in self.taken:
                    own.append((x.name, self.taken[x.name]))
                else:
                    params.append(f"constant {x.name.removeprefix(f'{path}.')} {self.constants[x.name]}")
        source = str(layer.metadata).rpartition(" (")[2].removesuffix(")") if "line" in str(layer.metadata) else ""
        return Layer(
            id=self.unique(path),
            path=path,
            type=title,
            params=params,
            inputs=[self.value(x) for x in given if x.name not in self.constants],
            outputs=[self.value(x) for x in made],
            weights=own,
            source=source,
            minor=not own,
        )

    def path(self, layer: Any, made: list[Any]) -> str:
        """The dotted name of a layer: that of the module whose output it gives, where a parser knew that."""
        name = str(layer.name)
        for tensor in made:
            if tensor.name in self.modules:
                return self.modules[tensor.name]
        if NOT_OURS.match(name):
            return _scoped(name)
        return name

    def own_weights(self, layer: Any, kind: str, path: str) -> list[tuple[str, tuple[int, ...]]]:
        """The keys of a layer's weights; for a layer that netdefs did not make, what TensorRT calls them."""
        if kind == "CONSTANT":
            return []
        if self.taken:
            constants = {key for key in self.by_module.get(path, ()) if key in self.constants}
            return [(key, self.taken[key]) for key in self.by_module.get(path, ()) if key not in constants]
        found: list[tuple[str, tuple[int, ...]]] = []
        for name in OWN_WEIGHTS.get(kind, ()):
            held = getattr(layer, name)
            if int(held.size):
                found.append((f"{path}.{name}", (int(held.size),)))
        return found

    def unique(self, path: str) -> str:
        """An id: the path, numbered where it is taken."""
        number, name = 1, path
        while name in self.ids:
            number += 1
            name = f"{path}#{number}"
        self.ids.add(name)
        return name

    def value(self, tensor: Any) -> Value:
        """A tensor's name, shape and type."""
        shape = tuple(tensor.shape)
        names = [tensor.get_dimension_name(axis) for axis in range(len(shape))]
        if names and not names[0]:
            names[0] = self.batch  # TensorRT names the sizes of inputs only; this one is handed on
        sizes: Shape = tuple(size if size >= 0 else name or "?" for size, name in zip(shape, names, strict=True))
        dtype = tensor.dtype.name.lower()
        return Value(tensor.name, sizes, DTYPES.get(dtype, dtype))


def _scoped(name: str) -> str:
    """The dotted name for /layer1/layer1.0/conv1/Conv: the children of a Sequential repeat its name there."""
    path, last = "", ""
    for part in name.split("/")[1:]:
        own = part.removeprefix(f"{last}.") if last else part
        path = f"{path}.{own}" if path else own
        last = part
    return path
