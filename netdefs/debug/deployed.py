"""The network as it is deployed: compiled for a target, with its layers made visible in a way that the target has.

Whoever looks changes what is seen: a layer that is an output is not fused with the next, which may change its last
digits, and TensorRT's choice of kernels. So the network's own outputs are always those of the engine that nobody looks
into, and how far the others' are from them is reported (`Observer`).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from netdefs.core.errors import CompareError
from netdefs.debug.metrics import measure
from netdefs.debug.plan import Group
from netdefs.debug.run import Arrays
from netdefs.engine import Engine, build

if TYPE_CHECKING:
    from netdefs.debug.subject import Subject

WAYS = {
    "outputs": "Making outputs of the layers",
    "debug": "Making debug tensors of the layers",
    "unfused": "Listening to what fusion leaves",
}
FUSED = "is fused: no debug tensor has its name"


@dataclasses.dataclass(frozen=True)
class Observer:
    """What looking at the layers of an engine did to the network's outputs.

    Attributes:
        target: what the network was compiled for.
        way: how the layers were seen: "outputs", "debug" or "unfused".
        engines: how many engines that took, besides the one that nobody looks into.
        differences: by output: the L2 norm of the difference to that one, over the L2 norm of its values; the largest
            of all engines and inputs.
        tolerance: what is no more than the last digits.
    """

    target: str
    way: str
    engines: int
    differences: dict[str, float]
    tolerance: float

    @property
    def matters(self) -> bool:
        """Whether the layers that were seen may not be those that are deployed."""
        return any(not difference <= self.tolerance for difference in self.differences.values())

    @property
    def text(self) -> str:
        """It in words."""
        name, worst = max(self.differences.items(), key=lambda item: item[1], default=("", 0.0))
        what = f"{WAYS[self.way]} ({self.target}, {self.engines} engine{'s' * (self.engines != 1)})"
        if worst == 0:
            return f"{what} changes no bit of the network's outputs."
        by = f"{name} by {worst:.2g} (relative)"
        if not self.matters:
            return f"{what} changes {by}: the last digits only."
        hint = "" if self.way == "unfused" else " It keeps them from being fused; observe='unfused' does not."
        return (
            f"{what} changes {by}, more than the tolerance {self.tolerance:g}: the layers as they are seen here are "
            f"not those of the engine that nobody looks into. Its outputs are the ones in this report.{hint}"
        )


def check_target(network: Any, target: str | None, way: str, mode: str, stretch: str | None) -> None:
    """Checks what `compare` is asked about a target.

    Raises:
        CompareError: it makes no sense.
    """
    if way not in WAYS:
        raise CompareError(f"observe={way!r}: it is one of {', '.join(WAYS)}.")
    if target is None:
        if way != "outputs":
            raise CompareError(
                f"observe={way!r} says how to look into an engine, and none is compiled: give a target, too, such as "
                "'tensorrt'."
            )
        return
    if isinstance(network, Engine):
        raise CompareError(
            f"target={target!r} compiles a network, and this is an engine for {network.target!r} already. Pass the "
            "network that it was built from, or leave target out."
        )
    if mode == "isolated" or stretch is not None:
        what = "mode='isolated'" if mode == "isolated" else f"{stretch}="
        raise CompareError(
            f"{what}: an engine can't be fed in its middle. Leave target out: the network's own layers can."
        )


class Deployment:
    """Compiles a network and runs it.

    Args:
        network: a `Network` or an `INetworkDefinition`.
        target: as `netdefs.build` takes it.
        way: how layers are made visible: one of `WAYS`.
        outputs: the network's own.
        known_as: tensors that have another name in the network.
        tolerance: a difference that looking may make.
        again: there are several inputs: engines are kept for the next.

    Attributes:
        target: what it is compiled for.
        unseen: layers that no engine showed.
    """

    def __init__(
        self,
        network: Any,
        target: str,
        way: str,
        outputs: Collection[str],
        known_as: Mapping[str, str],
        tolerance: float,
        again: bool,
    ) -> None:
        self._network, self._way = network, way
        self._outputs, self._known_as = list(outputs), known_as
        self._tolerance, self._again = tolerance, again
        self._engines: dict[tuple[str, ...], Engine] = {}
        self._keys: set[tuple[str, ...]] = set()
        self._differences = dict.fromkeys(self._outputs, 0.0)
        self.unseen: dict[str, None] = {}
        self._plain = build(network, target=target)
        self.target = self._plain.target
        if way != "outputs" and not hasattr(self._plain, "watch"):
            self._plain.close()
            raise CompareError(
                f"observe={way!r}: an engine of the target {self.target!r} has no debug tensors, those of TensorRT "
                "have. observe='outputs' suits every target."
            )

    def observe(self, groups: Sequence[Group], feeds: Mapping[str, np.ndarray]) -> "Observed":
        """What one input gives, group by group."""
        return Observed(self, groups, feeds)

    def plain(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """The outputs of the engine that nobody looks into."""
        found = self._plain.run(feeds)
        self._rest(self._plain)
        return found

    def seen(self, names: Sequence[str], of: Sequence[str], feeds: Mapping[str, np.ndarray], plain: Arrays) -> Arrays:
        """The values of some layers.

        Args:
            names: the layers.
            of: all that are wanted of one engine, where there is only one.
            feeds: the network's inputs.
            plain: what `plain` gave for them.
        """
        here = {self._known_as.get(name, name): name for name in names}
        found: Arrays = {}
        if self._way == "outputs":
            engine = self._engine(names, outputs=list(here))
            results = engine.run(feeds)
            found = {here[name]: array for name, array in results.items() if name in here}
        else:
            options: dict[str, Any] = {"unfused": True}
            if self._way == "debug":
                options = {"debug": [self._known_as.get(name, name) for name in of]}
            engine = self._engine(of, **options)

            def take(name: str, array: np.ndarray) -> None:
                if name in here:
                    found[here[name]] = array

            watch: Callable[..., Arrays] = engine.watch  # type: ignore[attr-defined]
            results = watch(feeds, take)
        for name in self._outputs:
            difference = measure(plain[name], results[name], self._tolerance).relative
            self._differences[name] = max(self._differences[name], difference)
        self.unseen.update(dict.fromkeys(name for name in names if name not in found))
        self._rest(engine)
        return found

    def observer(self) -> Observer:
        """What looking did to the network's outputs so far."""
        return Observer(self.target, self._way, len(self._keys), dict(self._differences), self._tolerance)

    def close(self) -> None:
        """Frees all engines."""
        for engine in (self._plain, *self._engines.values()):
            engine.close()
        self._engines.clear()

    def _engine(self, names: Sequence[str], **options: Any) -> Engine:
        key = tuple(names)
        self._keys.add(key)
        if key not in self._engines:
            self._engines[key] = build(self._network, target=self.target, **options)
        return self._engines[key]

    def _rest(self, engine: Engine) -> None:
        """Frees what an engine takes until it is needed again: several of them need not fit onto a GPU."""
        if hasattr(engine, "release"):
            engine.release()
        if self._again or self._way != "outputs" or engine is self._plain:
            return
        engine.close()
        self._engines = {key: other for key, other in self._engines.items() if other is not engine}


