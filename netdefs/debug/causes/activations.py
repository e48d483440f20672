"""Causes that are a nonlinear function: missing, too many, another one, or at another place."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.causes.case import Candidate, Case, attributes_of, made, plain

SLOPES = (0.01, 0.1, 0.2)
NO_SLOPE = 1e-5  # below it is a ReLU
NODES = {
    "Relu": "ReLU",
    "LeakyRelu": "LeakyReLU",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish",
    "Elu": "ELU",
    "Gelu": "GELU",
    "Mish": "Mish",
    "Clip": "clip",
    "PRelu": "PReLU",
    "Selu": "SELU",
}
Function = Callable[[np.ndarray], np.ndarray]


def functions() -> dict[str, Function]:
    """Activations by name, the usual ones first."""
    torch = require("torch", "torch")
    f = torch.nn.functional
    table = {
        "ReLU": f.relu,
        "SiLU": f.silu,
        **{f"LeakyReLU({slope:g})": partial(f.leaky_relu, negative_slope=slope) for slope in SLOPES},
        "ReLU6": f.relu6,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "Mish": f.mish,
        "hardswish": f.hardswish,
        "hardsigmoid": f.hardsigmoid,
        "GELU": f.gelu,
        "GELU(tanh)": partial(f.gelu, approximate="tanh"),
        "ELU": f.elu,
        "softplus": f.softplus,
    }
    return {name: partial(_on_arrays, function) for name, function in table.items()}


def activations(case: Case) -> Iterator[Candidate]:
    """Of every tensor of the case: an activation missing behind it, or its own too many, another one, or misplaced."""
    known = functions()
    acts = {name: found for name in case.tensors if (found := activated(case, name)) is not None}
    for name, (source, kind) in acts.items():
        text = f"{_a(kind)} is applied behind {source}, and PyTorch has none there"
        yield Candidate("activation_extra", text, values=made(name, np.copy, case.values[source]), where=name)
        if kind.startswith("LeakyReLU"):
            yield from _slopes(case, name, source, kind)
        for other, function in known.items():
            if other != kind and not (other.startswith("Leaky") and kind.startswith("Leaky")):
                text = f"its activation is {kind}, PyTorch's is {other}"
                yield Candidate("activation_kind", text, values=made(name, function, case.values[source]), where=name)
    yield from _lacking(case)
    for name in case.tensors:
        if case.values[name].dtype.kind != "f":
            continue
        for other, function in known.items():
            text = f"{_a(other)} is missing behind {name}"
            yield Candidate("activation_missing", text, values=made(name, function, case.values[name]), where=name)
    yield from _order(case, acts, known)


def activated(case: Case, tensor: str) -> tuple[str, str] | None:
    """The tensor that an activation was applied to, and the activation; None if `tensor` is not made by one."""
    node = case.maker(tensor)
    if node is None:
        return None
    reads = [plain(name) for name in case.inputs_of(node)]
    if node.op_type in NODES and reads:
        return reads[0], _named(node)
    if node.op_type == "Mul" and len(reads) == 2:
        for source, factor in (reads, reads[::-1]):
            kinds: list[str] = []
            while factor != source and (step := _unary(case, factor)):
                factor = step[0]
                kinds.append(step[1])
            if factor == source and kinds:
                product = {("sigmoid",): "SiLU", ("tanh", "softplus"): "Mish", ("hardsigmoid",): "hardswish"}
                return source, product.get(tuple(kinds), "a product with itself")
    return None


def _unary(case: Case, tensor: str) -> tuple[str, str] | None:
    node = case.maker(tensor)
    if node is None or node.op_type not in NODES:
        return None
    return plain(case.inputs_of(node)[0]), _named(node)


def _named(node: Any) -> str:
    kind = NODES[node.op_type]
    return f"{kind}({attributes_of(node).get('alpha', 0.01):g})" if kind == "LeakyReLU" else kind


def _slopes(case: Case, name: str, source: str, kind: str) -> Iterator[Candidate]:
    """Solved for: behind a leaky ReLU the target mostly is linear in its slope."""
    x = case.values[source]
    at = [case.with_values({name: _leaky(x, slope)}) for slope in (0.0, 1.0)]
    if at[0].shape != case.expected.shape:
        return
    direction = (at[1] - at[0]).astype(np.float64)
    power = float(np.vdot(direction, direction))
    if not power:
        return
    solved = float(np.vdot(direction, case.expected - at[0])) / power
    ours = kind.partition("(")[2].rstrip(")")
    for slope in (float(f"{solved:.0e}"), float(f"{solved:.2e}"), solved) if abs(solved) > NO_SLOPE else ():
        yield Candidate(
            "slope",
            f"its negative slope is {ours}, PyTorch's is {slope:g}",
            values=made(name, _leaky, x, slope),
            where=name,
        )


def _lacking(case: Case) -> Iterator[Candidate]:
    """Modules that the network has no layer for."""
    torch = require("torch", "torch")
    for path, module in case.lacking.items():
        kind = "bn_missing" if hasattr(module, "running_var") else "layer_missing"
        if not list(module.parameters()) and type(module).__name__ in dir(torch.nn.modules.activation):
            kind = "activation_missing"
        for name in case.tensors:
            if case.values[name].dtype.kind == "f":
                text = f"the network has no layer {path} ({type(module).__name__}), which PyTorch has behind {name}"
                yield Candidate(kind, text, values=made(name, _on_module, module, case.values[name]), where=name)


def _order(case: Case, acts: Mapping[str, tuple[str, str]], known: Mapping[str, Function]) -> Iterator[Candidate]:
    """The activation before the add in place of after it, or the other way round."""
    for node in [node for node in case.nodes if node.op_type == "Add" and len(case.inputs_of(node)) == 2]:
        total, (a, b) = plain(node.output[0]), case.inputs_of(node)
        whole = _whole_sum(case, total)
        for one in [name for name in (a, b) if name in acts and acts[name][1] in known]:
            source, kind = acts[one]
            without = case.values[whole] - case.values[one] + case.values[source]
            text = f"{_a(kind)} is applied before the add, to {source}; PyTorch applies it to the sum, {whole}"
            yield Candidate("activation_order", text, values=made(whole, known[kind], without), where=whole)
        for name, (source, kind) in acts.items():
            if source == total and kind in known:
                f, left, right = known[kind], case.values[a], case.values[b]
                for text, terms in ((a, (f, None)), (b, (None, f)), ("both terms", (f, f))):
                    yield Candidate(
                        "activation_order",
                        f"{_a(kind)} is applied to the sum; PyTorch applies it before the add, to {text}",
                        values=made(name, _sum_of, *terms, left, right),
                        where=name,
                    )


def _leaky(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(x > 0, x, slope * x).astype(np.float32)


def _whole_sum(case: Case, total: str) -> str:
    """The last of a chain of adds that a sum is a part of."""
    while True:
        readers = [node for node in case.nodes if total in node.input]
        if len(readers) != 1 or readers[0].op_type != "Add" or plain(readers[0].output[0]) not in case.values:
            return total
        total = plain(readers[0].output[0])


def _sum_of(left: Function | None, right: Function | None, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray((left(x) if left else x) + (right(y) if right else y))


def _on_arrays(function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    return np.asarray(function(require("torch", "torch").from_numpy(np.ascontiguousarray(x))).numpy())


def _on_module(module: Any, x: np.ndarray) -> np.ndarray:
    torch = require("torch", "torch")
    parameter = next(iter([*module.parameters(), *module.buffers()]), torch.zeros(()))
    with torch.no_grad():
        # copied: a ReLU may work in place
        return np.asarray(module(torch.tensor(x).to(parameter.device, parameter.dtype)).float().cpu().numpy())


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'E' else 'a'} {kind}"
