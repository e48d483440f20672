"""The inputs of a comparison: one or several, the same for both sides or one for each, checked and looked at."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from netdefs.core.errors import InputError
from netdefs.debug.arguments import in_order, is_several
from netdefs.debug.likeness import Likeness, liken
from netdefs.engine import TensorInfo
from netdefs.engine.base import BFLOAT16, Profile
from netdefs.engine.feeds import check_feeds


@dataclasses.dataclass(frozen=True)
class InputFinding:
    """An input as a comparison got it.

    Attributes:
        name: the network's input.
        shape, dtype: the network's, of the first if there are several.
        low, high: its range, over all of them.
        problem: what is suspicious about it; empty if nothing.
        difference: how PyTorch's differs, in words, if it was given one of its own; empty if they are the same.
        differs: whether that makes the two sides compute something else: the network was then fed PyTorch's.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    problem: str
    difference: str = ""
    differs: bool = False


@dataclasses.dataclass(frozen=True)
class Feed:
    """One input of a comparison.

    Attributes:
        network: what the network is fed, by name.
        module: PyTorch's arguments, in order.
        names: a name for each of these: that of the network's input where they are the same.
        findings: what there is to say about each of the network's inputs.
        at: which of several it is.
    """

    network: dict[str, np.ndarray]
    module: list[np.ndarray]
    names: list[str]
    findings: list[InputFinding]
    at: int = 0


class Several(Sequence[Any]):
    """Inputs that are loaded when they are asked for, one after another, so that many need no more memory than one.

    Args:
        labels: a word for each, such as the file that it comes from.
        load: gives the input of a position.
    """

    def __init__(self, labels: Sequence[str], load: Callable[[int], Any]) -> None:
        self.labels, self._load = list(labels), load

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, at: int) -> Any: ...

    @overload
    def __getitem__(self, at: slice) -> "Several": ...

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            places = range(len(self))[at]
            return Several([self.labels[i] for i in places], lambda i: self._load(places[i]))
        return self._load(range(len(self))[at])


class Feeds:
    """The inputs of a comparison in order, each checked when it is asked for.

    Args:
        inputs: as `compare` gets it.
        module_inputs: likewise.
        expected: the network's inputs.
        profile: the ranges of dynamic sizes.
        module: PyTorch's, or the path of a capture. A dict by the names of its arguments is given to it by these, and
            else in the order of the network's inputs.

    Attributes:
        labels: "input 3 of 8, photo.jpg" for each of several; a single empty one else.

    Raises:
        InputError: there is none, or not as many for PyTorch as for the network.
    """

    def __init__(
        self,
        inputs: Any,
        module_inputs: Any,
        expected: Mapping[str, TensorInfo],
        profile: Profile,
        module: Any,
    ) -> None:
        self._expected, self._profile, self._order = expected, profile, in_order(list(expected), module)
        self._inputs, names = _listed(inputs, "inputs")
        self._theirs = None if module_inputs is None else _listed(module_inputs, "module_inputs")[0]
        count = len(self._inputs)
        if self._theirs is not None and len(self._theirs) != count:
            raise InputError(
                f"inputs gives {count} for the network, and module_inputs {len(self._theirs)} for the PyTorch module: "
                "they belong together one by one. A tuple holds the arguments of one input, a list several inputs."
            )
        self.labels = [f"input {i + 1} of {count}{f', {name}' * bool(name)}" for i, name in enumerate(names)]
        if not is_several(inputs):
            self.labels = [""]

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator[Feed]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, at: int) -> Feed:
        """The input of a position.

        Raises:
            InputError: a name, a shape or a type does not fit.
        """
        try:
            return self._feed(at)
        except InputError as error:
            if not self.labels[at]:
                raise
            raise InputError(f"In {self.labels[at]}: {error}") from error

    def _feed(self, at: int) -> Feed:
        given = self._inputs[at]
        ours = prepare(given, self._expected, self._profile)
        findings = [_look(name, array) for name, array in ours.items()]
        if self._theirs is None:
            order = self._order if isinstance(given, Mapping) else list(ours)
            return Feed(ours, [ours[name] for name in order], order, findings, at)
        theirs = _arguments(self._theirs[at], list(self._expected))
        if len(theirs) != len(ours):
            text = f"PyTorch is given {len(theirs)} arguments, so they can't be compared with the network's inputs"
            findings = [dataclasses.replace(finding, difference=text) for finding in findings]
            return Feed(ours, theirs, [f"argument {i}" for i in range(len(theirs))], findings, at)
        for i, (name, array) in enumerate(zip(list(ours), theirs, strict=True)):
            taken = self._taken(name, array)
            findings[i] = _found(findings[i], liken(ours[name], array), taken is not None)
            if taken is not None:
                ours[name] = taken
        order = self._order if isinstance(self._theirs[at], Mapping) else list(ours)
        by_name = dict(zip(ours, theirs, strict=True))
        return Feed(ours, [by_name[name] for name in order], order, findings, at)

    def _taken(self, name: str, array: np.ndarray) -> np.ndarray | None:
        """PyTorch's input as the network takes it; None if it does not."""
        wanted = self._expected[name]
        kind = np.dtype(np.float32 if wanted.dtype == BFLOAT16 else wanted.dtype)
        if array.dtype.kind == kind.kind == "f":
            array = array.astype(kind, copy=False)
        try:
            return check_feeds({name: array}, {name: wanted}, self._profile)[name]
        except InputError:
            return None