@contextlib.contextmanager
def deployed(subject: "Subject", target: str | None, way: str, tolerance: float, again: bool) -> Iterator[None]:
    """Has a subject run by engines of a target, if one is given, for the length of the block.

    Args:
        subject: the network.
        target: as `netdefs.build` takes it, or None.
        way: how layers are made visible: one of `WAYS`.
        tolerance: a difference that looking may make.
        again: there are several inputs.
    """
    if target is None:
        yield
        return
    subject.deployment = Deployment(subject.source, target, way, subject.outputs, subject.known_as, tolerance, again)
    try:
        yield
    finally:
        subject.deployment.close()


class Observed:
    """One input's values, group by group, as `netdefs.debug.run.Chain` gives them.

    Args:
        deployment: the network.
        groups: what is wanted, in the order in which `run` will be asked for it.
        feeds: the network's inputs.
    """

    def __init__(self, deployment: Deployment, groups: Sequence[Group], feeds: Mapping[str, np.ndarray]) -> None:
        self._deployment, self._groups, self._feeds = deployment, groups, feeds
        self._plain = deployment.plain(feeds)
        self._all = [name for group in groups for name in self._inner(group)]
        self.entries: list[frozenset[str]] = [frozenset() for _ in groups]

    def run(self, index: int, _: Any = None) -> Arrays:
        """The values of one group's tensors, those of layers that can't be seen left out."""
        names = self._inner(self._groups[index])
        seen = self._deployment.seen(names, self._all, self._feeds, self._plain) if names else {}
        return {**seen, **self._plain}

    def _inner(self, group: Group) -> list[str]:
        return [name for name in group.outputs if name not in self._plain]
