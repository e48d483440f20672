"""Running a torch.nn.Module as it would be deployed, and leaving it as it was."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """While this lasts the module is in eval mode; then each of its parts is in the mode that it was in."""
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, flag in flags:
            part.training = flag


def first_float(module: Any) -> Any:
    """The first floating-point parameter or buffer, which tells a module's device and type; None if there is none."""
    return next((t for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()), None)


def taken_by(like: Any, tensors: Iterable[Any]) -> list[Any]:
    """Tensors on the device of `like`, and those of floating point of its type; as they are if it is None."""
    if like is None:
        return list(tensors)
    return [tensor.to(like.device, like.dtype if tensor.is_floating_point() else None) for tensor in tensors]
