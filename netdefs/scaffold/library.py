"""The blocks of the library that statements call, by what a statement says."""

from importlib import import_module
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
