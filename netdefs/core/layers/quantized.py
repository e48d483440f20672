"""Quantize and Dequantize layers, placed where TensorRT fuses them: see docs/precision.md.

A pair is put in front of what computes in integers, and shared by all that read the tensor. TensorRT moves Quantize
layers backwards itself: over max pooling, slices, reshapes and nearest upsampling, and across a concatenation to each
of its inputs. There they meet the pairs of other readers, and are one with them if their scales are equal. So tensors
that such layers connect share a scale, and nothing is quantized twice.
"""

import dataclasses
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from netdefs.core import trained
from netdefs.core.layers.typed import Typed
from netdefs.core.precision import Precision
from netdefs.core.quantize import quantize_weight, scale_of
from netdefs.core.scope import Tensor, configure
from netdefs.core.weights import Weights

COMPUTED, MOVED = "computed", "moved"  # straight from a convolution or product, its activation included; merely moved
BY_CHANNEL = ("conv", "deconv", "skip")  # what may read a picture that is quantized with a scale for every channel


class Pair(NamedTuple):
    """A tensor's Quantize layer: its scale, as a tensor and as the memory behind it, and what it gives.

    The memory may hold the scale several times.
    """

    scale: Tensor
    value: np.ndarray
    quantized: Tensor


class Operand(NamedTuple):
    """An input as a layer takes it: of the layer's type, and dequantized if the layer is of the kind int8 or fp8."""

    tensor: Tensor
    dtype: Any
    kind: str | None


@dataclasses.dataclass
class Quantization:
    """What of a network is quantized, by the names of tensors.

    Attributes:
        candidates: tensors that would be quantized if every layer were -> by what.
        pairs: tensor and kind -> its Quantize layer.
        dequantized: tensor or weight, kind and type -> what Dequantize gives.
        layers: quantized layer -> what it is made of, for those who tell its rounding from an error.
        origin: tensor -> COMPUTED or MOVED, where it is one.
        groups: tensor -> another one that it shares a scale with.
        trained: tensor -> its range, where the checkpoint tells.
        factors: weight -> what a batch norm that was folded into it has multiplied its output channels by.
    """

    candidates: dict[str, str] = dataclasses.field(default_factory=dict)
    pairs: dict[tuple[str, str], Pair] = dataclasses.field(default_factory=dict)
    dequantized: dict[tuple[str, str, str], Tensor] = dataclasses.field(default_factory=dict)
    layers: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    origin: dict[str, str] = dataclasses.field(default_factory=dict)
    groups: dict[str, str] = dataclasses.field(default_factory=dict)
    trained: dict[str, float] = dataclasses.field(default_factory=dict)
    factors: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def group(self, name: str) -> str:
        """The tensor that stands for all those that share a scale with this one."""
        while name in self.groups:
            name = self.groups[name]
        return name


