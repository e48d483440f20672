"""Trying causes on a layer that is wrong by itself: each is a mistake that, undone or made by PyTorch too, explains it.

A cause counts only if the numbers agree with it to the tolerance. Of those that fit, the one with the least error is
reported; among equals the first. `HYPOTHESES` is the list, in the order in which it is tried.
"""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetdefsError
from netdefs.debug.capture import Reference, Scan
from netdefs.debug.causes.activations import activations
from netdefs.debug.causes.case import Candidate, Case, plain
from netdefs.debug.causes.joins import axes, branches, joins
from netdefs.debug.causes.layers import layers, main_node
from netdefs.debug.causes.norms import norms
from netdefs.debug.causes.numbers import constants, factors, overflow, pictures, precision
from netdefs.debug.causes.orders import permutations, shuffles
from netdefs.debug.causes.where import where_differs
from netdefs.debug.causes.windows import pools, resizes
from netdefs.debug.plan import Task
from netdefs.debug.run import Arrays
from netdefs.debug.subject import Subject, execute

HYPOTHESES: tuple[Callable[[Case], Iterator[Candidate]], ...] = (
    overflow,
    precision,
    pictures,
    norms,
    layers,
    activations,
    constants,
    joins,
    axes,
    pools,
    resizes,
    shuffles,
    branches,
    permutations,
    factors,
)
# What PyTorch, numpy and ONNX Runtime raise where a mistake can't be made, or undone, with the shapes at hand.
UNFIT = (NetdefsError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
TRIED = 2000  # candidates of one family, at most
EQUAL = 0.05  # errors below this share of the tolerance are equally good
BETTER = 4.0  # by so much must a cause make the error smaller
OTHERS = 48  # tensors of PyTorch that are kept to look for the right branch
BYTES = 2**28  # and their size


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why a layer is wrong.

    Attributes:
        kind: a word for it, such as "bn_eps" or "concat_order"; "unknown" if nothing that was tried explains it.
        text: it in words.
        where: the tensor with the mistake.
        before: the relative error as it is; None if the shape is wrong.
        after: what is left of it: if the mistake is undone, or if PyTorch makes it too; None if the cause is unknown.
        modelled: `after` is the network against PyTorch's layer with the mistake, not the corrected layer against
            PyTorch's.
    """

    kind: str
    text: str
    where: str
    before: float | None
    after: float | None = None
    modelled: bool = False


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
        reference: Reference,
        scan: Scan,
        feeds: Mapping[str, np.ndarray],
        tolerance: float,
        sources: Mapping[str, str],
        lacking: Collection[str],
    ) -> None:
        self._subject, self._reference, self._scan = subject, reference, scan
        self._feeds, self._tolerance, self._sources = feeds, tolerance, sources
        self._modules = dict(reference.module.named_modules())
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
        self._given = self._reference.observe(callers & self._modules.keys(), wanted, self._values.__setitem__)
        found = {}
        for task in tasks:
            try:
                with np.errstate(all="ignore"):  # mistakes that are tried may well overflow
                    found[task.pair.tensor] = self._cause(task, near[task.pair.tensor])
            except UNFIT:  # the layer can't be run alone, or not with these shapes
                continue
        return found

    def _near(self, task: Task) -> list[str]:
        """Modules that ran before, the nearest, whose values have the shape of one that the task reads or makes."""
        order = list(self._scan.modules)
        last = order.index(task.pair.source) if task.pair.source in order else len(order)
        known = [self._scan.modules[self._sources[name]].shape for name in task.fed if name in self._sources]
        shapes = {*known, *(a.shape for a in self._feeds.values()), task.pair.shape}
        found: list[str] = []
        known_as: set[str] = set()
        used = 0
        for name in reversed(order[:last]):
            seen = self._scan.modules[name]
            tensor = seen.same_as or name
            if not seen.reason and tensor not in known_as and seen.shape in shapes and used + seen.nbytes <= BYTES:
                known_as.add(tensor)
                found.append(name)
                used += seen.nbytes
            if len(found) == OTHERS:
                break
        return found

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
        if module is None or list(module.children()) or len(given) != 1:
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
        order = list(self._scan.modules)
        last = order.index(task.pair.source) if task.pair.source in order else len(order)
        case.lacking = {
            name: self._modules[name]
            for name in order[max(last - 12, 0) : last]
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


def best(case: Case) -> Cause | None:
    """The cause that explains a case best; None if none does."""
    before = case.compare(case.expected, case.ours)
    limit = before.relative / BETTER if before is not None else np.inf
    for family in HYPOTHESES:
        fitting = list(_fitting(case, itertools.islice(_guarded(family(case)), TRIED), limit))
        if fitting:
            least = min(after for _, after in fitting)
            good = max(2 * least, EQUAL * case.tolerance)
            candidate, after = next((c, after) for c, after in fitting if after <= good)
            return Cause(
                candidate.kind,
                candidate.text,
                candidate.where or case.target,
                before.relative if before is not None else None,
                after,
                candidate.ours is not None,
            )
    return None


def _guarded(candidates: Iterator[Candidate]) -> Iterator[Candidate]:
    """The candidates of a family, up to the point where what there is does not suit it."""
    while True:
        try:
            yield next(candidates)
        except (StopIteration, *UNFIT):
            return


def _fitting(case: Case, candidates: Iterable[Candidate], limit: float) -> Iterator[tuple[Candidate, float]]:
    """The candidates that explain a case, each with the error that is left."""
    for candidate in candidates:
        try:
            if candidate.ours is not None:
                found = case.compare(candidate.ours(), case.ours)
            else:
                changed = candidate.values() if candidate.values is not None else {}
                found = case.compare(case.expected, case.with_values(changed)) if changed else None
        except UNFIT:
            continue  # it does not suit these shapes, so it is not the cause
        if found is not None and found.ok and found.relative <= limit:
            yield candidate, found.relative
