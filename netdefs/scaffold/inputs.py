"""What a module is called with: `1x3x224x224`, `images:2x3x480x640`, `tokens:1x16:int64`."""

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import InputError

FORM = "[NAME:]SIZES[:TYPE], such as 1x3x224x224, images:2x3x480x640 or tokens:1x16:int64"
TYPES = ("float32", "float16", "uint8", "int32", "int64", "bool")
INPUT = "input"  # what a single input is called, as in the zoo
BATCH = 2  # of a trace: from 1, PyTorch would follow that it is always 1
BLOCKS = 5  # of a picture, on each side
MOST = 8  # numbers of a type that can count things are below it: few tables are smaller


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a module.

    Attributes:
        name: "" where none was given.
        shape: its sizes, the batch first.
        dtype: one of `TYPES`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def array(self, batch: int | None = None, size: Sequence[int] = (), seed: int = 0) -> np.ndarray:
        """Random values of it, the same for the same seed.

        Args:
            batch: in place of the first size.
            size: in place of the sizes from the third on.
            seed: another gives other values.
        """
        shape = (self.shape[0] if batch is None else batch, *self.shape[1:])
        shape = (*shape[:2], *size) if size else shape
        random, kind = np.random.default_rng(seed), np.dtype(self.dtype)
        if kind.kind == "f":
            values = random.standard_normal(shape, dtype=np.float32)
            return np.asarray(values + _blocks(random, shape) if len(shape) == 4 else values, kind)
        most = {"bool": 2, "uint8": 256}.get(self.dtype, MOST)
        return random.integers(0, most, shape).astype(kind)

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape))
        return f"{self.name}{':' * bool(self.name)}{text}{f':{self.dtype}' * (self.dtype != 'float32')}"


def read_input(text: str) -> Input:
    """An input as a command line has it.

    Raises:
        InputError: it is not of the form `FORM`, or of a type that is none.
    """
    found = re.fullmatch(r"(?:([A-Za-z_]\w*):)?(\d+(?:x\d+)*)(?::(\w+))?", text)
    sizes = tuple(int(size) for size in found[2].split("x")) if found else ()
    if found is None or 0 in sizes:
        raise InputError(f"{text!r} is no input, which is {FORM}.")
    if found[3] and found[3] not in TYPES:
        raise InputError(f"{text!r}: inputs are of the types {', '.join(TYPES)}, not {found[3]}.")
    return Input(found[1] or "", sizes, found[3] or "float32")


def named(inputs: Sequence[Input], module: Any) -> dict[str, Input]:
    """Inputs by name, in the order in which a module takes them.

    Those without a name are called as the arguments of its `forward`; a single one is called "input".

    Raises:
        InputError: two have one name, or only some have one.
    """
    if len(inputs) == 1:
        return {inputs[0].name or INPUT: inputs[0]}
    places = [
        parameter.name
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    given = [each.name for each in inputs if each.name]
    if given and len(given) < len(inputs):
        raise InputError(f"Of the inputs {', '.join(map(str, inputs))} some have names: give all of them one, or none.")
    if not given and len(places) < len(inputs):
        count = f"{len(places)} by place" if places else "none by place"
        raise InputError(f"{len(inputs)} inputs are given, and {type(module).__name__}.forward takes {count}.")
    names = given or places[: len(inputs)]
    if len(set(names)) < len(names):
        raise InputError(f"Two inputs are called {next(name for name in names if names.count(name) > 1)!r}.")
    found = dict(zip(names, inputs, strict=True))
    if set(names) == set(places[: len(names)]):  # as forward takes them
        return {name: found[name] for name in places[: len(names)]}
    return found


def _blocks(random: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """What makes one place of a picture, and one picture, differ from others: noise alone averages out."""
    count, channels, height, width = shape
    colors = random.standard_normal((count, channels, BLOCKS, BLOCKS), dtype=np.float32)
    rows, columns = (np.arange(size) * BLOCKS // size for size in (height, width))
    return np.asarray(colors[:, :, rows[:, None], columns])


def arrays(inputs: Mapping[str, Input], batch: int | None, size: Sequence[int] = (), seed: int = 0) -> dict[str, Any]:
    """Values of several inputs; `size` is that of pictures, and changes nothing of others."""
    return {
        name: each.array(batch, size if len(each.shape) == 4 else (), seed + i)
        for i, (name, each) in enumerate(inputs.items())
    }
