"""Which way a module went where its own code asked for a size: a trace has that way alone."""

import dataclasses
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from netdefs.core.optional import require
from netdefs.scaffold.program import Arg, Value
from netdefs.scaffold.sizes import resolve

LARGER = ((32, 64), (64, 32), (128, 64))  # by how much other pictures are higher and wider: sizes that are likely
OTHERS = (*LARGER, (1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (-8, -8))  # and some that are not
OURS = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A condition that held when a module was traced.

    Attributes:
        holds: a relation of sizes, of sympy's.
        where: the line that asked, as "mobilevit.py, line 252".
    """

    holds: Any
    where: str

    @property
    def otherwise(self) -> str:
        """The relation where it does not hold, as Python writes it."""
        return {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}[self.holds.rel_op]

    def sides(self, x: Value) -> tuple[Arg, Arg] | None:
        """Both sides of the relation, told from the shape of x; None if they can't be."""
        left, right = resolve(self.holds.lhs, [x]), resolve(self.holds.rhs, [x])
        return None if left is None or right is None else (left, right)

    def axes(self, x: Value) -> list[int]:
        """The axes of x whose sizes it is about."""
        symbols = self.holds.free_symbols
        return [i for i, size in enumerate(x.shape) if not symbols.isdisjoint(getattr(size, "free_symbols", ()))]


def choices_of(inputs: Sequence[Any]) -> list[Choice]:
    """What a module's own code, not torch's, asked of height and width, if the answer differs for other pictures.

    Args:
        inputs: the fake tensors that the trace was made with.
    """
    sizes = [n for each in inputs if len(each.shape) == 4 for n in each.shape[2:] if hasattr(n, "node")]
    if not sizes:
        return []
    environment = sizes[0].node.shape_env
    others = list(_others(inputs, environment))
    symbols = set().union(*(n.node.expr.free_symbols for n in sizes))
    found: dict[Choice, None] = {}
    for guard in environment.guards:
        holds = environment.replace(guard.expr)
        where = _asked(guard.sloc.framework_loc)
        if not where or not getattr(holds, "is_Relational", False) or not holds.free_symbols <= symbols:
            continue
        if not all(holds.subs(other) for other in others):
            found[Choice(holds, where)] = None
    return list(found)


def _others(inputs: Iterable[Any], environment: Any) -> Iterable[dict[Any, int]]:
    """Pictures of other sizes: symbol -> its size."""
    for more in OTHERS:
        sizes: dict[Any, int] = {}
        for each in inputs:
            for n, change in zip(each.shape[2:], more, strict=False):
                if hasattr(n, "node") and n.node.expr.is_symbol:
                    sizes[n.node.expr] = int(environment.backed_var_to_val[n.node.expr]) + change
        yield sizes


def _asked(frame: Any) -> str:
    """The line of code that asked; empty if that was torch's or ours."""
    if not isinstance(frame, traceback.FrameSummary):
        return ""
    return f"{Path(frame.filename).name}, line {frame.lineno}" if is_own(frame.filename) else ""


def is_own(file: str) -> bool:
    """Whether a file is of a module's own code, neither torch's nor ours."""
    torch = Path(str(require("torch", "torch").__file__)).parent
    return not any(Path(file).is_relative_to(folder) for folder in (torch, OURS))
