"""A stretch of a network: from one layer to another, entered with PyTorch's values."""

import dataclasses
from collections.abc import Collection, Sequence

from netdefs.core.errors import CompareError
from netdefs.core.scope import near
from netdefs.debug.graph import Graph
from netdefs.debug.match import Matching, Pair
from netdefs.debug.subject import Subject

NAMED = 4  # how many tensors a note lists


@dataclasses.dataclass(frozen=True)
class Stretch:
    """The part of a network that is compared.

    Attributes:
        pairs: what is compared in it.
        entry: the tensors outside of it whose values PyTorch gives: where the stretch reads one, it is fed that.
        note: in words, what it is fed.
    """

    pairs: list[Pair]
    entry: frozenset[str]
    note: str


def cut_out(
    subject: Subject,
    modules: Collection[str],
    matching: Matching,
    pairs: Sequence[Pair],
    start: str | None,
    end: str | None,
) -> Stretch:
    """The layers from `start` to `end`, both included: what depends on the one and what the other depends on.

    A block stands for all that is inside it. Without `start` the stretch begins at the network's inputs, without `end`
    it goes up to its outputs.

    Raises:
        CompareError: a name is unknown, `start` comes after `end`, or nothing that is compared lies between.
    """
    graph = subject.graph
    if graph is None:
        raise CompareError(
            "start= and end= cut a stretch out of the network, and an engine on a GPU can't be fed in its middle. "
            "Compare the network that it was built from."
        )
    inside = set(range(len(graph.nodes)))
    first = _makers(graph, start, "start", modules, matching) if start is not None else set[int]()
    last = _makers(graph, end, "end", modules, matching) if end is not None else set[int]()
    if start is not None:
        inside &= _after(graph, first)
    if end is not None:
        inside &= _before(graph, last)
    if not inside:
        assert start is not None and end is not None
        if _after(graph, last) & first:
            raise CompareError(f"start={start!r} comes after end={end!r}: exchange them.")
        raise CompareError(f"There is no way from {start} to {end}: they are on branches beside each other.")
    chosen = [pair for pair in pairs if graph.producer.get(pair.tensor) in inside]
    if not chosen:
        between = f"from {start or 'the input'} to {end or 'the output'}"
        raise CompareError(
            f"Nothing that is compared lies {between}: what is there has no module, or layers= lacks it."
        )
    known = {pair.tensor for pair in matching.pairs if pair.kind == "layer"}
    entry = frozenset(name for name in known if graph.producer.get(name) not in inside)
    return Stretch(chosen, entry, _note(graph, chosen, entry, first, start))


def _makers(graph: Graph, name: str, which: str, modules: Collection[str], matching: Matching) -> set[int]:
    """The node that makes a tensor, or those of a block. The ReLU bn1.relu behind bn1 is no part of that."""
    is_block = name not in graph.producer or any(module.startswith(f"{name}.") for module in modules)
    inner = (f"{name}.", f"{name}/") if is_block else ()
    found = {node for tensor, node in graph.producer.items() if tensor == name or (inner and tensor.startswith(inner))}
    if not found:
        reason = next((f" The module {name} {item.reason}." for item in matching.unmatched if item.name == name), "")
        raise CompareError(
            f"{which}={name!r}: the network has no layer or block of that name.{reason}{near(name, graph.producer)}"
        )
    return found


def _after(graph: Graph, nodes: Collection[int]) -> set[int]:
    """These nodes, and those that depend on them."""
    found = set(nodes)
    reached = {name for i in found for name in graph.nodes[i].output}
    for i in range(len(graph.nodes)):  # they are in execution order
        if i in found or not reached.isdisjoint(graph.read_by([i])):
            found.add(i)
            reached.update(graph.nodes[i].output)
    return found


def _before(graph: Graph, nodes: Collection[int]) -> set[int]:
    """These nodes, and those that they depend on."""
    return set(graph.steps([name for i in nodes for name in graph.nodes[i].output if name], ()))


def _note(
    graph: Graph, pairs: Sequence[Pair], entry: Collection[str], first: Collection[int], start: str | None
) -> str:
    """What is compared, what feeds its start, and what comes in further on."""
    steps = graph.steps([pair.tensor for pair in pairs], entry)
    read = [name for name in graph.read_by(steps) if name in entry or name in graph.inputs]
    at_start = [name for name in graph.read_by(graph.steps(_written(graph, first), entry)) if name in read]
    later = [name for name in read if name not in at_start and name in entry]
    layers = sum(pair.kind == "layer" for pair in pairs)
    text = f"Only a stretch of the network was compared, {layers} layer{'s' * (layers != 1)}"
    if start is not None:
        text += f": it is fed PyTorch's {_some(at_start)}"
    if later:
        text += f"; further on PyTorch's {_some(later)}"
    return f"{text}."


def _written(graph: Graph, nodes: Collection[int]) -> list[str]:
    return graph.written_by(sorted(nodes))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" ... ({len(names)} in all)" if len(names) > NAMED else "")
