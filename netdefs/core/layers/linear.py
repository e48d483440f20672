"""Linear layers: products with a matrix of weights."""

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.shaping import Shaping
from netdefs.core.scope import Tensor


class Linear(Shaping):
    """Linear layers, whose weights are looked up or given."""

    def linear(self, x: Tensor, name: str | None, out_features: int, bias: bool = True) -> Tensor:
        """`nn.Linear` over the last axis: (..., in_features) -> (..., out_features). Weights: `name.weight`, `bias`."""
        scope = self.module(name)
        in_features = self.known_size(x, len(x.shape) - 1, f"linear {name!r}")
        weight = scope.parameter("weight", (out_features, in_features))
        return self.affine(x, name, weight, scope.parameter("bias", (out_features,)) if bias else None)

    def affine(self, x: Tensor, name: str | None, weight: np.ndarray, bias: np.ndarray | None = None) -> Tensor:
        """`F.linear` with given arrays: x weight^T + bias, over the last axis of x, of rank 2 or more.

        Args:
            weight: (out_features, in_features).
            bias: (out_features,).

        Raises:
            NetworkError: the shapes don't fit.
        """
        path, rank = self.path_of(name), len(x.shape)
        size = self.known_size(x, rank - 1, f"linear {name!r}") if rank else 0
        fits = weight.ndim == 2 and weight.shape[1] == size and (bias is None or bias.shape == weight.shape[:1])
        if rank < 2 or not fits:
            shapes = f"a weight {weight.shape}{'' if bias is None else f' and a bias {bias.shape}'}"
            raise NetworkError(f"{path}: {shapes} don't fit x of shape {tuple(x.shape)}, which needs rank 2 or more.")
        ones = (1,) * (rank - 2)
        op = self.trt.MatrixOperation
        weight = weight.reshape(*ones, *weight.shape)
        (operand,) = self.operands(name, "linear", x)
        x, key = operand.tensor, self.child(name, "weight")
        if operand.kind is None:
            kernel = self.constant(weight, key, like=x)
        else:
            kernel = self.quantized_weight(path, weight, self.path_of(key), rank - 2, operand)
        product = self.definition.add_matrix_multiply(x, op.NONE, kernel, op.TRANSPOSE)
        out = self.computed(self.layer(product, self.child(name, "matmul") if bias is not None else name, x, kernel))
        if bias is None:
            return out
        shift = self.constant(bias.reshape(*ones, 1, -1), self.child(name, "bias"), like=x)
        total = self.definition.add_elementwise(out, shift, self.trt.ElementWiseOperation.SUM)
        return self.computed(self.layer(total, name, out, shift))
