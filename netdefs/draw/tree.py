"""What is drawn: layers in blocks in blocks, as the dots in their names say, and which tensors run between them."""

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from netdefs.core.torch_names import ancestry

Shape = tuple[int | str, ...]  # a size that is known only at run time has a name

NO_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked")  # PyTorch's buffers: it doesn't count them
EVERYTHING = ".*"  # behind a block's path, in its id: the layer that gives the block's result may have that very path


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor: its name, shape and element type."""

    name: str
    shape: Shape
    dtype: str


@dataclasses.dataclass
class Layer:
    """A layer, or an input or output of the network.

    Attributes:
        id: unique in the drawing.
        path: its dotted name.
        type: what it is, in words.
        params: what sets it apart from others of its type, each in a few words.
        inputs, outputs: tensors.
        weights: the keys and shapes of its weights.
        source: where it was added, as `Network` writes it down.
        kind: "layer", "input" or "output".
        label: its name inside of its block.
        also: other names that it may have elsewhere.
        minor: that it has no partner in another drawing says little: it is no module, or has no weights.
        partner: id of its counterpart in another drawing; None if none was looked for, "" if there is none.
    """

    id: str
    path: str
    type: str
    params: list[str]
    inputs: list[Value]
    outputs: list[Value]
    weights: list[tuple[str, tuple[int, ...]]] = dataclasses.field(default_factory=list)
    source: str = ""
    kind: str = "layer"
    label: str = ""
    also: list[str] = dataclasses.field(default_factory=list)
    minor: bool = False
    partner: str | None = None

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        total = 0
        for key, shape in self.weights:
            if not key.endswith(NO_PARAMETERS):
                count = 1
                for size in shape:
                    count *= size
                total += count
        return total


@dataclasses.dataclass
class Block:
    """A module's layers and blocks, in execution order.

    Attributes:
        path: its dotted name; empty for the whole network.
        label: its name inside of the block around it.
        type: the module's class, where that is known.
        children: layers and blocks.
        inputs, outputs: tensors that other layers give to this block, and that it gives to others.
        nets: tensor -> the child that gives it and the children that take it; `OUTSIDE` stands for the block's border.
        partner: as of a layer.
    """

    path: str
    label: str
    type: str = ""
    children: "list[Layer | Block]" = dataclasses.field(default_factory=list)
    inputs: dict[str, Value] = dataclasses.field(default_factory=dict)
    outputs: dict[str, Value] = dataclasses.field(default_factory=dict)
    nets: "dict[str, Net]" = dataclasses.field(default_factory=dict)
    partner: str | None = None

    @property
    def id(self) -> str:
        """Unique in the drawing."""
        return f"{self.path}{EVERYTHING}".lstrip(".")

    @property
    def layers(self) -> list[Layer]:
        """All layers in it, in blocks or not; inputs and outputs of the network are none."""
        found: list[Layer] = []
        for child in self.children:
            if isinstance(child, Block):
                found += child.layers
            elif child.kind == "layer":
                found.append(child)
        return found

    @property
    def blocks(self) -> "list[Block]":
        """The blocks right in it."""
        return [child for child in self.children if isinstance(child, Block)]

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def summary(self) -> str:
        """What it is made of, in words: all of a few layers, the commonest types of many."""
        counts = Counter(layer.type for layer in self.layers)
        shown = list(counts) if len(counts) <= 4 else [kind for kind, _ in counts.most_common(3)]
        text = ", ".join(kind if counts[kind] == 1 else f"{counts[kind]} × {kind}" for kind in shown)
        return text if len(shown) == len(counts) else f"{text} ..."


OUTSIDE = -1


@dataclasses.dataclass
class Net:
    """One tensor inside of one block: the index of the child that gives it, and of those that take it."""

    value: Value
    source: int
    targets: list[int] = dataclasses.field(default_factory=list)


def grow(layers: Sequence[Layer], types: Mapping[str, str] | None = None) -> Block:
    """The tree of blocks that layers, in execution order, are in by their paths.

    Args:
        layers: with the inputs first and the outputs last. They get their labels.
        types: path -> class of each module, where these are known: then they are the blocks. Else every prefix of a
            path is one that has several layers, but for those that only continue a layer (`bn1` has no block that
            `bn1.relu` would be in, and `layer1.0` is one, whose result has its name).
    """
    paths = [layer.path if layer.kind == "layer" else "" for layer in layers]
    known = set(types) if types is not None else _prefixes(paths, [bool(layer.weights) for layer in layers])
    root = Block("", "", (types or {}).get("", ""))
    blocks = {"": root}
    chains: list[tuple[Block, ...]] = []
    for layer, path, inside in zip(layers, paths, _homes(layers, paths, known), strict=True):
        chain = [root]
        for prefix in inside:
            if prefix not in blocks:
                blocks[prefix] = Block(prefix, _inner(prefix, chain[-1].path), (types or {}).get(prefix, ""))
                chain[-1].children.append(blocks[prefix])
            chain.append(blocks[prefix])
        layer.label = layer.label or (_inner(path, chain[-1].path) if path else layer.path)
        chain[-1].children.append(layer)
        chains.append(tuple(chain))
    _connect(layers, chains)
    return root


def _homes(layers: Sequence[Layer], paths: Sequence[str], known: Collection[str]) -> list[list[str]]:
    """The blocks that each layer is in, from the outermost.

    What is computed from and used in one block only, but has a name outside of it, as an output in the middle of a
    network may have, is in that block.
    """
    homes = [[prefix for prefix in reversed(list(ancestry(path))) if prefix in known] for path in paths]
    maker = {value.name: i for i, layer in enumerate(layers) for value in layer.outputs}
    takers: dict[int, list[int]] = defaultdict(list)
    for i, layer in enumerate(layers):
        for value in layer.inputs:
            if value.name in maker and layer.kind == "layer":
                takers[maker[value.name]].append(i)
    for i, layer in enumerate(layers):
        makers = [maker[value.name] for value in layer.inputs if value.name in maker]
        if layer.kind == "layer" and makers and takers[i]:
            common = _shared([homes[j] for j in (*makers, *takers[i])])
            if len(common) > len(homes[i]) and common[: len(homes[i])] == homes[i]:
                homes[i] = common
    return homes


def _shared(lists: Sequence[list[str]]) -> list[str]:
    """What lists begin with in common."""
    both = itertools.takewhile(lambda items: len(set(items)) == 1, zip(*lists, strict=False))
    return [items[0] for items in both]


def _inner(path: str, block: str) -> str:
    return path if path == block or not block else path.removeprefix(f"{block}.")


def _prefixes(paths: Sequence[str], weighty: Sequence[bool]) -> set[str]:
    """The prefixes of paths that are blocks.

    None is what only continues a layer's name, has a single layer, or is scattered and has no weights: a name that
    stands for no module, as in HRNet's `fuse.0.add1`.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(paths):
        for prefix in ancestry(path):
            members[prefix].append(i)
    own = {path: i for i, path in reversed(list(enumerate(paths)))}
    found = set()
    for prefix, inside in members.items():
        continues = prefix in own and own[prefix] == inside[0]
        scattered = inside[-1] - inside[0] >= len(inside) and not any(weighty[i] for i in inside)
        if len(inside) > 1 and not continues and not scattered:
            found.add(prefix)
    return found


