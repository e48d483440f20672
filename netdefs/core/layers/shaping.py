"""Layers that move values without changing them: concat, split, slice, pad, reshape, permute, flatten ..."""

from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.quantized import Quantized
from netdefs.core.scope import Layer, Size, Tensor


class Shaping(Quantized):
    """Layers that move values without changing them."""

    def concat(self, tensors: Sequence[Tensor], name: str | None, dim: int = 0) -> Tensor:
        """`torch.cat`."""
        tensors = self.typed(name, *tensors)
        layer = self.definition.add_concatenation(tensors)
        if layer is not None:
            layer.axis = axis_of(dim, tensors[0], self.path_of(name))
        return self.moved(self.layer(layer, name, *tensors), *tensors)

    def identity(self, x: Tensor, name: str | None = None) -> Tensor:
        """`x` under another name; TensorRT removes the layer."""
        (x,) = self.typed(name, x)
        result = self.layer(self.definition.add_identity(x), name, x)
        self.shares_scale(result, x)
        return self.derived(result, x)

    def split(self, x: Tensor, name: str | None, split_size: int | Sequence[int], dim: int = 0) -> list[Tensor]:
        """`torch.split`: parts of `split_size`, or of the given sizes. They are called `name.0`, `name.1` ..."""
        path = self.path_of(name)
        axis = axis_of(dim, x, path)
        total = self.known_size(x, axis, path)
        if isinstance(split_size, int) and split_size < 1:
            raise NetworkError(f"{path}: split_size={split_size} must be positive.")
        if isinstance(split_size, int):
            split_size = [min(split_size, total - start) for start in range(0, total, split_size)]
        if sum(split_size) != total:
            raise NetworkError(f"{path}: parts of {list(split_size)} don't add up to the size {total} of axis {axis}.")
        starts = np.cumsum([0, *split_size[:-1]])
        return [
            self.slice(x, self.child(name, str(i)), axis, int(start), int(start) + size)
            for i, (start, size) in enumerate(zip(starts, split_size, strict=True))
        ]

    def slice(
        self, x: Tensor, name: str | None, dim: int = 0, start: int = 0, end: int | None = None, step: int = 1
    ) -> Tensor:
        """`x[..., start:end:step, ...]` along the axis `dim`, with Python's rules for negative and large bounds."""
        path = self.path_of(name)
        if step < 1:
            raise NetworkError(f"{path}: a slice's step must be positive, as PyTorch's must; it is {step}.")
        axis = axis_of(dim, x, path)
        taken = range(*slice(start, end, step).indices(self.known_size(x, axis, path)))
        if not taken:
            raise NetworkError(f"{path}: the slice {start}:{end}:{step} of axis {axis} of {tuple(x.shape)} is empty.")
        wanted = [len(taken) if i == axis else size for i, size in enumerate(sizes_of(x))]
        starts = [taken.start if i == axis else 0 for i in range(len(wanted))]
        steps = [step if i == axis else 1 for i in range(len(wanted))]
        (x,) = self.typed(name, x)
        # Parts need not share a scale with each other: queries and values may be far apart.
        return self.moved(self.layer(self._slice(x, name, starts, wanted, steps), name, x))

    def pad(self, x: Tensor, name: str | None, padding: tuple[int, int, int, int], value: float = 0.0) -> Tensor:
        """`F.pad(x, (left, right, top, bottom), value=value)` of (N, C, H, W)."""
        left, right, top, bottom = padding
        wanted = sizes_of(x)
        for axis, more in ((2, top + bottom), (3, left + right)):
            wanted[axis] = self.known_size(x, axis, f"pad {self.path_of(name)!r}") + more
        (x,) = self.typed(name, x)
        layer = self._slice(x, name, (0, 0, -top, -left), wanted, (1, 1, 1, 1))
        layer.mode = self.trt.SampleMode.FILL
        if value:
            layer.set_input(4, self.constant(np.full((), value), self.child(name, "value"), like=x))
        return self.moved(self.layer(layer, name, x), x)

    def reshape(self, x: Tensor, name: str | None, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        """`x.reshape(shape)`: one size may be -1, and 0 takes the size at that place (also a dynamic one) of `like`.

        `like` is by default x itself, which then keeps that size.
        """
        known = sizes_of(x if like is None else like)
        return self._reshape(x, name, [known[i] if size == 0 else size for i, size in enumerate(shape)], measured=like)

    def flatten(self, x: Tensor, name: str | None = None, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """`torch.flatten`."""
        path = self.path_of(name)
        start, end = axis_of(start_dim, x, path), axis_of(end_dim, x, path)
        sizes = sizes_of(x)
        middle = [int(n) for n in x.shape[start : end + 1]]
        joined = -1 if min(middle) < 0 else int(np.prod(middle))
        return self._reshape(x, name, [*sizes[:start], joined, *sizes[end + 1 :]])

    def permute(self, x: Tensor, name: str | None, dims: Sequence[int]) -> Tensor:
        """`x.permute(dims)`."""
        (x,) = self.typed(name, x)
        layer = self.definition.add_shuffle(x)
        layer.first_transpose = self.trt.Permutation([axis_of(dim, x, self.path_of(name)) for dim in dims])
        return self.moved(self.layer(layer, name, x), x)

    def pixel_shuffle(self, x: Tensor, name: str | None, upscale_factor: int) -> Tensor:
        """`F.pixel_shuffle`: (N, C*r*r, H, W) -> (N, C, H*r, W*r)."""
        path, r = self.path_of(name), upscale_factor
        channels = self.known_size(x, 1, path)
        if channels % (r * r):
            raise NetworkError(f"{path}: pixel_shuffle by {r} needs a multiple of {r * r} channels, not {channels}.")
        n, _, h, w = sizes_of(x)
        split = self._reshape(x, self.child(name, "split"), [n, channels // (r * r), r, r, h, w])
        moved = self.permute(split, self.child(name, "permute"), (0, 1, 4, 2, 5, 3))
        grown = [(axis, r) if isinstance(size, tuple) else size * r for axis, size in ((2, h), (3, w))]
        return self._reshape(moved, name, [n, channels // (r * r), *grown], measured=x)

    def _reshape(
        self, x: Tensor, name: str | None, wanted: Sequence[int | Size], measured: Tensor | None = None
    ) -> Tensor:
        """A reshape to fixed sizes, -1, and multiples of dynamic sizes (of `measured`, by default `x` itself)."""
        (x,) = self.typed(name, x)
        layer = self.definition.add_shuffle(x)
        # TensorRT's 0 copies the size at the same place, its -1 infers one: a shape tensor is needed only beyond that.
        dims = [0 if measured is None and size == (i, 1) else size for i, size in enumerate(wanted)]
        unknown = [i for i, size in enumerate(dims) if isinstance(size, tuple)]
        if len(unknown) == 1 and -1 not in dims:
            dims[unknown.pop()] = -1
        if unknown:
            layer.set_input(1, self.sizes(x if measured is None else measured, wanted, name))
        else:
            layer.reshape_dims = dims
        return self.moved(self.layer(layer, name, x), x)

    def _slice(
        self, x: Tensor, name: str | None, start: Sequence[int], wanted: Sequence[int | Size], step: Sequence[int]
    ) -> Layer:
        fixed = [0 if isinstance(size, tuple) else size for size in wanted]
        layer = self.definition.add_slice(x, tuple(start), tuple(fixed), tuple(step))
        if layer is not None and any(isinstance(size, tuple) for size in wanted):
            layer.set_input(2, self.sizes(x, wanted, name))
        return layer


def axis_of(dim: int, x: Tensor, path: str) -> int:
    """A PyTorch axis, which may count from the end, as 0 ... rank - 1."""
    rank = len(x.shape)
    if not -rank <= dim < rank:
        raise NetworkError(f"{path}: axis {dim} is out of range for {tuple(x.shape)}.")
    return dim % rank


def sizes_of(x: Tensor) -> list[int | Size]:
    """The sizes of a tensor; dynamic ones as what `Scope.sizes` takes."""
    return [(axis, 1) if size < 0 else int(size) for axis, size in enumerate(x.shape)]
