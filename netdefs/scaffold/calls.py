"""The calls of a function's statements as Python text: of layers, of the library's blocks, of functions, of numpy."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netdefs.core.network import Network
from netdefs.scaffold.constants import Constants
from netdefs.scaffold.library import block_of
from netdefs.scaffold.program import REQUIRED, Arg, Call, Function, Name, Value
from netdefs.scaffold.text import Text

# Options that need no keyword where they have no default.
POSITIONAL = (
    {"out_channels", "out_features", "hidden_size", "squeeze_channels", "channels", "weight", "bias"}
    | {"shape", "dims", "size", "split_size", "value"}
    | {"repeats", "areas", "nested"}
)
# A power of simple operands, which ruff writes without spaces.
POWER = re.compile(r"(?<![\w.)\]])(-?[\w.]+) \*\* (-?[\w.]+)(?![\w.(\[])")

CALL = re.compile(r"[\w.]+\(")  # a template that begins with the call of a function


class Calls:
    """Writes what the statements of one function call.

    Args:
        base: the path of the unit that was the function's pattern: what is below it is below `net`.
        text: writes arguments.
        constants: those of the file, which also notes what a text needs to be imported.

    Attributes:
        lists: the variables in which loops have collected values, and these values.
    """

    def __init__(self, base: Sequence[Any], text: Text, constants: Constants) -> None:
        self.base, self.text, self.constants = base, text, constants
        self.lists: dict[str, Sequence[Value]] = {}

    def of(self, item: Call) -> str:
        """What stands on the right of a statement's `=`."""
        if item.function == "parameter":
            return self._parameter(item)
        if item.function == "fixed":
            return self.text.of(item.options["value"])
        inputs = [self._list(value) if isinstance(value, tuple) else self.text.of(value) for value in item.inputs]
        if item.array:
            return self._array(item, inputs)
        if isinstance(item.function, Function):
            return self._function(item, item.function, inputs)
        return self._block(item, inputs) if item.block else self._layer(item, inputs)

    def collected(self, values: Sequence[Any]) -> str | None:
        """The variable in which a loop has collected just these values; None if there is none."""
        return next((name for name, kept in self.lists.items() if tuple(values) == tuple(kept)), None)

    def below(self, path: Sequence[Any]) -> tuple[Any, ...]:
        """A path without the function's own in front of it; of a module elsewhere all of it."""
        rest = _rest(path, self.base)
        return tuple(path) if rest is None else rest

    # The kinds of calls.

    def _parameter(self, item: Call) -> str:
        net, path = self._place(item)
        found = f"{net}.parameter({self.text.name(path)}, {self.text.of(item.options['shape'])})"
        dtype = item.options.get("dtype")
        if dtype is None:
            return found
        self.constants.numpy = True
        return f"{found}.astype(np.{dtype})"

    def _array(self, item: Call, inputs: list[str]) -> str:
        options = {key: self.text.of(value) for key, value in item.options.items()}
        self.constants.imports(item.function)
        if not CALL.match(item.function):
            inputs = [each if _is_simple(each) else f"({each})" for each in inputs]
        return POWER.sub(r"\1**\2", item.function.format(*inputs, **options))

    def _function(self, item: Call, function: Function, inputs: list[str]) -> str:
        net, path = self._place(item)
        required = [key for key, usual in function.parameters.items() if usual is REQUIRED]
        given = [self.text.of(item.options[key]) for key in required]
        named = [f"{key}={self.text.of(value)}" for key, value in item.options.items() if key not in required]
        return _call(function.name, [self.text.place(path, net), *inputs, *given, *named])

    def _block(self, item: Call, inputs: list[str]) -> str:
        self.constants.used.add(item.block)
        known = inspect.signature(block_of(item.block)).parameters
        net, path = self._place(item)
        names = []
        if "name" in known:  # the last part of the path is not the scope's, but the name of what it adds
            names = [self.text.name(path[-1:]) if path else "None"]
            path = path[:-1]

        positional, named = _split(item.options, known, lambda value: self._option(value, item.path or ()))
        arguments = [self.text.place(path, net), *inputs, *names, *positional, *named]
        return _call(item.block.rpartition(".")[2], arguments)

    def _layer(self, item: Call, inputs: list[str]) -> str:
        net, path = self._place(item)
        again = next((i for i, part in enumerate(path) if isinstance(part, str) and "@" in part), None)
        if again is not None:
            net, path = self.text.place(path[: again + 1], net), path[again + 1 :]
            net = net if net.endswith(")") else f"({net})"
        method = getattr(Network, item.function, None)
        known = inspect.signature(method).parameters if method is not None else {}
        positional, named = _split(item.options, known, lambda value: self._option(value, self.base))
        optional = "name" in known and known["name"].default is None
        name = [] if not path and optional and not positional else [self.text.name(path) if path else "None"]
        return _call(f"{net}.{item.function}", [*inputs, *name, *positional, *named])

    # Their parts.

    def _list(self, values: Sequence[Any]) -> str:
        return self.collected(values) or f"[{', '.join(map(self.text.of, values))}]"

    def _option(self, value: Arg, base: Sequence[Any]) -> str:
        """An option; a name relative to the place `base`."""
        if not isinstance(value, Name):
            return self.text.of(value)
        rest = _rest(value.path, base)
        return self.text.name(value.path if rest is None else rest)

    def _place(self, item: Call) -> tuple[str, tuple[Any, ...]]:
        """The scope that a call's path is below, the function's own or the network's, and the path from there."""
        assert item.path is not None
        rest = _rest(item.path, self.base)
        return ("net.root", item.path) if rest is None else ("net", rest)


def _call(function: str, arguments: Sequence[str]) -> str:
    return f"{function}({', '.join(arguments)})"


def _split(
    options: Mapping[str, Arg], known: Mapping[str, inspect.Parameter], written: Callable[[Arg], str]
) -> tuple[list[str], list[str]]:
    """The texts of options that are given by position, and of those that are given by keyword."""
    positional: list[str] = []
    named: list[str] = []
    for key, value in options.items():
        required = key in known and known[key].default is inspect.Parameter.empty
        plain = required and known[key].kind is not inspect.Parameter.KEYWORD_ONLY
        if plain and not named and (key in POSITIONAL or isinstance(value, Name)):
            positional.append(written(value))
        else:
            named.append(f"{key}={written(value)}")
    return positional, named


def _rest(path: Sequence[Any], base: Sequence[Any]) -> tuple[Any, ...] | None:
    """What of a path is below another one, in whichever call of the modules in that; None if it is elsewhere."""
    first_call = tuple(part.split("@")[0] if isinstance(part, str) else part for part in base)
    return tuple(path[len(base) :]) if tuple(path[: len(base)]) in (tuple(base), first_call) else None


def _is_simple(text: str) -> bool:
    """Whether an expression needs no parentheses in another."""
    depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0 and sign == " ":
            return False
    return True
