"""Which layers of a network and which modules are partners: those of the same name."""

from collections.abc import Iterator
from typing import Any

from netdefs.draw.data import counted
from netdefs.draw.tree import EVERYTHING, Block, Layer

LISTED = 4  # names without a partner that the heading spells out


def pair(network: Block, module: Block) -> str:
    """Enters the partners into both trees, and says in words what has none.

    A layer's partner is the module of its name, or the function that its name could stand for (`bn1.relu`: the ReLU
    that is given what bn1 returns). A block that only the network has, such as the two layers of `fc`, may be the
    partner of a single module; and what a module returns, of the last of its layers. What has no name in common but
    does the same to what partners give, is a partner, too.
    """
    ours, theirs = list(_nodes(network)), list(_nodes(module))
    _enter(ours, _by_name(theirs))
    _enter(theirs, _by_name(ours))
    for tree, others in ((network, theirs), (module, ours)):
        _inherit(tree, {node.id: node for node in others})
    _follow(network, module)
    results = {block.path: block for block in ours if isinstance(block, Block)}
    layers = {layer.path: layer for layer in ours if isinstance(layer, Layer)}
    for block in theirs:
        if isinstance(block, Block) and block.partner and block.path in layers and block.path in results:
            last = _last(block)
            if last is not None and not last.partner:
                last.partner = layers[block.path].id
    missing = [layer for layer in module.layers if layer.partner == "" and not layer.minor]
    left = [layer for layer in network.layers if layer.partner == "" and not layer.minor]
    total = sum(not layer.minor for layer in module.layers)
    text = f"{total - len(missing)} of {counted(total, 'module')} have a layer"
    return ". ".join([text, *_listed("Modules without", missing), *_listed("Layers with weights and no module", left)])


def _nodes(block: Block) -> Iterator[Layer | Block]:
    for child in block.children:
        yield child
        if isinstance(child, Block):
            yield from _nodes(child)


def _by_name(nodes: list[Layer | Block]) -> dict[str, Layer | Block]:
    """Each id's block; each name's layer, else its block, and where neither has it, what may also be called so."""
    found: dict[str, Layer | Block] = {}
    layers = [node for node in nodes if isinstance(node, Layer)]
    for layer in layers:
        if "#" not in layer.id:  # the first call of a module that is called several times
            found.setdefault(_key(layer), layer)
    for node in nodes:
        if isinstance(node, Block):
            found.setdefault(node.path, node)
            found[node.id] = node
    for layer in layers:
        for name in layer.also:
            found.setdefault(name, layer)
    return found


def _key(layer: Layer) -> str:
    return layer.path if layer.kind == "layer" else layer.id


def _enter(nodes: list[Layer | Block], others: dict[str, Layer | Block]) -> None:
    for node in nodes:
        names = [f"{node.path}{EVERYTHING}", *([node.path] if isinstance(node, Block) else [_key(node), *node.also])]
        found = next((others[name] for name in names if name in others), None)
        node.partner = found.id if found is not None else ""
        if found is None and (isinstance(node, Block) or node.kind == "output"):
            node.partner = None


def _inherit(block: Block, others: dict[str, Any], partner: str = "") -> None:
    """What is in a block whose partner is a single layer, has that partner."""
    for child in block.children:
        own = child.partner or partner
        child.partner = own or child.partner
        if isinstance(child, Block):
            _inherit(child, others, own if own and isinstance(others[own], Layer) else "")


def _follow(network: Block, module: Block) -> None:
    """Joins what does the same to the same: an add of two tensors whose makers are partners."""
    known = {value.name: other for value, other in _tensors(network, module)}
    left = [layer for layer in network.layers if layer.partner == ""]
    for layer in module.layers:
        if layer.partner == "" and layer.inputs:
            wanted = [known.get(value.name, "") for value in layer.inputs]
            for other in left:
                if other.type.lower() == layer.type.lower() and sorted(wanted) == sorted(v.name for v in other.inputs):
                    layer.partner, other.partner = other.id, layer.id
                    known[layer.outputs[0].name] = other.outputs[0].name
                    left.remove(other)
                    break


def _tensors(network: Block, module: Block) -> Iterator[tuple[Any, str]]:
    """The outputs of modules, with the tensor of the network that their partner gives."""
    ours = {node.id: node for node in _nodes(network)}
    for node in _nodes(module):
        partner = ours.get(node.partner or "")
        if partner is not None:
            given, other = ([*n.outputs.values()] if isinstance(n, Block) else n.outputs for n in (node, partner))
            if len(given) == len(other) == 1:
                yield given[0], other[0].name


def _last(block: Block) -> Layer | None:
    """The layer that gives a block's only output."""
    if len(block.outputs) != 1:
        return None
    name = next(iter(block.outputs))
    return next((layer for layer in block.layers if any(value.name == name for value in layer.outputs)), None)


def _listed(title: str, layers: list[Layer]) -> list[str]:
    if not layers:
        return []
    names = ", ".join(layer.path for layer in layers[:LISTED])
    return [f"{title}: {names}" + (f" ... ({len(layers)} in all)" if len(layers) > LISTED else "")]
