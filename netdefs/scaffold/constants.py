"""The text of constants: what a person would write instead of numbers."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from netdefs.core import tables
from netdefs.scaffold.text import number

FEW = 24  # as many numbers as one would write down
SHORT = 3  # as many as are written down also where they are a range
PARTS = 4  # as many arrays as one would stack
LENGTH = 160  # of a text that is still worth it


class Constants:
    """The constants of a file.

    Attributes:
        arrays: those that have no short text, for an .npz beside it: name -> values.
        used: the functions of the library that texts call.
        numpy: whether texts need numpy.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.used: set[str] = set()
        self.numpy = False

    def text(self, array: np.ndarray) -> str:
        """The text of an array: an expression, or where it is in the .npz."""
        found = expression(array)
        if found is not None:
            self.imports(found)
            return found
        for name, other in self.arrays.items():
            if other.dtype == array.dtype and np.array_equal(other, array):
                return f'ARRAYS["{name}"]'
        name = f"constant_{len(self.arrays) + 1}"
        self.arrays[name] = array
        return f'ARRAYS["{name}"]'

    def imports(self, text: str) -> None:
        """Notes what an expression, or the template of one, needs to be imported."""
        self.numpy |= "np." in text
        self.used |= {f"tables.{name}" for name in _functions() if f"{name}(" in text}


def expression(array: Any) -> str | None:
    """Python's and numpy's text of an array; None if it would have to be a long list of numbers.

    Its values are exactly the array's in the array's type; it may itself be of a wider one.
    """
    array = np.asarray(array)
    for text in _candidates(array, depth=2):
        if len(text) <= LENGTH and _equal(array, text):
            return text
    return None


def _equal(array: np.ndarray, text: str) -> bool:
    found = np.asarray(eval(text, {"np": np, **_functions()}))
    same_kind = found.dtype.kind == array.dtype.kind or {found.dtype.kind, array.dtype.kind} == {"i", "u"}
    return same_kind and found.shape == array.shape and np.array_equal(found.astype(array.dtype), array)


def _functions() -> dict[str, Any]:
    return {name: getattr(tables, name) for name in dir(tables) if not name.startswith("_") and name != "np"}


def _candidates(array: np.ndarray, depth: int) -> Iterator[str]:
    """Texts that might be an array's, the best ones first."""
    if array.size == 0 or array.dtype.kind not in "biuf":
        return
    if array.ndim == 0:
        yield _literal(array)
        return
    shape = _tuple(array.shape)
    if (array == array.flat[0]).all():
        yield from _uniform(array, shape)
    ranges = [f"{text}.reshape{shape}" if array.ndim > 1 else text for text in _ranges(array.reshape(-1))]
    if array.size > SHORT:
        yield from ranges
    if array.size <= FEW:
        yield f"np.array({_literal(array)})"
    yield from ranges
    if array.ndim == 2:
        yield from _matrices(array)
    yield from _window_tables(array)
    if array.ndim == 1 + array.shape[0] and array.dtype.kind in "iu":
        yield f"np.indices({_tuple(array.shape[1:])})"
    if depth:
        yield from _broadcast(array, shape, depth)
        yield from _stacked(array, depth)


def _uniform(array: np.ndarray, shape: str) -> Iterator[str]:
    kind = {"b": ", bool", "f": ""}.get(array.dtype.kind, ", int")
    value = array.flat[0]
    if value == 0 and not np.signbit(float(value)):
        yield f"np.zeros({shape}{kind})"
    elif value == 1:
        yield f"np.ones({shape}{kind})"
    else:
        yield f"np.full({shape}, {_literal(value)})"


def _ranges(flat: np.ndarray) -> Iterator[str]:
    """Texts of numbers at equal distances."""
    if flat.size < 2 or flat.dtype.kind == "b":
        return
    first, step, last = flat[0].item(), (flat[1] - flat[0]).item(), flat[-1].item()
    if flat.dtype.kind in "iu":
        if step and (flat == first + step * np.arange(flat.size)).all():
            yield _arange(first, last + step, step)
        return
    if not (math.isfinite(first) and math.isfinite(last)) or first == last:
        return
    if all(float(n) % 0.5 == 0 for n in (first, step, last)) and (flat == first + step * np.arange(flat.size)).all():
        yield _arange(first, last + step, step, floats=True)
    text = f"np.linspace({_float(flat[0])}, {_float(flat[-1])}, {flat.size})"
    if (flat == np.linspace(first, last, flat.size).astype(flat.dtype)).all():
        yield text


def _arange(first: Any, end: Any, step: Any, floats: bool = False) -> str:
    texts = [number(float(n)) if floats else str(int(n)) for n in (first, end, step)]
    if step == 1:
        texts.pop()
        if first == 0:
            return f"np.arange({texts[1]})"
    return f"np.arange({', '.join(texts)})"


