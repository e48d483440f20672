"""Causes that only move values: reshapes from another layout, shuffles of pixels and channels, permutations."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.causes.case import Candidate, Case, made, plain

MOVES = ("Reshape", "Transpose", "DepthToSpace", "SpaceToDepth", "Identity", "Flatten", "Squeeze", "Unsqueeze")
HIGHEST_RANK = 4  # all orders of up to so many axes are tried
Function = Callable[[np.ndarray], np.ndarray]


def shuffles(case: Case) -> Iterator[Candidate]:
    """Another order of pixels or channels in a chain of reshapes and permutations."""
    for name in case.tensors:
        node = case.maker(name)
        if node is None or node.op_type not in MOVES:
            continue
        sources = list(_chain(case, name))
        for source in sources:
            for kind, text, function in _known(case.values[source], case.values[name].shape):
                yield Candidate(
                    kind,
                    f"{name} is not what PyTorch makes of {source}: {text}",
                    values=made(name, function, case.values[source]),
                    where=name,
                )
        for source in sources:
            x, shape = case.values[source], case.values[name].shape
            for order in itertools.permutations(range(x.ndim)) if x.ndim <= HIGHEST_RANK else ():
                yield Candidate(
                    "layout",
                    f"{name} has the values of {source} in another order: PyTorch permutes its axes to {list(order)} "
                    "and reshapes",
                    values=made(name, _moved, x, order, shape),
                    where=name,
                )


def permutations(case: Case) -> Iterator[Candidate]:
    """The target in another order: axes exchanged, reversed, or channels that can be matched one by one."""
    ours, expected = case.ours, case.expected
    if ours.size != expected.size or ours.dtype.kind != "f":
        return
    for order in itertools.permutations(range(ours.ndim)) if 1 < ours.ndim <= HIGHEST_RANK else ():
        if tuple(ours.shape[i] for i in order) == expected.shape and order != tuple(range(ours.ndim)):
            text = f"it is PyTorch's with its axes in the order {[int(i) for i in np.argsort(order)]}"
            yield Candidate("layout", text, values=made(case.target, np.transpose, ours, order))
    if ours.shape != expected.shape:
        return
    for axis in range(1, ours.ndim):
        kind = "channel_order" if axis == 1 and ours.shape[1] == 3 else "layout"
        text = f"it is PyTorch's, reversed along axis {axis}"
        yield Candidate(kind, text, values=made(case.target, np.flip, ours, axis))
    matched = _matched(ours, expected)
    if matched is not None:
        moved = [i for i, j in enumerate(matched) if i != j]
        text = f"its channels are PyTorch's in another order: {len(moved)} of {len(matched)} are elsewhere, "
        text += ", ".join(f"{i} is PyTorch's {int(np.flatnonzero(matched == i)[0])}" for i in moved[:4])
        yield Candidate("layout", text, values=made(case.target, np.take, ours, matched, 1))


def _chain(case: Case, name: str) -> Iterator[str]:
    """The tensors that a tensor has all its values from, nearest first."""
    node = case.maker(name)
    while node is not None and node.op_type in MOVES:
        name = plain(case.inputs_of(node)[0])
        yield name
        node = case.maker(name)


def _known(x: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, str, Function]]:
    """What PyTorch has under a name, as far as it gives this shape: kind, words, function."""
    torch = require("torch", "torch")
    f = torch.nn.functional
    if x.ndim != 4 or len(shape) != 4:
        return
    n, c, h, w = x.shape
    if shape[2] > h and shape[2] % h == 0 and shape == (n, c // (shape[2] // h) ** 2, shape[2], w * (shape[2] // h)):
        r = shape[2] // h
        yield "pixel_order", f"pixel_shuffle({r})", lambda a: f.pixel_shuffle(torch.tensor(a), r).numpy()
        text = f"a pixel shuffle by {r} with the channels last, as DepthToSpace's DCR"
        yield (
            "pixel_order",
            text,
            partial(_regrouped, split=(n, r, r, c // r**2, h, w), order=(0, 3, 4, 1, 5, 2), shape=shape),
        )
    if shape[2] < h and h % shape[2] == 0 and shape == (n, c * (h // shape[2]) ** 2, shape[2], w // (h // shape[2])):
        r = h // shape[2]
        yield "pixel_order", f"pixel_unshuffle({r})", lambda a: f.pixel_unshuffle(torch.tensor(a), r).numpy()
        split = (n, c, h // r, r, w // r, r)
        for text, o in (
            ("space to depth, rows before columns before channels", (0, 3, 5, 1, 2, 4)),
            ("space to depth, columns before rows before channels, as YOLOv5's Focus", (0, 5, 3, 1, 2, 4)),
        ):
            yield "pixel_order", text, partial(_regrouped, split=split, order=o, shape=shape)
        yield "pixel_order", "Darknet's reorg", lambda a: _darknet_reorg(a, r)
    if shape == x.shape:
        yield "channel_shuffle", "it hands it on as it is", lambda a: a
        for groups in [g for g in range(2, c) if c % g == 0]:
            yield (
                "channel_shuffle",
                f"channels shuffled in {groups} groups",
                partial(_regrouped, split=(n, groups, c // groups, h, w), order=(0, 2, 1, 3, 4), shape=shape),
            )


def _moved(x: np.ndarray, order: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    return x.transpose(order).reshape(shape)


def _regrouped(x: np.ndarray, split: tuple[int, ...], order: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    return x.reshape(split).transpose(order).reshape(shape)


def _darknet_reorg(x: np.ndarray, r: int) -> np.ndarray:
    """As Darknet computes it: the memory of the input is read as if it were the output's inverse."""
    n, c, h, w = x.shape
    y = x.reshape(n, c // r**2, h, r, w, r).transpose(0, 3, 5, 1, 2, 4)
    return np.ascontiguousarray(y).reshape(n, c * r * r, h // r, w // r)


def _matched(ours: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """For each of PyTorch's channels the network's that has its values; None if they can't be paired."""
    if ours.ndim < 2 or not 1 < ours.shape[1] <= 4096:
        return None
    left, right = (np.moveaxis(a, 1, 0).reshape(a.shape[1], -1).astype(np.float64) for a in (ours, expected))
    weights = np.random.default_rng(0).standard_normal(left.shape[1])
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return None
    a, b = left @ weights, right @ weights
    found = np.empty(len(a), int)
    found[np.argsort(b, kind="stable")] = np.argsort(a, kind="stable")
    return None if np.array_equal(found, np.arange(len(a))) else found
