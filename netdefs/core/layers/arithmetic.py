"""Arithmetic, comparisons, logic and choices of two or three operands, broadcast and promoted as PyTorch does.

An operand is a tensor, an np.ndarray or a number, and one of them at least is a tensor; the others become constants of
its type. Where integers meet floating-point numbers they become such. Integers are int32 unless a tensor is int64.
"""

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.operands import BOOL, FLOAT, INT, Operands, Value, with_rank, within_half
from netdefs.core.scope import Tensor, describe

# What PyTorch makes of arithmetic with booleans alone.
LOGIC = {"SUM": "OR", "MAX": "OR", "PROD": "AND", "MIN": "AND"}


class Arithmetic(Operands):
    """Layers of several operands. `name=None` names the result after the scope itself."""

    def add(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a + b`."""
        if self.is_tensor(a) and self.is_tensor(b):
            a, b = self.residual(a, b, name)
        return self._elementwise(a, b, name, "SUM")

    def sub(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a - b`."""
        return self._elementwise(a, b, name, "SUB", least=INT)

    def mul(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a * b`."""
        return self._elementwise(a, b, name, "PROD")

    def div(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a / b`, in floating point."""
        return self._elementwise(a, b, name, "DIV", least=FLOAT)

    def floor_divide(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.floor_divide`: the quotient rounded down."""
        return self._elementwise(a, b, name, "FLOOR_DIV", least=INT)

    def remainder(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.remainder`, Python's `a % b`: a - b * floor(a / b), of the sign of b."""
        a, b = self._values(name, a, b, least=INT)
        quotient = self._binary(a, b, self.child(name, "quotient"), "FLOOR_DIV")
        multiple = self._binary(quotient, b, self.child(name, "multiple"), "PROD")
        return self._binary(a, multiple, name, "SUB")

    def pow(self, a: Value, exponent: Value, name: str | None = None) -> Tensor:
        """`torch.pow`. Squares are products and the exponent 0.5 a square root."""
        if isinstance(exponent, int | float) and exponent in (2, 0.5) and self.is_tensor(a):
            (a,) = self._values(name, a, least=INT if exponent == 2 else FLOAT)
            return self._binary(a, a, name, "PROD") if exponent == 2 else self._unary(a, name, "SQRT")
        integers = max(self._category(value, self.path_of(name)) for value in (a, exponent)) < FLOAT
        if integers and not self.is_tensor(exponent) and np.min(exponent) < 0:
            raise NetworkError(f"{self.path_of(name)}: integers have no negative powers: cast to float32 before.")
        return self._elementwise(a, exponent, name, "POW", least=INT)

    def minimum(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.minimum`."""
        return self._elementwise(a, b, name, "MIN")

    def maximum(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.maximum`."""
        return self._elementwise(a, b, name, "MAX")

    def clamp(self, x: Tensor, name: str | None = None, min: Value | None = None, max: Value | None = None) -> Tensor:
        """`torch.clamp`: min(max(x, min), max) with one bound or both. Where they cross, it gives `max`.

        Raises:
            NetworkError: there is neither bound.
        """
        bounds = [bound for bound in (min, max) if bound is not None]
        if not bounds:
            raise NetworkError(f"{self.path_of(name)}: clamp needs min, max or both.")
        if len(bounds) == 2 and self.is_float(x) and all(isinstance(bound, int | float) for bound in bounds):
            (x,) = self.typed(name, x)
            if x.dtype == self.trt.float16:
                bounds = [float(within_half(np.array(bound))) for bound in bounds]
            low, high = bounds
            return self._activated(x, name, "CLIP", high if low > high else low, high)
        x, *bounds = self._values(name, x, *bounds, clips=True)
        if len(bounds) == 2:
            return self._binary(self._binary(x, bounds[0], self.child(name, "min"), "MAX"), bounds[1], name, "MIN")
        return self._binary(x, bounds[0], name, "MIN" if min is None else "MAX")

    def eq(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a == b`, a bool tensor, as all comparisons are."""
        return self._elementwise(a, b, name, "EQUAL")

    def ne(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a != b`."""
        a, b = self._values(name, a, b)
        return self._unary(self._binary(a, b, self.child(name, "eq"), "EQUAL"), name, "NOT")

    def gt(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a > b`."""
        return self._elementwise(a, b, name, "GREATER", least=INT)

    def lt(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a < b`."""
        return self._elementwise(a, b, name, "LESS", least=INT)

    def ge(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a >= b`."""
        return self._or_equal(a, b, name, "gt", "GREATER")

    def le(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`a <= b`."""
        return self._or_equal(a, b, name, "lt", "LESS")

    def logical_and(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.logical_and`; numbers other than 0 are true."""
        return self._logical(a, b, name, "AND")

    def logical_or(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.logical_or`; numbers other than 0 are true."""
        return self._logical(a, b, name, "OR")

    def logical_xor(self, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.logical_xor`; numbers other than 0 are true."""
        return self._logical(a, b, name, "XOR")

    def logical_not(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.logical_not`; numbers other than 0 are true."""
        return self._unary(x, name, "NOT") if x.dtype == self.trt.bool else self.eq(x, 0, name)

    def where(self, condition: Value, a: Value, b: Value, name: str | None = None) -> Tensor:
        """`torch.where`: a where the condition is true, else b. The condition is a bool tensor or array.

        A number that half precision does not hold, such as the lowest float32 of a mask, becomes its largest one there.

        Raises:
            NetworkError: the condition is of another type, or nothing is a tensor.
        """
        path, chosen = self.path_of(name), condition
        if self._category(condition, path) != BOOL:
            found = describe(condition) if self.is_tensor(condition) else type(condition).__name__
            raise NetworkError(f"{path}: where needs a condition of booleans, such as gt gives, not {found}.")
        if not self.is_tensor(a) and not self.is_tensor(b):
            a = self._made(a, b, name, condition)
        a, b = self._values(name, a, b, rank=self._rank(condition), clips=True)
        if self.is_tensor(condition):
            chosen = self._lift(condition, len(a.shape), name)
        else:
            chosen = self.constant(with_rank(np.asarray(condition), len(a.shape)), self._fresh(name, "condition"))
        return self.layer(self.definition.add_select(chosen, a, b), name, chosen, a, b)

    def masked_fill(self, x: Tensor, name: str | None, mask: Value, value: Value) -> Tensor:
        """`x.masked_fill(mask, value)`: the value where the mask, of booleans, is true; see `where`."""
        return self.where(mask, value, x, name)

    def _elementwise(self, a: Value, b: Value, name: str | None, kind: str, least: int = BOOL) -> Tensor:
        a, b = self._values(name, a, b, least=least)
        if a.dtype == self.trt.bool:
            kind = LOGIC.get(kind, kind)
        result = self._binary(a, b, name, kind)
        return self.derived(result, a, b) if kind == "PROD" else result

    def _or_equal(self, a: Value, b: Value, name: str | None, what: str, kind: str) -> Tensor:
        """Not the opposite of the other comparison, which would be true of NaN."""
        a, b = self._values(name, a, b, least=INT)
        strict = self._binary(a, b, self.child(name, what), kind)
        return self._binary(strict, self._binary(a, b, self.child(name, "eq"), "EQUAL"), name, "OR")

    def _logical(self, a: Value, b: Value, name: str | None, kind: str) -> Tensor:
        """A layer of truth values."""
        path, both = self.path_of(name), []
        for value in (a, b):
            if self._category(value, path) == BOOL:
                both.append(value)
            elif self.is_tensor(value):
                both.append(self.ne(value, 0, self._fresh(name, "true")))
            else:
                both.append(np.asarray(value) != 0)
        first, second = self._values(name, *both)
        return self._binary(first, second, name, kind)

    def _made(self, a: Value, b: Value, name: str | None, condition: Value) -> Tensor:
        """The choice `a` as a tensor, of the type that PyTorch gives a choice between arrays or numbers."""
        path, trt = self.path_of(name), self.trt
        if not self.is_tensor(condition):
            raise NetworkError(f"{path}: one operand must be a tensor of the network; with arrays alone use numpy.")
        kind = max(self._category(value, path) for value in (a, b))
        base = getattr(trt, self.choice(name).dtype)
        dtype = {BOOL: trt.bool, INT: trt.int32, FLOAT: base}[kind]
        array = np.asarray(a)
        made = self.constant_of(
            within_half(array) if dtype == trt.float16 else array, self._fresh(name, "constant"), dtype
        )
        return self.chosen(made) if kind == FLOAT else made
