"""Normalization: by layer, group, instance, root mean square, and over neighboring channels; all in float32 by rule."""

from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.operands import Operands
from netdefs.core.layers.reshaping import sizes_of
from netdefs.core.scope import Tensor, configure, describe


class Normalization(Operands):
    """Layers that bring values to a common scale, by statistics of those values themselves."""

    def layer_norm(
        self,
        x: Tensor,
        name: str | None,
        dim: int | Sequence[int] = -1,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> Tensor:
        """`nn.LayerNorm` over one or several axes of fixed sizes. Weights: `name.weight`, `name.bias`.

        PyTorch's are the last axes, as many as its `normalized_shape` has sizes; others work as well.
        """
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, x, rule=True)
        scale = self._affine(x, name, "weight", axes, 1.0, given=elementwise_affine)
        shift = self._affine(x, name, "bias", axes, 0.0, given=elementwise_affine and bias)
        return self._normalized(x, name, scale, shift, axes, eps)

    def rms_norm(
        self,
        x: Tensor,
        name: str | None,
        dim: int | Sequence[int] = -1,
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> Tensor:
        """`nn.RMSNorm` (https://arxiv.org/abs/1910.07467): x / sqrt(mean of x^2 + eps). Weights: `name.weight`.

        The axes are as `layer_norm`'s. Without `eps` it is float32's, 2^-23, as in PyTorch.
        """
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, x, rule=True)
        squares = self._binary(x, x, self.child(name, "squares"), "PROD")
        mean = self._reduced(squares, self.child(name, "mean"), "AVG", axes, True)
        least = float(np.finfo(np.float32).eps) if eps is None else eps
        root = self._unary(self._binary(mean, least, self.child(name, "eps"), "SUM"), self.child(name, "root"), "SQRT")
        if not elementwise_affine:
            return self._binary(x, root, name, "DIV")
        scale = self._affine(x, name, "weight", axes, 1.0, given=True)
        return self._binary(self._binary(x, root, self.child(name, "normalized"), "DIV"), scale, name, "PROD")

    def group_norm(
        self, x: Tensor, name: str | None, num_groups: int, eps: float = 1e-5, affine: bool = True
    ) -> Tensor:
        """`nn.GroupNorm` of (N, C, ...). Weights: `name.weight`, `name.bias`.

        Raises:
            NetworkError: the groups don't divide the channels.
        """
        path, rank = self.path_of(name), len(x.shape)
        channels = self.known_size(x, 1, f"group_norm {path!r}") if rank > 1 else 0
        if num_groups < 1 or not channels or channels % num_groups:
            raise NetworkError(
                f"{path}: group_norm in {num_groups} groups needs a multiple of channels: {describe(x)}."
            )
        if rank == 2:  # the layer wants an axis behind the channels
            x = self._reshape(x, self.child(name, "column"), [*sizes_of(x), 1])
            inner = self.child(name, "norm")
            return self._reshape(self._grouped(x, inner, name, num_groups, eps, affine), name, sizes_of(x)[:2])
        return self._grouped(x, name, name, num_groups, eps, affine)

    def instance_norm(self, x: Tensor, name: str | None, eps: float = 1e-5, affine: bool = False) -> Tensor:
        """`nn.InstanceNorm*d` of (N, C, ...), by the statistics of x. Weights: `name.weight`, `name.bias`.

        Raises:
            NetworkError: there are no axes behind the channels.
        """
        rank = len(x.shape)
        if rank < 3:
            raise NetworkError(f"{self.path_of(name)}: instance_norm needs axes behind the channels: {describe(x)}.")
        (x,) = self.typed(name, x, rule=True)
        scale = self._affine(x, name, "weight", [1], 1.0, given=affine)
        shift = self._affine(x, name, "bias", [1], 0.0, given=affine)
        return self._normalized(x, name, scale, shift, list(range(2, rank)), eps)

    def local_response_norm(
        self, x: Tensor, name: str | None, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> Tensor:
        """`nn.LocalResponseNorm` of (N, C, H, W): x / (k + alpha * mean of x^2 over `size` channels)^beta.

        Raises:
            NetworkError: TensorRT has no such layer: the size is even or not from 1 to 15, or x no picture.
        """
        if size not in range(1, 16, 2) or len(x.shape) != 4:
            raise NetworkError(
                f"{self.path_of(name)}: TensorRT's local_response_norm takes an odd size up to 15 and (N, C, H, W), "
                f"not size={size} and {describe(x)}."
            )
        (x,) = self.typed(name, x, rule=True)
        return self.layer(self.definition.add_lrn(x, size, alpha, beta, k), name, x)

    def _grouped(
        self, x: Tensor, name: str | None, module: str | None, groups: int, eps: float, affine: bool
    ) -> Tensor:
        """A group norm of rank 3 or more, called `name`, of the module `module`."""
        rank = len(x.shape)
        axes = list(range(1 if groups == 1 else 2, rank))  # one group is a layer norm; without any it is by instance
        (x,) = self.typed(module, x, rule=True)
        scale = self._affine(x, module, "weight", [1], 1.0, given=affine)
        shift = self._affine(x, module, "bias", [1], 0.0, given=affine)
        if groups == 1 or hasattr(self.definition, "add_normalization_v2"):
            return self._normalized(x, name, scale, shift, axes, eps, groups)
        # TensorRT before 10.15 scales groups, not channels.
        per_group = [1, groups, *[1] * (rank - 2)]
        one, zero = (
            self.constant(np.full(per_group, value), self.child(module, f"groups.{key}"), like=x)
            for key, value in (("weight", 1.0), ("bias", 0.0))
        )
        out = self._normalized(x, self.child(module, "groups"), one, zero, axes, eps, groups)
        return self._binary(self._binary(out, scale, self.child(module, "scaled"), "PROD"), shift, name, "SUM")

    def _normalized(
        self, x: Tensor, name: str | None, scale: Tensor, shift: Tensor, axes: list[int], eps: float, groups: int = 1
    ) -> Tensor:
        """TensorRT's normalization layer, which has two forms where it knows groups."""
        mask = sum(1 << axis for axis in axes)
        plain, definition = self.definition.add_normalization, self.definition
        add = getattr(definition, "add_normalization_v2", plain) if groups > 1 else plain
        layer = add(x, scale, shift, mask)
        configure(layer, epsilon=eps, num_groups=groups)
        return self.layer(layer, name, x)

    def _affine(
        self, x: Tensor, name: str | None, key: str, axes: Sequence[int], default: float, given: bool
    ) -> Tensor:
        """A weight of the module `name`, of x's sizes along some axes, as a constant; or `default` if it has none."""
        path = self.path_of(name)
        sizes = {axis: self.known_size(x, axis, f"the norm {path!r}") for axis in axes}
        shape = [sizes.get(axis, 1) for axis in range(len(x.shape))]
        array = self.module(name).parameter(key, tuple(sizes.values())).reshape(shape) if given else None
        return self.constant(np.full(shape, default) if array is None else array, self.child(name, key), like=x)
