"""How far two tensors are apart: float64 numbers, taken in one pass over small pieces."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from netdefs.core.errors import CompareError

PIECE = 1 << 16  # values per piece: in float64 they stay in the processor's cache
ELEMENT = 10.0  # how many times the tolerance one single value may be off


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The largest relative error that still agrees, for each way of feeding a layer."""

    chained: float
    isolated: float


# Float32 rounding stays under 1e-5 over hundreds of layers. In half precision every layer rounds, and a deep network
# adds that up: one layer alone may do less than all before it together. docs/compare.md has the measured numbers.
DEFAULTS = {
    "fp32": Tolerance(1e-4, 2e-5),
    "tf32": Tolerance(1e-1, 5e-3),
    "fp16": Tolerance(1e-1, 5e-3),
    "bf16": Tolerance(5e-1, 4e-2),
}


def tolerance_for(precision: str, given: float | None) -> Tolerance:
    """The tolerance of a comparison: `given` if that is a number, else the default of the network's precision.

    Raises:
        CompareError: `given` is not a positive number, or there is no default.
    """
    if given is None and precision not in DEFAULTS:
        raise CompareError(f"There is no default tolerance for the precision {precision!r}: give one, such as 0.05.")
    if given is None:
        return DEFAULTS[precision]
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise CompareError(f"tolerance={given!r}: it is a relative error, a positive number such as 1e-4, or None.")
    return Tolerance(float(given), float(given))


@dataclasses.dataclass(frozen=True)
class Metrics:
    """A tensor against PyTorch's.

    NaN or the same infinity in the same place on both sides agree and are left out of the sums. On one side only they
    are out of any tolerance, and make `relative` infinite.

    Attributes:
        relative: L2 norm of the difference over the L2 norm of PyTorch's values.
        cosine: of the angle between the two; 1 when both are zero.
        sqnr_db: signal to noise, 20 log10(1 / relative); infinite for equal tensors.
        max_abs: the largest difference of two values.
        index: where that is.
        expected: PyTorch's value there.
        actual: the network's value there.
        outside: share of the values that are out of tolerance, 0 to 1.
        expected_nan, expected_inf, actual_nan, actual_inf: how many there are on either side.
        ok: whether all of it is within the tolerance.
    """

    relative: float
    cosine: float
    sqnr_db: float
    max_abs: float
    index: tuple[int, ...]
    expected: float
    actual: float
    outside: float
    expected_nan: int
    expected_inf: int
    actual_nan: int
    actual_inf: int
    ok: bool

    @property
    def reference_finite(self) -> bool:
        """Whether PyTorch's values are all finite."""
        return not self.expected_nan and not self.expected_inf


def measure(expected: np.ndarray, actual: np.ndarray, tolerance: float, floor: float = 0.0) -> Metrics:
    """Compares two tensors of the same shape.

    They agree when the difference as a whole is within `tolerance` of PyTorch's values (in the L2 norm), and no single
    value is off by more than 10 times that, relative to its own size plus the tensor's root mean square: a few wrong
    pixels at a border don't drown in a large tensor.

    Args:
        expected: PyTorch's values.
        actual: the network's values.
        tolerance: relative.
        floor: what rounding alone may add to a value, absolute.
    """
    sums = _Sums()
    for piece in _pieces(expected, actual):
        sums.add(piece)
    count = expected.size - sums.left_out
    rms = math.sqrt(sums.ee / count) if count else 0.0
    wrong, worst = sums.one_sided, _Worst()
    for piece in _pieces(expected, actual):
        np.subtract(piece.actual, piece.expected, out=piece.actual)
        difference = np.abs(piece.actual, out=piece.actual)
        difference[piece.one_sided] = np.inf
        worst.update(difference, piece.start)
        bound = np.abs(piece.expected, out=piece.expected)
        bound += rms
        bound *= ELEMENT * tolerance
        bound += ELEMENT * floor
        difference[piece.one_sided] = 0.0  # counted already
        wrong += int(np.count_nonzero(difference > bound))
    at = np.unravel_index(worst.at, expected.shape) if expected.size else ()
    error = math.sqrt(sums.dd / count) if count else 0.0
    return Metrics(
        relative=math.inf if sums.one_sided else _ratio(error, rms),
        cosine=sums.cosine(),
        sqnr_db=-math.inf if sums.one_sided else _decibels(error, rms),
        max_abs=worst.value,
        index=tuple(int(i) for i in at),
        expected=float(expected[at]) if expected.size else 0.0,
        actual=float(actual[at]) if expected.size else 0.0,
        outside=wrong / expected.size if expected.size else 0.0,
        expected_nan=sums.expected_nan,
        expected_inf=sums.expected_inf,
        actual_nan=sums.actual_nan,
        actual_inf=sums.actual_inf,
        ok=not wrong and error <= tolerance * rms + floor,
    )


