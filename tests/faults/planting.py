"""Putting a fault into a network while it is being defined: one call of one primitive is made otherwise."""

import contextlib
import dataclasses
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np

from netdefs.core.network import Network
from netdefs.core.weights import Weights

PRIMITIVES = (
    *("conv", "deconv", "batch_norm", "linear", "relu", "leaky_relu", "prelu", "sigmoid", "silu", "mish", "hardswish"),
    *("gelu", "softmax", "add", "sub", "mul", "max_pool", "avg_pool", "global_avg_pool", "upsample"),
    *("concat", "split", "flatten", "reshape", "permute", "pixel_shuffle", "slice"),
)
Handler = Callable[["Step"], Any]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A tensor that a call was given."""

    name: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a primitive as it was recorded; tensors among its arguments are `Seen`."""

    method: str
    path: str
    arguments: dict[str, Any]
    shape: tuple[int, ...]  # of what it gave

    def __getattr__(self, name: str) -> Any:
        try:
            return self.arguments[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclasses.dataclass
class Step:
    """One call of a primitive that is about to be made."""

    net: Network
    method: str
    original: Callable[..., Any]
    arguments: dict[str, Any]

    @property
    def path(self) -> str:
        return self.net.path_of(self.arguments["name"])

    @property
    def x(self) -> Any:
        return self.arguments.get("x", self.arguments.get("a"))

    def run(self, **changes: Any) -> Any:
        """Makes the call, with other arguments where any are given."""
        return self.original(self.net, **{**self.arguments, **changes})

    def child(self, suffix: str) -> str:
        return self.net.child(self.arguments["name"], suffix)

    def named(self, layer: Any, suffix: str | None, *inputs: Any) -> Any:
        """Names a raw layer: as the call's own, or as something inside of it."""
        return self.net.layer(layer, self.child(suffix) if suffix else self.arguments["name"], *inputs)

    def identity(self) -> Any:
        return self.named(self.net.definition.add_identity(self.x), None, self.x)

    def made_of(self, tensor: Any) -> list[str]:
        """The names of what the layer that makes a tensor reads."""
        definition = self.net.definition
        for layer in (definition.get_layer(i) for i in range(definition.num_layers)):
            if any(layer.get_output(j).name == tensor.name for j in range(layer.num_outputs)):
                return [layer.get_input(j).name for j in range(layer.num_inputs)]
        return []

    def forget_weights(self) -> None:
        """What the call would have taken is knowingly left unused."""
        self.net.weights.ignore(f"{self.path}.*")

    def inner(self) -> Any:
        """The call's result under another name, so that something else can have the call's own."""
        prefix = f"{self.path}.exact"
        take, eps = Weights.take, Weights.eps
        self.net.weights.ignore(f"{self.path}.num_batches_tracked")
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                mock.patch.object(Weights, "take", lambda w, key, shape: take(w, key.replace(prefix, self.path), shape))
            )
            stack.enter_context(mock.patch.object(Weights, "eps", lambda w, m: eps(w, m.replace(prefix, self.path))))
            return self.run(name=self.child("exact"))

    @contextlib.contextmanager
    def weights(self, change: Callable[[str, np.ndarray, Weights], np.ndarray]) -> Iterator[None]:
        """Inside, every weight that is taken goes through `change(last part of its key, array, all weights)`."""
        real = Weights.take

        def take(weights: Weights, key: str, shape: tuple[int, ...]) -> np.ndarray:
            array = real(weights, key, shape)
            changed = np.ascontiguousarray(change(key.rpartition(".")[2], array, weights), np.float32)
            assert changed.shape == array.shape
            return changed

        with mock.patch.object(Weights, "take", take):
            yield


@dataclasses.dataclass
class Plant:
    """The state of one planted fault.

    Attributes:
        rng: for what is left to chance.
        made: the tensors that the network has so far.
        detail: words that must be in the cause, such as the wrong value.
        then: what the next call that it takes is turned into: a condition and a handler.
        done: whether the fault is in.
    """

    rng: random.Random
    made: list[Any] = dataclasses.field(default_factory=list)
    detail: str = ""
    then: tuple[Callable[[Step], bool], Handler] | None = None
    done: bool = False


@contextlib.contextmanager
def watching(handler: Handler) -> Iterator[None]:
    """Inside, every call of a primitive that a definition makes goes to `handler`, which makes it."""
    depth = 0

    def wrap(method: str) -> Callable[..., Any]:
        original = getattr(Network, method)
        signature = inspect.signature(original)

        def call(net: Network, *args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            if depth:  # one that a primitive makes by itself
                return original(net, *args, **kwargs)
            bound = signature.bind(net, *args, **kwargs)
            bound.apply_defaults()
            arguments = {name: value for name, value in bound.arguments.items() if name != "self"}
            depth += 1
            try:
                return handler(Step(net, method, original, arguments))
            finally:
                depth -= 1

        return call

    with contextlib.ExitStack() as stack:
        for method in PRIMITIVES:
            stack.enter_context(mock.patch.object(Network, method, wrap(method)))
        yield


def record(define: Callable[[], Any]) -> tuple[Any, list[Call]]:
    """What a definition returns, and the calls that it makes."""
    calls = []

    def note(step: Step) -> Any:
        path, arguments = step.path, {name: _seen(value) for name, value in step.arguments.items()}
        out = step.run()
        calls.append(Call(step.method, path, arguments, tuple(out.shape) if hasattr(out, "shape") else ()))
        return out

    with watching(note):
        return define(), calls


def planted(define: Callable[[], Any], path: str, plant: Plant, fault: Callable[[Step, Plant], Any]) -> Any:
    """What a definition returns if its call for `path` is made by `fault(step, plant)` instead."""

    def make(step: Step) -> Any:
        if not plant.done and step.path == path:
            plant.done = True
            out = fault(step, plant)
        elif plant.then is not None and plant.then[0](step):
            handler, plant.then = plant.then[1], None
            out = handler(step)
        else:
            out = step.run()
        plant.made += out if isinstance(out, list) else [out]
        return out

    with watching(make):
        return define()


def _seen(value: Any) -> Any:
    if hasattr(value, "is_network_input"):
        return Seen(value.name, tuple(value.shape))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_seen(item) for item in value]
    return value
