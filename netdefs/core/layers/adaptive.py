"""Adaptive pooling: to a size that is asked for, by windows that may differ in size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.pooling import Pooling
from netdefs.core.scope import Tensor, describe

AdaptiveSize = int | Sequence[int | None] | None  # of the output; None keeps that of the input


class AdaptivePooling(Pooling):
    """Adaptive pooling of (N, C, H, W), to a size or a pair of sizes, and of (N, C, L), to one."""

    def adaptive_avg_pool(self, x: Tensor, name: str | None, size: AdaptiveSize) -> Tensor:
        """`nn.AdaptiveAvgPool2d`: (N, C, H, W) -> (N, C, *size). What changes, to a size other than 1, is fixed."""
        sizes = self._adaptive_sizes(x, name, size)
        if all(wanted == 1 for wanted in sizes):
            return self.global_avg_pool(x, name)
        changes = self._changes(x, sizes, f"adaptive_avg_pool {self.path_of(name)!r}")
        if not changes:
            return self.identity(x, name)
        if not any(n % wanted for n, wanted in changes.values()):
            return self.avg_pool(x, name, _kernel(x, changes))
        # Windows of different sizes: each row of a matrix averages one of them.
        for axis, (n, wanted) in changes.items():
            matrix = np.zeros((1,) * (len(x.shape) - 2) + (wanted, n), np.float32)
            for i, taken in enumerate(_windows(n, wanted)):
                matrix[..., i, taken] = 1 / len(taken)
            if axis == len(x.shape) - 1:
                columns = self.constant(matrix.swapaxes(-1, -2), self.child(name, "columns"), like=x)
                x = self.matmul(x, columns, name)
            else:
                rows = self.constant(matrix, self.child(name, "rows"), like=x)
                x = self.matmul(rows, x, name if len(changes) == 1 else self.child(name, "down"))
        return x

    def adaptive_max_pool(self, x: Tensor, name: str | None, size: AdaptiveSize) -> Tensor:
        """`nn.AdaptiveMaxPool2d`: (N, C, H, W) -> (N, C, *size). What changes, to a size other than 1, is fixed."""
        sizes = self._adaptive_sizes(x, name, size)
        if all(wanted == 1 for wanted in sizes):
            return self.global_max_pool(x, name)
        changes = self._changes(x, sizes, f"adaptive_max_pool {self.path_of(name)!r}")
        if not changes:
            return self.identity(x, name)
        if not any(n % wanted for n, wanted in changes.values()):
            return self.max_pool(x, name, _kernel(x, changes))
        windows = {}
        for axis, (n, wanted) in changes.items():
            taken = _windows(n, wanted)
            longest = max(map(len, taken))
            # A value that is there twice does not change the largest.
            windows[axis] = np.array([[*each, *[each[-1]] * (longest - len(each))] for each in taken])
        return self._largest(x, name, windows)

    def _adaptive_sizes(self, x: Tensor, name: str | None, size: AdaptiveSize) -> list[int | None]:
        """The size that is asked for, for each of the axes that are pooled."""
        count = len(x.shape) - 2
        sizes = list(size) if isinstance(size, Sequence) else [size] * count
        if count not in (1, 2) or len(sizes) != count or any(wanted is not None and wanted < 1 for wanted in sizes):
            raise NetworkError(
                f"{self.path_of(name)}: {describe(x)} can't be pooled to {size}: that takes (N, C, H, W) and two "
                "positive sizes, or one for both, or (N, C, L) and one; None keeps a size."
            )
        return sizes

    def _changes(self, x: Tensor, sizes: Sequence[int | None], what: str) -> dict[int, tuple[int, int]]:
        """The axes whose size changes -> that, and the one it becomes."""
        wanted = {axis: size for axis, size in enumerate(sizes, 2) if size is not None and size != x.shape[axis]}
        return {axis: (self.known_size(x, axis, what), size) for axis, size in wanted.items()}


def _kernel(x: Tensor, changes: dict[int, tuple[int, int]]) -> Any:
    """The kernel of a pooling that divides the sizes of these axes."""
    ratios = {axis: n // wanted for axis, (n, wanted) in changes.items()}
    return tuple(ratios.get(axis, 1) for axis in range(2, len(x.shape)))


def _windows(n: int, wanted: int) -> list[range]:
    """PyTorch's windows over n values for so many results."""
    return [range(i * n // wanted, -(-(i + 1) * n // wanted)) for i in range(wanted)]