def _connect(layers: Sequence[Layer], chains: Sequence[tuple[Block, ...]]) -> None:
    """Enters every tensor into the blocks that it is in, comes into or leaves."""
    index: dict[int, int] = {}
    for block in {id(block): block for chain in chains for block in chain}.values():
        index.update((id(child), i) for i, child in enumerate(block.children))
    made = {value.name: (value, i) for i, layer in enumerate(layers) for value in layer.outputs}
    for i, layer in enumerate(layers):
        for value in _once(layer.inputs):
            if value.name in made and made[value.name][1] != i:  # a loop takes what is made further down
                given, j = made[value.name]
                _wire(given, (*chains[j], layers[j]), (*chains[i], layer), index)
    for block in {id(block): block for chain in chains for block in chain}.values():  # in the order of their makers
        for ports in (block.inputs, block.outputs):
            ordered = sorted(ports.items(), key=lambda item: made[item[0]][1])
            ports.clear()
            ports.update(ordered)


def _once(values: Iterable[Value]) -> list[Value]:
    return list({value.name: value for value in values}.values())


def _wire(value: Value, giver: Sequence[Layer | Block], taker: Sequence[Layer | Block], index: dict[int, int]) -> None:
    """Enters a tensor into all blocks between a layer and one that takes it; each is the end of its chain of blocks."""
    common = next(i for i, (a, b) in enumerate(zip(giver, taker, strict=False)) if a is not b)
    meeting = giver[common - 1]
    assert isinstance(meeting, Block)
    _target(meeting, value, index[id(giver[common])], index[id(taker[common])])
    for block, child in zip(giver[common:], giver[common + 1 :], strict=False):
        assert isinstance(block, Block)
        block.outputs[value.name] = value
        _target(block, value, index[id(child)], OUTSIDE)
    for block, child in zip(taker[common:], taker[common + 1 :], strict=False):
        assert isinstance(block, Block)
        block.inputs[value.name] = value
        _target(block, value, OUTSIDE, index[id(child)])


def _target(block: Block, value: Value, source: int, target: int) -> None:
    net = block.nets.setdefault(value.name, Net(value, source))
    if target not in net.targets:
        net.targets.append(target)
