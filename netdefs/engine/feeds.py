"""Checks of what an engine is given: shapes before it is built, arrays before it runs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import EngineError, InputError
from netdefs.core.scope import near
from netdefs.engine.base import BFLOAT16, Profile, TensorInfo


def check_profile(inputs: Mapping[str, TensorInfo], profile: Mapping[str, Any], *, required: bool) -> Profile:
    """The (min, opt, max) shapes of dynamic inputs, checked against the inputs and made of plain tuples.

    Args:
        required: whether every dynamic input must have them.

    Raises:
        EngineError: one is missing, not in order, or does not fit its input.
    """
    advice = 'Give profile={"name": (min shape, opt shape, max shape)}.'
    checked: Profile = {}
    for name, shapes in profile.items():
        if name not in inputs:
            raise EngineError(f"The profile names {name!r}, which is not an input.{near(name, inputs)}")
        try:
            low, opt, high = (tuple(int(size) for size in shape) for shape in shapes)
        except (TypeError, ValueError) as error:
            raise EngineError(f"The profile of input {name!r} is {shapes!r}. {advice}") from error
        for shape in (low, opt, high):
            if not _fits(shape, inputs[name].shape):
                raise EngineError(f"The profile of input {name!r} has the shape {shape}; the input is {inputs[name]}.")
        if not all(1 <= a <= b <= c for a, b, c in zip(low, opt, high, strict=True)):
            raise EngineError(f"The profile of input {name!r} is not in rising order: {low}, {opt}, {high}.")
        if -1 in inputs[name].shape:
            checked[name] = (low, opt, high)
    missing = [name for name, info in inputs.items() if -1 in info.shape and name not in checked]
    if required and missing:
        raise EngineError(f"TensorRT needs the range of each dynamic input, and {missing[0]!r} has none. {advice}")
    return checked


def check_feeds(
    feeds: Any, inputs: Mapping[str, TensorInfo], profile: Profile, *, accept_cuda: bool = False
) -> dict[str, Any]:
    """The arrays to run on, by input name and in the inputs' order, each checked.

    Args:
        accept_cuda: leave torch tensors on a GPU as they are; otherwise they are an error.

    Returns:
        numpy arrays, C-contiguous; or, if `accept_cuda`, torch tensors where those were given.

    Raises:
        InputError: a name, rank, shape or type is wrong; the message says what was expected.
    """
    listing = ", ".join(f"{name} {info}" for name, info in inputs.items())
    if not isinstance(feeds, Mapping):
        raise InputError(f"run takes a dict, input name -> array, not {_kind(feeds)}. The inputs: {listing}.")
    for name in feeds:
        if name not in inputs:
            raise InputError(f"There is no input {name!r}.{near(str(name), inputs)} The inputs: {listing}.")
    missing = [name for name in inputs if name not in feeds]
    if missing:
        raise InputError(f"Nothing was given for the input {', '.join(missing)}. The inputs: {listing}.")
    checked = {}
    for name, info in inputs.items():
        value = feeds[name]
        if not (accept_cuda and is_cuda(value)):
            value = _as_numpy(name, value)
        _check_type(name, value, info)
        _check_shape(name, tuple(value.shape), info, profile.get(name))
        checked[name] = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
    return checked


def is_cuda(value: Any) -> bool:
    """True for a torch tensor on a GPU."""
    return bool(getattr(value, "is_cuda", False))


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(e in (-1, s) for s, e in zip(shape, expected, strict=True))


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _as_numpy(name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    device = str(getattr(value, "device", "cpu"))
    if is_cuda(value) or device != "cpu":
        raise InputError(f"Input {name!r} is on {device}, and this engine runs on the CPU: pass {name}.cpu().")
    if hasattr(value, "detach"):  # a torch tensor; one that needs a gradient has no numpy view
        value = value.detach()
        if str(value.dtype) == "torch.bfloat16":
            raise InputError(f"Input {name!r} is bfloat16, which numpy lacks: pass {name}.float().")
    if not hasattr(value, "__array__"):
        raise InputError(f"Input {name!r} is of type {_kind(value)}, not an array: pass np.asarray(..., np.float32).")
    return np.asarray(value)


def _check_type(name: str, value: Any, info: TensorInfo) -> None:
    """Raises unless the value has the input's type. Nothing is converted silently: it would hide mistakes."""
    tensor = not isinstance(value, np.ndarray)
    got = str(value.dtype).removeprefix("torch.")
    # numpy has no bfloat16, so such an input takes float32 arrays and rounds them.
    expected = "float32" if info.dtype == BFLOAT16 and not tensor else str(info.dtype)
    if got == expected:
        return
    message = f"Input {name!r} must be {expected}, and this is {got}."
    if got == "uint8" and expected.startswith(("float", "bfloat")):
        raise InputError(
            f"{message} Is it a picture as it was read? It must be scaled and normalized as in training: "
            "see netdefs.vision.preprocess."
        )
    convert = f".to(torch.{expected})" if tensor else f".astype(np.{expected})"
    raise InputError(f"{message} If its values are right, pass {name}{convert}.")


def _check_shape(name: str, got: tuple[int, ...], info: TensorInfo, ranges: Any) -> None:
    expected = info.shape
    if not _fits(got, expected):
        raise InputError(f"Input {name!r} must be {_range(expected, ranges)}, and this is {got}.{_hint(got, expected)}")
    if ranges is not None:
        low, _, high = ranges
        if not all(a <= size <= b for a, size, b in zip(low, got, high, strict=True)):
            raise InputError(f"Input {name!r} must be {_range(expected, ranges)}, and this is {got}.")


def _range(shape: tuple[int, ...], ranges: Any) -> str:
    """A shape in words: (1..4, 3, 224, 224), or (?, 3, 224, 224) where the range is not known."""
    low, _, high = ranges or (shape, shape, shape)
    sizes = [
        str(size) if size >= 0 else "?" if ranges is None else f"{low[i]}..{high[i]}" for i, size in enumerate(shape)
    ]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _hint(got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What the commonest mistakes with pictures need; empty if it is none of them."""
    if len(got) == len(expected) - 1 and _fits((1, *got), expected):
        return " It lacks the batch dimension: pass x[None]."
    if len(got) == len(expected) == 4 and _fits((got[0], got[3], got[1], got[2]), expected):
        return " It looks like (N, H, W, C): pass x.transpose(0, 3, 1, 2)."
    return ""
