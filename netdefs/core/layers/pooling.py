"""Pooling of pictures (N, C, H, W), of volumes (N, C, D, H, W) and of rows (N, C, L)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.indexing import Indexing
from netdefs.core.scope import IntSides, Layer, Tensor, configure, describe, each_side

Sides = tuple[int, ...]  # a number for height and width, or for depth, height and width


class Pooling(Indexing):
    """Pooling; of (N, C, L) what is said of pairs holds for single numbers, of (N, C, D, H, W) for triples."""

    def max_pool(
        self,
        x: Tensor,
        name: str | None,
        kernel: IntSides,
        stride: IntSides | None = None,
        padding: IntSides = 0,
        ceil_mode: bool = False,
        dilation: IntSides = 1,
    ) -> Tensor:
        """`nn.MaxPool2d`, 1d or 3d; `stride` is the kernel's size by default. With a dilation the sizes are fixed."""
        if len(x.shape) == 3:
            row = [_of_row(1, kernel), _of_row(1, stride), _of_row(0, padding), ceil_mode, _of_row(1, dilation)]
            return self._of_rows(x, name, lambda x, name: self.max_pool(x, name, *row))
        spread = each_side(dilation, max(len(x.shape) - 2, 2))
        window, step, pad = self._windows(x, name, kernel, stride, padding, spread)
        if max(spread) > 1:
            return self._dilated_max(x, name, window, step, pad, ceil_mode, spread)
        (x,) = self.typed(name, x)
        layer = self.definition.add_pooling_nd(x, self.trt.PoolingType.MAX, window)
        overhang = self._overhang(x, name, window, step, pad) if ceil_mode else (0,) * len(pad)
        self._configure(layer, step, pad, overhang)
        return self.moved(self.layer(layer, name, x), x)

    def avg_pool(
        self,
        x: Tensor,
        name: str | None,
        kernel: IntSides,
        stride: IntSides | None = None,
        padding: IntSides = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        """`nn.AvgPool2d`, 1d or 3d; `stride` is the kernel's size by default."""
        if len(x.shape) == 3:
            if divisor_override is not None:
                raise NetworkError(f"{self.path_of(name)}: divisor_override is for pictures; {describe(x)} is none.")
            row = [_of_row(1, kernel), _of_row(1, stride), _of_row(0, padding), ceil_mode, count_include_pad]
            return self._of_rows(x, name, lambda x, name: self.avg_pool(x, name, *row))
        window, step, pad = self._windows(x, name, kernel, stride, padding)
        overhang = self._overhang(x, name, window, step, pad) if ceil_mode else (0,) * len(pad)
        if divisor_override is not None:
            return self._window_sums(x, name, window, step, pad, overhang, divisor_override)
        # PyTorch counts the padding of count_include_pad, but never what a last, incomplete window hangs over it.
        # TensorRT counts both or neither: so the counted padding becomes part of the picture, and the rest is left out.
        if count_include_pad and any(pad) and (overhang is None or any(overhang)):
            x = self.pad(x, self.child(name, "pad"), _around(pad, pad))
            pad = (0,) * len(pad)
        ((x, _, _),) = self.operands(name, "avg_pool", x, quantizable=len(window) == 2)
        layer = self.definition.add_pooling_nd(x, self.trt.PoolingType.AVERAGE, window)
        self._configure(layer, step, pad, overhang)
        configure(layer, average_count_excludes_padding=not (count_include_pad and any(pad)))
        return self.layer(layer, name, x)

    def global_avg_pool(self, x: Tensor, name: str | None) -> Tensor:
        """`nn.AdaptiveAvgPool2d(1)`: (N, C, H, W) -> (N, C, 1, 1)."""
        return self._pooled(x, name, "AVG")

    def global_max_pool(self, x: Tensor, name: str | None) -> Tensor:
        """`nn.AdaptiveMaxPool2d(1)`: (N, C, H, W) -> (N, C, 1, 1)."""
        return self._pooled(x, name, "MAX")

    def _dilated_max(
        self,
        x: Tensor,
        name: str | None,
        window: Sides,
        step: Sides,
        pad: Sides,
        ceil_mode: bool,
        spread: Sides,
    ) -> Tensor:
        """Max pooling with a dilation, which TensorRT lacks: the largest of each column of a window, then of those."""
        windows = {}
        for axis, (k, s, p, d) in enumerate(zip(window, step, pad, spread, strict=True), 2):
            n = self.known_size(x, axis, f"max_pool {self.path_of(name)!r} with a dilation")
            count = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)) // s + 1
            count -= ceil_mode and (count - 1) * s >= n + p  # PyTorch drops a window that starts behind the input
            if count < 1:
                raise NetworkError(f"{self.path_of(name)}: a window of {d * (k - 1) + 1} does not fit {describe(x)}.")
            taken = np.arange(count)[:, None] * s - p + d * np.arange(k)
            inside = (taken >= 0) & (taken < n)
            if not inside.any(1).all():
                raise NetworkError(f"{self.path_of(name)}: with this dilation a window reads nothing of {describe(x)}.")
            # What lies in the padding is replaced by another value of the window, which does not change the largest.
            windows[axis] = np.where(inside, taken, taken[np.arange(count), inside.argmax(1)][:, None])
        return self._largest(x, name, windows)

    def _largest(self, x: Tensor, name: str | None, windows: dict[int, np.ndarray]) -> Tensor:
        """The largest of each row of places (count, values), along one axis after the other."""
        source = x
        for axis, places in windows.items():
            last = name if axis == max(windows) else self.child(name, f"largest.{axis}")
            x = self._take(x, self.child(name, f"windows.{axis}"), axis, places)
            (x,) = self.typed(last, x)
            x = self.moved(self._reduced(x, last, "MAX", (axis + 1,), False), source)
        return x

    def _window_sums(
        self,
        x: Tensor,
        name: str | None,
        window: Sides,
        step: Sides,
        pad: Sides,
        overhang: Sides | None,
        divisor: int,
    ) -> Tensor:
        """The sum of each window by `divisor`: an average of full windows, and a factor."""
        if overhang is None:
            raise NetworkError(f"{self.path_of(name)}: ceil_mode with a divisor_override needs a fixed input size.")
        if divisor == 0:
            raise NetworkError(f"{self.path_of(name)}: divisor_override is not to be 0.")
        if any(pad) or any(overhang):
            behind = tuple(p + o for p, o in zip(pad, overhang, strict=True))
            x = self.pad(x, self.child(name, "pad"), _around(pad, behind))
        mean = self.avg_pool(x, self.child(name, "mean"), window, step)
        return self.mul(mean, math.prod(window) / divisor, name)

    def _of_rows(self, x: Tensor, name: str | None, pool: Callable[[Tensor, str], Tensor]) -> Tensor:
        """The pooling of (N, C, L) as pictures of one row: TensorRT-RTX pools no others."""
        y = pool(self.unsqueeze(x, self.child(name, "row"), 2), self.child(name, "pool"))
        return self.squeeze(y, name, 2)

    def _configure(self, layer: Layer, step: Sides, pad: Sides, overhang: Sides | None) -> None:
        rounds_up = overhang is None
        behind = pad if overhang is None else tuple(p + o for p, o in zip(pad, overhang, strict=True))
        configure(layer, stride_nd=step, pre_padding=pad, post_padding=behind)
        if rounds_up:
            configure(layer, padding_mode=self.trt.PaddingMode.EXPLICIT_ROUND_UP)

    def _windows(
        self,
        x: Tensor,
        name: str | None,
        kernel: IntSides,
        stride: IntSides | None,
        padding: IntSides,
        spread: Sides = (1,),
    ) -> tuple[Sides, Sides, Sides]:
        path, sides = self.path_of(name), len(x.shape) - 2
        if sides not in (2, 3):
            raise NetworkError(f"{path}: this pools (N, C, H, W), (N, C, D, H, W) and (N, C, L), not {describe(x)}.")
        window, step, pad = (each_side(n, sides) for n in (kernel, kernel if stride is None else stride, padding))
        for what, given, least in (
            ("kernel", window, 1),
            ("stride", step, 1),
            ("padding", pad, 0),
            ("dilation", spread, 1),
        ):
            if min(given) < least:
                raise NetworkError(f"{path}: {what}={given} can't be: each is at least {least}.")
        if any(2 * p > k for p, k in zip(pad, window, strict=True)):
            raise NetworkError(f"{path}: padding={pad} must be at most half the kernel's size {window}.")
        return window, step, pad

    def _overhang(self, x: Tensor, name: str | None, window: Sides, step: Sides, pad: Sides) -> Sides | None:
        """How far PyTorch's last window of ceil_mode hangs over the padded input, for height and width (and depth).

        None if the size is dynamic and TensorRT's plain rounding up comes to the same. It does unless a window could
        start in the padding behind the input, which PyTorch drops and TensorRT keeps.
        """
        sizes = [int(n) for n in x.shape[2:]]
        if min(sizes) < 0:
            if all(p + s <= k for k, s, p in zip(window, step, pad, strict=True)):
                return None
            raise NetworkError(
                f"{self.path_of(name)}: ceil_mode with this stride and padding needs a fixed input size."
            )
        found = []
        for n, k, s, p in zip(sizes, window, step, pad, strict=True):
            last = -(-(n + 2 * p - k) // s) * s  # where the last window starts, counted from the padding's edge
            if last >= n + p:
                last -= s
            found.append(max(last + k - n - 2 * p, 0))
        return tuple(found)

    def _pooled(self, x: Tensor, name: str | None, kind: str) -> Tensor:
        (x,) = self.typed(name, x)
        return self._reduced(x, name, kind, range(2, len(x.shape)), True)


def _around(before: Sides, behind: Sides) -> Sides:
    """Padding as `Network.pad` takes it: the last axis first."""
    return tuple(n for both in zip(reversed(before), reversed(behind), strict=True) for n in both)


def _of_row(other: int, value: int | Sequence[int] | None) -> Any:
    """An argument of a row's pooling as one of pictures that are 1 high."""
    if value is None:
        return None
    values = value if isinstance(value, Sequence) else (value,)
    return (other, *values)
