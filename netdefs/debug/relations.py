"""How one array of weights comes from another: flipped, transposed, read in another layout, scaled, another key's."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from netdefs.core.dtypes import bfloat16_to_float32, float32_to_bfloat16

# How a rounded copy of float32 values is made.
ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float16": lambda array: array.astype(np.float16).astype(np.float32),
    "bfloat16": lambda array: bfloat16_to_float32(float32_to_bfloat16(array)),
}
LAYOUTS = {2: "OI", 3: "OIW", 4: "OIHW", 5: "OIDHW"}


@dataclasses.dataclass(frozen=True)
class Relation:
    """What was done to PyTorch's weights; `kind` is empty if nothing was."""

    kind: str
    text: str
    apply: Callable[[np.ndarray], np.ndarray]


def relate(
    ours: np.ndarray,
    theirs: np.ndarray,
    keys: Mapping[str, np.ndarray],
    rough: bool,
    word: str = "weight",
    linear: bool = False,
) -> Relation:
    """What makes `ours` of `theirs`.

    Args:
        ours: the network's weights, in the shape of PyTorch's.
        theirs: PyTorch's.
        keys: other weights of that shape, by key.
        rough: compared with the accuracy of half precision.
        word: what it is: "weight" or "bias".
        linear: a matrix or a vector: without height and width.
    """
    for kind, rounded in () if rough else ROUNDINGS.items():
        with np.errstate(over="ignore"):
            if not np.array_equal(ours, theirs) and np.array_equal(ours, rounded(theirs)):
                return Relation("weights_rounded", f"its {word} is rounded to {kind}", rounded)
    for relation in _relations(ours, theirs, keys, word, linear):
        if _same(ours, relation.apply(theirs), rough):
            return relation
    worst = float(np.abs(ours - theirs).max())
    return Relation("values", f"its {word} has other values than PyTorch's, by up to {worst:.3g}", lambda _: ours)


def _relations(
    ours: np.ndarray, theirs: np.ndarray, keys: Mapping[str, np.ndarray], word: str, linear: bool
) -> Iterator[Relation]:
    yield Relation("", "", lambda a: a)
    if theirs.ndim == 1:
        yield Relation("bias_missing", f"its {word} is missing", np.zeros_like)
        yield Relation("bias_doubled", f"its {word} is added twice", lambda a: 2 * a)
        yield Relation("bias_sign", f"its {word} has the other sign", lambda a: -a)
    else:
        yield Relation("weights_missing", "its weights are all zero", np.zeros_like)
        if not linear:
            yield from _windows(theirs)
    for key, other in keys.items():
        if _same(ours, other, True):
            yield Relation("weight_key", f"its {word} is that of {key}", partial(_other, other))
    if theirs.ndim > 1:
        yield from _layouts(theirs)
        text = "its weights are for reversed input channels, such as BGR for RGB"
        yield Relation("channel_order", text, lambda a: a[:, ::-1])
        yield Relation("channel_order", "its weights are for reversed output channels", lambda a: a[::-1])
    size = float(np.vdot(theirs, theirs))
    factor = float(np.vdot(ours, theirs)) / size if size else 1.0
    yield Relation("scale", f"its {word} is {factor:.4g} times PyTorch's", lambda a: factor * a)


def _windows(theirs: np.ndarray) -> Iterator[Relation]:
    axes = tuple(range(2, theirs.ndim))
    if any(theirs.shape[axis] > 1 for axis in axes):
        yield Relation(
            "kernel_flipped",
            "its kernel is flipped, as between a convolution and a correlation",
            partial(np.flip, axis=axes),
        )
    for axis in axes if len(axes) > 1 else ():
        yield Relation("kernel_flipped", f"its kernel is flipped along axis {axis}", partial(np.flip, axis=axis))
    if len(axes) == 2 and theirs.shape[2] == theirs.shape[3] > 1:
        yield Relation(
            "kernel_transposed",
            "its kernel is transposed: height and width are exchanged",
            lambda a: a.swapaxes(2, 3),
        )


def _layouts(theirs: np.ndarray) -> Iterator[Relation]:
    """The numbers of one layout read as if they were in another."""
    letters = LAYOUTS.get(theirs.ndim)
    if letters is None:
        return
    for order in itertools.permutations(range(theirs.ndim)):
        if order == tuple(range(theirs.ndim)):
            continue
        name = "".join(letters[i] for i in order)
        what = "transposed" if theirs.ndim == 2 else f"in the layout {name}"
        yield Relation(
            "weight_layout",
            f"its weights are {what}, and read as {letters}",
            partial(_written, order=order),
        )
        shape = tuple(theirs.shape[i] for i in order)
        back = tuple(int(i) for i in np.argsort(order))
        if theirs.ndim > 2:
            yield Relation(
                "weight_layout",
                f"its weights are {letters}, and read as {name}",
                partial(_read, shape=shape, back=back),
            )


def _other(other: np.ndarray, _: np.ndarray) -> np.ndarray:
    return other


def _written(a: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(order)).reshape(a.shape)


def _read(a: np.ndarray, shape: tuple[int, ...], back: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(a).reshape(shape).transpose(back)


def _same(a: np.ndarray, b: np.ndarray, rough: bool) -> bool:
    if a.shape != b.shape:
        return False
    size = float(np.abs(b).max(initial=0.0))
    return bool(np.abs(a - b).max(initial=0.0) <= (1e-2 if rough else 1e-5) * size)
