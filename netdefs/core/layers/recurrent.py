"""Recurrent layers, made of TensorRT's loops."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.indexing import Indexing
from netdefs.core.scope import Layer, Tensor, describe

DIRECTIONS = ("", "_reverse")  # as PyTorch ends the names of weights


class Recurrent(Indexing):
    """LSTMs, GRUs and RNNs of any number of layers, in one direction or both.

    Both directions of a layer run in one loop of T steps. What the input adds to the gates is computed before it, for
    all steps at once. T and N may be dynamic. Everything is in one precision, that of the layer's name, since a loop's
    state has one type.

    Weights: `<name>.weight_ih_l0`, `weight_hh_l0` and, with `bias`, `bias_ih_l0`, `bias_hh_l0`; of further layers `_l1`
    and so on, of the other direction with `_reverse` behind that. The states, which PyTorch's modules return behind
    their result, are called after their places there: `<name>.1`, or `<name>.1.0` and `<name>.1.1`.
    """

    def lstm(
        self,
        x: Tensor,
        name: str | None,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        initial: Sequence[Tensor] = (),
        states: bool = False,
    ) -> Any:
        """`nn.LSTM`: (T, N, C) -> (T, N, hidden_size), or 2 * hidden_size if bidirectional.

        Args:
            x: (T, N, C), or (N, T, C) if `batch_first`.
            name: of the layer; None for the scope's own.
            hidden_size: of a state.
            num_layers: each takes what the one before gives.
            bias: whether there are biases.
            batch_first: whether N is the first axis of `x` and of the result.
            bidirectional: whether it runs backwards as well.
            initial: h and c before the first step, each (num_layers * directions, N, hidden_size); zeros by default.
            states: whether h and c after the last step are asked for, too.

        Returns:
            What the last layer gives; with `states` that, h_n and c_n, which have the shape of `initial`.

        Raises:
            NetworkError: `x` has not three axes, the initial states don't fit, or there are no layers.
        """
        way = _Way(hidden_size, num_layers, bias, batch_first, bidirectional)
        return self._recurrent(x, name, LSTM, way, initial, states)

    def gru(
        self,
        x: Tensor,
        name: str | None,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        initial: Sequence[Tensor] = (),
        states: bool = False,
    ) -> Any:
        """`nn.GRU`: as `lstm`, but that there is no c: `initial` is (h,), and `states` adds h_n alone."""
        way = _Way(hidden_size, num_layers, bias, batch_first, bidirectional)
        return self._recurrent(x, name, GRU, way, initial, states)

    def rnn(
        self,
        x: Tensor,
        name: str | None,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        initial: Sequence[Tensor] = (),
        states: bool = False,
    ) -> Any:
        """`nn.RNN`, whose nonlinearity is "tanh" or "relu": otherwise as `gru`.

        Raises:
            NetworkError: another nonlinearity; or as `lstm`.
        """
        if nonlinearity not in RNN:
            raise NetworkError(f"{self.path_of(name)}: nonlinearity={nonlinearity!r} is neither 'tanh' nor 'relu'.")
        way = _Way(hidden_size, num_layers, bias, batch_first, bidirectional)
        return self._recurrent(x, name, RNN[nonlinearity], way, initial, states)

    def _recurrent(
        self, x: Tensor, name: str | None, cell: "_Cell", way: "_Way", initial: Sequence[Tensor], states: bool
    ) -> Any:
        at, batch = self.module(name), 0 if way.batch_first else 1
        if len(x.shape) != 3:
            axes = "(N, T, C)" if way.batch_first else "(T, N, C)"
            raise NetworkError(f"{at.path}: {cell.what} takes {axes}, not {describe(x)}.")
        if way.num_layers < 1:
            raise NetworkError(f"{at.path}: num_layers={way.num_layers} must be positive.")
        x, *given = self.typed(name, x, *initial)
        n = int(x.shape[batch])
        size = at.sizes(x, [(batch, 1), way.hidden], "state") if n < 0 else None
        steps = at._count_of_steps(x, 1 - batch)
        first = at._given_states(given, cell, way, n) if given else at._zero_states(x, cell, way, n, size)
        last: dict[str, Tensor] = {}  # a state's name, as in `first` -> what it is after the last step, (1, N, hidden)
        for k in range(way.num_layers):
            runs = [_Run(at, cell, way, end, x, size) for end in way.ends(k)]
            x = at._loop(runs, first, steps, k, last if states else None)
        if not states:
            return x
        found = [[last[f"{which}{end}"] for end in way.all_ends] for which in cell.states]
        names = ["1"] if len(found) == 1 else [f"1.{i}" for i in range(len(found))]
        return x, *(at._joined(each, name, 0) for each, name in zip(found, names, strict=True))

    def _loop(
        self, runs: "Sequence[_Run]", first: dict[str, Tensor], steps: Tensor, k: int, last: dict[str, Tensor] | None
    ) -> Tensor:
        """The loop of the layer `k` of this scope's module, whose directions are `runs`; gives its result."""
        (way,) = {run.way for run in runs}
        kinds, axis = self.trt.LoopOutput, 1 if way.batch_first else 0
        loop = self.definition.add_loop()
        loop.name = self.path_of(f"loop_l{k}")
        loop.add_trip_limit(steps, self.trt.TripLimit.COUNT).name = self.path_of(f"limit_l{k}")
        name = None if k == way.num_layers - 1 else f"out_l{k}"
        outputs = []
        for run in runs:
            names = [f"{which}{run.end}" for which in run.cell.states]
            added = [loop.add_recurrence(first[each]) for each in names]
            before = [self.layer(state, each, first[each]) for state, each in zip(added, names, strict=True)]
            back = run.end.endswith(DIRECTIONS[1])
            now = self.layer(loop.add_iterator(run.gates, axis, back), f"now{run.end}", run.gates)
            after = run.cell.step(run, now, *before)
            for state, following in zip(added, after, strict=True):
                state.set_input(1, following)
            # The other direction's steps come last first: REVERSE puts them in the input's order again.
            all_ = loop.add_loop_output(after[0], kinds.REVERSE if back else kinds.CONCATENATE, axis)
            all_.set_input(1, steps)
            outputs.append(self.layer(all_, f"all{run.end}" if len(runs) > 1 else name, after[0]))
            for each, state in zip(names, before, strict=True):
                if last is not None:
                    final = self.layer(loop.add_loop_output(state, kinds.LAST_VALUE, 0), f"{each}.last", state)
                    row = self.definition.add_shuffle(final)
                    row.reshape_dims = (1, -1, way.hidden)
                    last[each] = self.layer(row, f"{each}.row", final)
        return self.computed(self._joined(outputs, name, 2) if len(runs) > 1 else outputs[0])

    def _joined(self, parts: Sequence[Tensor], name: str | None, axis: int) -> Tensor:
        """Tensors along an axis, in their own precision."""
        layer = self.definition.add_concatenation(parts)
        layer.axis = axis
        return self.layer(layer, name, *parts)

    def _given_states(self, states: Sequence[Tensor], cell: "_Cell", way: "_Way", n: int) -> dict[str, Tensor]:
        """The states of each direction of each layer before the first step, (N, hidden), of those of all together."""
        shape = (len(way.all_ends), n, way.hidden)
        if len(states) != len(cell.states) or not all(_fits(x, shape) for x in states):
            wanted, found = " and ".join(cell.states), ", ".join(map(describe, states))
            raise NetworkError(f"{self.path}: initial states are {wanted}, of the shape {shape} each, not {found}.")
        each = zip(cell.states, states, strict=True)
        parts = {f"{which}{end}": (x, i) for which, x in each for i, end in enumerate(way.all_ends)}
        first = {}
        for name, (x, i) in parts.items():
            place = self.constant(np.array(i, np.int32), f"{name}.place")
            first[name] = self.layer(self.definition.add_gather(x, place, 0), f"{name}.first", x, place)
        return first

    def _zero_states(self, x: Tensor, cell: "_Cell", way: "_Way", n: int, size: Tensor | None) -> dict[str, Tensor]:
        """Zeros, (N, hidden), for each state."""
        zeros = self.constant(
            np.zeros((max(n, 1), way.hidden), np.float32), "zeros" if size is None else "zero", like=x
        )
        if size is not None:
            layer = self.definition.add_slice(zeros, (0, 0), (0, way.hidden), (0, 1))  # a step of 0 repeats
            layer.set_input(2, size)
            zeros = self.layer(layer, "zeros", zeros)
        return {f"{which}{end}": zeros for which in cell.states for end in way.all_ends}

    def _count_of_steps(self, x: Tensor, axis: int) -> Tensor:
        """The size of x along an axis, which may be dynamic: a whole number without axes."""
        if int(x.shape[axis]) >= 0:
            return self.constant(np.array(x.shape[axis], np.int32), "steps")
        shape = self.layer(self.definition.add_shape(x), "shape", x)
        place = self.constant(np.array(axis, np.int32), "steps.axis")
        return self.layer(self.definition.add_gather(shape, place, 0), "steps", shape, place)


