"""What the check of a draft found, in words."""

import dataclasses
from pathlib import Path
from typing import Any

from netdefs.debug.report import Report, standard
from netdefs.scaffold.units import Gap


@dataclasses.dataclass
class Checked:
    """One variant of a draft, checked.

    Attributes:
        variant: its name.
        layers: how many layers the network has.
        report: every layer against PyTorch's; None if the network can't even be defined or run.
        error: the largest relative error of an output, fed by its own predecessors; None likewise.
        rounding: how far PyTorch's own outputs in float32 are from those in float64, where outputs may be off for it
            alone; else 0.
        also: further inputs that it agrees on, in words.
        compiled: what compiled it, in words; empty if nothing did.
        problems: what is wrong.
        notes: what was not checked, and why.
    """

    variant: str
    layers: int = 0
    report: Report | None = dataclasses.field(default=None, repr=False)
    error: float | None = None
    rounding: float = 0.0
    also: list[str] = dataclasses.field(default_factory=list)
    compiled: str = ""
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def text(self) -> str:
        """What is wrong with it; or else what was compared."""
        said = list(self.problems)
        if not self.problems and self.report is not None:
            also = f", also with {' and '.join(self.also)}" if self.also else ""
            said.append(
                f"all {len(self.report.rows)} comparable layers and outputs agree with PyTorch's{also}; the largest "
                f"error of an output is {self.error or 0.0:.1e}."
            )
        if not self.problems and self.rounding:
            said.append(f"That is rounding that adds up: PyTorch's own float32 is {self.rounding:.1e} off its float64.")
        if self.compiled:
            said.append(f"Compiled by {self.compiled}.")
        return " ".join([*said, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = {
            "variant": self.variant,
            "clean": not self.problems,
            "layers": self.layers,
            "compared": len(self.report.rows) if self.report is not None else 0,
            "error": self.error,
            "rounding": self.rounding,
            "also": self.also,
            "compiled": self.compiled,
            "problems": self.problems,
            "notes": self.notes,
        }
        return dict(standard(found))


@dataclasses.dataclass
class Verdict:
    """What the check of a draft found.

    Attributes:
        path: the file.
        lines: how many it has.
        layers: how many layers' statements it stands for.
        variants: each of them, checked.
        gaps: what it lacks.
    """

    path: Path
    lines: int
    layers: int
    variants: list[Checked]
    gaps: list[Gap]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong and nothing lacks."""
        return not self.gaps and not any(checked.problems for checked in self.variants)

    @property
    def text(self) -> str:
        """It in a few lines."""
        wrong = [checked.variant for checked in self.variants if checked.problems]
        state = "clean" if self.clean else f"wrong in {', '.join(wrong)}" if wrong else "incomplete"
        found = [f"{self.path}: {state}. {self.lines} lines for {self.layers} layers."]
        found += [f"{checked.variant}: {checked.text}" for checked in self.variants]
        found += [f"Gap: {gap.operator} in {gap.path or 'the module'}{gap.source}: {gap.reason}" for gap in self.gaps]
        return "\n".join(found)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "clean": self.clean,
            "lines": self.lines,
            "layers": self.layers,
            "variants": [checked.to_dict() for checked in self.variants],
            "gaps": [dataclasses.asdict(gap) for gap in self.gaps],
        }
