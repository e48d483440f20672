"""Causes where tensors are put together or taken apart: order, operation, axis, and what is joined."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from netdefs.debug.causes.case import Candidate, Case, attributes_of, made, plain

OPERATIONS = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Max": np.maximum, "Min": np.minimum}
WORDS = {"Add": "an addition", "Mul": "a product", "Sub": "a difference", "Max": "a maximum", "Min": "a minimum"}
SPLITS = ("split", "chunk", "unbind")
ORDERED = 4  # of up to so many tensors all orders are tried; of more, every exchange of two
AXES = ("Softmax", "LogSoftmax", "ReduceMean", "ReduceMax", "ReduceSum", "ArgMax", "ArgMin", "TopK", "Concat")


def joins(case: Case) -> Iterator[Candidate]:
    """The order of a concat or a split, and another operation on two tensors."""
    for node in case.nodes:
        out = plain(node.output[0])
        reads = case.inputs_of(node)
        if node.op_type == "Concat":
            for order in _orders(len(reads)):
                names = [reads[i] for i in order]
                text = f"the concat {out} has the order {', '.join(reads)}; PyTorch's is {', '.join(names)}"
                yield Candidate(
                    "concat_order",
                    text,
                    values=made(out, case.again, node, names),
                    where=out,
                )
        elif node.op_type in OPERATIONS and len(node.input) == 2 and reads:
            yield from _operations(case, node, out)
    yield from _splits(case)


def _operations(case: Case, node: Any, out: str) -> Iterator[Candidate]:
    """Another operation on the same two tensors, one of which may be a constant."""
    a, b = node.input
    x, y = (case.constants[name] if name in case.constants else case.values[name] for name in (a, b))
    # A maximum with a number would explain anything that stays below it.
    kinds = OPERATIONS if len(case.inputs_of(node)) == 2 else {kind: OPERATIONS[kind] for kind in ("Add", "Mul", "Sub")}
    for kind, operation in kinds.items():
        for left, right, p, q in ((a, b, x, y), (b, a, y, x)) if kind == "Sub" else ((a, b, x, y),):
            if (kind, left) != (node.op_type, a):
                text = f"{out} is {WORDS[node.op_type]}; PyTorch has {WORDS[kind]}, of {plain(left)} and {plain(right)}"
                yield Candidate("operation", text, values=made(out, operation, p, q), where=out)


def axes(case: Case) -> Iterator[Candidate]:
    """Softmax, a reduction or a concat along another axis."""
    for node in [node for node in case.nodes if node.op_type in AXES]:
        out = plain(node.output[0])
        name = "axes" if node.op_type.startswith("Reduce") else "axis"
        found = attributes_of(node).get(name)
        stored = case.constant(node.input[1]) if found is None and name == "axes" and len(node.input) > 1 else None
        rank = case.values[case.inputs_of(node)[0]].ndim
        ours = [
            int(i) % rank
            for i in (np.atleast_1d(found) if found is not None else stored if stored is not None else [-1])
        ]
        for axis in itertools.combinations(range(rank), len(ours)):
            if list(axis) != sorted(ours):
                text = f"{out} is along axis {_list(ours)}; PyTorch's is along {_list(axis)}"
                yield Candidate("axis", text, values=made(out, _along, case, node, axis), where=out)


def branches(case: Case) -> Iterator[Candidate]:
    """Another tensor that is added or joined: of all that PyTorch has of that shape by then."""
    for node in [node for node in case.nodes if node.op_type in ("Add", "Mul", "Concat")]:
        out, reads = plain(node.output[0]), case.inputs_of(node)
        for i, name in enumerate(reads if len(reads) > 1 else []):
            shape = case.values[name].shape
            for other, value in {**{t: case.values[t] for t in case.tensors}, **case.others}.items():
                if value.shape != shape or other in reads or other == out:
                    continue
                for behind, array in (("", value), (" behind a ReLU", np.maximum(value, 0))):
                    text = f"{out} is made of {', '.join(reads)}; in place of {name} PyTorch has {other}{behind}"
                    yield Candidate("branch", text, values=made(out, _replaced, case, node, i, array), where=out)
    yield from _used(case, lambda name, other: other in case.modules or _wrong(name, other) == "split_order")


def functions(case: Case) -> Iterator[Candidate]:
    """The result of a function of PyTorch's, of which all that can be said is that it is read in place of another."""
    yield from _used(case, lambda name, other: other not in case.modules and _wrong(name, other) == "branch")