@dataclasses.dataclass(frozen=True)
class _Way:
    """What the kinds of recurrent layers have in common; as PyTorch's arguments."""

    hidden: int
    num_layers: int
    bias: bool
    batch_first: bool
    bidirectional: bool

    def ends(self, k: int) -> list[str]:
        """How the names of the layer `k` end, in each direction."""
        return [f"_l{k}{direction}" for direction in DIRECTIONS[: 1 + self.bidirectional]]

    @property
    def all_ends(self) -> list[str]:
        """Those of all layers, in the order in which PyTorch has their states."""
        return [end for k in range(self.num_layers) for end in self.ends(k)]


class _Run:
    """One direction of one layer: what is computed before its loop, and what a step needs.

    Args:
        net: the scope of the module.
        cell: what it is.
        way: how it is made.
        end: how its names end: "_l0_reverse".
        x: what it is given, (T, N, C).
        size: the shape of a state, (N, hidden), if that is dynamic.

    Attributes:
        gates: what the input adds to the gates of all steps, (T, N, gates * hidden), with all biases that can be added
            before the loop.
    """

    def __init__(self, net: Recurrent, cell: "_Cell", way: _Way, end: str, x: Tensor, size: Tensor | None) -> None:
        self.net, self.cell, self.way, self.end, self.size = net, cell, way, end, size
        self.hidden, self.like = way.hidden, x
        width, features = cell.gates * way.hidden, net.known_size(x, 2, f"{cell.what} {net.path!r}")
        plain = net.trt.MatrixOperation.NONE
        weight = self._kernel(f"weight_ih{end}", (width, features), rank=3)
        self.gates = self._add(net.definition.add_matrix_multiply(x, plain, weight, plain), "product", x, weight)
        self.recurrent = self._kernel(f"weight_hh{end}", (width, way.hidden))
        self.late: Tensor | None = None
        if not way.bias:
            return
        first, second = (net.parameter(f"bias_{of}{end}", (width,)) for of in ("ih", "hh"))
        if cell.late:
            self.late = net.constant(second[None, -way.hidden :], f"late_bias{end}", like=x)
            second = np.concatenate([second[: -way.hidden], np.zeros(way.hidden, np.float32)])
        shift = net.constant((first + second).reshape(1, 1, width), f"bias{end}", like=x)
        self.gates = self.join(self.gates, shift, "SUM", "input_gates")

    def past(self, h: Tensor) -> Tensor:
        """What a state h, (N, hidden), adds to the gates: (N, gates * hidden)."""
        plain = self.net.trt.MatrixOperation.NONE
        layer = self.net.definition.add_matrix_multiply(h, plain, self.recurrent, plain)
        return self._add(layer, "recurrent", h, self.recurrent)

    def join(self, a: Tensor, b: Tensor, op: str, name: str) -> Tensor:
        """Elementwise arithmetic."""
        kind = getattr(self.net.trt.ElementWiseOperation, op)
        return self._add(self.net.definition.add_elementwise(a, b, kind), name, a, b)

    def activation(self, x: Tensor, kind: str, name: str) -> Tensor:
        """TensorRT's activation of that kind."""
        return self._add(self.net.definition.add_activation(x, getattr(self.net.trt.ActivationType, kind)), name, x)

    def part(self, x: Tensor, which: int, name: str) -> Tensor:
        """One of the gates: x[:, which * hidden : (which + 1) * hidden]."""
        layer = self.net.definition.add_slice(
            x, (0, which * self.hidden), (max(int(x.shape[0]), 0), self.hidden), (1, 1)
        )
        if self.size is not None:
            layer.set_input(2, self.size)
        return self._add(layer, name, x)

    def _add(self, layer: Layer, name: str, *inputs: Tensor) -> Tensor:
        return self.net.layer(layer, f"{name}{self.end}", *inputs)

    def _kernel(self, key: str, shape: tuple[int, int], rank: int = 2) -> Tensor:
        """A matrix of weights as the right side of a product."""
        weight = np.ascontiguousarray(self.net.parameter(key, shape).T)
        return self.net.constant(weight.reshape((1,) * (rank - 2) + weight.shape), key, like=self.like)


