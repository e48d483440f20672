"""Layers that make one value of many: reductions; and cumulative sums, log-softmax."""

import math

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.arithmetic import Arithmetic
from netdefs.core.layers.operands import Dims
from netdefs.core.layers.reshaping import axis_of, sizes_of
from netdefs.core.scope import Tensor, describe


class Reductions(Arithmetic):
    """Layers along axes. `dim` is an axis, several, or None for all, as in PyTorch; `name=None` is the scope's name.

    Sums of many values, and of their squares, are in float32 unless a pattern of the precision spells the name out.
    """

    def mean(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.mean` of floating-point numbers."""
        axes = self._axes(dim, x, name)
        if not self.is_float(x):
            raise NetworkError(
                f"{self.path_of(name)}: {describe(x)} has no mean in PyTorch: cast it to float32 before."
            )
        (x,) = self.typed(name, x)
        return self._reduced(x, name, "AVG", axes, keepdim)

    def sum(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.sum`; booleans are counted, as int32."""
        return self._total(x, name, "SUM", dim, keepdim)

    def prod(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.prod`."""
        return self._total(x, name, "PROD", dim, keepdim)

    def amax(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.amax`."""
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, x)
        return self._reduced(x, name, "MAX", axes, keepdim)

    def amin(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.amin`."""
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, x)
        return self._reduced(x, name, "MIN", axes, keepdim)

    def var(
        self,
        x: Tensor,
        name: str | None = None,
        dim: Dims = None,
        correction: float = 1,
        keepdim: bool = False,
    ) -> Tensor:
        """`torch.var`. With a correction other than 0 the sizes of the axes must be fixed.

        Raises:
            NetworkError: the axes have no more values than the correction.
        """
        (x,) = self.typed(name, x, rule=True)
        return self._variance(x, name, dim, correction, keepdim)

    def std(
        self,
        x: Tensor,
        name: str | None = None,
        dim: Dims = None,
        correction: float = 1,
        keepdim: bool = False,
    ) -> Tensor:
        """`torch.std`: the root of `var`."""
        (x,) = self.typed(name, x, rule=True)
        return self._unary(self._variance(x, self.child(name, "var"), dim, correction, keepdim), name, "SQRT")

    def norm(
        self, x: Tensor, name: str | None = None, p: float = 2.0, dim: Dims = None, keepdim: bool = False
    ) -> Tensor:
        """`torch.linalg.vector_norm`: (sum of |x|^p)^(1/p); with p = inf or -inf the largest or smallest |x|."""
        if not p > 0 and p != -math.inf:
            raise NetworkError(f"{self.path_of(name)}: norm's p must be positive or -inf; it is {p}.")
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, self._floats(x, name), rule=True)
        if p == 2:
            squares = self._binary(x, x, self.child(name, "squares"), "PROD")
            return self._unary(self._reduced(squares, self.child(name, "total"), "SUM", axes, keepdim), name, "SQRT")
        sizes = self._unary(x, self.child(name, "abs"), "ABS")
        if math.isinf(p) or p == 1:
            return self._reduced(sizes, name, "SUM" if p == 1 else "MAX" if p > 0 else "MIN", axes, keepdim)
        powers = self._binary(sizes, p, self.child(name, "powers"), "POW")
        total = self._reduced(powers, self.child(name, "total"), "SUM", axes, keepdim)
        return self._binary(total, 1 / p, name, "POW")

    def logsumexp(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.logsumexp`: log(sum(exp(x)))."""
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, x, rule=True)
        largest, _, log = self._log_sum(x, name, axes)
        total = self._binary(log, largest, name if keepdim else self.child(name, "kept"), "SUM")
        return total if keepdim else self._without(total, name, axes)

    def log_softmax(self, x: Tensor, name: str | None = None, *, dim: int) -> Tensor:
        """`F.log_softmax`, in float32 unless a pattern of the precision spells its name out."""
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, x, rule=True)
        _, shifted, log = self._log_sum(x, name, axes)
        return self._binary(shifted, log, name, "SUB")

    def argmax(self, x: Tensor, name: str | None = None, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """`torch.argmax`: int32; without `dim`, of all values in a row."""
        return self._best(x, name, "MAX", dim, keepdim)

    def argmin(self, x: Tensor, name: str | None = None, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """`torch.argmin`; see `argmax`."""
        return self._best(x, name, "MIN", dim, keepdim)

    def any(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.any`: a bool tensor; numbers other than 0 are true."""
        return self._quantified(x, name, "MAX", dim, keepdim)

    def all(self, x: Tensor, name: str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """`torch.all`: a bool tensor; numbers other than 0 are true."""
        return self._quantified(x, name, "MIN", dim, keepdim)

    def cumsum(self, x: Tensor, name: str | None, dim: int) -> Tensor:
        """`torch.cumsum`; booleans are counted, as int32.

        Raises:
            NetworkError: this TensorRT is older than 10.8 and has no such layer.
        """
        axis = axis_of(dim, x, self.path_of(name))
        if not hasattr(self.definition, "add_cumulative"):
            raise NetworkError(
                f"{self.path_of(name)}: cumsum needs TensorRT 10.8 or newer, this is {self.trt.__version__}."
            )
        (x,) = self.typed(name, self._counted(x, name), rule=True)
        along = self.constant(np.array(axis, np.int32), self.child(name, "axis"))
        layer = self.definition.add_cumulative(x, along, self.trt.CumulativeOperation.SUM, False, False)
        return self.layer(layer, name, x)

    def _total(self, x: Tensor, name: str | None, kind: str, dim: Dims, keepdim: bool) -> Tensor:
        axes = self._axes(dim, x, name)
        (x,) = self.typed(name, self._counted(x, name), rule=True)
        return self._reduced(x, name, kind, axes, keepdim)

    def _counted(self, x: Tensor, name: str | None) -> Tensor:
        """`x`, booleans as int32."""
        return self.cast(x, self._fresh(name, "int32"), self.trt.int32) if x.dtype == self.trt.bool else x

    def _variance(self, x: Tensor, name: str | None, dim: Dims, correction: float, keepdim: bool) -> Tensor:
        path, axes = self.path_of(name), self._axes(dim, x, name)
        count = math.prod(self.known_size(x, axis, path) for axis in axes) if correction else 0
        if correction and count <= correction:
            raise NetworkError(f"{path}: {count} values have no variance with correction={correction}.")
        mean = self._reduced(x, self.child(name, "mean"), "AVG", axes, True)
        centered = self._binary(x, mean, self.child(name, "centered"), "SUB")
        squares = self._binary(centered, centered, self.child(name, "squares"), "PROD")
        if not correction:
            return self._reduced(squares, name, "AVG", axes, keepdim)
        biased = self._reduced(squares, self.child(name, "biased"), "AVG", axes, keepdim)
        return self._binary(biased, count / (count - correction), name, "PROD")

    def _log_sum(self, x: Tensor, name: str | None, axes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """The largest value m along axes, x - m, and log(sum(exp(x - m))), which can't overflow."""
        largest = self._reduced(x, self.child(name, "largest"), "MAX", axes, True)
        shifted = self._binary(x, largest, self.child(name, "shifted"), "SUB")
        powers = self._unary(shifted, self.child(name, "exp"), "EXP")
        total = self._reduced(powers, self.child(name, "total"), "SUM", axes, True)
        return largest, shifted, self._unary(total, self.child(name, "log"), "LOG")

    def _without(self, x: Tensor, name: str | None, axes: list[int]) -> Tensor:
        """`x` without axes of size 1."""
        return self._reshape(x, name, [size for axis, size in enumerate(sizes_of(x)) if axis not in axes])

    def _best(self, x: Tensor, name: str | None, kind: str, dim: int | None, keepdim: bool) -> Tensor:
        rank, x = len(x.shape), self._counted(x, name)
        axis = 1 if dim is None else axis_of(dim, x, self.path_of(name))
        if dim is None or rank == 1:  # the layer wants two axes
            axis, x = 1, self._reshape(x, self.child(name, "row"), [1, -1])
        layer = self.definition.add_topk(x, getattr(self.trt.TopKOperation, kind), 1, 1 << axis)
        self.layer(layer, self.child(name, "top"), x)
        indices = layer.get_output(1)
        if dim is None or rank == 1:
            return self._reshape(indices, name, [1] * rank if keepdim else [])
        if keepdim:
            return self.layer(self.definition.add_identity(indices), name, indices)
        return self._without(indices, name, [axis])

    def _quantified(self, x: Tensor, name: str | None, kind: str, dim: Dims, keepdim: bool) -> Tensor:
        axes = self._axes(dim, x, name)
        truth = x if x.dtype == self.trt.bool else self.ne(x, 0, self.child(name, "true"))
        found = self._reduced(self._counted(truth, name), self.child(name, "count"), kind, axes, keepdim)
        return self.layer(self.definition.add_cast(found, self.trt.bool), name, found)
