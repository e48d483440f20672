"""`Histogram`: how the magnitudes of a tensor's values are distributed, in memory that does not grow."""

import hashlib

import numpy as np

BINS = 4096
LOWEST, HIGHEST = -126, 116  # exponents of the bins' width: 2**-w and every float32 by it stay within float32
PIECE = 1 << 16  # values at a time: they stay in the processor's cache


class Histogram:
    """Counts of |x| in 4096 bins whose width is a power of two.

    Where a value lies beyond the last bin, neighbours are added up two by two until it fits. As the bins' borders are
    powers of two times whole numbers, and the division by such a width is exact, the result is that of a second pass
    over all values with the final width: it depends neither on their order nor on how they were split into arrays. The
    largest value lies in the upper half, so 2049 to 4096 bins are in use.

    Attributes:
        counts: (4096,) int64; bin i has the values in [i, i + 1) times `width`.
        total: how many values there are.
        zeros: how many of them are exactly 0.
        low, high: the smallest and the largest value.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.total = self.zeros = 0
        self.low, self.high = np.inf, -np.inf
        self._exponent = LOWEST

    @property
    def width(self) -> float:
        """The width of a bin."""
        return 2.0**self._exponent

    @property
    def amax(self) -> float:
        """The largest magnitude; 0 if there are no values."""
        return max(abs(self.low), abs(self.high)) if self.total else 0.0

    @property
    def used(self) -> int:
        """How many bins reach up to the largest magnitude."""
        return int(self.amax / self.width) + 1

    @property
    def digest(self) -> str:
        """A short hash of all of it."""
        content = hashlib.sha256(f"{self._exponent} {self.zeros} {self.low!r} {self.high!r}".encode())
        content.update(self.counts.astype("<i8").data)
        return content.hexdigest()[:16]

    def add(self, array: np.ndarray) -> None:
        """Counts the values of an array.

        Raises:
            ValueError: one is NaN or infinite. The values before it may then be counted.
        """
        flat = array.reshape(-1)
        for start in range(0, flat.size, PIECE):
            self._add(flat[start : start + PIECE].astype(np.float32, copy=False))

    def _add(self, values: np.ndarray) -> None:
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(low + high):  # NaN if there is one
            raise ValueError("not finite")
        self._grow(max(-low, high))
        self.low, self.high = min(self.low, low), max(self.high, high)
        bins = np.abs(values)
        bins *= np.float32(2.0**-self._exponent)
        self.counts += np.bincount(bins.astype(np.int32), minlength=BINS)
        self.total += values.size
        self.zeros += values.size - int(np.count_nonzero(values))

    def _grow(self, amax: float) -> None:
        """Doubles the bins' width until `amax` lies in one."""
        if amax < BINS * self.width:
            return
        exponent = min(int(np.frexp(amax)[1]) - BINS.bit_length() + 1, HIGHEST)
        joined = 2 ** min(exponent - self._exponent, BINS.bit_length() - 1)
        self.counts = np.pad(self.counts.reshape(-1, joined).sum(1), (0, BINS - BINS // joined))
        self._exponent = exponent
