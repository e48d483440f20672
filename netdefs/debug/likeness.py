"""How PyTorch's input comes from the network's, in words: layout, flips, colors, scale, mean and std."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from netdefs.debug.causes.where import where_differs

AGREE = 1e-3  # a relative error that rounding an input to half precision makes
ALIKE = 0.25  # of the values' spread: above that, one is not made of the other
BETTER = 1.1  # by so much must a less simple relation be nearer
PICTURES, SEEN = 4, 384  # of so many pictures so many rows and columns are looked at
SAME = 0.02  # of a factor or a mean, to have a name
LAYOUTS = {
    (0, 1, 2, 3): "",
    (0, 3, 1, 2): "in another layout, (N, C, H, W) for (N, H, W, C)",
    (0, 2, 3, 1): "in another layout, (N, H, W, C) for (N, C, H, W)",
    (0, 1, 3, 2): "with height and width exchanged",
    (0, 3, 2, 1): "in another layout, with the axes in reverse",
}
FLIPS = {
    (): "",
    (3,): "mirrored left to right",
    (2,): "upside down",
    (2, 3): "turned by 180 degrees",
}
COLORS = "with its channels reversed (BGR for RGB, or the other way)"
# Mean and std of pictures in 0 to 1, as (R, G, B).
RECIPES = {
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP's mean and std": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "mean 0.5 and std 0.5, to -1 to 1": ((0.5,) * 3, (0.5,) * 3),
    "ImageNet's mean only": ((0.485, 0.456, 0.406), (1.0,) * 3),
}


@dataclasses.dataclass(frozen=True)
class Likeness:
    """How two inputs are related: in words, empty if they are equal; and whether they are the same up to rounding."""

    text: str
    agrees: bool


@dataclasses.dataclass(frozen=True)
class _Relation:
    """A way to make PyTorch's input of the network's, and the share of its spread that is then left."""

    words: list[str]
    left: float


def liken(ours: np.ndarray, theirs: np.ndarray) -> Likeness:
    """Says how PyTorch's input comes from the network's.

    Args:
        ours: the network's.
        theirs: PyTorch's.
    """
    if ours.shape == theirs.shape:
        if np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == theirs.dtype.kind == "f"):
            return Likeness("", True)
        error = _error(ours.astype(np.float64), theirs.astype(np.float64), spread=False)
        if error <= AGREE:
            return Likeness(f"PyTorch's is the same but for rounding, relative error {error:.2g}", True)
    its = f"PyTorch's, {tuple(theirs.shape)} {theirs.dtype}{_range(theirs)},"
    if not (ours.size and theirs.size and np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return Likeness(f"{its} is another, and NaN, an infinity or nothing at all is in one of the two", False)
    found = _best(ours, theirs)
    if found is None or found.left > ALIKE:
        return Likeness(f"{its} is another: {_otherwise(ours, theirs)}", False)
    rest = ""
    if found.left > AGREE:
        rest = f"; {found.left:.1%} of it is left unexplained, as where a picture is resized or cut out otherwise"
    how = " and ".join([", ".join(found.words[:-1]), found.words[-1]] if len(found.words) > 1 else found.words)
    return Likeness(f"{its} is the network's {how}{rest}" if how else f"{its} is nearly the network's{rest}", False)


def _best(ours: np.ndarray, theirs: np.ndarray) -> _Relation | None:
    """The relation that leaves least, the simplest of those that are about as good."""
    found = list(_relations(ours, theirs))
    if not found:
        return None
    least = min(relation.left for relation in found)
    good = [relation for relation in found if relation.left <= max(BETTER * least, AGREE)]
    return min(good, key=lambda relation: len(relation.words))


def _relations(ours: np.ndarray, theirs: np.ndarray) -> Iterator[_Relation]:
    first: list[str] = []
    if ours.ndim == theirs.ndim - 1 == 3:
        ours, first = ours[None], ["with a batch axis"]
    elif ours.ndim - 1 == theirs.ndim == 3:
        theirs, first = theirs[None], ["without a batch axis"]
    if ours.ndim != 4 or theirs.ndim != 4:
        if ours.shape == theirs.shape:
            yield from _scaled(ours.astype(np.float64), theirs.astype(np.float64), None, first)
        return
    for axes, layout in LAYOUTS.items():
        moved = ours.transpose(axes)
        if moved.shape != theirs.shape:
            continue
        channel = 1 if theirs.shape[1] <= 4 or theirs.shape[3] > 4 else 3
        rows, columns = (2, 3) if channel == 1 else (1, 2)
        expected = _middle(theirs, rows, columns).astype(np.float64)
        moved = _middle(moved, rows, columns)
        for flip, mirrored in FLIPS.items():
            turned = np.flip(moved, tuple(rows if axis == 2 else columns for axis in flip))
            for colors in ("", COLORS) if theirs.shape[channel] == 3 else ("",):
                seen = np.flip(turned, channel) if colors else turned
                words = [*first, *(word for word in (layout, mirrored, colors) if word)]
                yield from _scaled(seen.astype(np.float64), expected, channel, words)


def _middle(array: np.ndarray, *axes: int) -> np.ndarray:
    """The middle of the first pictures: enough to tell, and it stays the middle when it is turned."""
    array = array[:PICTURES]
    for axis in axes:
        margin = max((array.shape[axis] - SEEN) // 2, 0)
        array = array.take(range(margin, array.shape[axis] - margin), axis) if margin else array
    return array


def _scaled(ours: np.ndarray, theirs: np.ndarray, channel: int | None, words: list[str]) -> Iterator[_Relation]:
    """As it is, and with the factors and offsets that fit best."""
    yield _Relation(words, _error(ours, theirs))
    if channel is not None and ours[(slice(None),) * channel + (0,)].size > 3:
        yield _fitted(ours, theirs, tuple(axis for axis in range(ours.ndim) if axis != channel), words)
    yield _fitted(ours, theirs, None, words)


def _fitted(ours: np.ndarray, theirs: np.ndarray, axes: tuple[int, ...] | None, words: list[str]) -> _Relation:
    mean, wanted = ours.mean(axes, keepdims=True), theirs.mean(axes, keepdims=True)
    power = ((ours - mean) ** 2).sum(axes, keepdims=True)
    factor = ((ours - mean) * (theirs - wanted)).sum(axes, keepdims=True) / np.where(power > 0, power, 1.0)
    offset = wanted - factor * mean
    left = _error(ours * factor + offset, theirs)
    return _Relation([*words, *_arithmetic(factor.reshape(-1), offset.reshape(-1))], left)


def _error(found: np.ndarray, expected: np.ndarray, spread: bool = True) -> float:
    """What is left, relative to how far PyTorch's values are spread, or to their size."""
    size = float(np.linalg.norm(expected - expected.mean() if spread else expected))
    return float(np.linalg.norm(found - expected)) / size if size else float(np.any(found != expected))


