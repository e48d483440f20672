"""Activations; and softmax, matmul, topk, gather."""

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.functions import Functions
from netdefs.core.layers.operands import Value, with_rank
from netdefs.core.layers.reshaping import axis_of
from netdefs.core.scope import Tensor


class Pointwise(Functions):
    """Activations and products. `name=None` names the result after the scope itself."""

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
        return self.mul(x, self._activated(x, self.child(name, "sigmoid"), "SIGMOID"), name)

    def mish(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.mish`: x * tanh(softplus(x))."""
        (x,) = self.typed(name, x)
        softplus = self._activated(x, self.child(name, "softplus"), "SOFTPLUS", 1.0, 1.0)
        return self.mul(x, self._activated(softplus, self.child(name, "tanh"), "TANH"), name)

    def hardswish(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.hardswish`: x * clip(x / 6 + 1 / 2, 0, 1)."""
        (x,) = self.typed(name, x)
        inner = self._activated(x, self.child(name, "hardsigmoid"), "HARD_SIGMOID", 1 / 6, 0.5)
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

    def elu(self, x: Tensor, name: str | None = None, alpha: float = 1.0) -> Tensor:
        """`F.elu`: x, or alpha * (exp(x) - 1) where that is negative."""
        return self._activation(x, name, "ELU", alpha)

    def selu(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.selu` (https://arxiv.org/abs/1706.02515), which fixes both its constants."""
        return self._activation(x, name, "SELU", 1.6732632423543772, 1.0507009873554805)

    def celu(self, x: Tensor, name: str | None = None, alpha: float = 1.0) -> Tensor:
        """`F.celu`: x, or alpha * (exp(x / alpha) - 1) where that is negative."""
        if alpha == 1:
            return self._activation(x, name, "ELU", 1.0)
        if alpha <= 0:
            raise NetworkError(f"{self.path_of(name)}: celu's alpha must be positive; it is {alpha}.")
        (x,) = self.typed(name, x)
        inner = self._activated(
            self._binary(x, 1 / alpha, self.child(name, "scaled"), "PROD"), self.child(name, "elu"), "ELU", 1.0
        )
        return self._binary(inner, alpha, name, "PROD")

    def softplus(self, x: Tensor, name: str | None = None, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
        """`F.softplus`: log(1 + exp(beta * x)) / beta, and x itself where beta * x is beyond the threshold."""
        if beta <= 0:
            raise NetworkError(f"{self.path_of(name)}: softplus' beta must be positive; it is {beta}.")
        if threshold >= 20:  # from there on both are the same to float32
            return self._activation(x, name, "SOFTPLUS", 1 / beta, beta)
        (x,) = self.typed(name, x)
        beyond = self._binary(x, threshold / beta, self.child(name, "beyond"), "GREATER")
        smooth = self._activated(x, self.child(name, "smooth"), "SOFTPLUS", 1 / beta, beta)
        return self.layer(self.definition.add_select(beyond, x, smooth), name, beyond, x, smooth)

    def logsigmoid(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.logsigmoid`: -log(1 + exp(-x))."""
        (x,) = self.typed(name, x)
        negative = self._unary(x, self.child(name, "negative"), "NEG")
        return self._unary(self._activated(negative, self.child(name, "softplus"), "SOFTPLUS", 1.0, 1.0), name, "NEG")

    def softsign(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.softsign`: x / (1 + |x|)."""
        return self._activation(x, name, "SOFTSIGN")

    def hardtanh(self, x: Tensor, name: str | None = None, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
        """`F.hardtanh`: clip(x, min_val, max_val)."""
        return self.clamp(x, name, min_val, max_val)

    def hardshrink(self, x: Tensor, name: str | None = None, lambd: float = 0.5) -> Tensor:
        """`F.hardshrink`: 0 from -lambd to lambd, else x."""
        (x,) = self.typed(name, x)
        size = self._unary(x, self.child(name, "size"), "ABS")
        return self.where(self._binary(size, lambd, self.child(name, "beyond"), "GREATER"), x, 0.0, name)

    def softshrink(self, x: Tensor, name: str | None = None, lambd: float = 0.5) -> Tensor:
        """`F.softshrink`: x, lambd nearer to 0, and 0 from -lambd to lambd."""
        (x,) = self.typed(name, x)
        return self._binary(x, self._activated(x, self.child(name, "clip"), "CLIP", -lambd, lambd), name, "SUB")

    def tanhshrink(self, x: Tensor, name: str | None = None) -> Tensor:
        """`F.tanhshrink`: x - tanh(x)."""
        (x,) = self.typed(name, x)
        return self._binary(x, self._activated(x, self.child(name, "tanh"), "TANH"), name, "SUB")

    def threshold(self, x: Tensor, name: str | None, threshold: float, value: float) -> Tensor:
        """`F.threshold`: x where it is greater than the threshold, else the value."""
        (x,) = self.typed(name, x)
        return self.where(self._binary(x, threshold, self.child(name, "beyond"), "GREATER"), x, value, name)

    def glu(self, x: Tensor, name: str | None = None, dim: int = -1) -> Tensor:
        """`F.glu`: the first half along `dim` times the sigmoid of the second one."""
        path = self.path_of(name)
        axis = axis_of(dim, x, path)
        size = self.known_size(x, axis, path)
        if size % 2:
            raise NetworkError(f"{path}: glu halves axis {axis}, whose size {size} is odd.")
        first, second = self.split(x, self.child(name, "half"), size // 2, axis)
        return self.mul(first, self.sigmoid(second, self.child(name, "sigmoid")), name)

    def softmax(self, x: Tensor, name: str | None = None, *, dim: int) -> Tensor:
        """`F.softmax`, in float32 unless a pattern of the precision spells its name out."""
        (x,) = self.typed(name, x, rule=True)
        layer = self.definition.add_softmax(x)
        layer.axes = 1 << axis_of(dim, x, self.path_of(name))
        return self.layer(layer, name, x)

    def gather(self, x: Tensor, name: str | None, dim: int, index: Tensor) -> Tensor:
        """`torch.gather` of an int32 or int64 index, whose other axes are as long as those of x."""
        layer = self.definition.add_gather_v2(x, index, self.trt.GatherMode.ELEMENT)
        if layer is not None:
            layer.axis = axis_of(dim, x, self.path_of(name))
        return self.layer(layer, name, x, index)

    def matmul(
        self,
        a: Value,
        b: Value,
        name: str | None = None,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Tensor:
        """`torch.matmul` of tensors of rank 2 or more, batch axes broadcast; the last two may be swapped before.

        One of both may be an np.ndarray.
        """
        path, op = self.path_of(name), self.trt.MatrixOperation
        if min(self._rank(a), self._rank(b)) < 2:
            raise NetworkError(
                f"{path}: matmul takes matrices, of rank 2 or more; reshape a vector to a row or column."
            )
        rank = max(self._rank(a), self._rank(b))
        lifted = (self._lift(x, rank, name) if self.is_tensor(x) else with_rank(np.asarray(x), rank) for x in (a, b))
        a, b = self.as_tensors(name, *lifted)
        a, b = (operand.tensor for operand in self.operands(name, "matmul", a, b))
        ops = [op.TRANSPOSE if swapped else op.NONE for swapped in (transpose_a, transpose_b)]
        return self.computed(self.layer(self.definition.add_matrix_multiply(a, ops[0], b, ops[1]), name, a, b))

    def topk(self, x: Tensor, name: str | None, k: int, dim: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
        """`torch.topk`, sorted: values and int32 indices, called `name` and `name.1`. k is at most 3840."""
        op = self.trt.TopKOperation.MAX if largest else self.trt.TopKOperation.MIN
        layer = self.definition.add_topk(x, op, k, 1 << axis_of(dim, x, self.path_of(name)))
        values = self.layer(layer, name, x)
        return values, layer.get_output(1)

    def _activation(self, x: Tensor, name: str | None, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        (x,) = self.typed(name, x)
        return self._activated(x, name, kind, alpha, beta)
