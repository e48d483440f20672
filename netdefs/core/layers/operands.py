"""What layers that compute value by value are made of: operands of one rank and type, and the bare layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.reshaping import axes_of, sizes_of
from netdefs.core.layers.shaping import Shaping
from netdefs.core.scope import Tensor

Value = Any  # an operand: a tensor, an np.ndarray, or a number; one operand of a layer at least is a tensor
Dims = int | Sequence[int] | None  # axes that may count from the end; None is all of them

LARGEST_HALF = 65504.0
BOOL, INT, FLOAT = range(3)  # PyTorch's categories of types: of two, the later one is the result's


class Operands(Shaping):
    """Operands as PyTorch promotes and broadcasts them, and layers without a rule of their own about types."""

    def _values(
        self,
        name: str | None,
        *operands: Value,
        least: int = BOOL,
        rank: int = 0,
        rule: bool = False,
        clips: bool = False,
    ) -> list[Tensor]:
        """Operands of the layer `name` as tensors of one rank and of the layer's type.

        Args:
            name: of the layer in this scope.
            operands: tensors, arrays and numbers.
            least: the lowest category that their type may have.
            rank: the lowest rank that they may have.
            rule: see `typed`.
            clips: numbers that half precision does not hold become its largest one, instead of an error.

        Raises:
            NetworkError: none of them is a tensor, or one is of no known kind.
        """
        path = self.path_of(name)
        kind = max(least, *(self._category(value, path) for value in operands))
        tensors = self._promoted([value for value in operands if self.is_tensor(value)], kind, name)
        if not tensors:
            raise NetworkError(f"{path}: one operand must be a tensor of the network; with arrays alone use numpy.")
        rank = max([rank, *map(self._rank, operands)])
        tensors = self.typed(name, *(self._lift(x, rank, name) for x in tensors), rule=rule)
        like, left, made = tensors[0], iter(tensors), []
        for value in operands:
            if self.is_tensor(value):
                made.append(next(left))
                continue
            array = np.asarray(value)
            if clips and like.dtype == self.trt.float16:
                array = within_half(array)
            made.append(self.constant(with_rank(array, rank), self._fresh(name, "constant"), like=like))
        return made

    def is_tensor(self, value: Value) -> bool:
        """Whether an operand is a tensor of a network, not an array or a number."""
        return isinstance(value, self.trt.ITensor)

    def _floats(self, x: Tensor, name: str | None) -> Tensor:
        """`x`, in float32 if it holds integers or booleans: what PyTorch's functions of real numbers do with these."""
        return x if self.is_float(x) else self.cast(x, self._fresh(name, "float"), self.trt.float32)

    def _fresh(self, name: str | None, suffix: str) -> str:
        """The name of an inner layer of the primitive `name`, with a number if the primitive has that one already."""
        child, i = self.child(name, suffix), 0
        while self.path_of(child) in self.names:
            i += 1
            child = self.child(name, f"{suffix}.{i}")
        return child

    def _axes(self, dim: Dims, x: Tensor, name: str | None) -> list[int]:
        """The axes that PyTorch's `dim` stands for, in rising order.

        Raises:
            NetworkError: one is out of range or there twice, or there are none.
        """
        path = self.path_of(name)
        found = sorted(axes_of(range(len(x.shape)) if dim is None else dim, x, path))
        if not found:
            raise NetworkError(f"{path}: dim={dim} names no axis of {tuple(x.shape)}; None stands for all of them.")
        return found

    def _unary(self, x: Tensor, name: str | None, kind: str) -> Tensor:
        """A unary layer, in the type of x."""
        return self.layer(self.definition.add_unary(x, getattr(self.trt.UnaryOperation, kind)), name, x)

    def _binary(self, a: Tensor, b: Tensor | float, name: str | None, kind: str) -> Tensor:
        """An elementwise layer of two tensors of one rank and type, or of one and a number."""
        if not self.is_tensor(b):
            b = self.constant(np.full((1,) * len(a.shape), b), self._fresh(name, "constant"), like=a)
        layer = self.definition.add_elementwise(a, b, getattr(self.trt.ElementWiseOperation, kind))
        return self.layer(layer, name, a, b)

    def _reduced(self, x: Tensor, name: str | None, kind: str, axes: Sequence[int], keepdim: bool) -> Tensor:
        """A reduction, in the type of x."""
        mask = sum(1 << axis for axis in axes)
        return self.layer(
            self.definition.add_reduce(x, getattr(self.trt.ReduceOperation, kind), mask, keepdim), name, x
        )

    def _activated(self, x: Tensor, name: str | None, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        """An activation, in the type of x."""
        layer = self.definition.add_activation(x, getattr(self.trt.ActivationType, kind))
        if layer is not None:
            layer.alpha, layer.beta = alpha, beta  # always: TensorRT's defaults differ from type to type
        return self.derived(self.layer(layer, name, x), x)

    def _category(self, value: Value, path: str) -> int:
        trt = self.trt
        if self.is_tensor(value):
            return FLOAT if self.is_float(value) else BOOL if value.dtype == trt.bool else INT
        if isinstance(value, np.ndarray | np.generic | int | float):
            found = {"b": BOOL, "i": INT, "u": INT, "f": FLOAT}.get(np.asarray(value).dtype.kind)
            if found is not None:
                return found
        raise NetworkError(f"{path}: an operand is a tensor, an array of numbers or a number, not {value!r:.80}.")

    def _rank(self, value: Value) -> int:
        return len(value.shape) if self.is_tensor(value) else int(np.ndim(value))

    def _promoted(self, tensors: list[Tensor], kind: int, name: str | None) -> list[Tensor]:
        """Tensors of one category; of integers, also of one type."""
        trt = self.trt
        if kind == FLOAT:
            like = next((x for x in tensors if self.is_float(x)), None)
            return [self._to_float(x, like, name) for x in tensors]
        if kind == BOOL:
            return tensors
        wide = any(x.dtype == trt.int64 for x in tensors)
        dtype = trt.int64 if wide else trt.int32
        return [self.cast(x, self._fresh(name, dtype.name.lower()), dtype) if x.dtype != dtype else x for x in tensors]

    def _to_float(self, x: Tensor, like: Tensor | None, name: str | None) -> Tensor:
        """`x` in floating point: of the type of `like`, and as much the network's choice as that is."""
        if like is None or self.is_float(x):
            return self._floats(x, name)
        cast = self.layer(self.definition.add_cast(x, like.dtype), self._fresh(name, "float"), x)
        return cast if self.fixed(like) else self.chosen(cast)

    def _lift(self, x: Tensor, rank: int, name: str | None) -> Tensor:
        """TensorRT broadcasts only tensors of equal rank; PyTorch puts axes of size 1 in front of the smaller one."""
        if len(x.shape) == rank:
            return x
        return self._reshape(x, self._fresh(name, "lift"), [1] * (rank - len(x.shape)) + sizes_of(x))


def within_half(array: np.ndarray) -> np.ndarray:
    """An array, its finite values clipped to what half precision holds."""
    return np.where(np.isfinite(array), np.clip(array, -LARGEST_HALF, LARGEST_HALF), array)


def with_rank(array: np.ndarray, rank: int) -> np.ndarray:
    """An array with axes of size 1 in front of its own."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)