def _arithmetic(factor: np.ndarray, offset: np.ndarray) -> list[str]:
    """Factors and offsets in the words of preprocessing."""
    if np.any(factor <= 0):
        return [f"times {_listed(factor)} plus {_listed(offset)}"]
    for unit, scaling in ((1.0, ""), (255.0, "divided by 255")):
        std = 1 / (factor * unit)
        name = _recipe(-offset * std, std)
        if name is not None:
            return [word for word in (scaling, name and f"normalized with {name}") if word]
        std = factor / unit
        name = _recipe(offset / unit, std)
        if name is not None:
            undone = f"before it is normalized with {name}" if name else ""
            return [word for word in (undone, f"times {unit:g}" if unit > 1 else "") if word]
    if np.all(np.abs(factor - 1) < 1e-3):
        return [f"plus {_listed(offset)}"]
    if np.all(np.abs(offset) < SAME * factor * 1e-1):
        return [f"times {_listed(factor)}"]
    std = 1 / factor
    return [f"minus {_listed(-offset * std)} and divided by {_listed(std)}"]


def _recipe(mean: np.ndarray, std: np.ndarray) -> str | None:
    """The name of a mean and std, "" where they do nothing; None if they have no name."""
    if np.all(np.abs(mean) < SAME / 10) and np.all(np.abs(std - 1) < SAME / 10):
        return ""
    for name, (known_mean, known_std) in RECIPES.items():
        for step in (1, -1):
            wanted = np.array(known_mean[::step]), np.array(known_std[::step])
            if np.allclose(mean, wanted[0], atol=SAME / 4) and np.allclose(std, wanted[1], atol=SAME / 4):
                return name
    return None


def _otherwise(ours: np.ndarray, theirs: np.ndarray) -> str:
    if ours.shape != theirs.shape:
        return f"its shape is not the network's, {tuple(ours.shape)}, nor that in another layout"
    text = where_differs(theirs.astype(np.float32), ours.astype(np.float32), AGREE)
    return f"no other layout, order of colors or scale makes it of the network's; {text}"


def _range(array: np.ndarray) -> str:
    return f" from {array.min():.3g} to {array.max():.3g}" if array.size else ""


def _listed(values: Sequence[float] | np.ndarray) -> str:
    values = np.asarray(values)
    values = values[:1] if np.ptp(values) <= 1e-3 * np.abs(values).max() else values
    return ", ".join(f"{value:.4g}" for value in values[:4])
