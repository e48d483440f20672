"""Looking for the causes of layers that are wrong by themselves: of each the smallest part that is, and its mistake."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.debug.causes.best import UNFIT, Cause, best
from netdefs.debug.causes.case import Case, plain
from netdefs.debug.causes.layers import main_node
from netdefs.debug.causes.where import where_differs
from netdefs.debug.lean import execute
from netdefs.debug.plan import Task
from netdefs.debug.recording import RecordedRun
from netdefs.debug.reference import Reference
from netdefs.debug.run import Arrays
from netdefs.debug.scan import Call, Scan, Seen
from netdefs.debug.subject import Subject

OTHERS = 96  # tensors of PyTorch that are kept to look for the right branch
BYTES = 2**28  # and their size
NEVER = Seen("")


class Search:
    """Looks for the causes of some rows. PyTorch runs once more, for the values that this takes.

    Args:
        subject: the network.
        reference: PyTorch's module.
        scan: what is known of its modules.
        feeds: the network's inputs.
        tolerance: what agrees when isolated.
        sources: tensor -> PyTorch's value of it: a module, or a label of what is returned.
        lacking: modules that the network has no layer for.
    """

    def __init__(
        self,
        subject: Subject,
        reference: Reference | RecordedRun,
        scan: Scan,
        feeds: Mapping[str, np.ndarray],
        tolerance: float,
        sources: Mapping[str, str],
        lacking: Collection[str],
    ) -> None:
        self._subject, self._reference, self._scan = subject, reference, scan
        self._feeds, self._tolerance, self._sources = feeds, tolerance, sources
        self._modules = reference.modules()
        self._lacking = lacking
        self._convolutions = {norm: conv for conv, norm in subject.folded.items()}
        self._values: Arrays = {}
        self._given: dict[str, list[np.ndarray]] = {}

    def run(self, tasks: Sequence[Task]) -> dict[str, Cause]:
        """The cause of each task's row, by its name; without those whose layer can't be computed alone."""
        wanted = {task.pair.source for task in tasks}
        wanted |= {self._sources[name] for task in tasks for name in task.fed if name in self._sources}
        near = {task.pair.tensor: self._near(task) for task in tasks}
        wanted.update(*near.values())
        callers = {task.pair.source for task in tasks}
        callers |= {self._convolutions[task.pair.tensor] for task in tasks if task.pair.tensor in self._convolutions}
        callers &= self._modules.keys()
        self._reference.observe(callers, wanted, self._values.__setitem__, self._given.__setitem__)
        found = {}
        for task in tasks:
            try:
                with np.errstate(all="ignore"):  # mistakes that are tried may well overflow
                    found[task.pair.tensor] = self._cause(task, near[task.pair.tensor])
            except UNFIT:  # the layer can't be run alone, or not with these shapes
                continue
        return _together(found, tasks)

    def _near(self, task: Task) -> list[str]:
        """Modules and operations that ran before, the nearest, of the shape of a value that a task reads or makes."""
        known = [self._scan.seen(self._sources[name]).shape for name in task.fed if name in self._sources]
        shapes = {*known, *(a.shape for a in self._feeds.values()), task.pair.shape}
        found: list[str] = []
        known_as: set[object] = set()
        used = 0
        # An operation may have several names: the one that the network uses says most.
        ours = {self._scan.parts[name]: name for name in self._sources.values() if name in self._scan.parts}
        own = task.pair.source  # what such a layer calls to make its value says nothing
        is_leaf = own in self._scan.modules and not any(name.startswith(f"{own}.") for name in self._scan.modules)
        for name in reversed(self._before(task)):
            seen = self._scan.seen(name)
            part = self._scan.parts.get(name)
            if is_leaf and part is not None and isinstance(part.maker, Call) and part.maker.scope == own:
                continue
            tensor, name = part or seen.same_as or name, ours.get(part, name) if part else name
            if not seen.reason and tensor not in known_as and seen.shape in shapes and used + seen.nbytes <= BYTES:
                known_as.add(tensor)
                found.append(name)
                used += seen.nbytes
            if len(found) == OTHERS:
                break
        return found

    def _before(self, task: Task) -> list[str]:
        """The modules and operations that ran before what a task is compared with."""
        order = self._scan.order
        last = order.index(task.pair.source) if task.pair.source in order else len(order)
        done = (name for name in order[:last])
        return [n for n in done if n in self._scan.operations or self._scan.modules.get(n, NEVER).calls]

    def _cause(self, task: Task, near: Sequence[str]) -> Cause:
        case = self._case(task, near)
        before = case.compare(case.expected, case.ours)
        cause = best(case)
        if cause is not None:
            return cause
        text = where_differs(case.expected, case.ours, case.tolerance)
        place = "" if case.target == case.row else f"What it is given, {case.target}, is wrong: "
        return Cause(
            "unknown",
            f"{place}{text}",
            case.target,
            before.relative if before else None,
        )

    def _case(self, task: Task, near: Sequence[str]) -> Case:
        """The smallest part of what computes a row that is wrong."""
        name, source = task.pair.tensor, task.pair.source
        feeds = {fed: self._value(fed) for fed in task.fed}
        whole = self._make(task.steps, feeds, name, self._values[source], task, near)
        folded = self._convolutions.get(name, "")
        convolution = self._modules[folded] if folded else None
        module = self._modules.get(source)
        given = self._given.get(folded or source, [])
        if module is None or task.pair.block or list(module.children()) or len(given) != 1:
            return whole
        whole.module, whole.convolution = module, convolution
        start = self._start(whole, convolution or module)
        if start not in whole.values:
            whole.module = whole.convolution = None
            return whole
        ours, theirs = whole.values[start], given[0]
        if ours.size == theirs.size and ours.shape != theirs.shape:
            theirs = theirs.reshape(ours.shape)  # in PyTorch a view, or a row of one picture
        agreement = whole.compare(self._typed(start, theirs), ours)
        if agreement is not None and agreement.ok:
            graph = whole.graph
            steps = graph.steps([name], {start}) if start in graph.producer or start in feeds else task.steps
            inner = self._make(steps, {**feeds, start: self._typed(start, theirs)}, name, whole.expected, task, near)
            inner.module, inner.convolution, inner.given = module, convolution, theirs
            inner.inputs = ()
            return inner
        fed = start in feeds or start not in whole.graph.producer
        steps = [] if fed else whole.graph.steps([start], set(feeds))
        return self._make(steps, feeds, start, theirs, task, near)

    def _make(
        self,
        steps: Sequence[int],
        feeds: Mapping[str, np.ndarray],
        target: str,
        expected: np.ndarray,
        task: Task,
        near: Sequence[str],
    ) -> Case:
        graph = self._subject.graph
        assert graph is not None
        case = Case(graph, steps, feeds, target, expected, execute, self._tolerance)
        case.row = task.pair.tensor
        case.modules = self._modules
        case.precision = self._subject.precision
        case.inputs = tuple(name for name in case.feeds if name in self._feeds)
        module = self._modules.get(task.pair.source)
        is_block = module is not None and bool(list(module.children()))
        given = self._given.get(task.pair.source, []) if is_block else []
        case.others = {name: self._values[name] for name in near if name in self._values}
        case.others |= {f"what it gives {task.pair.source}": array for array in given}
        case.lacking = {
            name: self._modules[name]
            for name in [name for name in self._before(task) if name in self._modules][-48:]
            if name in self._lacking and not list(self._modules[name].children())
        }
        return case

    def _start(self, case: Case, module: Any) -> str:
        """The tensor that the network gives the layer itself: what its first node with weights reads, or its first."""
        node = main_node(case, module)
        if node is None and getattr(module, "running_var", None) is not None:
            node = next((n for n in case.nodes if n.op_type == "BatchNormalization"), None)
        if node is not None:
            return plain(case.inputs_of(node)[0])
        inner = [n for n in case.nodes if self._is_inner(plain(n.output[0]), case.row)]
        made = {plain(out) for n in inner for out in n.output}
        read = list(dict.fromkeys(plain(x) for n in inner for x in case.inputs_of(n) if plain(x) not in made))
        return read[0] if len(read) == 1 else ""

    @staticmethod
    def _is_inner(tensor: str, row: str) -> bool:
        return tensor == row or tensor.startswith((f"{row}.", f"{row}/"))

    def _value(self, tensor: str) -> np.ndarray:
        if tensor in self._sources:
            return self._typed(tensor, self._values[self._sources[tensor]])
        return self._feeds[tensor]

    def _typed(self, tensor: str, array: np.ndarray) -> np.ndarray:
        return self._subject.as_typed(tensor, array) if tensor in self._subject.types else array


def _together(found: dict[str, Cause], tasks: Sequence[Task]) -> dict[str, Cause]:
    """Two causes that are one: an activation that is applied before an add and is missing behind it, or the reverse.

    More adds may lie between the two, that have no error of their own.
    """
    for i, task in enumerate(tasks):
        before = [other.pair.tensor for other in tasks[max(i - 1, 0) : i]]
        beside = [name for name in before if name.rpartition(".")[0] == task.pair.tensor.rpartition(".")[0]]
        first = next((name for name in (*task.fed, *beside) if name in found), "")
        kinds = {found[name].kind for name in (first, task.pair.tensor) if name in found}
        if first and kinds == {"activation_extra", "activation_missing"}:
            extra, missing = (first, task.pair.tensor)[:: 1 if found[first].kind == "activation_extra" else -1]
            text = f"an activation is applied at {extra}, and PyTorch applies it at {missing}: {found[first].text}"
            found[first] = dataclasses.replace(found[first], kind="activation_order", text=text)
    return found
