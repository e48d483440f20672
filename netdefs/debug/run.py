"""The network's side: its values chained, fed by its own predecessors, and isolated, fed PyTorch's values."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import EngineError
from netdefs.debug.graph import Graph
from netdefs.debug.plan import Group, Task

Arrays = dict[str, np.ndarray]
Execute = Callable[[Any, Mapping[str, np.ndarray]], Arrays]  # runs an onnx.ModelProto on feeds


class Chain:
    """The whole network from its real input, group by group: every node runs once; values are kept while needed.

    Args:
        graph: the network.
        groups: what is wanted, in the order in which `run` will be asked for it.
        feeds: the network's inputs.
        execute: runs a piece of the network.
        known: tensors whose values are given: what comes before them is not run.

    Attributes:
        entries: those of them that each group reads.
    """

    def __init__(
        self,
        graph: Graph,
        groups: Sequence[Group],
        feeds: Mapping[str, np.ndarray],
        execute: Execute,
        known: Collection[str] = (),
    ) -> None:
        self._graph, self._groups, self._execute = graph, groups, execute
        self._held: Arrays = dict(feeds)
        self._steps: list[list[int]] = []
        self.entries: list[list[str]] = []
        written: set[str] = set(known)
        for group in groups:
            steps = graph.steps([name for name in group.outputs if name not in written], written)
            self._steps.append(steps)
            self.entries.append([name for name in graph.read_by(steps) if name in known])
            written.update(graph.written_by(steps))
        # What each group must leave behind: what later ones read or want.
        self._later: list[set[str]] = [set() for _ in groups]
        for i in range(len(groups) - 1, 0, -1):
            self._later[i - 1] = self._later[i] | set(graph.read_by(self._steps[i])) | set(groups[i].outputs)

    def run(self, index: int, given: Callable[[str], np.ndarray] | None = None) -> Arrays:
        """The values of one group's tensors; groups are asked for in order, each once.

        Args:
            index: the group.
            given: the value of a known tensor.
        """
        if given is not None:
            self._held.update({name: given(name) for name in self.entries[index]})
        steps, later, wanted = self._steps[index], self._later[index], self._groups[index].outputs
        fetched = [name for name in self._graph.written_by(steps) if name in later or name in wanted]
        if fetched:
            self._held.update(_run_piece(self._graph, fetched, steps, self._held, self._execute))
        found = {name: self._held[name] for name in wanted}
        self._held = {name: array for name, array in self._held.items() if name in later}
        return found


def run_isolated(
    graph: Graph, group: Group, values: Mapping[str, np.ndarray], execute: Execute
) -> dict[str, np.ndarray | str]:
    """Each tensor of a group, computed by the network from PyTorch's values of what feeds it.

    Args:
        graph: the network.
        group: what is wanted.
        values: by tensor: PyTorch's, in the tensors' own types, and the network's inputs.
        execute: runs a piece of the network.

    Returns:
        By tensor its values, or in words why they can't be had: the network may not take the shape of PyTorch's.
    """
    try:
        return dict(_isolated(graph, group.tasks, group.cut, values, execute))
    except EngineError:
        pass  # one layer that can't run spoils the group: each is tried alone
    found: dict[str, np.ndarray | str] = {}
    for task in group.tasks:
        try:
            found.update(_isolated(graph, [task], group.cut, values, execute))
        except EngineError as error:
            found[task.pair.tensor] = f"it can't be computed from PyTorch's values: {error}"
    return found


def _isolated(
    graph: Graph, tasks: Sequence[Task], cut: Collection[str], values: Mapping[str, np.ndarray], execute: Execute
) -> Arrays:
    steps = sorted({step for task in tasks for step in task.steps})
    return _run_piece(
        graph, [task.pair.tensor for task in tasks], steps, {n: values[n] for t in tasks for n in t.fed}, execute
    )


def _run_piece(
    graph: Graph, outputs: Sequence[str], steps: Sequence[int], fed: Mapping[str, np.ndarray], execute: Execute
) -> Arrays:
    model, names, feeds = graph.piece(outputs, steps, fed)
    found = execute(model, feeds)
    return {tensor: found[name] for tensor, name in names.items()}
