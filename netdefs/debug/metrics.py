"""How far two tensors are apart: float64 numbers, taken in one pass over small pieces."""

import dataclasses
import math

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
    # Against PyTorch with the same scales, where a value between two steps may fall to either.
    "int8": Tolerance(2e-1, 5e-3),
    "fp8": Tolerance(5e-1, 5e-3),
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
        needed: the smallest tolerance at which it is; infinite if there is none.
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
    needed: float

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
    sums, pieces = _Sums(), _Pieces(expected, actual)
    for start in pieces.starts:
        sums.add(pieces.read(start))
    count = expected.size - sums.left_out
    rms = math.sqrt(sums.ee / count) if count else 0.0
    error = math.sqrt(sums.dd / count) if count else 0.0
    needed = math.inf if sums.one_sided else max(ratio(error - floor, rms), 0.0)
    wrong = sums.one_sided
    for start, largest in sums.largest.items():
        most = ratio(largest / ELEMENT - floor, rms)
        if most <= needed and most <= tolerance:
            continue  # for no value of the piece is it more
        piece = pieces.read(start)
        ratios = np.abs(piece.actual - piece.expected)
        ratios /= ELEMENT
        ratios -= floor
        ratios[piece.one_sided] = 0.0  # counted already
        size = np.abs(piece.expected)
        size += rms
        with np.errstate(divide="ignore", invalid="ignore"):  # all of PyTorch's values are zero
            ratios /= size
        needed = max(needed, float(np.nanmax(ratios, initial=0.0)))
        wrong += int(np.count_nonzero(ratios > tolerance))
    at = np.unravel_index(sums.at, expected.shape) if expected.size else ()
    return Metrics(
        relative=math.inf if sums.one_sided else ratio(error, rms),
        cosine=sums.cosine(),
        sqnr_db=-math.inf if sums.one_sided else decibels(error, rms),
        max_abs=sums.worst,
        index=tuple(int(i) for i in at),
        expected=float(expected[at]) if expected.size else 0.0,
        actual=float(actual[at]) if expected.size else 0.0,
        outside=wrong / expected.size if expected.size else 0.0,
        expected_nan=sums.expected_nan,
        expected_inf=sums.expected_inf,
        actual_nan=sums.actual_nan,
        actual_inf=sums.actual_inf,
        ok=needed <= tolerance,
        needed=needed,
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
    ee: float  # the sums of their squares
    aa: float
    one_sided: np.ndarray  # where only one side is finite, or both are not but differ
    left_out: int = 0
    expected_nan: int = 0
    expected_inf: int = 0
    actual_nan: int = 0
    actual_inf: int = 0


NOWHERE = np.zeros(0, np.intp)


class _Pieces:
    """Reads two tensors stretch by stretch; each takes the place of the one before."""

    def __init__(self, expected: np.ndarray, actual: np.ndarray) -> None:
        if expected.shape != actual.shape:
            raise ValueError(f"shapes differ: {expected.shape} and {actual.shape}")
        self._left, self._right = expected.reshape(-1), actual.reshape(-1)
        self.starts = range(0, self._left.size, PIECE)
        self._room = np.empty((2, min(PIECE, self._left.size)))

    def read(self, start: int) -> _Piece:
        """The stretch that begins at `start`, one of `starts`."""
        left, right = self._left[start : start + PIECE], self._right[start : start + PIECE]
        e, a = self._room[0, : left.size], self._room[1, : left.size]
        e[:], a[:] = left, right
        with np.errstate(invalid="ignore", over="ignore"):
            ee, aa = float(np.dot(e, e)), float(np.dot(a, a))
        if math.isfinite(ee) and math.isfinite(aa):  # so is every value
            return _Piece(start, e, a, ee, aa, NOWHERE)
        same = (e == a) | (np.isnan(e) & np.isnan(a))
        out = ~(np.isfinite(e) & np.isfinite(a))
        counts = [int(np.count_nonzero(test(x))) for x in (e, a) for test in (np.isnan, np.isinf)]
        e[out], a[out] = 0.0, 0.0
        ee, aa = float(np.dot(e, e)), float(np.dot(a, a))
        return _Piece(start, e, a, ee, aa, np.flatnonzero(out & ~same), int(np.count_nonzero(out)), *counts)


class _Sums:
    """What one pass over both tensors adds up, and where they differ most."""

    def __init__(self) -> None:
        self.ee = self.aa = self.ea = self.dd = 0.0
        self.left_out = self.one_sided = 0
        self.expected_nan = self.expected_inf = self.actual_nan = self.actual_inf = 0
        self.worst, self.at = 0.0, 0  # the largest difference, and its flat position
        self.largest: dict[int, float] = {}  # by the start of each piece, the largest that is on both sides finite

    def add(self, piece: _Piece) -> None:
        e, a = piece.expected, piece.actual
        self.ee += piece.ee
        self.aa += piece.aa
        self.ea += float(np.dot(e, a))
        d = np.subtract(a, e, out=a)
        self.dd += float(np.dot(d, d))
        at = int(np.abs(d, out=d).argmax())
        self.largest[piece.start] = largest = float(d[at])  # there both were set to zero where one is not finite
        if piece.one_sided.size and self.worst < math.inf:
            self.worst, self.at = math.inf, piece.start + int(piece.one_sided[0])
        elif largest > self.worst:
            self.worst, self.at = largest, piece.start + at
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


def ratio(error: float, size: float) -> float:
    """An error relative to a size; where that is 0, infinite, unless the error is 0 too."""
    if error == 0:
        return 0.0
    return error / size if size else math.copysign(math.inf, error)


def decibels(error: float, size: float) -> float:
    """Signal to noise of an error beside a size."""
    if error == 0:
        return math.inf
    return 20 * (math.log10(size) - math.log10(error)) if size else -math.inf