def _fits(x: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a shape, as far as sizes are fixed."""
    return len(x.shape) == len(shape) and all(a == b or min(a, b) < 0 for a, b in zip(x.shape, shape, strict=True))


def _lstm_step(run: _Run, now: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    gates = run.join(now, run.past(h), "SUM", "gates")
    kinds = {"input": "SIGMOID", "forget": "SIGMOID", "cell": "TANH", "output": "SIGMOID"}
    i, f, g, o = (
        run.activation(run.part(gates, which, f"{name}.part"), kind, name)
        for which, (name, kind) in enumerate(kinds.items())
    )
    c = run.join(run.join(f, c, "PROD", "kept"), run.join(i, g, "PROD", "new"), "SUM", "c.next")
    return run.join(o, run.activation(c, "TANH", "c.tanh"), "PROD", "h.next"), c


def _gru_step(run: _Run, now: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    past = run.past(h)

    def parts(which: int, name: str) -> tuple[Tensor, Tensor]:
        return run.part(now, which, f"{name}.now"), run.part(past, which, f"{name}.past")

    r, z = (
        run.activation(run.join(*parts(which, name), "SUM", f"{name}.sum"), "SIGMOID", name)
        for which, name in enumerate(("reset", "update"))
    )
    given, kept = parts(2, "new")
    if run.late is not None:
        kept = run.join(kept, run.late, "SUM", "new.shifted")
    n = run.activation(run.join(given, run.join(r, kept, "PROD", "new.reset"), "SUM", "new.sum"), "TANH", "new")
    # (1 - z) n + z h
    return (run.join(n, run.join(z, run.join(h, n, "SUB", "change"), "PROD", "kept"), "SUM", "h.next"),)


def _rnn_step(kind: str) -> Callable[..., tuple[Tensor, ...]]:
    def step(run: _Run, now: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return (run.activation(run.join(now, run.past(h), "SUM", "gates"), kind, "h.next"),)

    return step


class _Cell(NamedTuple):
    """A kind of recurrent layer.

    Attributes:
        what: it in words.
        gates: how many parts its weights have.
        states: PyTorch's letters of its states.
        step: adds a step: what the input adds to the gates, (N, gates * hidden), and the states, (N, hidden) -> these
            after it.
        late: whether the second bias of the last gate is a part of what is multiplied in a step.
    """

    what: str
    gates: int
    states: str
    step: Callable[..., tuple[Tensor, ...]]
    late: bool = False


LSTM = _Cell("an LSTM", 4, "hc", _lstm_step)
GRU = _Cell("a GRU", 3, "h", _gru_step, late=True)
RNN = {kind: _Cell("an RNN", 1, "h", _rnn_step(kind.upper())) for kind in ("tanh", "relu")}
