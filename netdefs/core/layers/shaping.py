"""Layers that move values without changing them: concat, split, slice, expand, pad, roll ..."""

from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.reshaping import Reshaping, axes_of, axis_of, sizes_of
from netdefs.core.scope import Size, Tensor, describe

PAD_MODES = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


class Shaping(Reshaping):
    """Layers that move values without changing them."""

    def concat(self, tensors: Sequence[Tensor | np.ndarray], name: str | None, dim: int = 0) -> Tensor:
        """`torch.cat`; arrays may be among the tensors."""
        tensors = self.typed(name, *self.as_tensors(name, *tensors))
        layer = self.definition.add_concatenation(tensors)
        if layer is not None:
            layer.axis = axis_of(dim, tensors[0], self.path_of(name))
        return self.moved(self.layer(layer, name, *tensors), *tensors)

    def stack(self, tensors: Sequence[Tensor | np.ndarray], name: str | None, dim: int = 0) -> Tensor:
        """`torch.stack`; arrays may be among the tensors."""
        rank = len(tensors[0].shape) + 1
        if not -rank <= dim < rank:
            raise NetworkError(f"{self.path_of(name)}: tensors of rank {rank - 1} can't be stacked along axis {dim}.")
        parts = [
            np.expand_dims(x, dim % rank)
            if isinstance(x, np.ndarray)
            else self.unsqueeze(x, self.child(name, f"unsqueeze.{i}"), dim)
            for i, x in enumerate(tensors)
        ]
        return self.concat(parts, name, dim)

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

    def chunk(self, x: Tensor, name: str | None, chunks: int, dim: int = 0) -> list[Tensor]:
        """`torch.chunk`: equal parts, at most `chunks` of them, the last one shorter where that does not divide.

        They are called `name.0`, `name.1` ...
        """
        path = self.path_of(name)
        if chunks < 1:
            raise NetworkError(f"{path}: chunks={chunks} must be positive.")
        return self.split(x, name, -(-self.known_size(x, axis_of(dim, x, path), path) // chunks), dim)

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

    def expand(
        self, x: Tensor | np.ndarray, name: str | None, shape: Sequence[int], like: Tensor | None = None
    ) -> Tensor:
        """`x.expand(shape)`: axes of size 1, and new ones in front, repeated; -1 keeps a size.

        0 takes the size at that place (also a dynamic one) of `like`, by default of x. x may be an array if `like`
        tells the type: a class token for every picture is `net.expand(token, "tokens", (0, -1, -1), like=x)`.

        Raises:
            NetworkError: an axis that would change is not of size 1, or a size not known.
        """
        path = self.path_of(name)
        if isinstance(x, np.ndarray):
            if like is None:
                raise NetworkError(f"{path}: an array is expanded to the sizes of a tensor: give it as `like`.")
            x, _ = self.as_tensors(name, x, like)
        sizes = self._in_front(sizes_of(x), len(shape), name)
        new = len(shape) - len(x.shape)
        x = self._reshape(x, self.child(name, "lift"), sizes) if new else x
        sizes, known = sizes_of(x), sizes_of(x if like is None else like)
        wanted: list[int | Size] = []
        for i, own in enumerate(sizes):
            size: int | Size = shape[i]
            if size == 0 and not (like is None and i < new) and i < len(known):
                size = known[i]
            elif size == -1 and i >= new:
                # Dynamic sizes are those of one tensor: what x has at this place, `like` is taken to have as well.
                size = known[i] if isinstance(own, tuple) and known[i : i + 1] == [own] else own
            if isinstance(size, int) and size < 1:
                raise NetworkError(f"{path}: can't expand {describe(x)} to {tuple(shape)}: {size} says no size here.")
            if own not in (1, size):
                raise NetworkError(f"{path}: can't expand {describe(x)} to {tuple(shape)}: axis {i} is not of size 1.")
            wanted.append(size)
        if wanted == sizes:
            return self.identity(x, name)
        (x,) = self.typed(name, x)
        steps = [int(own == size) for own, size in zip(sizes, wanted, strict=True)]  # 0 repeats one value
        layer = self._slice(x, name, [0] * len(steps), wanted, steps, measured=like)
        return self.moved(self.layer(layer, name, x), x)

    def repeat(self, x: Tensor, name: str | None, repeats: Sequence[int]) -> Tensor:
        """`x.repeat(repeats)`: x, `repeats` times along each axis, and along new ones in front."""
        path = self.path_of(name)
        if min(repeats, default=1) < 1:
            raise NetworkError(f"{path}: repeats={tuple(repeats)} must be positive.")
        sizes = self._in_front(sizes_of(x), len(repeats), name)
        x = self._reshape(x, self.child(name, "lift"), sizes) if len(sizes) > len(x.shape) else x
        sizes = sizes_of(x)
        if all(count == 1 for count in repeats):
            return self.identity(x, name)
        wanted = [
            (size[0], count) if isinstance(size, tuple) else size * count
            for size, count in zip(sizes, repeats, strict=True)
        ]
        (x,) = self.typed(name, x)
        layer = self._slice(x, name, [0] * len(wanted), wanted, [1] * len(wanted))
        layer.mode = self.trt.SampleMode.WRAP
        return self.moved(self.layer(layer, name, x), x)

    def pad(
        self, x: Tensor, name: str | None, padding: Sequence[int], value: float = 0.0, mode: str = "constant"
    ) -> Tensor:
        """`F.pad`: pairs of how much is added before and after, the last axis first; less than 0 cuts off.

        Args:
            value: what is added, with mode="constant".
            mode: "constant", "reflect", "replicate" or "circular"; of any axes, also those that PyTorch does not pad.

        Raises:
            NetworkError: an axis is dynamic, too short for what is added or cut off, or the mode unknown.
        """
        path, rank = self.path_of(name), len(x.shape)
        if len(padding) % 2 or len(padding) > 2 * rank:
            raise NetworkError(f"{path}: padding={tuple(padding)} is to be pairs for the last axes of {describe(x)}.")
        if mode not in PAD_MODES:
            raise NetworkError(f"{path}: mode is one of {', '.join(PAD_MODES)}, not {mode!r}.")
        if value and mode != "constant":
            raise NetworkError(f"{path}: value={value} has no meaning with mode={mode!r}.")
        wanted, starts = sizes_of(x), [0] * rank
        for i in range(len(padding) // 2):
            axis, (before, after) = rank - 1 - i, padding[2 * i : 2 * i + 2]
            if before == after == 0:
                continue
            size = self.known_size(x, axis, f"pad {path!r}")
            most = {"reflect": size - 1, "circular": size}.get(mode, max(before, after))
            mixed = mode != "constant" and min(before, after) < 0 < max(before, after)
            if max(before, after) > most or min(before, after, before + after) <= -size or mixed:
                raise NetworkError(
                    f"{path}: axis {axis} of {describe(x)} can't be padded by {before} and {after}, {mode}."
                )
            wanted[axis], starts[axis] = size + before + after, -before
        if wanted == sizes_of(x) and not any(starts):
            return self.identity(x, name)
        (x,) = self.typed(name, x)
        layer = self._slice(x, name, starts, wanted, [1] * rank)
        if max(padding) > 0:
            layer.mode = getattr(self.trt.SampleMode, PAD_MODES[mode])
        if value and max(padding) > 0:
            layer.set_input(4, self.constant(np.full((), value), self.child(name, "value"), like=x))
        return self.moved(self.layer(layer, name, x), x)

    def roll(
        self, x: Tensor, name: str | None, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
    ) -> Tensor:
        """`torch.roll`: along each of `dims` values move by `shifts`, and what leaves at one end enters at the other.

        Without `dims` x is rolled as if it were flat.
        """
        path = self.path_of(name)
        moves = list(shifts) if isinstance(shifts, Sequence) else [shifts]
        if dims is None:
            flat = self.roll(self.flatten(x, self.child(name, "flat")), self.child(name, "rolled"), shifts, 0)
            return self._reshape(flat, name, sizes_of(x), measured=x)
        axes = [axis_of(dim, x, path) for dim in (dims if isinstance(dims, Sequence) else [dims])]
        if len(moves) != len(axes):
            raise NetworkError(f"{path}: {len(moves)} shifts for {len(axes)} axes.")
        steps: dict[int, int] = {}
        for axis, shift in zip(axes, moves, strict=True):
            steps[axis] = (steps.get(axis, 0) + shift) % self.known_size(x, axis, f"roll {path!r}")
        steps = {axis: shift for axis, shift in steps.items() if shift}
        if not steps:
            return self.identity(x, name)
        for axis, shift in steps.items():
            child = self.child(name, str(axis))
            cut = int(x.shape[axis]) - shift
            parts = [self.slice(x, f"{child}.end", axis, cut), self.slice(x, f"{child}.start", axis, 0, cut)]
            x = self.concat(parts, name if axis == list(steps)[-1] else child, axis)
        return x

    def flip(self, x: Tensor, name: str | None, dims: int | Sequence[int]) -> Tensor:
        """`torch.flip`: the order along these axes reversed."""
        path = self.path_of(name)
        starts, steps = [0] * len(x.shape), [1] * len(x.shape)
        for axis in axes_of(dims, x, path):
            starts[axis], steps[axis] = self.known_size(x, axis, f"flip {path!r}") - 1, -1
        (x,) = self.typed(name, x)
        return self.moved(self.layer(self._slice(x, name, starts, sizes_of(x), steps), name, x), x)

    def _in_front(self, sizes: list[int | Size], rank: int, name: str | None) -> list[int | Size]:
        """Sizes with as many 1 in front as make them `rank` in number."""
        if rank < len(sizes):
            raise NetworkError(f"{self.path_of(name)}: {rank} sizes for a tensor of rank {len(sizes)}.")
        return [1] * (rank - len(sizes)) + sizes
