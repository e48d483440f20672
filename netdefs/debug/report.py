"""`Report`: what a comparison found, a verdict in words first."""

import dataclasses
import json
import math
import os
from typing import Any

from netdefs.core.files import atomic_write
from netdefs.core.version import __version__
from netdefs.debug import verdict, view
from netdefs.debug.causes import Cause
from netdefs.debug.inputs import InputFinding
from netdefs.debug.loaded import WeightsFinding
from netdefs.debug.match import Unmatched
from netdefs.debug.metrics import Metrics, Tolerance


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


@dataclasses.dataclass
class Report:
    """What `compare` found: `print(report)` shows the verdict and the rows that are wrong.

    Attributes:
        name: the network.
        precision: of the network.
        mode: "chained", "isolated" or "both": what was measured.
        tolerance: the relative errors that count as agreement.
        rows: every compared layer and output, in execution order.
        unmatched: modules and layers without a comparable partner, with the reason.
        aliases: modules that return the very tensor of another, compared one.
        folded: convolutions folded into batch norms.
        weights: whether the network has the module's weights.
        inputs: what both sides were given.
        notes: what else the reader should know.
    """

    name: str
    precision: str
    mode: str
    tolerance: Tolerance
    rows: list[Row]
    unmatched: list[Unmatched]
    aliases: dict[str, str]
    folded: dict[str, str]
    weights: WeightsFinding
    inputs: list[InputFinding]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether every compared layer and output agrees, on finite values."""
        return all(row.ok and not row.void for row in self.rows)

    @property
    def bad(self) -> list[Row]:
        """The rows that don't agree, in execution order."""
        return [row for row in self.rows if not row.ok]

    @property
    def first_bad(self) -> Row | None:
        """The first row with an error of its own; if there is none, the first that is wrong; None if all agree."""
        own = next((row for row in self.rows if row.verdict == "own error"), None)
        return own or next(iter(self.bad), None)

    @property
    def cause(self) -> Cause | None:
        """Why the first wrong layer is wrong; None if no layer has an error of its own, or it can't be run alone."""
        return self.first_bad.cause if self.first_bad is not None else None

    @property
    def verdict(self) -> str:
        """The result in a few sentences."""
        return verdict.sentences(self)

    @property
    def answers(self) -> dict[str, str]:
        """The questions that one asks, in order, with their answers in words: from the weights to the likely cause."""
        return verdict.answers(self)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON. Numbers that JSON lacks are the words "inf", "-inf" and "nan"."""
        first = self.first_bad
        content = {
            "netdefs": __version__,
            "network": self.name,
            "precision": self.precision,
            "mode": self.mode,
            "tolerance": dataclasses.asdict(self.tolerance),
            "ok": self.ok,
            "verdict": self.verdict,
            "answers": self.answers,
            "first_bad": first.name if first else None,
            "cause": dataclasses.asdict(self.cause) if self.cause else None,
            "weights": dataclasses.asdict(self.weights),
            "inputs": [dataclasses.asdict(finding) for finding in self.inputs],
            "rows": [row.to_dict() for row in self.rows],
            "unmatched": [dataclasses.asdict(item) for item in self.unmatched],
            "aliases": self.aliases,
            "folded": self.folded,
            "notes": self.notes,
        }
        return _standard(content)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict` as a JSON file, replacing what is there.

        Raises:
            FileError: the file can't be written.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with atomic_write(path) as file:
            file.write(text.encode())

    def print_to(self, console: Any, *, full: bool = False) -> None:
        """Prints the verdict and a table on a rich console: what is wrong and its neighbors, or all with `full`."""
        console.print(view.render(self, full=full))

    def __rich__(self) -> Any:
        return view.render(self)

    def __str__(self) -> str:
        return view.as_text(self)


def _standard(value: Any) -> Any:
    """A value with nothing in it that standard JSON lacks."""
    if isinstance(value, dict):
        return {key: _standard(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
