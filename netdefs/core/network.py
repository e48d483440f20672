"""`Network`: a TensorRT network under construction, as a path object that names layers after PyTorch's modules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.errors import NetdefsError, NetworkError, WeightsError
from netdefs.core.layers.convolution import Convolutions
from netdefs.core.layers.deformable import Deformable
from netdefs.core.layers.pointwise import Pointwise
from netdefs.core.layers.spatial import Spatial
from netdefs.core.scope import Tensor, near
from netdefs.core.weights import Weights

Dimension = int | tuple[int, int, int]  # fixed, or (min, opt, max)
Ranges = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # an input's smallest, usual and largest shape

# The type that values have inside the network. TF32 is float32 there; it lets the GPU round the factors of products.
PRECISIONS = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}
LATER = ("int8", "fp8")


class Network(Deformable, Convolutions, Pointwise, Spatial):
    """A TensorRT network and a place in it: `net / "layer1" / 0` is the same network, one module deeper, twice.

    Layers added through a place get its path in front of their names, and their weights are looked up under the same
    names. Tensors are TensorRT's own `ITensor`, and `definition` is its `INetworkDefinition`: any TensorRT call can be
    mixed in (see `layer`).

    Args:
        weights: what `netdefs.Weights` takes. What of them is used is recorded in the network's own `weights`.
        name: the network's name, for messages and files.
        precision: "fp32", "tf32", "fp16" or "bf16": the type of the values inside. Inputs and outputs stay float32.
        fold_bn: fold each batch norm into its convolution, in float64, where a block has both.
        package: "tensorrt" or "tensorrt_rtx"; by default the one that suits this machine.

    Raises:
        NetdefsError: no TensorRT, or an unknown precision.
    """

    def __init__(
        self,
        weights: Any = None,
        name: str = "network",
        precision: str = "fp32",
        *,
        fold_bn: bool = False,
        package: str | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            why = " needs quantization, which this version lacks" if precision in LATER else " is unknown"
            raise NetdefsError(f"precision={precision!r}{why}. Choose from {', '.join(PRECISIONS)}.")
        trt = tensorrt.load(package)
        log = tensorrt.logger_of(trt)
        self.builder = trt.Builder(log.bridge)
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        definition = self.builder.create_network(1 << int(flag))
        if definition is None:
            raise NetdefsError(f"{trt.__name__} can't make a network on this machine. It says: {log.take()}")
        definition.name = name
        log.take()  # what was logged before is not about this network
        super().__init__(definition, trt, Weights({} if weights is None else weights))
        self.name = name
        self.precision = precision
        self.fold_bn = fold_bn
        self.profile: dict[str, Ranges] = {}
        self.info: dict[str, Any] = {"name": name, "precision": precision, "folded": self.folded}

    def input(self, name: str, shape: Sequence[Dimension]) -> Tensor:
        """A float32 input of the network, cast to the network's precision.

        Args:
            shape: sizes; a (min, opt, max) triple is a dynamic one, and goes into the optimization profile.

        Raises:
            NetworkError: a size is not positive, a triple not in order, or the name taken.
        """
        x = self.raw_input(name, shape, self.trt.float32, ("batch", "channels", "height", "width"))
        return self.cast(x, f"{name}.cast", self.dtype)

    def raw_input(self, name: str, shape: Sequence[Dimension], dtype: Any, labels: Sequence[str]) -> Tensor:
        """An input of TensorRT type `dtype`, as it is; `labels` are the names of its axes, for those that are dynamic.

        Raises:
            NetworkError: as `input`.
        """
        dims, ranges = dynamic_shape(name, shape)
        self._claim(name, "an input of the network")
        tensor = self.definition.add_input(name, dtype, dims)
        if tensor is None:
            raise NetworkError(f"TensorRT refused the input {name!r} of shape {dims}: {self.log.take()}")
        if -1 in dims:
            self.profile[name] = ranges
            for axis, (size, label) in enumerate(zip(dims, labels, strict=False)):
                if size == -1:
                    tensor.set_dimension_name(axis, label)
        return tensor

    @property
    def dtype(self) -> Any:
        """The TensorRT type that values have inside of the network."""
        return getattr(self.trt, PRECISIONS[self.precision])

    def output(self, x: Tensor, name: str) -> Tensor:
        """A result of the network under a name of its own, float32 (indices and masks keep their type).

        It is not marked yet, so that a network can also be a part of a larger one: `finish` marks.
        """
        trt = self.trt
        if x.dtype in (trt.float16, trt.bfloat16):
            return self.cast(x, name, trt.float32)
        return self.layer(self.definition.add_identity(x), name, x)

    def finish(self, outputs: Tensor | Mapping[str, Tensor] | Sequence[Tensor]) -> None:
        """Marks the outputs and checks that the definition is complete.

        Raises:
            WeightsError: weights are missing, of another size, or left over.
        """
        tensors = outputs.values() if isinstance(outputs, Mapping) else outputs
        for tensor in tensors if not hasattr(tensors, "dtype") else [tensors]:
            self.definition.mark_output(tensor)
        self.check()

    def check(self) -> None:
        """Checks that the network has an output and that every weight is there, fits and is used.

        Raises:
            NetworkError: nothing is marked as an output.
            WeightsError: names every key that is missing, of another size or left over.
        """
        if self.definition.num_outputs == 0:
            raise NetworkError(f"{self.name} has no output: call net.finish(...) with what the definition returns.")
        problems = self.weights.problems()
        if problems:
            raise WeightsError(f"These weights don't fit {self.name}: {self.weights.source}.\n{problems}")

    def class_count(self, num_classes: int | None, bias: str, default: int, argument: str = "num_classes") -> int:
        """How many classes a head has: `num_classes`, or where that is None as many as the weight `bias` has values.

        `default` counts if the weights lack it, so that the audit can name it. `argument` is what an error calls it.
        """
        if num_classes is None:
            path = self.path_of(bias)
            return int(self.weights[path].size) if path in self.weights else default
        if num_classes < 1:
            raise NetworkError(f"{argument}={num_classes}: it must be positive; None reads it off the weights.")
        return num_classes

    def tensor(self, name: str) -> Tensor:
        """The tensor called `name`.

        Raises:
            NetworkError: there is none; the message has the nearest names.
        """
        for tensor in results_of(self.definition):
            if tensor.name == name:
                return tensor
        raise NetworkError(f"{self.name} has no tensor {name!r}.{near(name, self.names)}")


def dynamic_shape(name: str, shape: Sequence[Dimension]) -> tuple[tuple[int, ...], Ranges]:
    """What the shape of the input `name` says: its sizes, -1 for dynamic ones, and its (min, opt, max) shapes.

    Raises:
        NetworkError: it is no sequence, a size is not positive, or a triple not in order.
    """
    if isinstance(shape, str) or not isinstance(shape, Sequence | np.ndarray):
        raise NetworkError(f"input {name!r}: {shape!r} is no shape, which is a sequence of sizes or (min, opt, max).")
    dims, ranges = [], []
    for size in shape:
        triple = tuple(size) if isinstance(size, tuple | list) else (size, size, size)
        whole = len(triple) == 3 and all(isinstance(n, int | np.integer) for n in triple)
        if not whole or not 1 <= triple[0] <= triple[1] <= triple[2]:
            raise NetworkError(f"input {name!r}: {size!r} is neither a size nor (min, opt, max) in rising order.")
        dims.append(-1 if isinstance(size, tuple | list) else int(size))
        ranges.append(tuple(map(int, triple)))
    low, usual, high = (tuple(triple[i] for triple in ranges) for i in range(3))
    return tuple(dims), (low, usual, high)


def definition_of(network: Any) -> Any:
    """The `INetworkDefinition` of a `Network`, or the one that was given.

    Raises:
        NetworkError: it is neither.
    """
    definition = getattr(network, "definition", network)
    if not hasattr(definition, "num_layers"):
        raise NetworkError(f"This takes a netdefs Network or an INetworkDefinition, not {type(network).__name__}.")
    return definition


def tensors_of(definition: Any) -> list[Tensor]:
    """The inputs of a network definition and every layer's outputs, in execution order."""
    inputs = [definition.get_input(i) for i in range(definition.num_inputs)]
    return inputs + [tensor for layer in _layers(definition) for tensor in _outputs(layer)]


def results_of(definition: Any) -> list[Tensor]:
    """What the layers of a network definition compute, in execution order: all their outputs, but for constants."""
    return [t for layer in _layers(definition) if layer.type.name != "CONSTANT" for t in _outputs(layer)]


def _layers(definition: Any) -> list[Any]:
    return [definition.get_layer(i) for i in range(definition.num_layers)]


def _outputs(layer: Any) -> list[Tensor]:
    outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
    return [tensor for tensor in outputs if tensor is not None]