def rms(array: np.ndarray) -> float:
    """Root mean square of an array's finite values, to a few digits."""
    flat = array.reshape(-1)
    if not flat.size:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.dot(flat, flat)) if flat.dtype.kind == "f" else math.inf
    if not math.isfinite(total):
        flat = flat.astype(np.float64)
        flat = flat[np.isfinite(flat)]
        total = float(np.dot(flat, flat))
    return math.sqrt(total / array.size)


@dataclasses.dataclass
class _Piece:
    """A stretch of both tensors, in float64, with zeros in place of what is not finite on both sides."""

    start: int
    expected: np.ndarray
    actual: np.ndarray
    one_sided: np.ndarray  # where only one side is finite, or both are not but differ
    left_out: int = 0
    expected_nan: int = 0
    expected_inf: int = 0
    actual_nan: int = 0
    actual_inf: int = 0


NOWHERE = np.zeros(0, np.intp)


def _pieces(expected: np.ndarray, actual: np.ndarray) -> Iterator[_Piece]:
    if expected.shape != actual.shape:
        raise ValueError(f"shapes differ: {expected.shape} and {actual.shape}")
    left, right = expected.reshape(-1), actual.reshape(-1)
    for start in range(0, left.size, PIECE):
        e = left[start : start + PIECE].astype(np.float64)
        a = right[start : start + PIECE].astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinities of both signs
            total = float(e.sum()) + float(a.sum())
        if math.isfinite(total):  # a sum is finite only if every value is
            yield _Piece(start, e, a, NOWHERE)
            continue
        same = (e == a) | (np.isnan(e) & np.isnan(a))
        out = ~(np.isfinite(e) & np.isfinite(a))
        counts = [int(np.count_nonzero(test(x))) for x in (e, a) for test in (np.isnan, np.isinf)]
        e[out], a[out] = 0.0, 0.0
        yield _Piece(start, e, a, np.flatnonzero(out & ~same), int(np.count_nonzero(out)), *counts)


class _Sums:
    """What one pass over both tensors adds up."""

    def __init__(self) -> None:
        self.ee = self.aa = self.ea = self.dd = 0.0
        self.left_out = self.one_sided = 0
        self.expected_nan = self.expected_inf = self.actual_nan = self.actual_inf = 0

    def add(self, piece: _Piece) -> None:
        e, a = piece.expected, piece.actual
        self.ee += float(np.dot(e, e))
        self.aa += float(np.dot(a, a))
        self.ea += float(np.dot(e, a))
        d = a - e
        self.dd += float(np.dot(d, d))
        self.left_out += piece.left_out
        self.one_sided += piece.one_sided.size
        self.expected_nan += piece.expected_nan
        self.expected_inf += piece.expected_inf
        self.actual_nan += piece.actual_nan
        self.actual_inf += piece.actual_inf

    def cosine(self) -> float:
        if self.ee == 0 or self.aa == 0:
            return 1.0 if self.ee == self.aa else 0.0
        return max(-1.0, min(1.0, self.ea / math.sqrt(self.ee) / math.sqrt(self.aa)))


class _Worst:
    """The largest difference so far, and the flat position it is at."""

    def __init__(self) -> None:
        self.value, self.at = 0.0, 0

    def update(self, difference: np.ndarray, start: int) -> None:
        at = int(np.argmax(difference))
        if difference[at] > self.value:
            self.value, self.at = float(difference[at]), start + at


def _ratio(error: float, size: float) -> float:
    if error == 0:
        return 0.0
    return error / size if size else math.inf


def _decibels(error: float, size: float) -> float:
    if error == 0:
        return math.inf
    return 20 * (math.log10(size) - math.log10(error)) if size else -math.inf