def _matrices(array: np.ndarray) -> Iterator[str]:
    """Texts of matrices of a well-known form."""
    rows, columns = array.shape
    if rows == columns:
        kind = {"b": ", dtype=bool", "f": ""}.get(array.dtype.kind, ", dtype=int")
        yield f"np.eye({rows}{kind})"
        yield f"np.tri({rows}{kind})"
        yield f"~np.tri({rows}, dtype=bool)"
        if array.dtype.kind == "f" and rows > 1:
            yield f"np.triu(np.full(({rows}, {rows}), {_float(array[0, 1])}), 1)"


def _window_tables(array: np.ndarray) -> Iterator[str]:
    """Texts of the tables of netdefs.core.tables, of this shape or flat."""
    if array.dtype.kind in "iu" and array.size > FEW:
        yield from _index_tables(array)
    if array.dtype.kind == "f" and array.ndim == 4 and array.shape[0] == 1 and array.shape[3] == 2:
        height, width = ((n + 1) // 2 for n in array.shape[1:3])
        yield f"relative_places({height}, {width})"
    if array.dtype.kind == "f" and array.ndim > 2 and array.size > FEW and array.shape[-1] == array.shape[-2]:
        yield from _masks(array)


def _index_tables(array: np.ndarray) -> Iterator[str]:
    """Texts of indices of relative positions."""
    shape = _tuple(array.shape)
    if array.ndim == 1:
        places = math.isqrt(array.size)
        if places * places != array.size:
            return
        square, end = array.reshape(places, places), ".reshape(-1)"
    else:
        square, end = array.reshape(-1, array.shape[-1]), "" if array.ndim == 2 else f".reshape{shape}"
    queries, keys = square.shape
    for token in (False, True):
        for height, width in _windows(keys - token) if queries == keys else ():
            yield f"relative_position_index({height}, {width}{', class_token=True' if token else ''}){end}"
    for height, width in _windows(keys):
        for stride in (1, 2):
            if -(-height // stride) * -(-width // stride) == queries:
                yield f"relative_distance_index({height}, {width}{f', {stride}' if stride > 1 else ''}){end}"


def _masks(array: np.ndarray) -> Iterator[str]:
    """Texts of the masks of shifted windows."""
    places, value = array.shape[-1], array.min()
    windows = array.size // places**2
    if set(np.unique(array)) != {value, 0.0}:
        return
    more = "" if value == -100 else f", {_float(value)}"
    end = "" if array.ndim == 3 else f".reshape{_tuple(array.shape)}"
    for rows, columns in _windows(windows):
        for height, width in _windows(places):
            shifts = {(height // 2, width // 2), (height // 2, 0), (0, width // 2)}
            for shift in sorted(shifts, reverse=True):
                sizes = f"{rows * height}, {columns * width}, ({height}, {width}), {shift}"
                yield f"shifted_window_mask({sizes}{more}){end}"


def _windows(places: int) -> list[tuple[int, int]]:
    """Heights and widths with so many places, squares first."""
    found = [(h, places // h) for h in range(1, places + 1) if places % h == 0]
    return sorted(found, key=lambda sides: abs(sides[0] - sides[1]))


def _broadcast(array: np.ndarray, shape: str, depth: int) -> Iterator[str]:
    """Texts of what repeats along axes."""
    core = array
    for axis in range(array.ndim):
        if core.shape[axis] > 1 and (core == core.take([0], axis)).all():
            core = core.take([0], axis)
    if core.shape != array.shape and core.size > 1:
        for text in _candidates(core, depth - 1):
            if _equal(core, text):
                yield f"np.broadcast_to({text}, {shape})"
                return


def _stacked(array: np.ndarray, depth: int) -> Iterator[str]:
    """Texts of arrays beside each other."""
    for axis in (0, array.ndim - 1, *range(1, array.ndim - 1)):
        if array.ndim < 2 or not 1 < array.shape[axis] <= PARTS:
            continue
        parts = []
        for i in range(array.shape[axis]):
            part = array.take(i, axis)
            text = next((text for text in _candidates(part, depth - 1) if _equal(part, text)), None)
            if text is None:
                break
            parts.append(text)
        else:
            yield f"np.stack([{', '.join(parts)}]{f', {axis}' if axis else ''})"


def _literal(array: Any) -> str:
    """Numbers as Python's literals."""
    array = np.asarray(array)
    if array.ndim:
        return f"[{', '.join(map(_literal, array))}]"
    if array.dtype.kind == "f":
        return _float(array)
    return str(array.item())


def _float(value: Any) -> str:
    """A number of any precision as the shortest text that means it."""
    return number(float(str(np.asarray(value)[()])))


def _tuple(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
