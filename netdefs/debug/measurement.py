"""Measuring: PyTorch's values come in one by one, and the network computes and is compared group by group."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError
from netdefs.debug.deployed import Observed
from netdefs.debug.details import look_closer
from netdefs.debug.lean import execute
from netdefs.debug.match import Matching, Pair
from netdefs.debug.metrics import Metrics, Tolerance, measure, rms
from netdefs.debug.plan import Group, Task, in_order_of, make_groups, make_tasks
from netdefs.debug.ranking import is_ranked, ranked_as
from netdefs.debug.rounding import size_of_terms
from netdefs.debug.row import Row
from netdefs.debug.run import Chain, run_isolated
from netdefs.debug.samples import Sampled, measure_samples
from netdefs.debug.scan import Scan
from netdefs.debug.subject import Subject

BUDGET = 256 * 2**20  # bytes of PyTorch's values that a group may hold; the network's take as much again
ROUNDOFF = 4 * 2.0**-24  # what float32 may add to a result, relative to the values that it is computed from


class Measurement:
    """Turns PyTorch's values into rows.

    A group of layers is measured as soon as all its values are there, and then these are let go.

    Args:
        subject: the network.
        feeds: its inputs.
        matching: what can be compared.
        pairs: what is to be.
        scan: tells the order in which PyTorch computes.
        limits: the tolerance.
        mode: "chained", "isolated" or "both".
        entry: tensors that are PyTorch's values in the chained mode too: those outside of the stretch that is compared.
        details: gather how each tensor differs.

    Attributes:
        wanted: the values of PyTorch that `receive` is to get.
        sources: the module of each tensor that is compared as a layer, or could be.
        tasks: how each row is computed, by its name.
        ranked: of tensors whose rows are ranked, how many rows had to be moved to agree, and how many only one side
            chose.
    """

    def __init__(
        self,
        subject: Subject,
        feeds: Mapping[str, np.ndarray],
        matching: Matching,
        pairs: Sequence[Pair],
        scan: Scan,
        limits: Tolerance,
        mode: str,
        entry: Collection[str] = (),
        details: bool = False,
    ) -> None:
        self._subject, self._feeds, self._limits, self._mode = subject, feeds, limits, mode
        self._details = details
        self.sources = {pair.tensor: pair.source for pair in matching.pairs if pair.kind == "layer"}
        self._groups = self._plan(matching, in_order_of(pairs, scan.order))
        self.tasks = {task.pair.tensor: task for group in self._groups for task in group.tasks}
        self._chain: Chain | Observed | None = None
        if subject.deployment is not None:
            self._chain = subject.deployment.observe(self._groups, feeds)
        elif subject.graph is not None and mode != "isolated":
            self._chain = Chain(subject.graph, self._groups, feeds, execute, entry)
        self._results = subject.engine.run(feeds) if subject.engine is not None else {}
        self._needs = [self._sources_of(i) for i in range(len(self._groups))]
        self._last_use = {source: i for i, needs in enumerate(self._needs) for source in needs}
        self.wanted = set(self._last_use)
        self._values: dict[str, Any] = {}  # arrays, or what is kept of them
        self.ranked: dict[str, tuple[int, int]] = {}
        self._next = 0
        # The size of inputs and of PyTorch's values, by tensor.
        self._scale = {name: rms(array) for name, array in feeds.items()}
        self._rows: list[Row] = []

    def receive(self, source: str, array: np.ndarray | Sampled) -> None:
        """Takes one of PyTorch's values, and measures what has become complete with it."""
        self._values[source] = array
        if self.sources.get(source) == source:  # a module's value, whose tensor has its name
            self._scale[source] = array.rms if isinstance(array, Sampled) else rms(array)
        while self._next < len(self._groups) and self._needs[self._next] <= self._values.keys():
            self._measure(self._next)
            self._next += 1
            self._values = {name: value for name, value in self._values.items() if self._last_use[name] >= self._next}

    def rows(self) -> list[Row]:
        """All rows, in the network's execution order.

        Raises:
            CompareError: a module that ran in the scan did not run again.
        """
        if self._next < len(self._groups):
            missing = ", ".join(sorted(self._needs[self._next] - self._values.keys()))
            raise CompareError(
                f"PyTorch does not run the same modules twice on one input: {missing} did not run again."
            )
        order = dict.fromkeys([*self._subject.tensors, *self._subject.outputs])
        place = {name: i for i, name in enumerate(order)}
        return sorted(self._rows, key=lambda row: place[row.name])

    def _plan(self, matching: Matching, pairs: Sequence[Pair]) -> list[Group]:
        graph = self._subject.graph
        if graph is None:
            return [Group((Task(pair),), frozenset()) for pair in pairs]
        compared = [pair.tensor for pair in pairs if pair.kind == "layer"]
        sizes = {pair.tensor: pair.nbytes for pair in matching.pairs}
        return make_groups(graph, make_tasks(graph, pairs, self.sources, compared), sizes, BUDGET)

    def _sources_of(self, index: int) -> set[str]:
        """The values of PyTorch that measuring a group takes."""
        group = self._groups[index]
        needs = {task.pair.source for task in group.tasks}
        if self._chain is not None:
            needs |= {self.sources[name] for name in self._chain.entries[index]}
        if self._mode != "chained":
            needs |= {self.sources[name] for task in group.tasks for name in task.fed if name in self.sources}
        return needs

    def _measure(self, index: int) -> None:
        group = self._groups[index]
        chained = self._chain.run(index, self._typed) if self._chain is not None else self._results
        isolated = self._isolated(group) if self._mode != "chained" else {}
        for task in group.tasks:
            if self._subject.deployment is not None and task.pair.tensor not in chained:
                continue  # no engine shows it
            row = self._new_row(task)
            floor = row.floor = self._floor(task)
            ours, found = chained.get(row.name), isolated.get(row.name)
            if self._mode != "isolated" and ours is not None:
                ours = self._ordered(task, ours, self._limits.chained)
                row.chained, row.chained_shape = self._against(task, ours, self._limits.chained, floor)
            if isinstance(found, str):
                row.isolated_error = found
            elif found is not None:
                found = self._ordered(task, found, self._limits.isolated)
                row.isolated, row.isolated_shape = self._against(task, found, self._limits.isolated, floor)
            if self._details and not isinstance(self._values[task.pair.source], Sampled):
                expected = self._values[task.pair.source]
                row.chained_details = look_closer(expected, ours, row.chained)
                row.isolated_details = look_closer(expected, found, row.isolated)
            self._rows.append(row)

    def _isolated(self, group: Group) -> dict[str, np.ndarray | str]:
        graph = self._subject.graph
        assert graph is not None
        fed = {}
        for name in dict.fromkeys(name for task in group.tasks for name in task.fed):
            fed[name] = self._typed(name) if name in self.sources else self._feeds[name]
        return run_isolated(graph, group, fed, execute)

    def _typed(self, tensor: str) -> np.ndarray:
        """PyTorch's value of a tensor in the tensor's own type."""
        return self._subject.as_typed(tensor, self._values[self.sources[tensor]])

    def _new_row(self, task: Task) -> Row:
        pair = task.pair
        via: list[str] = []
        if self._subject.graph is not None:
            written = self._subject.graph.written_by(task.steps)
            inner = (pair.inner, f"{pair.tensor}/")
            via = [n for n in written if n in self._subject.tensors and n != pair.tensor and not n.startswith(inner)]
        kind = self._subject.types[pair.tensor]
        return Row(
            pair.tensor, pair.kind, pair.module_type, pair.layer_type, pair.shape, kind, fed=task.fed, via=tuple(via)
        )

    def _floor(self, task: Task) -> float:
        """What rounding alone may add to a tensor's values, given the size of those that it is computed from."""
        if self._subject.graph is None:
            return 0.0
        before = size_of_terms(
            self._subject.graph, task.steps, task.pair.tensor, {name: self._scale.get(name, 0.0) for name in task.fed}
        )
        floor = ROUNDOFF * before
        if self._scale.get(task.pair.tensor, 0.0) <= floor:
            self._scale[task.pair.tensor] = (
                before  # nothing but rounding: what is computed from it has no more of a size
            )
        return floor

    def _ordered(self, task: Task, found: np.ndarray, tolerance: float) -> np.ndarray:
        """A tensor as it is; if its rows are ranked, and the same as PyTorch's otherwise, in PyTorch's order."""
        expected = self._values[task.pair.source]
        if isinstance(expected, Sampled) or not is_ranked(self._subject.graph, task.steps):
            return found
        ranked = ranked_as(expected, found, tolerance)
        if ranked is None or not ranked.moved + ranked.replaced:
            return found
        moved, replaced = self.ranked.get(task.pair.tensor, (0, 0))
        self.ranked[task.pair.tensor] = max(moved, ranked.moved), max(replaced, ranked.replaced)
        return ranked.values

    def _against(
        self, task: Task, found: np.ndarray, tolerance: float, floor: float
    ) -> tuple[Metrics | None, tuple[int, ...] | None]:
        """The metrics of a tensor; or, if its shape is not PyTorch's, that."""
        expected = self._values[task.pair.source]
        if found.shape != expected.shape:
            return None, tuple(found.shape)
        if isinstance(expected, Sampled):
            return measure_samples(expected, found, tolerance, floor), None
        return measure(expected, found, tolerance, floor), None
