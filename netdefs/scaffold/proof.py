"""Proof that a block of the library adds what statements add: both on scratch networks, layer by layer."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetdefsError
from netdefs.core.network import Network
from netdefs.core.optional import require
from netdefs.core.scope import Tensor
from netdefs.export.exporter import to_parts
from netdefs.export.save import assemble
from netdefs.scaffold.execute import argument_of, execute
from netdefs.scaffold.library import block_of, package
from netdefs.scaffold.program import Arg, Call, Value

TOLERANCE = 1e-4  # relative to the largest value, of tensors that are computed in another order
PLACE = "unit"  # where the module is in a scratch network


class Body:
    """The statements of one call of a module that takes one tensor and gives one.

    Args:
        calls: the statements, in place of a child either its own or the call of a block that was proven to be it.
        path: the module's.
        module: itself; only its names and the shapes of its weights count.
        shape: of what it is given, with numbers for all sizes.
        given: what it is given.
        made: what it gives.
    """

    def __init__(
        self, calls: Sequence[Call], path: tuple[str, ...], module: Any, shape: Sequence[int], given: Value, made: Value
    ) -> None:
        self.calls, self.path, self.module = calls, path, module
        self.shape, self.given, self.made = tuple(shape), given, made
        self.weights = {
            f"{PLACE}.{key}": _values(key, value.shape)
            for key, value in module.state_dict(keep_vars=True).items()
            if value.is_floating_point()
        }
        self.own = _Scratch(self, lambda net, x: execute(calls, net, {given: x}, path)[made])

    def is_added_by(self, function: str, options: Mapping[str, Arg]) -> bool:
        """Whether a block of the library adds the same layers, named and weighted the same.

        The same are all layers that have a module's name: the modules of the statements are there, of the same kind,
        with the same attributes and weights, and give the same. What lies between them may be computed in another way,
        if its values are the same. The block may give a value a second name.

        Args:
            function: as `block_of` takes it.
            options: what it is given behind the network and the tensor; names are inside of the module.
        """
        block = block_of(function)
        given = {key: argument_of(value) for key, value in options.items()}
        try:
            other = _Scratch(self, lambda net, x: block(net, x, **given))
        except (NetdefsError, ValueError, ArithmeticError, IndexError):
            return False  # it is for modules of other shapes
        return self.own.taken == other.taken and self._same(other)

    def _same(self, other: "_Scratch") -> bool:
        mine, theirs = self.own.graph, other.graph
        made, result = self.own.result, theirs.keys[other.result]
        names = [f"{PLACE}.{name}" for name, _ in self.module.named_modules() if name]
        named = {name for name in names if name in mine.keys and name not in mine.aliases}
        if not named <= set(theirs.keys) or theirs.keys.get(PLACE, result) != result:
            return False
        pairs = [(made, other.result), *((name, name) for name in sorted(named))]
        if mine.nodes == theirs.nodes and all(mine.keys[a] == theirs.keys[b] for a, b in pairs):
            return True
        if min(self.shape[2:], default=2) < 2:
            return False  # of a single pixel too much is the same
        owners = {key.rpartition(".")[0] for key in self.weights}
        if any(mine.local(a) != theirs.local(b) for a, b in pairs if a in owners):
            return False
        found, wanted = other.values([b for _, b in pairs]), self.own.values([a for a, _ in pairs])
        return all(_close(a, b) for a, b in zip(found, wanted, strict=True))


# What layers may be called inside of a module of their own class, whose weights they have.
INNER = ("batch_norm", "layer_norm", "group_norm", "conv", "linear")


class _Scratch:
    """A network of one module."""

    def __init__(self, body: Body, add: Callable[[Network, Tensor], Tensor]) -> None:
        self.network = net = Network(body.weights, package=package())
        for word in INNER:
            net.inner(word)
        x = net.input("x", body.shape)
        made = add(net / PLACE, x)
        self.result = str(made.name)
        self.taken = net.weights.taken
        if problems := _misfits(self.taken, body.weights):
            raise NetdefsError(f"{problems} have other sizes.")
        for key in body.weights:
            net.ignore(key)
        net.finish(net.output(made, "output"))
        self._given = np.random.default_rng(0).standard_normal(body.shape, np.float32)
        self._graph: _Graph | None = None

    @property
    def graph(self) -> "_Graph":
        if self._graph is None:
            self._graph = _Graph(*to_parts(self.network, strict=False))
        return self._graph

    def values(self, names: Sequence[str]) -> list[np.ndarray]:
        """The values of tensors, by ONNX Runtime."""
        runtime = require("onnxruntime", "cpu")
        inner = sorted({name for name in names if name != self.result})
        model = assemble(*to_parts(self.network, outputs=inner))
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = dict(zip([*inner, self.result], session.run([*inner, "output"], {"x": self._given}), strict=True))
        return [found[name] for name in names]


class _Graph:
    """What a network adds, without names.

    Attributes:
        keys: tensor -> what it is: alike where it is computed alike from the same weights. Identities change nothing.
        nodes: what is computed, and how often.
        aliases: tensors that are another one under a second name.
    """

    def __init__(self, model: Any, initializers: Sequence[Any]) -> None:
        self.keys: dict[str, str] = {"x": "x", "": ""}
        self.nodes: Counter[str] = Counter()
        self.aliases: set[str] = set()
        self._made: dict[str, str] = {}
        for each in initializers:
            values = hashlib.sha256(np.ascontiguousarray(each.values).data).hexdigest()
            self.keys[each.name] = f"{each.dtype} {each.shape} {values}"
        constants = {each.name for each in initializers}
        for node in model.graph.node:
            if node.op_type == "Identity":
                self.aliases.add(node.output[0])
                self.keys[node.output[0]] = self.keys[node.input[0]]
                self._made[node.output[0]] = self._made.get(node.input[0], "")
                continue
            options = sorted(each.SerializeToString() for each in node.attribute)
            given = [self.keys[name] for name in node.input]
            fixed = [self.keys[name] if name in constants else "" for name in node.input]
            key = _digest(node.op_type, options, given)
            self.nodes[key] += 1
            for i, name in enumerate(node.output):
                self.keys[name] = f"{key}.{i}"
                self._made[name] = _digest(node.op_type, options, fixed)

    def local(self, name: str) -> str:
        """The layer that gives a tensor, with its attributes and weights, whatever it is given."""
        return self._made[name]


def _values(key: str, shape: Sequence[int]) -> np.ndarray:
    """Weights that no other key has, of a size that keeps values in range; variances and the like are positive."""
    fan = int(np.prod(tuple(shape)[1:])) if len(shape) > 1 else 1
    values = np.random.default_rng(zlib.crc32(key.encode())).random(tuple(shape), np.float32)
    if fan == 1:
        return np.asarray(values + 0.5, np.float32)
    return np.asarray((values - 0.5) * np.float32(4 / np.sqrt(fan)), np.float32)


def _misfits(taken: Mapping[str, tuple[int, ...]], weights: Mapping[str, np.ndarray]) -> list[str]:
    return [key for key, shape in taken.items() if key not in weights or weights[key].shape != tuple(shape)]


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or not np.isfinite(b).all():
        return False
    scale = float(np.abs(b).max()) if b.size else 1.0
    return bool(np.abs(a - b).max() <= TOLERANCE * scale) if b.size else True


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
