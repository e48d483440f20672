"""The tables of what lowers each of ATen's operators, and what a lowering raises where it can't."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from netdefs.core.errors import NetdefsError

if TYPE_CHECKING:
    from netdefs.scaffold.ops.op import Op

Lowering = Callable[["Op"], Any]
LOWERINGS: dict[str, Lowering] = {}  # of tensors: the operator's name -> what adds its statement and gives its result
ARRAYS: dict[str, Lowering] = {}  # of arrays that are known while the network is defined


class OpenSize(NetdefsError):
    """A size can't be told from the shapes at hand."""


class Unsupported(NetdefsError):
    """An operator, or a use of it, that can't be expressed; the message is the reason."""


def lowers(*operators: str) -> Callable[[Lowering], Lowering]:
    """Declares what lowers these operators, such as "aten.relu.default", on tensors of the network."""

    def declare(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(operators, function))
        return function

    return declare


def computes(*operators: str) -> Callable[[Lowering], Lowering]:
    """Declares what lowers these operators where all that they are given is known while the network is defined."""

    def declare(function: Lowering) -> Lowering:
        ARRAYS.update(dict.fromkeys(operators, function))
        return function

    return declare
