"""What is computed together: groups of layers whose values fit into memory, in PyTorch's order of execution."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from netdefs.debug.graph import Graph
from netdefs.debug.match import Pair


@dataclasses.dataclass(frozen=True)
class Task:
    """A pair, and how the network's own computation of it alone goes.

    Attributes:
        pair: what is compared.
        fed: the tensors that it is computed from: PyTorch's values of them, or inputs of the network.
        steps: the nodes that compute it from these.
    """

    pair: Pair
    fed: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Group:
    """Tasks that are run together: `cut` are the tensors that feed them when each is run on its own."""

    tasks: tuple[Task, ...]
    cut: frozenset[str]

    @property
    def outputs(self) -> list[str]:
        """The tensors that are compared."""
        return [task.pair.tensor for task in self.tasks]


def make_tasks(
    graph: Graph, pairs: Iterable[Pair], cuts: Iterable[str], compared: Iterable[str]
) -> Iterator[tuple[Task, frozenset[str]]]:
    """Each pair with the nearest tensors upstream whose values PyTorch gives, and all tensors that could be such.

    A layer is fed at compared layers. Of those that are not compared (`layers` was given) it is fed at any but its own
    inner ones: a block is then answered for as a whole, and never for what lies before it.

    Args:
        graph: the network.
        pairs: what is compared.
        cuts: the tensors whose values PyTorch gives.
        compared: those of them that are compared.
    """
    everywhere, chosen = frozenset(cuts), frozenset(compared)
    skipped = everywhere - chosen
    for pair in pairs:
        inside = {name for name in skipped if name.startswith(pair.inner)} if pair.kind == "layer" else set()
        cut = everywhere - inside if inside else everywhere
        steps = graph.steps([pair.tensor], cut)
        fed = tuple(name for name in graph.read_by(steps) if name in cut or name in graph.inputs)
        yield Task(pair, fed, tuple(steps)), cut


def make_groups(
    graph: Graph, tasks: Iterable[tuple[Task, frozenset[str]]], sizes: Mapping[str, int], budget: int
) -> list[Group]:
    """Splits tasks, in the order of their PyTorch values, into groups of at most about `budget` bytes.

    Args:
        graph: the network.
        tasks: with the cut of each.
        sizes: bytes of each tensor's value.
        budget: for the values that are compared and fed, and the weights, of one group; a single layer may need more.
    """
    groups: list[Group] = []
    current: list[Task] = []
    held: set[str] = set()
    used, last_cut = 0, frozenset[str]()
    for task, cut in tasks:
        more = {*task.fed, task.pair.tensor} - held
        size = sum(sizes.get(name, 0) for name in more) + graph.constant_bytes(task.steps)
        if current and (used + size > budget or cut is not last_cut):
            groups.append(Group(tuple(current), last_cut))
            current, held, used = [], set(), 0
            more = {*task.fed, task.pair.tensor}
            size = sum(sizes.get(name, 0) for name in more) + graph.constant_bytes(task.steps)
        current.append(task)
        held |= more
        used += size
        last_cut = cut
    if current:
        groups.append(Group(tuple(current), last_cut))
    return groups


def in_order_of(pairs: Sequence[Pair], order: Iterable[str]) -> list[Pair]:
    """Pairs sorted as PyTorch computes their values; what the module returns comes last."""
    place = {name: i for i, name in enumerate(order)}
    return sorted(pairs, key=lambda pair: place.get(pair.source, len(place)))
