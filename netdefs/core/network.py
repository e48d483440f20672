"""`Network`: a TensorRT network under construction, as a path object that names layers after PyTorch's modules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.errors import NetdefsError, NetworkError, WeightsError
from netdefs.core.layers.adaptive import AdaptivePooling
from netdefs.core.layers.attention import Attention
from netdefs.core.layers.convolution import Convolutions
from netdefs.core.layers.deformable import Deformable
from netdefs.core.layers.einsum import Einsum
from netdefs.core.layers.linear import Linear
from netdefs.core.layers.normalization import Normalization
from netdefs.core.layers.recurrent import Recurrent
from netdefs.core.layers.reductions import Reductions
from netdefs.core.layers.resampling import Resampling
from netdefs.core.layers.windows import Windows
from netdefs.core.precision import Precision
from netdefs.core.scales import set_scales
from netdefs.core.scope import Tensor, near
from netdefs.core.weights import Weights

Dimension = int | tuple[int, int, int]  # fixed, or (min, opt, max)
Ranges = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # an input's smallest, usual and largest shape


class Network(
    Windows,
    AdaptivePooling,
    Deformable,
    Convolutions,
    Linear,
    Attention,
    Normalization,
    Recurrent,
    Reductions,
    Resampling,
    Einsum,
):
    """A TensorRT network and a place in it: `net / "layer1" / 0` is the same network, one module deeper, twice.

    Layers added through a place get its path in front of their names, and their weights are looked up under the same
    names. Tensors are TensorRT's own `ITensor`, and `definition` is its `INetworkDefinition`: any TensorRT call can be
    mixed in (see `layer`).

    Args:
        weights: what `netdefs.Weights` takes. What of them is used is recorded in the network's own `weights`.
        name: the network's name, for messages and files.
        precision: "fp32", "tf32", "fp16", "bf16", "int8" or "fp8": of the values inside; or patterns over names of
            layers to these, such as {"*": "int8", "head.*": "fp16"}: see docs/precision.md. Inputs and outputs stay
            float32.
        calibration: for int8 and fp8: a `netdefs.Calibration`, the path of one, or tensor name -> clipping range.
        keep: layers that are not quantized unless a pattern of `precision` other than `*` says so.
        fold_bn: fold each batch norm into its convolution, in float64, where a block has both.
        package: "tensorrt" or "tensorrt_rtx"; by default the one that suits this machine.

    Raises:
        NetdefsError: no TensorRT, or an unknown precision.
    """

    def __init__(
        self,
        weights: Any = None,
        name: str = "network",
        precision: str | Mapping[str, str] = "fp32",
        *,
        calibration: Any = None,
        keep: Sequence[str] = (),
        fold_bn: bool = False,
        package: str | None = None,
    ) -> None:
        precisions = Precision(precision, keep)
        if calibration is not None and not precisions.quantizes:
            raise NetdefsError(f"calibration is for int8 and fp8; precision={precision!r} has neither: leave it out.")
        trt = tensorrt.load(package)
        log = tensorrt.logger_of(trt)
        self.builder = trt.Builder(log.bridge)
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        definition = self.builder.create_network(1 << int(flag))
        if definition is None:
            raise NetdefsError(f"{trt.__name__} can't make a network on this machine. It says: {log.take()}")
        definition.name = name
        log.take()  # what was logged before is not about this network
        super().__init__(definition, trt, Weights({} if weights is None else weights), precisions)
        self.name = name
        self.precision = precisions.coarsest
        self.calibration = calibration
        self.fold_bn = fold_bn
        self.profile: dict[str, Ranges] = {}
        self.info: dict[str, Any] = {"name": name, "precision": self.precision, "folded": self.folded}
        if not precisions.single:
            self.info.update(precisions=precisions.asked, tf32=precisions.tf32)

    def input(self, name: str, shape: Sequence[Dimension]) -> Tensor:
        """A float32 input of the network, which its layers take in their precision.

        Args:
            shape: sizes; a (min, opt, max) triple is a dynamic one, and goes into the optimization profile. In a
                further input -1 is the batch of the first one, dynamic if that is, -2 twice as much, and so on.

        Raises:
            NetworkError: a size is not positive, a triple not in order, or the name taken.
        """
        x = self.raw_input(name, shape, self.trt.float32, ("batch", "channels", "height", "width"))
        return self.entry(x, f"{name}.cast")

    def entry(self, x: Tensor, name: str) -> Tensor:
        """What a network begins with: `x` in the network's precision if all layers have the same, else as it is."""
        self.chosen(x)
        if not self.precisions.single or x.dtype == self.dtype:
            return x
        cast = self.chosen(self.cast(x, name, self.dtype))
        self.types.originals[cast.name] = x
        return cast

    def raw_input(self, name: str, shape: Sequence[Dimension], dtype: Any, labels: Sequence[str]) -> Tensor:
        """An input of TensorRT type `dtype`, as it is; `labels` are the names of its axes, for those that are dynamic.

        Raises:
            NetworkError: as `input`.
        """
        dims, ranges = dynamic_shape(name, self._with_batch(shape))
        self._claim(name, "an input of the network")
        tensor = self.definition.add_input(name, dtype, dims)
        if tensor is None:
            raise NetworkError(f"TensorRT refused the input {name!r} of shape {dims}: {self.trt_log.take()}")
        if -1 in dims:
            self.profile[name] = ranges
            for axis, (size, label) in enumerate(zip(dims, labels, strict=False)):
                if size == -1:
                    tensor.set_dimension_name(axis, label)
        return tensor

    def _with_batch(self, shape: Sequence[Dimension]) -> Sequence[Dimension]:
        """The shape of a further input, whose negative sizes are multiples of the first one's batch."""
        if self.definition.num_inputs == 0 or not any(isinstance(size, int) and size < 0 for size in shape):
            return shape
        first = self.definition.get_input(0)
        low, usual, high = (ranges[0] for ranges in self.profile.get(first.name, [first.shape] * 3))

        def sized(size: Dimension) -> Dimension:
            if not isinstance(size, int) or size >= 0:
                return size
            return -size * low if low == high else (-size * low, -size * usual, -size * high)

        return [sized(size) for size in shape]

    def gap(
        self,
        x: Tensor | Sequence[Tensor],
        name: str | None,
        shape: Sequence[Dimension],
        dtype: str = "float32",
        weights: str = "",
        reason: str = "",
    ) -> Tensor:
        """Stands for what a definition lacks so far: an input of the network in its place, noted in `info["gaps"]`.

        `compare` feeds it PyTorch's value of the module or function of that name, so that what lies before it and what
        lies behind it can be proven while it is missing.

        Args:
            x: what it is computed from.
            name: the layer's that is to come here.
            shape: of its result, as `input` takes it.
            dtype: of its result, as PyTorch calls it.
            weights: a glob of those of this scope that it will use.
            reason: why it lacks, for who fills it.

        Raises:
            NetworkError: TensorRT has no such type; or as `input`.
        """
        path, kind = self.path_of(name), getattr(self.trt, dtype, None)
        if not isinstance(kind, self.trt.DataType):
            raise NetworkError(f"gap({name!r}) of type {dtype!r}: TensorRT has no such type.")
        labels = ["batch" if size == -1 else f"batch {size}" for size in shape]
        made = self.root.raw_input(path, shape, kind, labels)
        if weights:
            self.ignore(weights)
        takes = [each.name for each in (x if isinstance(x, Sequence) else [x])]
        self.info.setdefault("gaps", {})[path] = {"takes": takes, "reason": reason}
        return self.root.entry(made, f"{path}.cast") if self.is_float(made) else made

    @property
    def dtype(self) -> Any:
        """The TensorRT type that values have inside of the network."""
        return getattr(self.trt, self.precisions.base.dtype)

    def output(self, x: Tensor, name: str) -> Tensor:
        """A result of the network under a name of its own, float32 (indices and masks keep their type).

        It is not marked yet, so that a network can also be a part of a larger one: `finish` marks.
        """
        x = self.original(x)  # where the network widened a result itself, it need not do so twice
        wide = self.is_float(x) and x.dtype != self.trt.float32
        add = self.definition.add_cast(x, self.trt.float32) if wide else self.definition.add_identity(x)
        result = self.layer(add, name, x)
        self.types.chosen.discard(result.name)
        return result

    def finish(self, outputs: Tensor | Mapping[str, Tensor] | Sequence[Tensor]) -> None:
        """Marks the outputs and checks that the definition is complete.

        Raises:
            WeightsError: weights are missing, of another size, or left over.
            NetdefsError: a pattern of `precision` matches nothing, or the calibration lacks tensors or is not for this.
        """
        tensors = outputs.values() if isinstance(outputs, Mapping) else outputs
        for tensor in tensors if not hasattr(tensors, "dtype") else [tensors]:
            self.definition.mark_output(tensor)
        self.check()
        self.precisions.check(self.names)
        if self.precisions.quantizes:
            set_scales(self)
        if self.weights.taken:
            self.info["weights_sha256"] = self.weights.sha256

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

    @property
    def activations(self) -> dict[str, str]:
        """The tensors that would be quantized if every layer were, in execution order -> what takes them."""
        return self.quantization.candidates

    @property
    def scale_groups(self) -> list[list[str]]:
        """The tensors that share a scale where they are quantized."""
        groups: dict[str, list[str]] = {}
        for name in self.names:
            groups.setdefault(self.quantization.group(name), []).append(name)
        return [names for names in groups.values() if len(names) > 1]

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