class Quantized(Typed):
    """A scope that quantizes what layers read, where their precision says so."""

    def __init__(self, definition: Any, trt: ModuleType, weights: Weights, precision: Precision) -> None:
        super().__init__(definition, trt, weights, precision)
        self.quantization = Quantization()

    def operands(
        self,
        name: str | None,
        role: str,
        *inputs: Tensor,
        of: str | None = None,
        dtype: Any = None,
        quantizable: bool = True,
    ) -> list[Operand]:
        """The inputs of the layer `name` as it takes them.

        Args:
            name: of the layer in this scope.
            role: what kind of layer it is.
            inputs: floating-point tensors.
            of: another name that the layer goes by.
            dtype: its type, if that can't be the one that was asked for.
            quantizable: whether it is one that int8 and fp8 are used for.
        """
        choice = self.choice(name, *inputs, of=of, quantizable=quantizable)
        dtype = dtype or getattr(self.trt, choice.dtype)
        for x in inputs if quantizable else ():
            self._candidate(x, role)
        modules = [self.path_of(each) for each in ((name,) if of is None else (name, of))]
        if choice.quantized is None or not quantizable:
            for module in modules if self.precisions.quantizes else ():
                trained.ignore(self.weights, module)
            return [Operand(self.as_type(x, dtype), dtype, None) for x in inputs]
        kind = choice.quantized
        sources = [self.original(x).name for x in inputs]
        if len(inputs) == 1:
            keys = [f"{module}.{key}" for module in modules for key in trained.INPUTS]
            self._trained(sources[0], trained.amax(self.weights, keys))
        self.quantization.layers[self.path_of(name)] = {"precision": kind, "inputs": sources, "weight": None}
        return [Operand(self.dequantized(x, role, kind, dtype), dtype, kind) for x in inputs]

    def dequantized(self, x: Tensor, role: str, kind: str, dtype: Any) -> Tensor:
        """`x` quantized and dequantized, by the pair of layers that all its readers share; `role` is as in `operands`.

        TensorRT-RTX compiles what follows an integer convolution, from its scale to the next Quantize, as a kernel of
        its own, whose source takes 130 KB in the plan. Equal kernels are there once, but a single scale is a part of
        its kernel. So there Quantize has the scale for every channel, read from memory. Dequantize keeps a single one:
        the convolution would be none of integers otherwise. What TensorRT moves Quantize over has single ones too.
        """
        x, root = self.original(x), self.root
        found, dequantized = self.quantization.pairs, self.quantization.dequantized
        other = any(name == x.name and another != kind for name, another in found)
        prefix = f"{x.name}.{kind}" if other else x.name
        pair = found.get((x.name, kind))
        if pair is None:
            picture = role in BY_CHANNEL and len(x.shape) == 4 and self.trt.__name__ == "tensorrt_rtx"
            by_channel = picture and self.quantization.origin.get(x.name) != MOVED
            value = np.ones(max(x.shape[1], 1) if by_channel else 1, np.float32)  # known when the network is finished
            self.keep.append(value)
            scale = root.layer(self.definition.add_constant((), value[:1].reshape(())), f"{prefix}.scale")
            scales = scale
            if len(value) > 1:
                scales = root.layer(self.definition.add_constant(value.shape, value), f"{prefix}.scales")
            layer = self.definition.add_quantize(x, scales, getattr(self.trt, kind))
            if len(value) > 1:
                configure(layer, axis=1)
            pair = found[x.name, kind] = Pair(scale, value, root.layer(layer, f"{prefix}.q", x))
            self._trained(x.name, trained.output_amax(self.weights, x.name, kind))
        key = (x.name, kind, dtype.name)
        if key not in dequantized:
            first = not any(each[:2] == key[:2] for each in dequantized)
            suffix = "dq" if first else f"dq.{dtype.name.lower()}"
            layer = self.definition.add_dequantize(pair.quantized, pair.scale, dtype)
            dequantized[key] = self.chosen(root.layer(layer, f"{prefix}.{suffix}", pair.quantized))
        return dequantized[key]

    def quantized_weight(self, layer: str, weight: np.ndarray, key: str, axis: int, x: Operand) -> Tensor:
        """A weight that was quantized in advance, and is dequantized to the operand's type; once, if several use it.

        Args:
            layer: the full name of the layer that it is of.
            weight: any shape.
            key: its name.
            axis: of the output channels.
            x: what it is multiplied with.
        """
        assert x.kind is not None
        self.quantization.layers[layer].update(weight=key, axis=axis)
        known, made = (key, x.kind, x.dtype.name), self.quantization.dequantized
        if known in made:
            return made[known]
        prefix = f"{key}.{x.kind}.{x.dtype.name.lower()}" if any(name == key for name, _, _ in made) else key
        amax = trained.weight_amax(self.weights, key.removesuffix(".weight"), weight.shape[axis], x.kind)
        # What a checkpoint tells is of the weight before a batch norm was folded into it.
        scales = None if amax is None else scale_of(amax * self.quantization.factors.get(key, 1.0), x.kind)
        values, scales = quantize_weight(weight, axis, x.kind, scales, name=key)
        root = self.root
        constant = root.constant_of(values, f"{prefix}.q", getattr(self.trt, x.kind))
        scale = root.constant_of(scales, f"{prefix}.scale", self.trt.float32)
        dequantize = self.definition.add_dequantize(constant, scale, x.dtype)
        dequantize.axis = axis
        made[known] = self.chosen(root.layer(dequantize, f"{prefix}.dq", constant))
        return made[known]

    def residual(self, a: Tensor, b: Tensor, name: str | None) -> tuple[Tensor, Tensor]:
        """The two terms of the sum `name`, one or both of them quantized if the sum is.

        TensorRT adds what a convolution gives to another tensor within the convolution's own kernel. That kernel gives
        int8 if the other tensor is int8, so that one is quantized and the convolution's result is not. What elementwise
        layers give is added in a kernel with them, and is not quantized either; what was only moved is.
        """
        terms = [self.original(a), self.original(b)]
        if tuple(a.shape) != tuple(b.shape) or any(x.name in self.types.constants for x in terms):
            return a, b
        choice = self.choice(name, a, b, quantizable=True)
        for x in terms:
            self._candidate(x, "skip")
        if choice.quantized is None:
            return a, b
        kind, origins = choice.quantized, [self.quantization.origin.get(x.name) for x in terms]
        pairs = self.quantization.pairs
        quantized = [(x.name, kind) in pairs or o == MOVED for x, o in zip(terms, origins, strict=True)]
        if not any(quantized) and COMPUTED in origins:
            quantized[1 - origins.index(COMPUTED)] = True
        names = [x.name for x, yes in zip(terms, quantized, strict=True) if yes]
        if names:
            residual = trained.amax(self.weights, map(self.path_of, trained.RESIDUALS))
            for each in names:
                self._trained(each, residual)
            self.quantization.layers[self.path_of(name)] = {"precision": kind, "inputs": names, "weight": None}
        dtype = getattr(self.trt, choice.dtype)
        made = [self.dequantized(x, "skip", kind, dtype) if yes else x for x, yes in zip(terms, quantized, strict=True)]
        return made[0], made[1]

    def computed(self, result: Tensor) -> Tensor:
        """`result`, which a convolution or product gives."""
        self.quantization.origin[result.name] = COMPUTED
        return result

    def derived(self, result: Tensor, *inputs: Tensor) -> Tensor:
        """`result`, which an elementwise layer made of inputs: it can be a part of the kernel that computed them."""
        if all(self.quantization.origin.get(self.original(x).name) == COMPUTED for x in inputs):
            self.quantization.origin[result.name] = COMPUTED
        return result

    def moved(self, result: Tensor, *inputs: Tensor) -> Tensor:
        """`result`, which holds values of the inputs only: it shares their scale."""
        if self.is_float(result):
            self.quantization.origin[result.name] = MOVED
            self.shares_scale(result, *inputs)
        return result

    def shares_scale(self, result: Tensor, *inputs: Tensor) -> None:
        """Gives tensors one scale, if they are quantized."""
        for x in inputs:
            one, other = self.quantization.group(self.original(x).name), self.quantization.group(result.name)
            if one != other:
                self.quantization.groups[one] = other

    def _trained(self, tensor: str, amax: float | None) -> None:
        """Remembers the range of a tensor that the checkpoint tells; if its readers differ, the largest."""
        if amax is not None:
            self.quantization.trained[tensor] = max(amax, self.quantization.trained.get(tensor, 0.0))

    def _candidate(self, x: Tensor, role: str) -> None:
        if not self.fixed(x):
            self.quantization.candidates.setdefault(self.original(x).name, role)
