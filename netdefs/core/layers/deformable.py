"""Deformable convolution, composed of TensorRT's own layers: no plugin."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.convolution import Convolutions
from netdefs.core.layers.pointwise import Pointwise
from netdefs.core.layers.shaping import sizes_of
from netdefs.core.scope import IntPair, Size, Tensor, describe, pair


class Window(NamedTuple):
    """Where a convolution's kernel lies: pairs for height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def taps(self) -> int:
        """How many values of a channel the kernel reads."""
        return self.kernel[0] * self.kernel[1]

    def starts(self, axis: int) -> np.ndarray:
        """Of every tap, (taps,), which row (axis 0) or column (axis 1) it reads for the first output."""
        return np.indices(self.kernel)[axis].reshape(-1) * self.dilation[axis] - self.padding[axis]

    def out_size(self, x: Tensor) -> list[int]:
        """Height and width of the output; -1 where the input's is dynamic."""
        sizes = (int(size) for size in x.shape[2:])
        return [
            -1 if size < 0 else (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(sizes, *self, strict=True)
        ]


class Deformable(Convolutions, Pointwise):
    """Convolutions that read their input between its pixels."""

    def deform_conv(
        self,
        x: Tensor,
        offset: Tensor,
        name: str | None,
        out_channels: int,
        kernel: IntPair,
        stride: IntPair = 1,
        padding: IntPair = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
        mask: Tensor | None = None,
    ) -> Tensor:
        """torchvision's `deform_conv2d`: (N, C, H, W) -> (N, out_channels, H', W').

        Every tap of the kernel reads, bilinearly, at its place plus an offset of its own; outside of x are zeros. All
        sizes but the channels may be dynamic. Weights: `name.weight`, `name.bias`.

        Papers: https://arxiv.org/abs/1703.06211, https://arxiv.org/abs/1811.11168.

        Args:
            x: what is convolved.
            offset: (N, 2 * deform_groups * taps, H', W') in pixels: for each group of channels and each tap of the
                kernel, row by row, how far down and how far to the right.
            mask: (N, deform_groups * taps, H', W'), what each value read is multiplied by, such as the sigmoid of a
                convolution; None for the first paper's convolution.

        Raises:
            NetworkError: the shape of offset or mask does not suit this convolution.
        """
        scope = self.module(name)
        window = Window(pair(kernel), pair(stride), pair(padding), pair(dilation))
        per_group = self._channels_per_group(x, scope.path, groups)
        channels, taps = groups * per_group, window.taps
        if deform_groups < 1 or channels % deform_groups:
            raise NetworkError(f"{scope.path}: deform_groups={deform_groups} does not divide {channels} channels.")
        _check(offset, "offset", (2 * deform_groups * taps, *window.out_size(x)), x, scope.path)
        n, _, h, w = sizes_of(offset)
        batch, rows = _times(n, deform_groups), _times(h, taps)  # the taps' pictures are put one below the other

        grid = self._grid(x, offset, self.child(name, "grid"), window, [batch, rows, w])
        # TensorRT reads from what has the grid's type only, and half precision can't tell far pixels apart.
        dtype = x.dtype
        x32 = self.cast(x, self.child(name, "float"), self.trt.float32)
        if deform_groups > 1:
            part = [batch, channels // deform_groups, *sizes_of(x)[2:]]
            x32 = self._reshape(x32, self.child(name, "parts"), part, measured=x)
        sampler = self.definition.add_grid_sample(x32, grid)
        sampler.interpolation_mode = self.trt.InterpolationMode.LINEAR
        sampler.sample_mode = self.trt.SampleMode.FILL
        sampler.align_corners = False
        read = self.layer(sampler, self.child(name, "read"), x32, grid)
        read = self.chosen(self.cast(read, self.child(name, "cast"), dtype))
        if mask is not None:
            _check(mask, "mask", (deform_groups * taps, *window.out_size(x)), x, scope.path)
            factors = self._reshape(mask, self.child(name, "mask"), [batch, 1, rows, w], measured=offset)
            read = self.mul(read, factors, self.child(name, "masked"))
        # (N * deform_groups, C / deform_groups, taps * H', W') lies in memory as (N, C * taps, H', W') does.
        columns = self._reshape(read, self.child(name, "columns"), [n, channels * taps, h, w], measured=offset)
        weight = self.weights.take(scope.path_of("weight"), (out_channels, per_group, *window.kernel))
        shift = self.weights.take(scope.path_of("bias"), (out_channels,)) if bias else None
        columns_of = weight.reshape(out_channels, per_group * taps, 1, 1)
        return self.convolution(columns, name, out_channels, 1, columns_of, shift, groups=groups)

    def _grid(self, x: Tensor, offset: Tensor, name: str, window: Window, wanted: Sequence[int | Size]) -> Tensor:
        """Where every tap reads, float32 (*wanted, 2): x and y, -1 to 1 from the input's first edge to its last."""
        _, _, h, w = sizes_of(offset)
        offset32 = self.cast(offset, f"{name}.float", self.trt.float32)
        moves = self._reshape(offset32, f"{name}.moves", [wanted[0], window.taps, 2, h, w], measured=offset)
        places = []
        for axis, label in ((1, "x"), (0, "y")):
            move = self.slice(moves, f"{name}.d{label}", 2, axis, axis + 1)
            home = self._centres(offset, f"{name}.{label}0", axis, window)
            places.append(self.add(move, home, f"{name}.{label}"))
        place = self.concat(places, f"{name}.places", 2)
        place = self.mul(place, self._two_over_size(x, f"{name}.scale"), f"{name}.scaled")
        place = self.sub(place, 1.0, f"{name}.centred")
        place = self.permute(place, f"{name}.permute", (0, 1, 3, 4, 2))
        return self._reshape(place, name, [*wanted, 2], measured=offset)

    def _centres(self, offset: Tensor, name: str, axis: int, window: Window) -> Tensor:
        """Where the pixels that an ordinary convolution reads have their centres, along one axis of the picture.

        It is (1, taps, 1, H', 1) for axis 0 and (1, taps, 1, 1, W') for axis 1, in pixels from the input's edge.
        """
        along = [1, 1, 1, -1, 1] if axis == 0 else [1, 1, 1, 1, -1]
        start = (window.starts(axis) + 0.5).astype(np.float32).reshape(1, -1, 1, 1, 1)
        size, step = int(offset.shape[2 + axis]), window.stride[axis]
        if size > 0:
            return self.constant(start + step * np.arange(size, dtype=np.float32).reshape(along), name)
        count = self.sizes(offset, [(2 + axis, 1)], f"{name}.count")
        ramp = self.definition.add_fill((1,), self.trt.FillOperation.LINSPACE, self.trt.float32)
        ramp.set_input(0, count)
        ramp.alpha, ramp.beta = 0.0, float(step)
        steps = self.reshape(self.layer(ramp, f"{name}.ramp", count), f"{name}.steps", along)
        return self.add(steps, self.constant(start, f"{name}.start"), name)

    def _two_over_size(self, x: Tensor, name: str) -> Tensor:
        """2 / W and 2 / H of x, (1, 1, 2, 1, 1)."""
        _, _, h, w = sizes_of(x)
        two = np.full((1, 1, 2, 1, 1), 2, np.float32)
        if not isinstance(h, tuple) and not isinstance(w, tuple):
            return self.constant(two / np.array([w, h], np.float32).reshape(two.shape), name)
        size = self.cast(self.sizes(x, [w, h], f"{name}.of"), f"{name}.float", self.trt.float32)
        return self.div(self.constant(two, f"{name}.two"), self.reshape(size, f"{name}.size", two.shape), name)


def _times(size: int | Size, factor: int) -> int | Size:
    return (size[0], size[1] * factor) if isinstance(size, tuple) else size * factor


def _check(tensor: Tensor, what: str, sizes: Sequence[int], x: Tensor, path: str) -> None:
    """That offset or mask has the batch of x and these channels, height and width, as far as they are known."""
    wanted, found = (int(x.shape[0]), *sizes), tuple(int(size) for size in tensor.shape)
    if len(found) != 4 or any(a != b and -1 not in (a, b) for a, b in zip(found, wanted, strict=True)):
        raise NetworkError(
            f"{path}: for the input {describe(x)} the {what} must be {wanted}, but it is {describe(tensor)}."
        )
