"""Pictures and arrays on their way into a network: named, one batch after the other, and looked at."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.engine import TensorInfo
from netdefs.engine.base import Profile
from netdefs.engine.feeds import check_feeds

Pictures = Any  # a path, an array, or an iterable of paths, arrays or feeds
TAKEN = (
    "Pictures are a file or folder, (H, W, 3) uint8 arrays, arrays of the network's only input, or mappings from its "
    "inputs to arrays; or an iterable of these."
)


@dataclasses.dataclass(frozen=True)
class Feed:
    """One run's inputs.

    Attributes:
        name: of the pictures in it, for messages.
        arrays: by input.
        count: how many pictures it has.
    """

    name: str
    arrays: dict[str, np.ndarray]
    count: int


class Takes:
    """What a network takes, and how it wants pictures.

    Args:
        inputs: its inputs.
        profile: the ranges of the dynamic ones.
        recipe: `info["preprocess"]` of a zoo network, if it has one.
    """

    def __init__(
        self, inputs: Mapping[str, TensorInfo], profile: Profile, recipe: Mapping[str, Any] | None = None
    ) -> None:
        self.inputs, self.profile, self.recipe = dict(inputs), profile, recipe

    def feeds(self, pictures: Pictures) -> Iterator[Feed]:
        """The feeds that `pictures` make, in batches of the network's usual size. A fixed batch is filled up.

        Args:
            pictures: a picture, video or folder, or a sequence of these; an array whose first axis is the pictures; or
                an iterable of pictures ((H, W, 3) uint8, BGR), of arrays of the only input, or of mappings from inputs
                to arrays.

        Raises:
            InputError: there is none, one can't be read or used, one has the same value everywhere, or all are equal.
        """
        seen: set[bytes] = set()
        count = 0
        for feed in self._batches(pictures):
            count += feed.count
            for i in range(feed.count if len(seen) < 2 else 0):
                seen.add(_digest(feed.arrays, i))
            yield feed
        if not count:
            raise InputError(f"There are no pictures to calibrate with. {TAKEN}")
        if len(seen) == 1 and count > 1:
            raise InputError(f"All {count} pictures are the same. Give different ones, as the network will see them.")

    def _batches(self, pictures: Pictures) -> Iterator[Feed]:
        waiting: list[tuple[str, np.ndarray]] = []
        for name, item in items(pictures):
            if isinstance(item, Mapping):
                arrays = check_feeds(item, self.inputs, self.profile)
                _refuse_constant(name, arrays)
                yield Feed(name, arrays, max((a.shape[0] for a in arrays.values() if a.ndim), default=1))
                continue
            for each in self._singles(name, item):
                waiting.append(each)
                if len(waiting) == self._batch_sizes()[1]:
                    yield self._joined(waiting)
                    waiting = []
        if waiting:
            yield self._joined(waiting)

    def _singles(self, name: str, item: Any) -> Iterator[tuple[str, np.ndarray]]:
        """The pictures of an item, (1, ...) each, as the network takes them."""
        if len(self.inputs) != 1:
            raise InputError(f"The network has the inputs {', '.join(self.inputs)}: give mappings, input -> array.")
        item = item.detach().cpu() if hasattr(item, "detach") else item
        if not hasattr(item, "__array__"):
            raise InputError(f"{name} is of type {type(item).__name__}. {TAKEN}")
        array, (info,) = np.asarray(item), self.inputs.values()
        picture = array.dtype == np.uint8 and array.ndim in (3, 4) and array.shape[-1] == 3 and self.recipe is not None
        if array.ndim == (3 if picture else len(info.shape) - 1):
            array = array[None]
        for i in range(len(array)) if array.ndim else ():
            label = name if len(array) == 1 else f"{name}[{i}]"
            single = self._preprocessed(array[i]) if picture else array[i : i + 1]
            _refuse_constant(label, dict.fromkeys(self.inputs, single))
            yield label, single

    def _preprocessed(self, image: np.ndarray) -> np.ndarray:
        from netdefs.vision.image import preprocess, size_of  # needs OpenCV

        (name,) = self.inputs
        usual = self.profile[name][1] if name in self.profile else self.inputs[name].shape
        if self.recipe is None or min(usual) < 1:
            raise InputError(
                "The network does not say how it wants pictures, or of which size. Give arrays as its input takes them."
            )
        return preprocess(image, self.recipe, size_of(usual, self.recipe))

    def _joined(self, pictures: list[tuple[str, np.ndarray]]) -> Feed:
        arrays = [array for _, array in pictures]
        if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
            raise InputError(f"The pictures are of different sizes: {', '.join(str(a.shape[1:]) for a in arrays[:3])}.")
        batch = np.concatenate([*arrays, *arrays[-1:] * (self._batch_sizes()[0] - len(arrays))])
        return Feed(
            ", ".join(name for name, _ in pictures),
            check_feeds(dict.fromkeys(self.inputs, batch), self.inputs, self.profile),
            len(pictures),
        )

    def _batch_sizes(self) -> tuple[int, int]:
        """The smallest and the usual number of pictures in a run."""
        ((name, info),) = self.inputs.items()
        low, usual, _ = self.profile.get(name, (info.shape,) * 3)
        return max(low[0], 1), max(usual[0], 1)


def items(pictures: Pictures) -> Iterator[tuple[str, Any]]:
    """What `pictures` has, each with a name; of files, the pictures in them."""
    if isinstance(pictures, str | os.PathLike):
        pictures = [pictures]
    if isinstance(pictures, list | tuple) and all(isinstance(item, str | os.PathLike) for item in pictures):
        yield from _from_files(pictures)
        return
    if isinstance(pictures, Mapping) or hasattr(pictures, "__array__"):
        yield "the array" if hasattr(pictures, "__array__") else "the feed", pictures
        return
    if not isinstance(pictures, Iterable):
        raise InputError(f"Pictures can't be of type {type(pictures).__name__}. {TAKEN}")
    for i, item in enumerate(pictures):
        if isinstance(item, str | os.PathLike):
            yield from _from_files([item])
        else:
            yield f"item {i}", item


def count_of(pictures: Pictures) -> int | None:
    """How many runs' worth of `pictures` there is, for a progress bar, where that is known before."""
    if isinstance(pictures, str | os.PathLike):
        pictures = [pictures]
    if isinstance(pictures, list | tuple) and all(isinstance(item, str | os.PathLike) for item in pictures):
        from netdefs.vision.source import count

        return count(list(pictures)) if pictures else 0
    return len(pictures) if hasattr(pictures, "__len__") and not isinstance(pictures, Mapping) else None


def _from_files(paths: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    from netdefs.vision.source import pictures  # needs OpenCV

    for picture in pictures(list(paths)):
        yield picture.name, picture.image


def _refuse_constant(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    for key, array in arrays.items():
        if array.size > 1 and array.dtype.kind in "fiu" and bool((array == array.flat[0]).all()):
            raise InputError(
                f"{name} has the value {array.flat[0]:g} everywhere (input {key!r}), and says nothing of what pictures "
                "give. Leave it out."
            )


def _digest(arrays: Mapping[str, np.ndarray], row: int) -> bytes:
    """A hash of one picture of a feed."""
    content = hashlib.blake2b()
    for array in arrays.values():
        content.update(np.ascontiguousarray(array[row : row + 1] if array.ndim else array).data)
    return content.digest()
