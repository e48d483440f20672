"""Layers that read a picture between its pixels: upsampling and grid sampling."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.indexing import Indexing
from netdefs.core.layers.shaping import sizes_of
from netdefs.core.scope import Layer, Tensor, describe
from netdefs.core.tables import antialias_matrix

# PyTorch's modes, by how many axes are resized -> TensorRT's.
RESIZES = {
    1: {"nearest": "NEAREST", "nearest-exact": "NEAREST", "linear": "LINEAR"},
    2: {"nearest": "NEAREST", "nearest-exact": "NEAREST", "bilinear": "LINEAR", "bicubic": "CUBIC"},
}
SAMPLES = {"bilinear": "LINEAR", "nearest": "NEAREST", "bicubic": "CUBIC"}
OUTSIDE = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}


class Resampling(Indexing):
    """Resizing of (N, C, H, W) and (N, C, L), and reading at any places."""

    def upsample(
        self,
        x: Tensor,
        name: str | None,
        scale_factor: float | Sequence[float] | None = None,
        size: int | Sequence[int] | Tensor | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
        antialias: bool = False,
    ) -> Tensor:
        """`F.interpolate` of (N, C, H, W) or (N, C, L), by `scale_factor` or to `size`; sizes round down.

        Args:
            size: height and width, or length, or another (N, C', H', W') or (N, C', L') whose they are, also dynamic.
            mode: "nearest", "nearest-exact", "linear" of (N, C, L), "bilinear" and "bicubic" of (N, C, H, W).
            align_corners: for linear, bilinear and bicubic.
            antialias: for bilinear and bicubic, where H and W, before and after, must be fixed: it is a product with a
                matrix along each of them, in the layer's floating-point type.

        Raises:
            NetworkError: x, the mode, the size or the factors can't be, or antialias is asked of another mode or of
                sizes that are dynamic.
        """
        trt, path, count = self.trt, self.path_of(name), len(x.shape) - 2
        if count not in RESIZES:
            raise NetworkError(f"{path}: this resizes (N, C, H, W) and (N, C, L), not {describe(x)}.")
        if mode not in RESIZES[count]:
            raise NetworkError(f"{path}: mode is one of {', '.join(RESIZES[count])} for {describe(x)}, not {mode!r}.")
        if align_corners and mode.startswith("nearest"):
            raise NetworkError(f"{path}: align_corners has no meaning with mode={mode!r}.")
        if (scale_factor is None) == (size is None):
            raise NetworkError(f"{path}: give either scale_factor or size.")
        if antialias:
            return self._antialiased(x, name, scale_factor, size, mode, align_corners)
        nearest = mode.startswith("nearest")
        if nearest and (
            places := self._nearest_places(x, scale_factor, size, 0.5 if mode == "nearest-exact" else 0.0, path)
        ):
            for axis, each in places.items():
                x = self._take(x, name if axis == max(places) else self.child(name, "rows"), axis, each)
            return x
        # Interpolated values can be computed in integers; copies are moved, and TensorRT moves Quantize over them.
        taken = self.typed(name, x)[0] if nearest else self.operands(name, "resize", x)[0].tensor
        layer = self.definition.add_resize(taken)
        layer.resize_mode = getattr(trt.InterpolationMode, RESIZES[count][mode])
        transformation = "ASYMMETRIC" if mode == "nearest" else "ALIGN_CORNERS" if align_corners else "HALF_PIXEL"
        layer.coordinate_transformation = getattr(trt.ResizeCoordinateTransformation, transformation)
        layer.nearest_rounding = trt.ResizeRoundMode.HALF_UP if mode == "nearest-exact" else trt.ResizeRoundMode.FLOOR
        layer.cubic_coeff = -0.75
        if scale_factor is not None:
            factors = self._numbers(scale_factor, count, "scale_factor", path)
            layer.scales = (1.0, 1.0, *(_scale(int(n), each) for n, each in zip(x.shape[2:], factors, strict=True)))
        elif size is not None:
            self._resize_to(layer, x, size, name)
        result = self.layer(layer, name, taken)
        return self.moved(result, x) if nearest else self.moved(result)

    def grid_sample(
        self,
        x: Tensor | np.ndarray,
        grid: Tensor | np.ndarray,
        name: str | None,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool = False,
    ) -> Tensor:
        """`F.grid_sample`: x, (N, C, H, W), read at the places `grid`, (N, H', W', 2): (N, C, H', W').

        It is done in float32 unless a pattern of the precision spells its name out: half precision can't tell the
        places of neighbouring pixels apart. Either operand may be an array.

        Args:
            grid: x and y, -1 to 1 from one edge of the picture to the other.
            mode: "bilinear", "nearest" or "bicubic".
            padding_mode: what is outside: "zeros", "border" or "reflection".
            align_corners: whether -1 and 1 are the centres of the outermost pixels, instead of their outer edges.
        """
        path = self.path_of(name)
        for what, value, known in (("mode", mode, SAMPLES), ("padding_mode", padding_mode, OUTSIDE)):
            if value not in known:
                raise NetworkError(f"{path}: {what} is one of {', '.join(known)}, not {value!r}.")
        x, grid = self.typed(name, *self.as_tensors(name, x, grid), rule=True)
        rank, batches = len(x.shape), {int(x.shape[0]), int(grid.shape[0])} - {-1}
        if len(grid.shape) != rank or grid.shape[-1] != rank - 2 or len(batches) > 1:
            wanted = f"({int(x.shape[0])}, ..., {rank - 2})"
            raise NetworkError(f"{path}: {describe(x)} needs a grid {wanted} of rank {rank}, not {describe(grid)}.")
        layer = self.definition.add_grid_sample(x, grid)
        if layer is not None:
            layer.interpolation_mode = getattr(self.trt.InterpolationMode, SAMPLES[mode])
            layer.sample_mode = getattr(self.trt.SampleMode, OUTSIDE[padding_mode])
            layer.align_corners = align_corners
        return self.layer(layer, name, x, grid)

    def _resize_to(self, layer: Layer, x: Tensor, size: int | Sequence[int] | Tensor, name: str | None) -> None:
        """Gives a resize of x its output's size; what is dynamic is read off `size`, or x, at run time."""
        wanted, measured, path = sizes_of(x), x, self.path_of(name)
        if isinstance(size, self.trt.ITensor):
            if len(size.shape) != len(x.shape) or size.shape[0] != x.shape[0]:
                raise NetworkError(
                    f"{path}: the size of {describe(x)} can only follow another "
                    f"{'(N, C, H, W)' if len(x.shape) == 4 else '(N, C, L)'} with the same N, not {describe(size)}."
                )
            channels = self.known_size(x, 1, path)
            wanted, measured = sizes_of(size), size
            wanted[1] = channels
        else:
            wanted[2:] = [int(n) for n in self._numbers(size, len(x.shape) - 2, "size", path)]
        if any(isinstance(each, tuple) for each in wanted):
            layer.set_input(1, self.sizes(measured, wanted, name))
        else:
            layer.shape = wanted

    def _antialiased(
        self, x: Tensor, name: str | None, scale_factor: Any, size: Any, mode: str, align_corners: bool
    ) -> Tensor:
        """A resize with antialias, which TensorRT lacks: each value is a sum of a row's, and then of a column's."""
        path = self.path_of(name)
        if mode not in ("bilinear", "bicubic"):
            raise NetworkError(f"{path}: antialias is for the modes bilinear and bicubic, not {mode!r}.")
        known = [self.known_size(x, axis, f"upsample {path!r} with antialias") for axis in (2, 3)]
        factors: list[float | None] = [None, None]
        if scale_factor is not None:
            factors = [*self._numbers(scale_factor, 2, "scale_factor", path)]
            counts = [math.floor(n * factor) for n, factor in zip(known, factors, strict=True) if factor is not None]
        elif isinstance(size, self.trt.ITensor):
            counts = [self.known_size(size, axis, f"upsample {path!r} with antialias") for axis in (2, 3)]
        else:
            counts = [int(n) for n in self._numbers(size, 2, "size", path)]
        if min(counts) < 1:
            raise NetworkError(f"{path}: {describe(x)} by {scale_factor} would be empty.")
        # PyTorch's order; and it does nothing to an axis that keeps its size, whatever the factor.
        changes = [axis for axis in (3, 2) if counts[axis - 2] != known[axis - 2]]
        if not changes:
            return self.identity(x, name)
        (x,) = self.typed(name, x)
        none = self.trt.MatrixOperation.NONE
        for axis in changes:
            matrix = antialias_matrix(known[axis - 2], counts[axis - 2], mode, align_corners, factors[axis - 2])
            last = name if axis == changes[-1] else self.child(name, "across")
            if axis == 3:
                taken = x, self.constant(matrix.T[None, None], self.child(name, "columns"), like=x)
            else:
                taken = self.constant(matrix[None, None], self.child(name, "rows"), like=x), x
            x = self.layer(self.definition.add_matrix_multiply(taken[0], none, taken[1], none), last, *taken)
        return x

    def _nearest_places(
        self, x: Tensor, scale_factor: Any, size: Any, centre: float, path: str
    ) -> dict[int, np.ndarray]:
        """Axis -> what PyTorch reads there for nearest upsampling, if its rounding to single precision can be seen.

        Elsewhere every way to compute it gives the same, and TensorRT's is taken; so is it of dynamic sizes.
        """
        known = [int(n) for n in x.shape[2:]]
        if isinstance(size, self.trt.ITensor) or min(known) < 0:
            return {}
        if scale_factor is not None:
            factors = self._numbers(scale_factor, len(known), "scale_factor", path)
            counts = [math.floor(n * factor) for n, factor in zip(known, factors, strict=True)]
        else:
            counts = [int(n) for n in self._numbers(size, len(known), "size", path)]
            factors = [count / n for count, n in zip(counts, known, strict=True)]
        found, differs = {}, False
        for axis, (n, count, factor) in enumerate(zip(known, counts, factors, strict=True), 2):
            to = np.arange(count) + centre
            single = to.astype(np.float32)
            step = np.float32(1 / factor) if scale_factor is not None else np.float32(n) / np.float32(count)
            ways = (single * step, single / np.float32(factor), to / factor + 1e-9)
            theirs, *others = (np.minimum(np.floor(way), n - 1).astype(np.int32) for way in ways)
            differs |= not all(np.array_equal(theirs, other) for other in others)
            found[axis] = theirs
        return found if differs else {}

    def _numbers(self, value: float | Sequence[float], count: int, what: str, path: str) -> list[float]:
        """A number for each of so many axes."""
        numbers = list(value) if isinstance(value, Sequence) else [value] * count
        if len(numbers) != count or min(numbers) <= 0:
            raise NetworkError(f"{path}: {what}={value!r} is to be a positive number, or {count} of them.")
        return numbers


def _scale(n: int, factor: float) -> float:
    """A factor as TensorRT takes it, in single precision, next to it such that n values become as many as in PyTorch.

    PyTorch rounds the product down in double precision.
    """
    scale, wanted = np.float32(factor), math.floor(n * factor)
    while n > 0 and math.floor(np.float32(n) * scale) != wanted:
        scale = np.nextafter(scale, np.float32(0 if np.float32(n) * scale > wanted else np.inf))
    return float(scale)
