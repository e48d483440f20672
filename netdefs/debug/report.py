"""`Report`: what a comparison found, a verdict in words first."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netdefs.core.errors import CompareError, FileError
from netdefs.core.files import atomic_write
from netdefs.core.version import __version__
from netdefs.debug import verdict, view, view_blocks
from netdefs.debug.blocks import Block, blocks_of
from netdefs.debug.causes import Cause
from netdefs.debug.deployed import Observer
from netdefs.debug.inputs import InputFinding
from netdefs.debug.loaded import WeightsFinding
from netdefs.debug.match import Unmatched
from netdefs.debug.metrics import Tolerance
from netdefs.debug.row import Row

if TYPE_CHECKING:
    from netdefs.debug.session import Session


# How a file's name ends, and what writes it. The longer endings come first.
FORMS = {
    ".model-explorer.json": "to_model_explorer",
    ".json": "to_json",
    ".html": "to_html",
    ".csv": "to_csv",
    ".onnx": "to_onnx",
}


def form_of(path: str | os.PathLike[str]) -> str:
    """The ending of a report's file name, a key of `FORMS`.

    Raises:
        FileError: it is none of them.
    """
    name = Path(path).name.lower()
    for ending in FORMS:
        if name.endswith(ending):
            return ending
    raise FileError(f"{path}: a report is written as one of {', '.join(FORMS)}; the file's name says which.")


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
        labels: what each of several inputs is called; empty if there is one. Rows have the numbers of the worst.
        modules: every PyTorch module and its class.
        observer: what looking into engines changed, if it was a target's that were compared.
        samples: of a capture that holds only some values of each tensor, how many: the metrics are of these.
        left_out: how many layers could have been compared and were not, as `layers` says.
        session: what `repro` needs: the network, the module and the inputs, none of their values.
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
    labels: list[str] = dataclasses.field(default_factory=list)
    modules: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    observer: Observer | None = None
    samples: int | None = None
    left_out: int = 0
    session: "Session | None" = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether every compared layer and output agrees, on finite values, and the inputs of both sides do."""
        return all(row.ok and not row.void for row in self.rows) and not any(found.differs for found in self.inputs)

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
    def blocks(self) -> list[Block]:
        """The modules that contain others, from the outside in: how much of each agrees."""
        return blocks_of(self.rows, self.modules)

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
        found = verdict.answers(self)
        if self.observer is not None and self.observer.matters:
            found["observer"] = self.observer.text
        return found

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
            "labels": self.labels,
            "samples": self.samples,
            "blocks": [dataclasses.asdict(block) for block in self.blocks],
            "rows": [row.to_dict() for row in self.rows],
            "unmatched": [dataclasses.asdict(item) for item in self.unmatched],
            "aliases": self.aliases,
            "folded": self.folded,
            "observer": dataclasses.asdict(self.observer) if self.observer is not None else None,
            "notes": self.notes,
        }
        found: dict[str, Any] = standard(content)
        return found

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict` as a JSON file, replacing what is there.

        Raises:
            FileError: the file can't be written.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with atomic_write(path) as file:
            file.write(text.encode())

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes a self-contained HTML page: the verdict, a table, the network, and each layer's error.

        With `compare(..., details=True)` it has heat maps and histograms as well. docs/reports.md describes it.

        Raises:
            FileError: the file can't be written.
        """
        from netdefs.debug.page import page

        with atomic_write(path) as file:
            file.write(page(self).encode())

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows as comma-separated values, in full precision: `netdefs.debug.tabular.COLUMNS`.

        Raises:
            FileError: the file can't be written.
        """
        from netdefs.debug.tabular import as_csv

        with atomic_write(path) as file:
            file.write(as_csv(self).encode())

    def to_model_explorer(self, path: str | os.PathLike[str], metric: str | None = None) -> None:
        """Writes node data for Google's Model Explorer, to be loaded there with the network's ONNX file.

        Args:
            path: the file, such as "net.model-explorer.json".
            metric: what a node shows: "verdict", or a way of feeding and a field of `Metrics`, such as
                "chained.cosine". By default the relative error, isolated where that was measured.

        Raises:
            CompareError: the report has no such metric, or was unpickled, or is of an engine on a GPU.
            FileError: the file can't be written.
        """
        from netdefs.debug.explorer import node_data

        text = json.dumps(node_data(self, metric), indent=1, allow_nan=False)
        with atomic_write(path) as file:
            file.write(text.encode())

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Writes the network as ONNX, with the errors of each layer as metadata of its node, for Netron.

        It computes the same as what `netdefs.to_onnx` writes.

        Raises:
            CompareError: the report was unpickled, or is of an engine on a GPU.
            FileError: the file can't be written.
        """
        from netdefs.debug.annotated import write_onnx

        write_onnx(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report in the form that the file's name ends with: one of `FORMS`.

        Raises:
            FileError: the name has another ending, or the file can't be written.
        """
        getattr(self, FORMS[form_of(path)])(path)

    def repro(self, layer: str, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Writes a folder that shows the difference of one layer or block alone, for a colleague or a bug report.

        It holds a script that needs numpy and onnxruntime only, the part of the network with its weights, PyTorch's
        values, and a README. The numbers are those of the row's isolated error; a block is cut out with all that is
        inside it. Where the module is one of torch.nn, the script runs that too.

        For this the report keeps the network, the module and the inputs alive, but no values: PyTorch runs once more.

        Args:
            layer: a row, or one of `blocks`.
            path: the folder.
            force: write into a folder that is not empty.

        Raises:
            CompareError: there is no such row or block; the report was unpickled, or is of an engine on a GPU.
            FileError: the folder is not empty, or can't be written.
        """
        from netdefs.debug.repro import write_repro

        if self.session is None:
            raise CompareError("This report was unpickled, without the network and the module. Call compare again.")
        return write_repro(self, self.session, layer, path, force)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "session": None}  # a network can't be pickled

    def print_to(self, console: Any, *, full: bool = False, blocks: bool = False) -> None:
        """Prints the verdict and a table on a rich console: what is wrong and its neighbors, or all with `full`.

        Args:
            console: to print on.
            full: every row and name.
            blocks: a table of blocks in place of layers: those on the way to the first wrong layer, or all.
        """
        console.print(view_blocks.render_blocks(self, full) if blocks else view.render(self, full=full))

    def __rich__(self) -> Any:
        return view.render(self)

    def __str__(self) -> str:
        return view.as_text(self)


def standard(value: Any) -> Any:
    """A value with nothing in it that standard JSON lacks."""
    if isinstance(value, dict):
        return {key: standard(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [standard(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
