"""What `compare` and `capture` are both given: PyTorch's module, its arguments by name, inputs, layers."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from netdefs.core.errors import CompareError
from netdefs.core.optional import require
from netdefs.debug.watch import is_tensor


def in_order(names: Sequence[str], module: Any) -> list[str]:
    """Names of inputs in the order of the arguments of a module's `forward`; as they are if these are other names.

    Args:
        names: of the inputs.
        module: a torch.nn.Module, or a path in place of one.
    """
    forward = getattr(getattr(module, "_orig_mod", module), "forward", None)
    try:
        parameters = inspect.signature(forward).parameters.values() if forward is not None else ()
    except (TypeError, ValueError):  # it is not written in Python
        return list(names)
    by_place = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return by_place[: len(names)] if set(by_place[: len(names)]) == set(names) else list(names)


def checked(module: Any) -> Any:
    """The module, without the wrapper of torch.compile.

    Raises:
        CompareError: it is not a torch.nn.Module, or one whose layers can't be seen.
    """
    torch = require("torch", "torch")
    if not isinstance(module, torch.nn.Module):
        raise CompareError(
            f"compare needs a torch.nn.Module to compare with, not {type(module).__name__}.{_hint(module)}"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise CompareError(
            f"A traced or scripted module ({type(module).__name__}) can't be compared: forward hooks don't fire in "
            "it, so its layers can't be seen. Pass the nn.Module that it was made from."
        )
    inner = getattr(module, "_orig_mod", module)  # what torch.compile wraps: its modules have hooks
    empty = next((n for n, t in inner.state_dict().items() if is_tensor(t) and t.is_meta), "")
    if empty:
        raise CompareError(
            f"The module has no values: {empty} is on the device 'meta'. Make it on the CPU and load its weights."
        )
    return inner


def is_several(inputs: Any) -> bool:
    """Whether these are several inputs, one after another: a tuple holds the arguments of one."""
    return isinstance(inputs, Sequence) and not isinstance(inputs, tuple | str | bytes)


def patterns_of(layers: Any, least: int = 0) -> list[str]:
    """The globs that `layers=` gives, `least` or more.

    Raises:
        CompareError: it is neither a string nor a sequence of so many.
    """
    patterns = [layers] if isinstance(layers, str) else list(layers) if isinstance(layers, Sequence) else [layers]
    if len(patterns) < least or not all(isinstance(pattern, str) for pattern in patterns):
        raise CompareError(f"layers={layers!r}: it is a name or a glob such as 'layer1.*', or a list of these.")
    return patterns


def _hint(module: Any) -> str:
    """What the commonest mistakes need."""
    if isinstance(module, Mapping):
        return " Those are weights alone: make the module, and load them with module.load_state_dict(...)."
    if isinstance(module, type):
        return f" That is a class: pass an object of it, {module.__name__}(...), with its weights loaded."
    owner = getattr(module, "__self__", None)
    if callable(module) and hasattr(owner, "named_modules"):
        return " That is a method of a module: pass the module itself."
    return ""