def _used(case: Case, wanted: Callable[[str, str], bool]) -> Iterator[Candidate]:
    for name in [name for name in case.tensors if name == case.target or name in case.feeds]:
        for other, value in case.others.items():
            if value.shape == case.values[name].shape and other != name and wanted(name, other):
                text = f"{name} is used where PyTorch uses {other}"
                yield Candidate(_wrong(name, other), text, values=made(name, np.copy, value), where=name)


def _orders(count: int) -> list[tuple[int, ...]]:
    straight = tuple(range(count))
    if count <= ORDERED:
        return [order for order in itertools.permutations(straight) if order != straight]
    found = [straight[::-1]]
    for i, j in itertools.combinations(straight, 2):
        order = list(straight)
        order[i], order[j] = j, i
        found.append(tuple(order))
    return found


def _splits(case: Case) -> Iterator[Candidate]:
    """Another part of a tensor; or two parts of one exchanged."""
    slices = [node for node in case.nodes if node.op_type == "Slice"]
    parts = {}
    for node in slices:
        window = _window(case, node)
        if window is not None:
            parts[plain(node.output[0])] = (node.input[0], *window)
    for (one, (source, axis, start, end)), (other, (again, along, begin, stop)) in itertools.combinations(
        parts.items(), 2
    ):
        if (source, axis, end - start) == (again, along, stop - begin):
            text = f"{one} and {other}, two parts of {source}, are exchanged"
            exchanged = {one: case.values[other], other: case.values[one]}
            yield Candidate("split_order", text, values=exchanged.copy, where=one)
    for name, (source, axis, start, end) in parts.items():
        x, size = case.values[source], end - start
        starts = dict.fromkeys([*range(0, x.shape[axis] - size + 1, size), x.shape[axis] - size])
        for begin in [n for n in starts if n != start and n >= 0]:
            text = f"{name} is {source}[{start}:{end}] along axis {axis}; PyTorch takes [{begin}:{begin + size}]"
            taken = np.take(x, range(begin, begin + size), axis)
            yield Candidate("split_order", text, values=made(name, np.copy, taken), where=name)
    # What is fed may be a part itself, which the network takes from a tensor outside of the case.
    for name, array in case.feeds.items():
        for other, value in case.feeds.items():
            if name < other and array.shape == value.shape and array is not value:
                text = f"{name} and {other} are exchanged"
                yield Candidate(_wrong(name, other), text, values={name: value, other: array}.copy, where=name)


def _wrong(name: str, other: str) -> str:
    """What it is called that one tensor is read in place of another: they may be parts of one split."""
    (stem, _, part), (again, _, another) = name.rpartition("."), other.rpartition(".")
    apart = stem.rpartition(".")[2].rstrip("#0123456789") in SPLITS
    return "split_order" if apart and stem == again and part.isdigit() and another.isdigit() else "branch"


def _window(case: Case, node: Any) -> tuple[int, int, int] | None:
    """Axis, start and end of a slice along one axis; None if it is another kind."""
    constants = [stored for name in node.input[1:] if (stored := case.constant(name)) is not None]
    if node.input[0] not in case.values or not 2 <= len(constants) == len(node.input) - 1:
        return None
    shape = case.values[node.input[0]].shape
    starts, ends = (np.atleast_1d(c) for c in constants[:2])
    along = np.atleast_1d(constants[2]) if len(constants) > 2 else np.arange(len(starts))
    steps = np.atleast_1d(constants[3]) if len(constants) > 3 else np.ones(len(starts), int)
    found = []
    for axis, start, end, step in zip(along, starts, ends, steps, strict=True):
        axis, taken = int(axis) % len(shape), range(*slice(int(start), int(end), int(step)).indices(shape[int(axis)]))
        if len(taken) != shape[axis]:
            found.append((axis, taken.start, taken.stop, int(step)))
    return found[0][:3] if len(found) == 1 and found[0][3] == 1 else None


def _replaced(case: Case, node: Any, index: int, value: np.ndarray) -> np.ndarray:
    values = [case.values[name] for name in case.inputs_of(node)]
    values[index] = value
    if node.op_type == "Concat":
        return np.concatenate(values, attributes_of(node)["axis"])
    return np.asarray(OPERATIONS[node.op_type](*values))


def _along(case: Case, node: Any, axis: tuple[int, ...]) -> np.ndarray:
    if node.op_type.startswith("Reduce"):
        x = case.values[case.inputs_of(node)[0]]
        keep = bool(attributes_of(node).get("keepdims", 1))
        reductions: dict[str, Callable[..., Any]] = {"ReduceMean": np.mean, "ReduceMax": np.max, "ReduceSum": np.sum}
        reduce = reductions[node.op_type]
        return np.asarray(reduce(x, axis=axis, keepdims=keep))
    return case.again(node, axis=axis[0])


def _list(axis: Any) -> str:
    return " and ".join(map(str, axis))
