"""`Row`: one tensor of the network against PyTorch's."""

import dataclasses
import math
from typing import Any

from netdefs.debug.causes import Cause
from netdefs.debug.details import Details
from netdefs.debug.metrics import Metrics


@dataclasses.dataclass(frozen=True)
class Over:
    """A row over several inputs.

    Attributes:
        inputs: how many.
        wrong: in how many of them it is wrong.
        chained_mean, isolated_mean: the mean of the relative errors; None if there are none.
    """

    inputs: int
    wrong: int
    chained_mean: float | None
    isolated_mean: float | None


@dataclasses.dataclass
class Row:
    """One tensor of the network against PyTorch's.

    Attributes:
        name: the tensor, which is the layer and the PyTorch module; for an output its name.
        kind: "layer" or "output".
        module_type: the module's class; empty for an output.
        layer_type: what computes it in the network.
        shape: PyTorch's.
        dtype: the network's.
        chained: fed by its own predecessors; None if that was not asked for, or if the shape is not PyTorch's.
        isolated: fed PyTorch's values; likewise.
        chained_shape, isolated_shape: the network's shape where that is not PyTorch's.
        isolated_error: why it can't be computed from PyTorch's values, where it can't.
        fed: what it was computed from when isolated.
        via: layers in between that no module shows: an error of its own may also be theirs.
        given: what PyTorch feeds the first wrong layer in place of `fed`: a module's name, or "something else".
        cause: why it is wrong, if it is one of the first that are wrong by themselves.
        floor: what rounding alone may add to a value.
        worst_input: of several inputs, the position of the one that the numbers are of: `Report.labels` has its name.
        over: of several inputs, in how many it is wrong, and the mean error.
        yardstick: the relative error of PyTorch itself in the network's precision, if `compare` was asked for it.
        chained_details, isolated_details: where and how it differs, if `compare` was asked for details.
    """

    name: str
    kind: str
    module_type: str
    layer_type: str
    shape: tuple[int, ...]
    dtype: str
    chained: Metrics | None = None
    isolated: Metrics | None = None
    chained_shape: tuple[int, ...] | None = None
    isolated_shape: tuple[int, ...] | None = None
    isolated_error: str = ""
    fed: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    given: str = ""
    cause: Cause | None = None
    floor: float = 0.0
    worst_input: int = 0
    over: Over | None = None
    yardstick: float | None = None
    chained_details: Details | None = None
    isolated_details: Details | None = None

    @property
    def type(self) -> str:
        """The module's class and the network's layer type: "Conv2d, convolution"."""
        return ", ".join(part for part in (self.module_type, self.layer_type) if part)

    @property
    def verdict(self) -> str:
        """One of four words.

        "ok"; "own error": wrong even when fed PyTorch's values; "inherited": wrong only when chained; "wrong": it is,
        and whose error that is was not asked or can't be told.
        """
        if self.isolated_shape is not None or (self.isolated is not None and not self.isolated.ok):
            return "own error"
        wrong = self.chained_shape is not None or (self.chained is not None and not self.chained.ok)
        if not wrong:
            return "wrong" if self.isolated_error and self.chained is None else "ok"
        return "inherited" if self.isolated is not None else "wrong"

    @property
    def ok(self) -> bool:
        """Whether it agrees, in every way that was asked for."""
        return self.verdict == "ok"

    @property
    def void(self) -> bool:
        """Whether PyTorch's values are all NaN or infinite, so that agreeing with them says nothing."""
        metrics = self.chained or self.isolated
        return metrics is not None and 0 < math.prod(self.shape) == metrics.expected_nan + metrics.expected_inf

    def to_dict(self) -> dict[str, Any]:
        """Its fields and verdict, for JSON."""
        return {**dataclasses.asdict(self), "type": self.type, "verdict": self.verdict}
