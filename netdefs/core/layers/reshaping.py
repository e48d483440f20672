"""Layers that give the same values another shape or order of axes: reshape, permute, squeeze, pixel_shuffle ..."""

from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.quantized import Quantized
from netdefs.core.scope import Layer, Size, Tensor, describe


class Reshaping(Quantized):
    """Layers that change shapes, and what all that moves values is made of."""

    def identity(self, x: Tensor, name: str | None = None) -> Tensor:
        """`x` under another name; TensorRT removes the layer."""
        (x,) = self.typed(name, x)
        result = self.layer(self.definition.add_identity(x), name, x)
        self.shares_scale(result, x)
        return self.derived(result, x)

    def reshape(self, x: Tensor, name: str | None, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        """`x.reshape(shape)`: one size may be -1, and 0 takes the size at that place (also a dynamic one) of `like`.

        `like` is by default x itself, which then keeps that size.
        """
        known = sizes_of(x if like is None else like)
        if any(size < -1 or (size == 0 and i >= len(known)) for i, size in enumerate(shape)):
            raise NetworkError(
                f"{self.path_of(name)}: the shape {tuple(shape)} is to hold positive sizes, -1 for one to be inferred, "
                f"and 0 for one of {describe(x if like is None else like)}, at its own place there."
            )
        return self._reshape(x, name, [known[i] if size == 0 else size for i, size in enumerate(shape)], measured=like)

    def flatten(self, x: Tensor, name: str | None = None, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """`torch.flatten`."""
        path = self.path_of(name)
        start, end = axis_of(start_dim, x, path), axis_of(end_dim, x, path)
        sizes = sizes_of(x)
        middle = [int(n) for n in x.shape[start : end + 1]]
        joined = -1 if min(middle) < 0 else int(np.prod(middle))
        return self._reshape(x, name, [*sizes[:start], joined, *sizes[end + 1 :]])

    def squeeze(self, x: Tensor, name: str | None, dim: int | Sequence[int] | None = None) -> Tensor:
        """`torch.squeeze`: without these axes, as far as their size is 1; by default without all of size 1.

        A dynamic axis counts as longer than 1 where no axes are named.

        Raises:
            NetworkError: the axis `dim` is dynamic: PyTorch looks at its size as the network runs.
        """
        path, rank = self.path_of(name), len(x.shape)
        axes = range(rank) if dim is None else axes_of(dim, x, path)
        if dim is not None:
            for axis in axes:
                self.known_size(x, axis, f"squeeze {path!r}")
        gone = [axis for axis in axes if x.shape[axis] == 1]
        return self._reshape(x, name, [size for axis, size in enumerate(sizes_of(x)) if axis not in gone])

    def unsqueeze(self, x: Tensor, name: str | None, dim: int) -> Tensor:
        """`torch.unsqueeze`: with a new axis of size 1 at the place `dim` of the result."""
        sizes, rank = sizes_of(x), len(x.shape) + 1
        if not -rank <= dim < rank:
            raise NetworkError(f"{self.path_of(name)}: there can't be a new axis {dim} in {describe(x)}.")
        sizes.insert(dim % rank, 1)
        return self._reshape(x, name, sizes)

    def permute(self, x: Tensor, name: str | None, dims: Sequence[int]) -> Tensor:
        """`x.permute(dims)`."""
        path = self.path_of(name)
        order = [axis_of(dim, x, path) for dim in dims]
        if sorted(order) != list(range(len(x.shape))):
            raise NetworkError(f"{path}: permute to {tuple(dims)} needs every axis of {describe(x)} once.")
        (x,) = self.typed(name, x)
        layer = self.definition.add_shuffle(x)
        layer.first_transpose = self.trt.Permutation(order)
        return self.moved(self.layer(layer, name, x), x)

    def transpose(self, x: Tensor, name: str | None, dim0: int, dim1: int) -> Tensor:
        """`torch.transpose`: two axes change places."""
        path = self.path_of(name)
        order = list(range(len(x.shape)))
        a, b = axis_of(dim0, x, path), axis_of(dim1, x, path)
        order[a], order[b] = b, a
        return self.permute(x, name, order)

    def pixel_shuffle(self, x: Tensor, name: str | None, upscale_factor: int) -> Tensor:
        """`F.pixel_shuffle`: (N, C*r*r, H, W) -> (N, C, H*r, W*r)."""
        path, r = self.path_of(name), upscale_factor
        channels = self.known_size(x, 1, path)
        if r < 1 or channels % (r * r):
            raise NetworkError(f"{path}: pixel_shuffle by {r} needs a multiple of {r * r} channels, not {channels}.")
        n, _, h, w = sizes_of(x)
        split = self._reshape(x, self.child(name, "split"), [n, channels // (r * r), r, r, h, w])
        moved = self.permute(split, self.child(name, "permute"), (0, 1, 4, 2, 5, 3))
        grown = [(axis, r) if isinstance(size, tuple) else size * r for axis, size in ((2, h), (3, w))]
        return self._reshape(moved, name, [n, channels // (r * r), *grown], measured=x)

    def pixel_unshuffle(self, x: Tensor, name: str | None, downscale_factor: int) -> Tensor:
        """`F.pixel_unshuffle`: (N, C, H*r, W*r) -> (N, C*r*r, H, W), of fixed sizes but for N."""
        path, r = self.path_of(name), downscale_factor
        channels, height, width = (self.known_size(x, axis, f"pixel_unshuffle {path!r}") for axis in (1, 2, 3))
        if r < 1 or height % r or width % r:
            raise NetworkError(
                f"{path}: pixel_unshuffle by {r} needs a height and width that it divides: {describe(x)}."
            )
        n = sizes_of(x)[0]
        split = self._reshape(x, self.child(name, "split"), [n, channels, height // r, r, width // r, r])
        moved = self.permute(split, self.child(name, "permute"), (0, 1, 3, 5, 2, 4))
        return self._reshape(moved, name, [n, channels * r * r, height // r, width // r])

    def channel_shuffle(self, x: Tensor, name: str | None, groups: int) -> Tensor:
        """`F.channel_shuffle`: of (N, C, ...), channel i of each of `groups` groups, then channel i + 1 of each."""
        path = self.path_of(name)
        channels = self.known_size(x, 1, f"channel_shuffle {path!r}")
        if groups < 1 or channels % groups:
            raise NetworkError(
                f"{path}: channel_shuffle of {groups} groups needs a multiple of channels, not {channels}."
            )
        n, _, *rest = sizes_of(x)
        split = self._reshape(x, self.child(name, "split"), [n, groups, channels // groups, *rest])
        moved = self.transpose(split, self.child(name, "transpose"), 1, 2)
        return self._reshape(moved, name, [n, channels, *rest], measured=x)

    def as_tensors(self, name: str | None, *operands: Tensor | np.ndarray) -> list[Tensor]:
        """The operands of the primitive `name`: arrays become constants of the first tensor's type.

        Raises:
            NetworkError: none of them is a tensor, or an array's values can't be of that type.
        """
        path, tensors = self.path_of(name), [x for x in operands if not isinstance(x, np.ndarray)]
        if not tensors:
            raise NetworkError(f"{path}: all operands are arrays: compute it with numpy, outside of the network.")
        like = next(filter(self.is_float, tensors), tensors[0])
        made, several = [], len(operands) - len(tensors) > 1
        for i, operand in enumerate(operands):
            if isinstance(operand, np.ndarray):
                if not self.is_float(like) and np.any(operand != operand.astype(self.trt.nptype(like.dtype))):
                    raise NetworkError(f"{path}: an array holds values that {describe(like)} can't: cast that first.")
                operand = self.constant(operand, self.child(name, f"constant.{i}" if several else "constant"), like)
            made.append(operand)
        return made

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
        self,
        x: Tensor,
        name: str | None,
        start: Sequence[int],
        wanted: Sequence[int | Size],
        step: Sequence[int],
        measured: Tensor | None = None,
    ) -> Layer:
        """A slice layer, of fixed sizes and multiples of dynamic ones (of `measured`, by default `x` itself)."""
        fixed = [0 if isinstance(size, tuple) else size for size in wanted]
        layer = self.definition.add_slice(x, tuple(start), tuple(fixed), tuple(step))
        if layer is not None and any(isinstance(size, tuple) for size in wanted):
            layer.set_input(2, self.sizes(x if measured is None else measured, wanted, name))
        return layer


def axis_of(dim: int, x: Tensor | np.ndarray, path: str) -> int:
    """A PyTorch axis, which may count from the end, as 0 ... rank - 1."""
    rank = len(x.shape)
    if not -rank <= dim < rank:
        raise NetworkError(f"{path}: axis {dim} is out of range for {tuple(x.shape)}.")
    return dim % rank


def axes_of(dim: int | Sequence[int], x: Tensor, path: str) -> list[int]:
    """One or several PyTorch axes as 0 ... rank - 1, in the order given."""
    axes = [axis_of(each, x, path) for each in (dim if isinstance(dim, Sequence) else [dim])]
    if len(set(axes)) < len(axes):
        raise NetworkError(f"{path}: the axes {tuple(axes)} of {tuple(x.shape)} are to be different ones.")
    return axes


def sizes_of(x: Tensor) -> list[int | Size]:
    """The sizes of a tensor; dynamic ones as what `Scope.sizes` takes."""
    return [(axis, 1) if size < 0 else int(size) for axis, size in enumerate(x.shape)]
