"""Measuring: PyTorch's values come in one by one, and the network computes and is compared group by group."""

from collections.abc import Mapping, Sequence

import numpy as np

from netdefs.core.errors import CompareError
from netdefs.debug.capture import Scan
from netdefs.debug.match import Matching, Pair
from netdefs.debug.metrics import Metrics, Tolerance, measure, rms
from netdefs.debug.plan import Group, Task, in_order_of, make_groups, make_tasks
from netdefs.debug.report import Row
from netdefs.debug.rounding import size_of_terms
from netdefs.debug.run import Arrays, Chain, run_isolated
from netdefs.debug.subject import Subject, execute

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

    Attributes:
        wanted: the values of PyTorch that `receive` is to get.
        sources: the module of each tensor that is compared as a layer, or could be.
        tasks: how each row is computed, by its name.
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
    ) -> None:
        self._subject, self._feeds, self._limits, self._mode = subject, feeds, limits, mode
        self.sources = {pair.tensor: pair.source for pair in matching.pairs if pair.kind == "layer"}
        self._groups = self._plan(matching, in_order_of(pairs, scan.modules))
        self.tasks = {task.pair.tensor: task for group in self._groups for task in group.tasks}
        self._chain = None
        if subject.graph is not None and mode != "isolated":
            self._chain = Chain(subject.graph, self._groups, feeds, execute)
        self._results = subject.engine.run(feeds) if subject.engine is not None else {}
        self._needs = [self._sources_of(group) for group in self._groups]
        self._last_use = {source: i for i, needs in enumerate(self._needs) for source in needs}
        self.wanted = set(self._last_use)
        self._values: Arrays = {}
        self._next = 0
        # The size of inputs and of PyTorch's values, by tensor.
        self._scale = {name: rms(array) for name, array in feeds.items()}
        self._rows: list[Row] = []

    def receive(self, source: str, array: np.ndarray) -> None:
        """Takes one of PyTorch's values, and measures what has become complete with it."""
        self._values[source] = array
        if self.sources.get(source) == source:  # a module's value, whose tensor has its name
            self._scale[source] = rms(array)
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

    def _sources_of(self, group: Group) -> set[str]:
        """The values of PyTorch that measuring a group takes."""
        needs = {task.pair.source for task in group.tasks}
        if self._mode != "chained":
            needs |= {self.sources[name] for task in group.tasks for name in task.fed if name in self.sources}
        return needs

    def _measure(self, index: int) -> None:
        group = self._groups[index]
        chained = self._chain.run(index) if self._chain is not None else self._results
        isolated = self._isolated(group) if self._mode != "chained" else {}
        for task in group.tasks:
            row = self._new_row(task)
            floor = self._floor(task)
            if self._mode != "isolated":
                row.chained, row.chained_shape = self._against(task, chained[row.name], self._limits.chained, floor)
            found = isolated.get(row.name)
            if isinstance(found, str):
                row.isolated_error = found
            elif found is not None:
                row.isolated, row.isolated_shape = self._against(task, found, self._limits.isolated, floor)
            self._rows.append(row)

    def _isolated(self, group: Group) -> dict[str, np.ndarray | str]:
        graph = self._subject.graph
        assert graph is not None
        fed = {}
        for name in dict.fromkeys(name for task in group.tasks for name in task.fed):
            source = self.sources.get(name)
            fed[name] = self._feeds[name] if source is None else self._subject.as_typed(name, self._values[source])
        return run_isolated(graph, group, fed, execute)

    def _new_row(self, task: Task) -> Row:
        pair = task.pair
        via: list[str] = []
        if self._subject.graph is not None:
            written = self._subject.graph.written_by(task.steps)
            inner = (f"{pair.tensor}.", f"{pair.tensor}/")
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

    def _against(
        self, task: Task, found: np.ndarray, tolerance: float, floor: float
    ) -> tuple[Metrics | None, tuple[int, ...] | None]:
        """The metrics of a tensor; or, if its shape is not PyTorch's, that."""
        expected = self._values[task.pair.source]
        if found.shape != expected.shape:
            return None, tuple(found.shape)
        return measure(expected, found, tolerance, floor), None
