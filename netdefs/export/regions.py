"""Which layers belong to which loop or conditional.

TensorRT keeps all layers in one list. A layer is inside a loop if it takes, directly or not, from one of the loop's
recurrences or iterators; inside a conditional, if it takes from one of its inputs. All else is computed outside.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from netdefs.core.errors import ExportError
from netdefs.export.reading import layer_type

LOOP = ("TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT")
CONDITIONAL = ("CONDITION", "CONDITIONAL_INPUT", "CONDITIONAL_OUTPUT")
EXITS = ("LOOP_OUTPUT", "CONDITIONAL_OUTPUT")


@dataclass(eq=False)
class Region:
    """A loop, a conditional, or the network itself: the layers right inside it, and the regions nested in it."""

    handle: Any  # the ILoop or IIfConditional; None for the network
    layers: list[int] = field(default_factory=list)
    regions: list["Region"] = field(default_factory=list)

    def everything(self) -> list[int]:
        """The layers in it and in all that is nested in it."""
        return [*self.layers, *(i for region in self.regions for i in region.everything())]


class Plan:
    """The layers of a network, who makes which tensor, and the tree of regions."""

    def __init__(self, layers: Sequence[Any], trt: ModuleType) -> None:
        self.layers = layers
        self.kinds = [layer_type(layer, trt) for layer in layers]
        self.maker: dict[str, int] = {}
        for i, layer in enumerate(layers):
            for j in range(layer.num_outputs):
                name = layer.get_output(j).name
                if name in self.maker:
                    first = layers[self.maker[name]].name
                    raise ExportError(f"Two layers make a tensor called {name!r}: {first!r} and {layer.name!r}.")
                self.maker[name] = i
        # Which layers each layer takes from; a recurrence's second input comes from later in its loop's body.
        self.sources = [self._makers(i, layers[i].num_inputs) for i in range(len(layers))]
        self.earlier = [
            self._makers(i, 1) if kind == "RECURRENCE" else self.sources[i] for i, kind in enumerate(self.kinds)
        ]
        self.root = Region(None)
        self._place()

    def _makers(self, i: int, count: int) -> list[int]:
        """The layers that make the first `count` inputs of layer `i`."""
        tensors = [self.layers[i].get_input(j) for j in range(count)]
        return [self.maker[x.name] for x in tensors if x is not None and x.name in self.maker]

    def handle(self, i: int) -> Any:
        """The loop or conditional that a layer is the boundary of; None for other layers."""
        if self.kinds[i] in LOOP:
            return self.layers[i].loop
        return self.layers[i].conditional if self.kinds[i] in CONDITIONAL else None

    def _place(self) -> None:
        """Builds the tree: finds all regions around every layer, then nests them."""
        handles = {i: handle for i in range(len(self.layers)) if (handle := self.handle(i)) is not None}
        regions = {id(handle): Region(handle) for handle in handles.values()}  # the handles stay alive: ids are theirs
        own = {i: regions[id(handle)] for i, handle in handles.items()}
        around: list[set[Region]] = [{own[i]} if i in own else set() for i in range(len(self.layers))]
        enclosing: dict[Region, set[Region]] = {region: set() for region in regions.values()}
        changed = bool(regions)
        while changed:
            changed = False
            for i, found in enumerate(around):
                before = len(found)
                for j in self.sources[i]:
                    found |= around[j] - ({own[j]} if self.kinds[j] in EXITS else set())
                if i in own:  # what is open where a region begins or ends is around all of it
                    enclosing[own[i]] |= found - {own[i]}
                for region in tuple(found):
                    found |= enclosing[region]
                changed |= len(found) > before
        depth = {region: len(outer) for region, outer in enclosing.items()}
        for region, outer in enclosing.items():
            max(outer, key=depth.__getitem__, default=self.root).regions.append(region)
        for i, found in enumerate(around):
            max(found, key=depth.__getitem__, default=self.root).layers.append(i)

    def items(self, region: Region) -> list["int | Region"]:
        """The layers and regions right inside a region, each after those that it takes from."""
        members: list[int | Region] = [*region.layers, *region.regions]
        home: dict[int, int | Region] = {i: i for i in region.layers}
        home.update((i, inner) for inner in region.regions for i in inner.everything())
        first = {item: min(item.everything()) if isinstance(item, Region) else item for item in members}

        def before(item: "int | Region") -> list["int | Region"]:
            if isinstance(item, Region):
                makers = [j for i in item.everything() for j in self.sources[i]]
            else:
                makers = self.earlier[item]
            return [home[j] for j in makers if j in home and home[j] != item]

        return ordered(sorted(members, key=first.__getitem__), before)

    def needed(self, region: Region, tensors: Sequence[str]) -> list["int | Region"]:
        """Those of a region's items that some tensors depend on, in order."""
        items = self.items(region)
        home = {i: item for item in items for i in (item.everything() if isinstance(item, Region) else [item])}
        wanted = {home[self.maker[name]] for name in tensors if name in self.maker and self.maker[name] in home}
        for item in reversed(items):
            if item in wanted:
                inside = item.everything() if isinstance(item, Region) else [item]
                makers = [j for i in inside for j in (self.sources[i] if isinstance(item, Region) else self.earlier[i])]
                wanted |= {home[j] for j in makers if j in home}
        return [item for item in items if item in wanted]


def ordered(items: Iterable[Any], before: Callable[[Any], Iterable[Hashable]]) -> list[Any]:
    """The items, each after those that `before` names for it, otherwise in the order they came in."""
    order: list[Any] = []
    visited, done = set(), set()
    for root in items:
        stack = [root]
        while stack:
            item = stack[-1]
            if item in done:
                stack.pop()
            elif item in visited:
                stack.pop()
                done.add(item)
                order.append(item)
            else:
                visited.add(item)
                stack += [other for other in reversed(list(before(item))) if other not in visited]
    return order
