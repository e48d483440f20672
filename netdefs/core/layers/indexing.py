"""Layers that take values at places: select, unbind, index_select, advanced indexing, scatter, tril ..."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.pointwise import Pointwise
from netdefs.core.layers.shaping import axis_of, sizes_of
from netdefs.core.scope import Tensor, describe

Index = Tensor | np.ndarray | None


class Indexing(Pointwise):
    """Layers that take values at places."""

    def select(self, x: Tensor, name: str | None, dim: int, index: int) -> Tensor:
        """`torch.select`: x[..., index, ...] along the axis `dim`, which is gone then."""
        path = self.path_of(name)
        axis = axis_of(dim, x, path)
        return self._take(x, name, axis, self._inside(x, axis, np.array(index), path))

    def unbind(self, x: Tensor, name: str | None, dim: int = 0) -> list[Tensor]:
        """`torch.unbind`: all of `select`, called `name.0`, `name.1` ..."""
        path = self.path_of(name)
        count = self.known_size(x, axis_of(dim, x, path), f"unbind {path!r}")
        return [self.select(x, self.child(name, str(i)), dim, i) for i in range(count)]

    def index_select(self, x: Tensor, name: str | None, dim: int, index: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        """`torch.index_select`: x at places along the axis `dim`, in the order of `index`, of rank 1.

        A tensor's values have to be 0 or more, and less than the size of that axis: TensorRT does not check it.
        """
        path = self.path_of(name)
        axis = axis_of(dim, x, path)
        known = _known(index, path)
        place: Tensor | np.ndarray = index if known is None else known
        if len(place.shape) != 1:
            raise NetworkError(f"{path}: index_select takes an index of rank 1; use `index` for others.")
        return self._take(x, name, axis, place if known is None else self._inside(x, axis, known, path))

    def repeat_interleave(
        self, x: Tensor, name: str | None, repeats: int | Sequence[int], dim: int | None = None
    ) -> Tensor:
        """`torch.repeat_interleave`: each value along the axis `dim` as often as `repeats`, or its own number, says.

        Without `dim` x is made flat first.
        """
        path = self.path_of(name)
        if dim is None:
            x, dim = self.flatten(x, self.child(name, "flat")), 0
        axis = axis_of(dim, x, path)
        if (repeats if isinstance(repeats, int) else min(repeats, default=-1)) < (1 if isinstance(repeats, int) else 0):
            raise NetworkError(f"{path}: repeats={repeats} can't be: a count, or one for each value along the axis.")
        if isinstance(repeats, int) and x.shape[axis] < 0:
            sizes = sizes_of(x)
            each = self.unsqueeze(x, self.child(name, "each"), axis + 1)
            apart = [*([-1] * (axis + 1)), repeats, *([-1] * (len(sizes) - axis - 1))]
            sizes[axis] = (axis, repeats)
            return self._reshape(self.expand(each, self.child(name, "expand"), apart), name, sizes, measured=x)
        size = self.known_size(x, axis, f"repeat_interleave {path!r}")
        if not isinstance(repeats, int) and len(repeats) != size:
            raise NetworkError(f"{path}: {len(repeats)} repeats for the {size} values along axis {axis}.")
        return self._take(x, name, axis, np.repeat(np.arange(size), repeats))

    def index(self, x: Tensor | np.ndarray, name: str | None, indices: Sequence[Index]) -> Tensor:
        """`x[indices]`, PyTorch's advanced indexing: an index or None, which takes all, for each of the first axes.

        Indices are arrays (of integers, or masks of booleans) or tensors of integers; they are broadcast. x may be an
        array if an index is a tensor: a lookup table. Axes with an index have fixed sizes, but for the first of them.

        Raises:
            NetworkError: an index is a tensor of booleans: the shape of what it takes is not known. Or it's out of
                range.
        """
        path = self.path_of(name)
        if isinstance(x, np.ndarray):
            x = self._table(x, self.child(name, "table"))
        places: list[Tensor | np.ndarray | None] = []
        for index in indices:
            known = None if index is None else _known(index, path)
            if known is not None and known.dtype == bool:
                places += self._mask(x, len(places), known, path)
            else:
                places.append(index if known is None else known)
        if len(places) > len(x.shape):
            raise NetworkError(f"{path}: {len(places)} indices for {describe(x)}.")
        axes = [axis for axis, place in enumerate(places) if place is not None]
        if not axes:
            return self.identity(x, name)
        rows = [self._place(x, axis, places[axis], self.child(name, f"index.{axis}")) for axis in axes]
        if len(axes) == 1:
            return self._take(x, name, axes[0], rows[0])
        together = axes == list(range(axes[0], axes[-1] + 1))
        if not together:  # PyTorch puts what it finds in front then
            rest = [axis for axis in range(len(x.shape)) if axis not in axes]
            x = self.permute(x, self.child(name, "permute"), [*axes, *rest])
        first = axes[0] if together else 0
        sizes, count = sizes_of(x), len(axes)
        inner = [self.known_size(x, first + i, f"index {path!r}") for i in range(1, count)]
        outer = int(x.shape[first])
        joined = -1 if outer < 0 else outer * int(np.prod(inner))
        flat = self._reshape(x, self.child(name, "flat"), [*sizes[:first], joined, *sizes[first + count :]], measured=x)
        place = rows[0]
        for i, (size, row) in enumerate(zip(inner, rows[1:], strict=True)):
            place = self._combined(place, row, size, self.child(name, f"place.{i}"))
        return self._take(flat, name, first, place)

    def slice_scatter(
        self,
        x: Tensor | np.ndarray,
        src: Tensor | np.ndarray,
        name: str | None,
        dim: int = 0,
        start: int | None = None,
        end: int | None = None,
        step: int = 1,
    ) -> Tensor:
        """`torch.slice_scatter`: x with x[..., start:end:step, ...] replaced by `src`; one of both may be an array."""
        path = self.path_of(name)
        x, src = self.as_tensors(name, x, src)
        axis = axis_of(dim, x, path)
        size = self.known_size(x, axis, f"slice_scatter {path!r}")
        if step < 1:
            raise NetworkError(f"{path}: a slice's step must be positive, as PyTorch's must; it is {step}.")
        taken = range(*slice(start, end, step).indices(size))
        wanted = [len(taken) if i == axis else int(n) for i, n in enumerate(x.shape)]
        if not taken or [int(n) for n in src.shape] != wanted:
            raise NetworkError(f"{path}: the slice of {describe(x)} is {tuple(wanted)}; it can't be {describe(src)}.")
        if len(taken) == size:
            return self.identity(src, name)
        if step == 1:
            parts = [
                self.slice(x, self.child(name, part), axis, *bounds)
                for part, bounds in (("before", (0, taken.start)), ("after", (taken.stop, size)))
                if bounds[0] < bounds[1]
            ]
            return self.concat([*parts[: taken.start > 0], src, *parts[taken.start > 0 :]], name, axis)
        order = np.arange(size)
        order[taken.start : taken.stop : step] = size + np.arange(len(taken))
        return self._take(self.concat([x, src], self.child(name, "both"), axis), name, axis, order)

    def select_scatter(
        self, x: Tensor | np.ndarray, src: Tensor | np.ndarray, name: str | None, dim: int, index: int
    ) -> Tensor:
        """`torch.select_scatter`: x with x[..., index, ...] replaced by `src`; one of both may be an array."""
        path = self.path_of(name)
        axis = axis_of(dim, x, path)
        at = int(self._inside(x, axis, np.array(index), path))
        if isinstance(src, np.ndarray):
            row: Tensor | np.ndarray = np.expand_dims(src, axis)
        else:
            row = self.unsqueeze(src, self.child(name, "unsqueeze"), axis)
        return self.slice_scatter(x, row, name, axis, at, at + 1)

    def tril(self, x: Tensor, name: str | None, diagonal: int = 0) -> Tensor:
        """`torch.tril`: what is above this diagonal of the last two axes becomes 0."""
        return self._triangle(x, name, np.tril, diagonal)

    def triu(self, x: Tensor, name: str | None, diagonal: int = 0) -> Tensor:
        """`torch.triu`: what is below this diagonal of the last two axes becomes 0."""
        return self._triangle(x, name, np.triu, diagonal)

    def sort(self, x: Tensor, name: str | None, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
        """`torch.sort` along an axis of at most 3840 values: values and int32 indices, called `name` and `name.1`.

        Which of equal values comes first is open.
        """
        size = self.known_size(x, axis_of(dim, x, self.path_of(name)), f"sort {self.path_of(name)!r}")
        return self.topk(x, name, size, dim, largest=descending)

    def _take(self, x: Tensor, name: str | None, axis: int, index: Tensor | np.ndarray) -> Tensor:
        """x at these places along an axis, whose place the axes of the index take."""
        if isinstance(index, np.ndarray):
            index = self.constant(index.astype(np.int32), self.child(name, "index"))
        (x,) = self.typed(name, x)
        layer = self.definition.add_gather_v2(x, index, self.trt.GatherMode.DEFAULT)
        layer.axis = axis
        return self.moved(self.layer(layer, name, x, index), x)

    def _table(self, table: np.ndarray, name: str) -> Tensor:
        """An array as a constant: numbers with a fraction in the network's type, others as they are."""
        if not np.issubdtype(table.dtype, np.floating):
            return self.constant(table, name)
        self.types.constants[self.path_of(name)] = table
        return self.chosen(self.constant_of(table, name, getattr(self.trt, self.choice(name).dtype)))

    def _mask(self, x: Tensor, axis: int, mask: np.ndarray, path: str) -> list[np.ndarray]:
        """The indices that a mask over the axes from this one on stands for."""
        sizes = tuple(int(n) for n in x.shape[axis : axis + mask.ndim])
        if mask.shape != sizes:
            raise NetworkError(f"{path}: a mask {mask.shape} for the axes from {axis} on of {describe(x)}.")
        return list(np.nonzero(mask))

    def _place(self, x: Tensor, axis: int, place: Any, name: str) -> Tensor | np.ndarray:
        """An index of an axis, negative ones counted from its end."""
        path = self.path_of(name)
        if isinstance(place, np.ndarray):
            return self._inside(x, axis, place, path)
        if place.dtype not in (self.trt.int32, self.trt.int64):
            raise NetworkError(f"{path}: an index is int32 or int64, not {describe(place)}; of a mask use `where`.")
        size = self.known_size(x, axis, f"index {path!r}")
        below = self.lt(place, 0, f"{name}.negative")
        return self.where(below, self._elementwise(place, size, f"{name}.moved", "SUM"), place, name)

    def _inside(self, x: Tensor | np.ndarray, axis: int, places: np.ndarray, path: str) -> np.ndarray:
        """Places along an axis, negative ones counted from its end; of a dynamic axis only others can be."""
        if x.shape[axis] < 0 and places.min() >= 0:
            return places
        size = self.known_size(x, axis, f"{path}: the index {places.min()}")
        wrong = places[(places < -size) | (places >= size)]
        if wrong.size:
            raise NetworkError(f"{path}: the index {wrong.flat[0]} is out of range for an axis of size {size}.")
        return np.where(places < 0, places + size, places)

    def _combined(
        self, outer: Tensor | np.ndarray, inner: Tensor | np.ndarray, size: int, name: str
    ) -> Tensor | np.ndarray:
        """outer * size + inner: the place of a pair of places in two axes made one, `size` long the inner."""
        if isinstance(outer, np.ndarray) and isinstance(inner, np.ndarray):
            try:
                return outer * size + inner
            except ValueError as error:
                raise NetworkError(
                    f"{self.path_of(name)}: indices of shapes {outer.shape} and {inner.shape}."
                ) from error
        scaled = outer * size if isinstance(outer, np.ndarray) else self.mul(outer, size, f"{name}.row")
        return self._elementwise(scaled, inner, name, "SUM")

    def _triangle(self, x: Tensor, name: str | None, part: Callable[..., np.ndarray], diagonal: int) -> Tensor:
        path, rank = self.path_of(name), len(x.shape)
        if rank < 2:
            raise NetworkError(f"{path}: {describe(x)} has no rows and columns.")
        rows, columns = (self.known_size(x, axis, f"{part.__name__} {path!r}") for axis in (rank - 2, rank - 1))
        mask = part(np.ones((rows, columns), bool), diagonal).reshape((1,) * (rank - 2) + (rows, columns))
        return self.moved(self.where(self.constant(mask, self.child(name, "mask")), x, 0, name), x)


def _known(index: Tensor | np.ndarray | Sequence[int], path: str) -> np.ndarray | None:
    """An index as an array, None if it is a tensor."""
    if not isinstance(index, np.ndarray | Sequence):
        return None
    places = np.asarray(index)
    if places.size == 0 or not (places.dtype == bool or np.issubdtype(places.dtype, np.integer)):
        raise NetworkError(f"{path}: an index is to hold integers, or be a mask of booleans, and not {index!r}.")
    return places
