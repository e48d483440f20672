"""Two traces of a module, with batches of 2 and of 3, as one: of modules that turn the batch into a Python int.

`x.reshape(len(x), ...)` fixes the batch while PyTorch traces it. Where the sizes of the two traces differ there is the
batch: the first trace gets a symbol there.
"""

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from netdefs.core.errors import NetdefsError
from netdefs.core.optional import require
from netdefs.scaffold.sizes import plain

SMALL = 2
LARGE = SMALL + 1


class BatchError(NetdefsError):
    """Two traces differ in more than sizes."""


class Size:
    """A size that depends on the batch, as PyTorch's own symbolic ones are read: by `node.expr`."""

    def __init__(self, expr: Any) -> None:
        self.node = SimpleNamespace(expr=expr)

    def __eq__(self, other: object) -> bool:
        return bool(plain(other) == self.node.expr)

    def __hash__(self) -> int:
        return hash(self.node.expr)

    def __repr__(self) -> str:
        return str(self.node.expr)


@dataclasses.dataclass
class Shaped:
    """The shape and type of what a node gives."""

    shape: tuple[Any, ...]
    dtype: Any


def of_size(inputs: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Inputs with a batch of another size: the first ones, and these over again."""
    torch = require("torch", "torch")
    return {name: torch.cat([value] * -(-count // len(value)))[:count] for name, value in inputs.items()}


def merge(small: Any, large: Any) -> Any:
    """The symbol of the batch, after the graph `small` got it wherever its sizes differ from those of `large`.

    Raises:
        BatchError: the graphs differ in more than sizes, or in sizes that do not grow with the batch.
    """
    symbol = require("sympy", "torch").Symbol("batch", positive=True, integer=True)
    if len(small.nodes) != len(large.nodes):
        raise BatchError("the number of its operators depends on the number of pictures.")
    for a, b in zip(small.nodes, large.nodes, strict=True):
        if str(a.target) != str(b.target):
            raise BatchError("which operators it calls depends on the number of pictures.")
        if "val" in a.meta:
            a.meta["val"] = _value(a.meta["val"], b.meta["val"], symbol)
        a.args = _argument(a.args, b.args, symbol)
        a.kwargs = _argument(a.kwargs, b.kwargs, symbol)
    return symbol


def _value(a: Any, b: Any, symbol: Any) -> Any:
    if isinstance(a, tuple | list):
        return type(a)(_value(x, y, symbol) for x, y in zip(a, b, strict=True))
    if not hasattr(a, "shape"):
        return _size(a, b, symbol)
    if len(a.shape) != len(b.shape):
        raise BatchError("the rank of a value depends on the number of pictures.")
    return Shaped(tuple(_size(x, y, symbol) for x, y in zip(a.shape, b.shape, strict=True)), a.dtype)


def _argument(a: Any, b: Any, symbol: Any) -> Any:
    if isinstance(a, dict):
        return {key: _argument(value, b[key], symbol) for key, value in a.items()}
    if isinstance(a, tuple | list):
        if len(a) != len(b):
            raise BatchError("how many values an operator takes depends on the number of pictures.")
        return type(a)(_argument(x, y, symbol) for x, y in zip(a, b, strict=True))
    if isinstance(a, int) and not isinstance(a, bool):
        return _size(a, b, symbol)
    if isinstance(a, float) and a != b:
        raise BatchError(f"it computes with {a} pictures.")
    return a


def _size(a: Any, b: Any, symbol: Any) -> Any:
    """What is `a` with the small batch and `b` with the large one."""
    first, second = plain(a), plain(b)
    if first is None or first == second:
        return a
    expr = (second - first) * (symbol - SMALL) + first
    if getattr(expr, "is_integer", None) is False:
        raise BatchError(f"a size is {first} for {SMALL} pictures and {second} for {LARGE}.")
    return Size(expr.expand())
