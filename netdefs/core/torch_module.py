"""Running a torch.nn.Module as it would be deployed, watching it, and leaving it as it was."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from netdefs.core.optional import require


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


@contextlib.contextmanager
def hooked(
    modules: Iterable[tuple[str, Any]],
    before: Callable[[str, Any, Any, Any], None] | None,
    after: Callable[[str, Any, Any, Any, Any], None],
    always: bool = False,
) -> Iterator[None]:
    """While this lasts, the calls of some modules are told; not those of TorchScript, which takes no hooks.

    Args:
        modules: these, by name.
        before: called with the name, the module, its arguments and those by name, before it runs.
        after: called with these and its output, after it ran.
        always: `after` is called too where it raised an error, with None as its output.
    """
    with contextlib.ExitStack() as hooks:
        for name, module in modules:
            if is_script(module):
                continue
            if before is not None:
                told = functools.partial(before, name)
                hooks.callback(module.register_forward_pre_hook(told, with_kwargs=True).remove)
            told = functools.partial(after, name)
            hooks.callback(module.register_forward_hook(told, with_kwargs=True, always_call=always).remove)
        yield


def is_script(module: Any) -> bool:
    """Whether a module is TorchScript."""
    return isinstance(module, require("torch", "torch").jit.ScriptModule)


def version_of(tensor: Any) -> int:
    """How often a tensor was changed in place, -1 for one of inference mode: PyTorch does not count the changes there.

    The same tensor with another version holds other values.
    """
    return -1 if tensor.is_inference() else int(tensor._version)


def first_float(module: Any) -> Any:
    """The first floating-point parameter or buffer, which tells a module's device and type; None if there is none."""
    return next((t for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()), None)


def taken_by(like: Any, tensors: Iterable[Any]) -> list[Any]:
    """Tensors on the device of `like`, and those of floating point of its type; as they are if it is None."""
    if like is None:
        return list(tensors)
    return [tensor.to(like.device, like.dtype if tensor.is_floating_point() else None) for tensor in tensors]
