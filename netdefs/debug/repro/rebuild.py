"""The line of Python that makes a PyTorch module anew: those of torch.nn, and sequences of them."""

import inspect
import re
from typing import Any

import numpy as np

from netdefs.core.optional import require

USUAL = ("bias", "affine", "track_running_stats", "momentum", "padding_mode", "device", "dtype")


def expression_of(module: Any) -> str:
    """What to write to get such a module, without its weights: "nn.Conv2d(3, 8, kernel_size=(3, 3))"; or empty.

    A module of torch.nn shows its arguments. For one that is written by a user there is no telling.
    """
    nn = require("torch", "torch").nn
    kind = type(module)
    children = list(module.named_children())
    if kind is nn.Sequential and [name for name, _ in children] == [str(i) for i in range(len(children))]:
        inner = [expression_of(child) for _, child in children]
        return f"nn.Sequential({', '.join(inner)})" if all(inner) else ""
    if children or not kind.__module__.startswith("torch.nn.modules.") or getattr(nn, kind.__name__, None) is not kind:
        return ""
    return f"nn.{_shorter(repr(module), kind)}" if re.fullmatch(r"\w+\([^\n]*\)", repr(module)) else ""


def _shorter(text: str, kind: type) -> str:
    """Without what is the default anyway: an older PyTorch may not know the argument."""
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in USUAL:
            text = text.replace(f", {name}={parameter.default!r}", "")
    return text


def rebuilds(expression: str, module: Any, given: list[np.ndarray], expected: np.ndarray) -> bool:
    """Whether an expression makes a module that, with the same weights and arguments, gives the same values."""
    torch = require("torch", "torch")
    try:
        made = eval(expression, {"nn": torch.nn, "__builtins__": {}})  # a class of torch.nn, in its own words
        made.load_state_dict({key: value.detach().cpu() for key, value in module.state_dict().items()})
        with torch.no_grad():
            found = made.float().eval()(*[torch.from_numpy(array.copy()) for array in given]).numpy()
    except (ArithmeticError, AttributeError, LookupError, NameError, RuntimeError, SyntaxError, TypeError, ValueError):
        return False
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True))
