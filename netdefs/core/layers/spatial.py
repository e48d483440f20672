"""Layers over height and width: pooling and resizing."""

from collections.abc import Sequence

from netdefs.core.errors import NetworkError
from netdefs.core.layers.shaping import Shaping, sizes_of
from netdefs.core.scope import IntPair, Layer, Tensor, configure, describe, pair


class Spatial(Shaping):
    """Pooling and resizing of (N, C, H, W)."""

    def max_pool(
        self,
        x: Tensor,
        name: str | None,
        kernel: IntPair,
        stride: IntPair | None = None,
        padding: IntPair = 0,
        ceil_mode: bool = False,
    ) -> Tensor:
        """`nn.MaxPool2d`; `stride` is the kernel's size by default."""
        window, step, pad = self._windows(name, kernel, stride, padding)
        (x,) = self.typed(name, x)
        layer = self.definition.add_pooling_nd(x, self.trt.PoolingType.MAX, window)
        overhang = self._overhang(x, name, window, step, pad) if ceil_mode else (0, 0)
        self._configure(layer, step, pad, overhang)
        return self.moved(self.layer(layer, name, x), x)

    def avg_pool(
        self,
        x: Tensor,
        name: str | None,
        kernel: IntPair,
        stride: IntPair | None = None,
        padding: IntPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Tensor:
        """`nn.AvgPool2d`; `stride` is the kernel's size by default."""
        window, step, pad = self._windows(name, kernel, stride, padding)
        overhang = self._overhang(x, name, window, step, pad) if ceil_mode else (0, 0)
        # PyTorch counts the padding of count_include_pad, but never what a last, incomplete window hangs over it.
        # TensorRT counts both or neither: so the counted padding becomes part of the picture, and the rest is left out.
        if count_include_pad and any(pad) and (overhang is None or any(overhang)):
            x = self.pad(x, self.child(name, "pad"), (pad[1], pad[1], pad[0], pad[0]))
            pad = (0, 0)
        ((x, _, _),) = self.operands(name, "avg_pool", x)
        layer = self.definition.add_pooling_nd(x, self.trt.PoolingType.AVERAGE, window)
        self._configure(layer, step, pad, overhang)
        configure(layer, average_count_excludes_padding=not (count_include_pad and any(pad)))
        return self.layer(layer, name, x)

    def global_avg_pool(self, x: Tensor, name: str | None) -> Tensor:
        """`nn.AdaptiveAvgPool2d(1)`: (N, C, H, W) -> (N, C, 1, 1)."""
        return self._reduce(x, name, "AVG")

    def global_max_pool(self, x: Tensor, name: str | None) -> Tensor:
        """`nn.AdaptiveMaxPool2d(1)`: (N, C, H, W) -> (N, C, 1, 1)."""
        return self._reduce(x, name, "MAX")

    def upsample(
        self,
        x: Tensor,
        name: str | None,
        scale_factor: float | tuple[float, float] | None = None,
        size: IntPair | Tensor | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
    ) -> Tensor:
        """`F.interpolate` of (N, C, H, W), by `scale_factor` or to `size`; sizes round down.

        Args:
            size: height and width, or another (N, C', H', W') whose height and width it gets, also dynamic ones.
            mode: "nearest", "nearest-exact", "bilinear" or "bicubic" (without antialias).
            align_corners: for bilinear and bicubic.
        """
        trt, path = self.trt, self.path_of(name)
        kinds = {"nearest": "NEAREST", "nearest-exact": "NEAREST", "bilinear": "LINEAR", "bicubic": "CUBIC"}
        if mode not in kinds:
            raise NetworkError(f"{path}: mode is one of {', '.join(kinds)}, not {mode!r}.")
        if align_corners and mode.startswith("nearest"):
            raise NetworkError(f"{path}: align_corners has no meaning with mode={mode!r}.")
        if (scale_factor is None) == (size is None):
            raise NetworkError(f"{path}: give either scale_factor or size.")
        nearest = mode.startswith("nearest")
        # Interpolated values can be computed in integers; copies are moved, and TensorRT moves Quantize over them.
        taken = self.typed(name, x)[0] if nearest else self.operands(name, "resize", x)[0].tensor
        layer = self.definition.add_resize(taken)
        layer.resize_mode = getattr(trt.InterpolationMode, kinds[mode])
        transformation = "ASYMMETRIC" if mode == "nearest" else "ALIGN_CORNERS" if align_corners else "HALF_PIXEL"
        layer.coordinate_transformation = getattr(trt.ResizeCoordinateTransformation, transformation)
        layer.nearest_rounding = trt.ResizeRoundMode.HALF_UP if mode == "nearest-exact" else trt.ResizeRoundMode.FLOOR
        layer.cubic_coeff = -0.75
        if scale_factor is not None:
            both = scale_factor if isinstance(scale_factor, Sequence) else (scale_factor, scale_factor)
            layer.scales = (1.0, 1.0, *(float(factor) for factor in both))
        elif size is not None:
            self._resize_to(layer, x, size, name)
        result = self.layer(layer, name, taken)
        return self.moved(result, x) if nearest else self.moved(result)

    def _resize_to(self, layer: Layer, x: Tensor, size: IntPair | Tensor, name: str | None) -> None:
        """Gives a resize of x its output's size; what is dynamic is read off `size`, or x, at run time."""
        wanted, measured = sizes_of(x), x
        if isinstance(size, self.trt.ITensor):
            if len(size.shape) != 4 or size.shape[0] != x.shape[0]:
                raise NetworkError(
                    f"{self.path_of(name)}: the size of {describe(x)} can only follow another (N, C, H, W) with the "
                    f"same N, not {describe(size)}."
                )
            channels = self.known_size(x, 1, self.path_of(name))
            wanted, measured = sizes_of(size), size
            wanted[1] = channels
        else:
            wanted[2:] = pair(size)
        if any(isinstance(each, tuple) for each in wanted):
            layer.set_input(1, self.sizes(measured, wanted, name))
        else:
            layer.shape = wanted

    def _configure(
        self, layer: Layer, step: tuple[int, int], pad: tuple[int, int], overhang: tuple[int, int] | None
    ) -> None:
        rounds_up = overhang is None
        behind = pad if overhang is None else tuple(p + o for p, o in zip(pad, overhang, strict=True))
        configure(layer, stride_nd=step, pre_padding=pad, post_padding=behind)
        if rounds_up:
            configure(layer, padding_mode=self.trt.PaddingMode.EXPLICIT_ROUND_UP)

    def _windows(
        self, name: str | None, kernel: IntPair, stride: IntPair | None, padding: IntPair
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        window, step, pad = pair(kernel), pair(kernel if stride is None else stride), pair(padding)
        if min(*window, *step) < 1 or min(pad) < 0:
            raise NetworkError(f"{self.path_of(name)}: kernel={window}, stride={step}, padding={pad} can't be.")
        if any(2 * p > k for p, k in zip(pad, window, strict=True)):
            raise NetworkError(f"{self.path_of(name)}: padding={pad} must be at most half the kernel's size {window}.")
        return window, step, pad

    def _overhang(
        self, x: Tensor, name: str | None, window: tuple[int, int], step: tuple[int, int], pad: tuple[int, int]
    ) -> tuple[int, int] | None:
        """How far PyTorch's last window of ceil_mode hangs over the padded input, for height and width.

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
        return found[0], found[1]

    def _reduce(self, x: Tensor, name: str | None, kind: str) -> Tensor:
        operation = getattr(self.trt.ReduceOperation, kind)
        (x,) = self.typed(name, x)
        return self.layer(self.definition.add_reduce(x, operation, axes=0b1100, keep_dims=True), name, x)
