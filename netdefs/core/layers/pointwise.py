"""Layers that work on values one by one: activations, arithmetic, choices; and softmax, matmul, topk, gather."""

from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.shaping import Shaping, axis_of, sizes_of
from netdefs.core.scope import Tensor


class Pointwise(Shaping):
    """Activations and arithmetic. `name=None` names the result after the scope itself."""

    def relu(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.relu`."""
        return self._activation(x, name, "RELU")

    def relu6(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.relu6`: clip(x, 0, 6)."""
        return self._activation(x, name, "CLIP", 0.0, 6.0)

    def leaky_relu(self, x: Tensor, name: str | None = None, negative_slope: float = 0.01) -> Tensor:
        """`F.leaky_relu`."""
        return self._activation(x, name, "LEAKY_RELU", negative_slope)

    def prelu(self, x: Tensor, name: str | None = None, num_parameters: int = 1) -> Tensor:
        """`nn.PReLU` over axis 1. Weights: `name.weight`."""
        slope = self.weights.take(self.module(name).path_of("weight"), (num_parameters,))
        rank = len(x.shape)
        shape = [num_parameters if axis == 1 else 1 for axis in range(rank)]
        (x,) = self.typed(name, x)
        slopes = self.constant(slope.reshape(shape), self.child(name, "weight"), like=x)
        return self.derived(self.layer(self.definition.add_parametric_relu(x, slopes), name, x, slopes), x)

    def sigmoid(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.sigmoid`."""
        return self._activation(x, name, "SIGMOID")

    def tanh(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.tanh`."""
        return self._activation(x, name, "TANH")

    def silu(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.silu`: x * sigmoid(x), also called swish."""
        (x,) = self.typed(name, x)
        return self.mul(x, self._activation(x, self.child(name, "sigmoid"), "SIGMOID", of=name), name)

    def mish(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.mish`: x * tanh(softplus(x))."""
        (x,) = self.typed(name, x)
        softplus = self._activation(x, self.child(name, "softplus"), "SOFTPLUS", 1.0, 1.0, of=name)
        return self.mul(x, self._activation(softplus, self.child(name, "tanh"), "TANH", of=name), name)

    def hardswish(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.hardswish`: x * clip(x / 6 + 1 / 2, 0, 1)."""
        (x,) = self.typed(name, x)
        inner = self._activation(x, self.child(name, "hardsigmoid"), "HARD_SIGMOID", 1 / 6, 0.5, of=name)
        return self.mul(x, inner, name)

    def hardsigmoid(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.hardsigmoid`: clip(x / 6 + 1 / 2, 0, 1)."""
        return self._activation(x, name, "HARD_SIGMOID", 1 / 6, 0.5)

    def gelu(self, x: Tensor, name: str | None = None, approximate: str = "none") -> Tensor:
        """`F.gelu`, exact or with approximate="tanh"."""
        kinds = {"none": "GELU_ERF", "tanh": "GELU_TANH"}
        if approximate not in kinds:
            raise NetworkError(f"{self.path_of(name)}: gelu's approximate is 'none' or 'tanh', not {approximate!r}.")
        return self._activation(x, name, kinds[approximate])

    def softmax(self, x: Tensor, name: str | None = None, *, dim: int) -> Tensor:
        """`F.softmax`, in float32 unless a pattern of the precision spells its name out."""
        (x,) = self.typed(name, x, rule=True)
        layer = self.definition.add_softmax(x)
        layer.axes = 1 << axis_of(dim, x, self.path_of(name))
        return self.layer(layer, name, x)

    def add(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`a + b`, broadcast as PyTorch does; `b` may be a number."""
        if not isinstance(b, int | float):
            a, b = self.residual(a, b, name)
        return self._elementwise(a, b, name, "SUM")

    def sub(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`a - b`, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "SUB")

    def mul(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`a * b`, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "PROD")

    def div(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`a / b` of floating-point tensors, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "DIV")

    def floor_divide(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`torch.floor_divide`, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "FLOOR_DIV")

    def minimum(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`torch.minimum`, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "MIN")

    def maximum(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`torch.maximum`, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "MAX")

    def eq(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`torch.eq`, a bool tensor, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "EQUAL")

    def gt(self, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`torch.gt`, a bool tensor, broadcast as PyTorch does; `b` may be a number."""
        return self._elementwise(a, b, name, "GREATER")

    def where(self, condition: Tensor, a: Tensor, b: Tensor | float, name: str | None = None) -> Tensor:
        """`torch.where` of tensors of one rank, broadcast; `b` may be a number."""
        if isinstance(b, int | float):
            b = self.constant(np.full((1,) * len(a.shape), b), self.child(name, "constant"), like=a)
        a, b = self.typed(name, a, b)
        return self.layer(self.definition.add_select(condition, a, b), name, condition, a, b)

    def gather(self, x: Tensor, name: str | None, dim: int, index: Tensor) -> Tensor:
        """`torch.gather` of an int32 or int64 index, whose other axes are as long as those of x."""
        layer = self.definition.add_gather_v2(x, index, self.trt.GatherMode.ELEMENT)
        if layer is not None:
            layer.axis = axis_of(dim, x, self.path_of(name))
        return self.layer(layer, name, x, index)

    def matmul(
        self,
        a: Tensor,
        b: Tensor,
        name: str | None = None,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Tensor:
        """`torch.matmul` of tensors of rank 2 or more, batch axes broadcast; the last two may be swapped before."""
        op = self.trt.MatrixOperation
        a, b = self._same_rank(a, b, name)
        a, b = (operand.tensor for operand in self.operands(name, "matmul", a, b))
        ops = [op.TRANSPOSE if swapped else op.NONE for swapped in (transpose_a, transpose_b)]
        return self.computed(self.layer(self.definition.add_matrix_multiply(a, ops[0], b, ops[1]), name, a, b))

    def topk(self, x: Tensor, name: str | None, k: int, dim: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
        """`torch.topk`, sorted: values and int32 indices, called `name` and `name.1`. k is at most 3840."""
        op = self.trt.TopKOperation.MAX if largest else self.trt.TopKOperation.MIN
        layer = self.definition.add_topk(x, op, k, 1 << axis_of(dim, x, self.path_of(name)))
        values = self.layer(layer, name, x)
        return values, layer.get_output(1)

    def _activation(
        self, x: Tensor, name: str | None, kind: str, alpha: float = 0.0, beta: float = 0.0, of: str | None = None
    ) -> Tensor:
        """An activation; as a part of the primitive `of` it has the type of that."""
        (x,) = self.typed(name, x) if of is None else (x,)
        layer = self.definition.add_activation(x, getattr(self.trt.ActivationType, kind))
        if layer is not None:
            layer.alpha, layer.beta = alpha, beta  # always: TensorRT's defaults differ from type to type
        return self.derived(self.layer(layer, name, x), x)

    def _elementwise(self, a: Tensor, b: Any, name: str | None, kind: str) -> Tensor:
        if isinstance(b, int | float):
            b = self.constant(np.full((1,) * len(a.shape), b), self.child(name, "constant"), like=a)
        a, b = self.typed(name, *self._same_rank(a, b, name))
        layer = self.definition.add_elementwise(a, b, getattr(self.trt.ElementWiseOperation, kind))
        result = self.layer(layer, name, a, b)
        return self.derived(result, a, b) if kind == "PROD" else result

    def _same_rank(self, a: Tensor, b: Tensor, name: str | None) -> tuple[Tensor, Tensor]:
        """TensorRT broadcasts only tensors of equal rank; PyTorch puts axes of size 1 in front of the smaller one."""
        if len(a.shape) == len(b.shape):
            return a, b
        if len(a.shape) > len(b.shape):
            return a, self._lift(b, len(a.shape), self.child(name, "lift"))
        return self._lift(a, len(b.shape), self.child(name, "lift")), b

    def _lift(self, x: Tensor, rank: int, name: str) -> Tensor:
        return self._reshape(x, name, [1] * (rank - len(x.shape)) + sizes_of(x))
