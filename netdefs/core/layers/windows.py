"""Windows of a tensor as an axis of it, and back: unfold, fold, tensor_unfold."""

from typing import NamedTuple

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.convolution import Convolutions
from netdefs.core.layers.indexing import Indexing
from netdefs.core.layers.shaping import axis_of, sizes_of
from netdefs.core.scope import IntPair, Tensor, describe, pair


class Windows(Convolutions, Indexing):
    """Windows of a tensor as an axis of it, and back."""

    def unfold(
        self,
        x: Tensor,
        name: str | None,
        kernel: IntPair,
        dilation: IntPair = 1,
        padding: IntPair = 0,
        stride: IntPair = 1,
    ) -> Tensor:
        """`F.unfold`: (N, C, H, W), of fixed sizes but for N, -> (N, C * kh * kw, windows)."""
        path, window = self.path_of(name), _Window(pair(kernel), pair(dilation), pair(padding), pair(stride))
        if len(x.shape) != 4:
            raise NetworkError(f"{path}: unfold takes (N, C, H, W), not {describe(x)}.")
        channels, height, width = (self.known_size(x, axis, f"unfold {path!r}") for axis in (1, 2, 3))
        (kh, kw), (rows, columns) = window.kernel, window.counts((height, width), path)
        batch = sizes_of(x)[0]
        if window.tiles((height, width)):
            parts = self._reshape(x, self.child(name, "split"), [batch, channels, rows, kh, columns, kw])
            order = (0, 1, 3, 5, 2, 4)
        else:
            down, across = window.padding
            if down or across:
                x = self.pad(x, self.child(name, "pad"), (across, across, down, down))
            places = window.places((rows, columns))
            lines = self._take(x, self.child(name, "rows"), 2, places[0])
            parts = self._take(lines, self.child(name, "columns"), 4, places[1])
            order = (0, 1, 2, 4, 3, 5)
        moved = self.permute(parts, self.child(name, "permute"), order)
        return self._reshape(moved, name, [batch, channels * kh * kw, rows * columns])

    def fold(
        self,
        x: Tensor,
        name: str | None,
        output_size: IntPair,
        kernel: IntPair,
        dilation: IntPair = 1,
        padding: IntPair = 0,
        stride: IntPair = 1,
    ) -> Tensor:
        """`F.fold`: (N, C * kh * kw, windows) -> (N, C, *output_size), overlapping windows added up.

        Windows that overlap are a deconvolution, whose kernels have a single 1: TensorRT-RTX has none with a stride and
        a dilation.
        """
        path, window = self.path_of(name), _Window(pair(kernel), pair(dilation), pair(padding), pair(stride))
        size = pair(output_size)
        (kh, kw), (rows, columns) = window.kernel, window.counts(size, path)
        if len(x.shape) != 3 or x.shape[1] % (kh * kw) or x.shape[2] != rows * columns:
            raise NetworkError(
                f"{path}: fold to {size} with kernel={window.kernel} takes (N, C * {kh * kw}, {rows * columns}), "
                f"not {describe(x)}."
            )
        batch, channels = sizes_of(x)[0], self.known_size(x, 1, f"fold {path!r}") // (kh * kw)
        if window.tiles(size):
            parts = self._reshape(x, self.child(name, "split"), [batch, channels, kh, kw, rows, columns])
            moved = self.permute(parts, self.child(name, "permute"), (0, 1, 4, 2, 5, 3))
            return self._reshape(moved, name, [batch, channels, *size])
        picture = self._reshape(x, self.child(name, "split"), [batch, channels * kh * kw, rows, columns])
        ones = np.tile(np.eye(kh * kw, dtype=np.float32).reshape(kh * kw, 1, kh, kw), (channels, 1, 1, 1))
        left = [
            n - ((count - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, count, k, d, p, s in zip(size, (rows, columns), *window, strict=True)
        ]
        return self.deconvolution(
            picture,
            name,
            channels,
            window.kernel,
            window.stride,
            window.padding,
            (left[0], left[1]),
            ones,
            None,
            groups=channels,
            dilation=window.dilation,
        )

    def tensor_unfold(self, x: Tensor, name: str | None, dim: int, size: int, step: int) -> Tensor:
        """`x.unfold(dim, size, step)`: along the axis `dim` windows, and what is in each along a new last axis."""
        path, rank = self.path_of(name), len(x.shape)
        axis = axis_of(dim, x, path)
        total = self.known_size(x, axis, f"tensor_unfold {path!r}")
        if size < 1 or step < 1 or size > total:
            raise NetworkError(f"{path}: windows of {size} every {step} along axis {axis} of {describe(x)} can't be.")
        count = (total - size) // step + 1
        if size == step:
            whole = x if count * size == total else self.slice(x, self.child(name, "whole"), axis, 0, count * size)
            sizes = sizes_of(x)
            parts = self._reshape(
                whole, self.child(name, "split"), [*sizes[:axis], count, size, *sizes[axis + 1 :]], measured=x
            )
        else:
            places = np.arange(count)[:, None] * step + np.arange(size)
            parts = self._take(x, self.child(name, "windows"), axis, places)
        order = [each for each in range(rank + 1) if each != axis + 1]
        return self.permute(parts, name, [*order, axis + 1])


class _Window(NamedTuple):
    """A window over height and width."""

    kernel: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    stride: tuple[int, int]

    def counts(self, size: tuple[int, int], path: str) -> tuple[int, int]:
        """How many windows fit into a picture, one below and one beside the other."""
        if min(*self.kernel, *self.dilation, *self.stride) < 1 or min(self.padding) < 0:
            raise NetworkError(
                f"{path}: kernel={self.kernel}, dilation={self.dilation}, padding={self.padding} and "
                f"stride={self.stride} can't be."
            )
        rows, columns = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(size, *self, strict=True))
        if rows < 1 or columns < 1:
            raise NetworkError(f"{path}: the kernel {self.kernel} does not fit into a picture of {size}.")
        return rows, columns

    def tiles(self, size: tuple[int, int]) -> bool:
        """Whether each value of a picture is in one window only, and in one."""
        whole = not any(n % k for n, k in zip(size, self.kernel, strict=True))
        return whole and self.kernel == self.stride and self.dilation == (1, 1) and self.padding == (0, 0)

    def places(self, counts: tuple[int, int]) -> list[np.ndarray]:
        """Which rows, and which columns, of the padded picture the windows read: (kernel, counts) of each."""
        return [
            np.arange(k)[:, None] * d + np.arange(count) * s
            for k, d, s, count in zip(self.kernel, self.dilation, self.stride, counts, strict=True)
        ]
