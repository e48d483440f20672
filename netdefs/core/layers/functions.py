"""Functions of one tensor, value by value: exponentials, roots, angles, rounding."""

from netdefs.core.layers.arithmetic import Arithmetic
from netdefs.core.scope import Tensor


class Functions(Arithmetic):
    """PyTorch's functions of real numbers; integers become float32 in those that don't keep them."""

    def exp(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.exp`."""
        return self._function(x, name, "EXP")

    def log(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.log`."""
        return self._function(x, name, "LOG")

    def sqrt(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.sqrt`."""
        return self._function(x, name, "SQRT")

    def rsqrt(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.rsqrt`: 1 / sqrt(x)."""
        (x,) = self.typed(name, self._floats(x, name))
        return self._unary(self._unary(x, self.child(name, "sqrt"), "SQRT"), name, "RECIP")

    def reciprocal(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.reciprocal`: 1 / x."""
        return self._function(x, name, "RECIP")

    def square(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.square`."""
        return self.pow(x, 2, name)

    def erf(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.erf`."""
        return self._function(x, name, "ERF")

    def sin(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.sin`."""
        return self._function(x, name, "SIN")

    def cos(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.cos`."""
        return self._function(x, name, "COS")

    def tan(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.tan`."""
        return self._function(x, name, "TAN")

    def atan(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.atan`."""
        return self._function(x, name, "ATAN")

    def abs(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.abs`; integers stay such, here and in the functions below."""
        return self._kept(x, name, "ABS")

    def neg(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.neg`."""
        return self._kept(x, name, "NEG")

    def sign(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.sign`."""
        return self._kept(x, name, "SIGN")

    def floor(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.floor`."""
        return self._rounded(x, name, "FLOOR")

    def ceil(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.ceil`."""
        return self._rounded(x, name, "CEIL")

    def round(self, x: Tensor, name: str | None = None) -> Tensor:
        """`torch.round` to whole numbers, halves to even ones."""
        return self._rounded(x, name, "ROUND")

    def _function(self, x: Tensor, name: str | None, kind: str) -> Tensor:
        (x,) = self.typed(name, self._floats(x, name))
        return self._unary(x, name, kind)

    def _kept(self, x: Tensor, name: str | None, kind: str) -> Tensor:
        (x,) = self.typed(name, x)
        return self._unary(x, name, kind)

    def _rounded(self, x: Tensor, name: str | None, kind: str) -> Tensor:
        return self._kept(x, name, kind) if self.is_float(x) else self.identity(x, name)