def prepare(inputs: Any, expected: Mapping[str, TensorInfo], profile: Profile) -> dict[str, np.ndarray]:
    """One input's arrays by name, in the order of the network's.

    Args:
        inputs: an array or tensor for a network with one input, a mapping by name, or a tuple in the network's order.
        expected: the network's inputs.
        profile: the ranges of dynamic sizes.

    Raises:
        InputError: a name, a shape or a type does not fit.
    """
    if not isinstance(inputs, Mapping):
        values = inputs if isinstance(inputs, tuple) else (inputs,)
        if len(values) != len(expected):
            count = f"{len(expected)} input{'s' * (len(expected) != 1)}: {', '.join(expected)}"
            raise InputError(
                f"The network has {count}. {len(values)} {'was' if len(values) == 1 else 'were'} given; a dict of "
                "arrays by name is clearest, or a tuple in this order. A list is several inputs, one after another."
            )
        inputs = dict(zip(expected, values, strict=True))
    return check_feeds({name: _on_cpu(value) for name, value in inputs.items()}, expected, profile)


def merged(found: list[InputFinding], more: list[InputFinding], label: str) -> list[InputFinding]:
    """The findings of several inputs as one for each name: the whole range, and the first problem and difference."""
    more = [
        dataclasses.replace(
            f,
            problem=f"{f.problem} ({label})" if f.problem and label else f.problem,
            difference=f"With {label}: {f.difference}" if f.difference and label else f.difference,
        )
        for f in more
    ]
    if not found:
        return more
    return [
        dataclasses.replace(
            a,
            low=min(a.low, b.low),
            high=max(a.high, b.high),
            problem=a.problem or b.problem,
            difference=b.difference if b.differs and not a.differs else a.difference or b.difference,
            differs=a.differs or b.differs,
        )
        for a, b in zip(found, more, strict=True)
    ]


def _listed(inputs: Any, which: str) -> tuple[Sequence[Any], list[str]]:
    """Inputs one by one, and the word that each has, if any."""
    if isinstance(inputs, Iterator):
        raise InputError(f"{which} can be gone through only once: pass list(...) of it.")
    if not is_several(inputs):
        return [inputs], [""]
    if not len(inputs):
        raise InputError(f"{which} is an empty list: give it at least one input.")
    return inputs, list(getattr(inputs, "labels", [""] * len(inputs)))


def _arguments(given: Any, names: Sequence[str]) -> list[np.ndarray]:
    """PyTorch's arguments as arrays, in order."""
    if isinstance(given, Mapping):
        strange = [name for name in given if name not in names]
        if strange or len(given) != len(names):
            raise InputError(
                f"module_inputs has the names {', '.join(map(str, given))}, the network's inputs are "
                f"{', '.join(names)}: a tuple gives the module's arguments in order."
            )
        given = tuple(given[name] for name in names)
    values = given if isinstance(given, tuple) else (given,)
    found = []
    for value in values:
        value = _on_cpu(value)
        value = value.detach() if hasattr(value, "detach") else value
        if not hasattr(value, "__array__"):
            raise InputError(f"module_inputs holds a {type(value).__name__}: it takes arrays and tensors.")
        found.append(np.ascontiguousarray(value))
    return found


def _on_cpu(value: Any) -> Any:
    if isinstance(value, str | os.PathLike):
        raise InputError(
            f"An input is an array, and {str(value)!r} a name: np.load reads an .npy, netdefs.vision a picture."
        )
    if getattr(value, "is_meta", False):
        raise InputError("The input is a tensor on the device 'meta', which has no values.")
    return value.cpu() if hasattr(value, "cpu") else value


def _found(finding: InputFinding, likeness: Likeness, takes: bool) -> InputFinding:
    if not likeness.text:
        return finding
    if likeness.agrees:
        return dataclasses.replace(finding, difference=likeness.text)
    if takes:
        text = f"{likeness.text}. From here on the network was fed PyTorch's"
        return dataclasses.replace(finding, difference=text, differs=True)
    return dataclasses.replace(finding, difference=f"{likeness.text}. The network was fed its own")


def _look(name: str, array: np.ndarray) -> InputFinding:
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    problem = ""
    if not np.isfinite(low) or not np.isfinite(high):
        problem = "holds NaN or infinity"
    elif low == high and array.size > 1:
        problem = f"is {low:g} everywhere: few mistakes show with such an input"
    return InputFinding(name, array.shape, str(array.dtype), low, high, problem)
