"""Recurrent layers, made of TensorRT's loops."""

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor, describe

DIRECTIONS = ("", "_reverse")  # as PyTorch ends the names of weights


def lstm(net: Network, x: Tensor, name: str, hidden: int, bidirectional: bool = False) -> Tensor:
    """`nn.LSTM` of one layer that begins with zeros: (T, N, C) -> (T, N, hidden), or 2 * hidden if bidirectional.

    Both directions run in one loop of T steps. What the input adds to the gates is computed before it, for all steps at
    once. T and N may be dynamic. Everything is in one precision, that of `name`, since a loop's state has one type.
    Weights: `<name>.weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, and these with `_reverse`.

    Raises:
        NetworkError: `x` has not three axes.
    """
    if len(x.shape) != 3:
        raise NetworkError(f"{net.path_of(name)}: an LSTM takes (T, N, C), not {describe(x)}.")
    at, definition, trt = net / name, net.definition, net.trt
    (x,) = net.typed(name, x)
    ends = DIRECTIONS if bidirectional else DIRECTIONS[:1]
    gates = [input_gates(at, x, hidden, end) for end in ends]
    kernels = [kernel(at, f"weight_hh_l0{end}", (4 * hidden, hidden), x) for end in ends]
    size = size_of_state(at, x, hidden)
    zeros = initial_state(at, x, hidden, size)
    steps = count_of_steps(at, x)
    loop = definition.add_loop()
    loop.name = at.path
    loop.add_trip_limit(steps, trt.TripLimit.COUNT).name = at.path_of("limit")
    outputs = []
    for end, every, weight in zip(ends, gates, kernels, strict=True):
        now = at.layer(loop.add_iterator(every, 0, bool(end)), f"now{end}", every)
        states = [loop.add_recurrence(zeros) for _ in "hc"]
        h, c = (at.layer(state, f"{which}{end}", zeros) for which, state in zip("hc", states, strict=True))
        after = step(at, now, h, c, weight, size, end)
        for state, following in zip(states, after, strict=True):
            state.set_input(1, following)
        # The other direction's steps come last first: REVERSE puts them in the input's order again.
        collected = loop.add_loop_output(after[0], trt.LoopOutput.REVERSE if end else trt.LoopOutput.CONCATENATE, 0)
        collected.set_input(1, steps)
        outputs.append(at.layer(collected, f"all{end}", after[0]))
    layer = definition.add_concatenation(outputs)
    layer.axis = 2
    return net.computed(net.layer(layer, name, *outputs))


def step(
    net: Network, now: Tensor, h: Tensor, c: Tensor, weight: Tensor, size: Tensor | None, end: str
) -> tuple[Tensor, Tensor]:
    """One step: h and c, (N, hidden), after it. `now` is what the input adds to the gates, (N, 4 * hidden)."""
    hidden = int(weight.shape[0])
    definition, trt = net.definition, net.trt
    kinds, ops, plain = trt.ActivationType, trt.ElementWiseOperation, trt.MatrixOperation.NONE

    def join(a: Tensor, b: Tensor, op: str, name: str) -> Tensor:
        return net.layer(definition.add_elementwise(a, b, getattr(ops, op)), f"{name}{end}", a, b)

    def activation(x: Tensor, kind: str, name: str) -> Tensor:
        return net.layer(definition.add_activation(x, getattr(kinds, kind)), f"{name}{end}", x)

    recurrent = net.layer(definition.add_matrix_multiply(h, plain, weight, plain), f"recurrent{end}", h, weight)
    gates = join(now, recurrent, "SUM", "gates")

    def gate(which: int, kind: str, name: str) -> Tensor:
        part = part_of(net, gates, which * hidden, hidden, size, f"{name}.part{end}")
        return activation(part, kind, name)

    i, f = gate(0, "SIGMOID", "input"), gate(1, "SIGMOID", "forget")
    g, o = gate(2, "TANH", "cell"), gate(3, "SIGMOID", "output")
    c = join(join(f, c, "PROD", "kept"), join(i, g, "PROD", "new"), "SUM", "c.next")
    return join(o, activation(c, "TANH", "c.tanh"), "PROD", "h.next"), c


def input_gates(net: Network, x: Tensor, hidden: int, end: str) -> Tensor:
    """What the input adds to the gates of all steps, with both biases: (T, N, C) -> (T, N, 4 * hidden)."""
    definition, trt, width = net.definition, net.trt, 4 * hidden
    features = net.known_size(x, 2, f"lstm {net.path!r}")
    weight = kernel(net, f"weight_ih_l0{end}", (width, features), x, rank=3)
    plain = trt.MatrixOperation.NONE
    product = net.layer(definition.add_matrix_multiply(x, plain, weight, plain), f"product{end}", x, weight)
    first, second = (net.weights.take(net.path_of(f"bias_{of}_l0{end}"), (width,)) for of in ("ih", "hh"))
    shift = net.constant((first + second).reshape(1, 1, width), f"bias{end}", like=x)
    total = definition.add_elementwise(product, shift, trt.ElementWiseOperation.SUM)
    return net.layer(total, f"input_gates{end}", product, shift)


def kernel(net: Network, key: str, shape: tuple[int, int], like: Tensor, rank: int = 2) -> Tensor:
    """A matrix of weights as the right side of a product."""
    weight = net.weights.take(net.path_of(key), shape).T
    return net.constant(np.ascontiguousarray(weight.reshape((1,) * (rank - 2) + weight.shape)), key, like=like)


def part_of(net: Network, x: Tensor, start: int, hidden: int, size: Tensor | None, name: str) -> Tensor:
    """`x[:, start : start + hidden]`, where `size` is the part's shape, if that is dynamic."""
    n = int(x.shape[0])
    layer = net.definition.add_slice(x, (0, start), (max(n, 0), hidden), (1, 1))
    if size is not None:
        layer.set_input(2, size)
    return net.layer(layer, name, x)


def size_of_state(net: Network, x: Tensor, hidden: int) -> Tensor | None:
    """The shape of a state, (N, hidden), for the N of (T, N, C); None if that is fixed."""
    return None if int(x.shape[1]) >= 0 else net.sizes(x, [(1, 1), hidden], "state")


def initial_state(net: Network, x: Tensor, hidden: int, size: Tensor | None) -> Tensor:
    """Zeros, (N, hidden), for the N of (T, N, C)."""
    if size is None:
        return net.constant(np.zeros((int(x.shape[1]), hidden), np.float32), "zeros", like=x)
    zero = net.constant(np.zeros((1, hidden), np.float32), "zero", like=x)
    layer = net.definition.add_slice(zero, (0, 0), (0, hidden), (0, 1))  # a step of 0 repeats
    layer.set_input(2, size)
    return net.layer(layer, "zeros", zero)


def count_of_steps(net: Network, x: Tensor) -> Tensor:
    """The size of x along axis 0, which may be dynamic: a whole number without axes."""
    if int(x.shape[0]) >= 0:
        return net.constant(np.array(x.shape[0], np.int32), "steps")
    definition = net.definition
    shape = net.layer(definition.add_shape(x), "shape", x)
    first = net.constant(np.array(0, np.int32), "first")
    return net.layer(definition.add_gather(shape, first, 0), "steps", shape, first)
