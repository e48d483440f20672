"""A network and a module that are compared on one input after another: what is found out once is kept."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError
from netdefs.debug.causes import Search
from netdefs.debug.choosing import choose, strangers
from netdefs.debug.gaps import Filled
from netdefs.debug.inputs import Feed, Feeds
from netdefs.debug.match import Matching, Pair, match_layers, match_outputs
from netdefs.debug.measurement import Measurement
from netdefs.debug.metrics import Tolerance
from netdefs.debug.plan import Task
from netdefs.debug.recording import RecordedRun, Recording
from netdefs.debug.reference import Reference
from netdefs.debug.row import Row
from netdefs.debug.scan import Scan
from netdefs.debug.stretch import Stretch, cut_out
from netdefs.debug.subject import Subject
from netdefs.debug.yardstick import add_yardstick

KEPT = 512 * 2**20  # bytes of PyTorch's values at most that save it a second run
EXPLAINED = 3  # how many layers with errors of their own get a cause


@dataclasses.dataclass(frozen=True)
class Options:
    """What is compared, and how: `compare` describes it."""

    patterns: tuple[str, ...]
    mode: str
    limits: Tolerance
    start: str | None = None
    end: str | None = None
    details: bool = False
    yardstick: bool = False


@dataclasses.dataclass
class Plan:
    """What a run on inputs of some shapes told: the same for all inputs of these shapes.

    Attributes:
        scan: of PyTorch's modules.
        matching: what can be compared.
        pairs: what is.
        stretch: the part of the network that is, if it is only a part.
        tasks: how each row is computed, by its name, once it was measured.
        sources: the module of each tensor, likewise.
    """

    scan: Scan
    matching: Matching
    pairs: list[Pair]
    stretch: Stretch | None
    tasks: dict[str, Task] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)


class Session:
    """Compares a network with a module on one input after another.

    Args:
        subject: the network.
        module: PyTorch's module, as `compare` gets it.
        options: what is asked.
        feeds: the inputs.

    Attributes:
        notes: what else the reader should know, each once.
    """

    def __init__(self, subject: Subject, module: Any, options: Options, feeds: Feeds) -> None:
        self.subject, self.options, self._given_feeds = subject, options, feeds
        self.feeds = Filled(feeds, subject, self.reference) if subject.gaps else feeds
        self._module = module
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._ranked: dict[str, tuple[int, int]] = {}  # see Measurement
        self._strange: dict[str, str] = {}  # tensors that only have the name of an operation of PyTorch's
        self.notes: dict[str, None] = {}

    def reference(self, feed: Feed) -> Reference | RecordedRun:
        """PyTorch's side of one input."""
        if isinstance(self._module, Recording):
            return self._module.run(feed.at)
        known = self._plans.get(_shapes(feed))
        return Reference(self._module, feed.module, known.scan if known else None)

    def plan(self, feed: Feed) -> Plan:
        """What is compared on an input."""
        return self._plans.get(_shapes(feed)) or self._look(feed, self.reference(feed))

    def measure(self, feed: Feed) -> list[Row]:
        """The rows of one input.

        Raises:
            CompareError: nothing can be compared, or the module can't run on it.
        """
        reference = self.reference(feed)
        known = self._plans.get(_shapes(feed))
        plan = known or self._look(feed, reference)
        options, entry = self.options, plan.stretch.entry if plan.stretch else frozenset[str]()
        measurement = Measurement(
            self.subject,
            feed.network,
            plan.matching,
            plan.pairs,
            plan.scan,
            options.limits,
            options.mode,
            entry,
            options.details,
        )
        plan.tasks, plan.sources = measurement.tasks, measurement.sources
        digest = reference.stream(measurement.wanted, measurement.receive)
        rows = measurement.rows()
        for name, (moved, replaced) in measurement.ranked.items():
            known_moved, known_replaced = self._ranked.get(name, (0, 0))
            self._ranked[name] = max(known_moved, moved), max(known_replaced, replaced)
        if reference.replayed and not all(row.ok for row in rows):
            digest = reference.stream((), measurement.receive)  # it ran once so far, and may do otherwise now
        if known is None and digest != plan.scan.digest:
            why = reference.randomness()
            self.note(f"PyTorch's output is not the same twice on one input: {why}, and can't agree.")
        if reference.training:
            self.note("The module was in training mode; it was compared in eval mode, as it would be deployed.")
        if reference.dtype != "float32":
            self.note(f"The module computes in {reference.dtype}.")
        if options.yardstick and isinstance(reference, Reference):
            sources = {pair.tensor: pair.source for pair in plan.pairs}
            add_yardstick(rows, sources, self.subject.precision, reference, plan.scan, feed.module)
        return rows

    def drop_namesakes(self, rows: Sequence[Row]) -> bool:
        """Finds rows that only have the name of something in PyTorch that has no module; they won't be compared again.

        Such a row is wrong, and all that is computed from it is right: it is something else.

        Returns:
            Whether there are any.
        """
        named = {name for plan in self._plans.values() for name in plan.scan.operations}
        if self.options.mode == "isolated" and any(not row.ok and row.name in named for row in rows):
            options = dataclasses.replace(self.options, mode="chained")
            chained = Session(self.subject, self._module, options, self._given_feeds)
            rows = [row for feed in self.feeds for row in chained.measure(feed)]
        wrong = [row for row in rows if row.chained_shape is not None or (row.chained and not row.chained.ok)]
        suspects = [row.name for row in wrong if row.name in named]
        tasks = {name: task for plan in self._plans.values() for name, task in plan.tasks.items()}
        found = False
        for name in suspects:
            readers = [row for row in rows if row.name in tasks and name in tasks[row.name].fed]
            readers = readers or [row for row in rows if row.kind == "output"]
            if readers and all(row.chained is not None and row.chained.ok for row in readers):
                self._strange[name] = "has the name of a function of PyTorch's, and is something else"
                found = True
        if found:
            self._plans.clear()
            self.notes.clear()
        return found

    def explain(self, rows: Sequence[Row]) -> None:
        """Puts into the first rows with an error of their own why they are wrong, on the input that shows it most."""
        for row in rows:
            if row.name in self._ranked:
                moved, replaced = self._ranked[row.name]
                self.note(
                    f"The rows of {row.name} are ranked by a score, and those next to equal may be in any order: they "
                    f"were compared in PyTorch's. {moved} were elsewhere, {replaced} are others as good as the last."
                )
        own = [row for row in rows if row.verdict == "own error"][:EXPLAINED]
        for at in dict.fromkeys(row.worst_input for row in own):
            feed = self.feeds[at]
            reference, plan = self.reference(feed), self.plan(feed)
            those = [row for row in own if row.worst_input == at]
            if own[0] in those:
                self._given(own[0], reference, feed)
            lacking = {item.name for item in plan.matching.unmatched if item.reason == "has no layer"}
            tolerance = self.options.limits.isolated
            search = Search(self.subject, reference, plan.scan, feed.network, tolerance, plan.sources, lacking)
            causes = search.run([plan.tasks[row.name] for row in those])
            for row in those:
                row.cause = causes.get(row.name)

    def _look(self, feed: Feed, reference: Reference | RecordedRun) -> Plan:
        subject, options = self.subject, self.options
        scan = reference.scan(KEPT)
        matching = match_layers(
            subject.tensors, subject.outputs, scan, subject.folded, subject.marked, subject.shapes, self._strange
        )
        match_outputs(subject.outputs, subject.passed_on, subject.tensors, scan, matching, subject.marked)
        pairs = choose(matching, options.patterns, subject, scan)
        if not any(pair.kind == "layer" and pair.source in scan.modules for pair in matching.pairs):
            if subject.graph is not None and scan.modules and options.patterns:
                raise CompareError(f"{strangers(subject, scan)} To compare the outputs alone, pass layers=().")
            self.note(strangers(subject, scan))
        stretch = None
        if options.start is not None or options.end is not None:
            stretch = cut_out(subject, scan.modules, matching, pairs, options.start, options.end)
            pairs = stretch.pairs
            self.note(stretch.note)
        for note in scan.notes:
            self.note(note)
        self._plans[_shapes(feed)] = Plan(scan, matching, pairs, stretch)
        return self._plans[_shapes(feed)]

    def _given(self, row: Row, reference: Reference | RecordedRun, feed: Feed) -> None:
        """Finds out whether PyTorch feeds a wrong layer what the network fed it, and notes it in the row if not."""
        folded = [conv for conv, norm in self.subject.folded.items() if norm == row.name]
        inside = any(name.startswith(f"{row.name}.") for name in row.fed)
        if row.kind != "layer" or row.via or inside or self.plan(feed).tasks[row.name].pair.block:
            return
        given = reference.given(folded[0] if folded else row.name, row.fed, feed.names)
        if not given.expected:
            row.given = given.source or "something else"

    def note(self, text: str) -> None:
        """Notes what the reader should know."""
        self.notes.setdefault(text)


def _shapes(feed: Feed) -> tuple[Any, ...]:
    def of(array: np.ndarray) -> tuple[Any, ...]:
        return (*array.shape, str(array.dtype))

    return (*(of(array) for array in feed.network.values()), *(of(array) for array in feed.module))
