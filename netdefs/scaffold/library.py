"""What drafts are checked with: the blocks of the library that statements call, and TensorRT without a GPU."""

from importlib import import_module
from importlib.util import find_spec
from inspect import isfunction
from typing import Any

from netdefs.scaffold.program import Raw


def block_of(function: str) -> Any:
    """The function that "blocks.conv_bn" or "yolo.ultralytics.c2f" is: a module of netdefs.core, and its name there."""
    module, _, name = function.rpartition(".")
    return getattr(import_module(f"netdefs.core.{module}"), name)


def written(default: Any) -> Any:
    """The default of an argument as a statement has it: a layer's method as text."""
    return Raw(f"Network.{default.__name__}") if isfunction(default) else default


def package() -> str | None:
    """TensorRT-RTX where it is installed: it defines and compiles without a GPU. Else None, for what suits."""
    return "tensorrt_rtx" if find_spec("tensorrt_rtx") is not None else None
