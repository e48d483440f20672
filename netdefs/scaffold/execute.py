"""Statements executed one by one on a network, without their text: what they add is what a draft of them would."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core import tables
from netdefs.core.network import Network
from netdefs.scaffold.library import block_of
from netdefs.scaffold.program import Arg, Call, Dim, Math, Name, Raw, Value

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


def execute(
    calls: Sequence[Call], net: Network, values: Mapping[Value, Any], path: Sequence[str] = ()
) -> dict[Value, Any]:
    """Adds what statements do to `net`; gives every value.

    Args:
        calls: the statements, in order.
        net: the place of the module that they are of.
        values: what they are given.
        path: the module's own, which is left off the paths of layers.
    """
    env = dict(values)
    for call in calls:
        results = _executed(call, net, env, tuple(path))
        several = len(call.results) > 1 or isinstance(results, tuple | list)
        env.update(zip(call.results, results if several else [results], strict=False))
    return env


def argument_of(arg: Arg, path: Sequence[str] = ()) -> Any:
    """An argument of a block of the library at `path`, as what it stands for."""
    if isinstance(arg, Raw):
        return eval(arg.text, {"Network": Network})
    return ".".join(arg.path[len(path) :]) if isinstance(arg, Name) else arg


def _executed(call: Call, net: Network, env: Mapping[Value, Any], base: tuple[str, ...]) -> Any:
    def of(arg: Arg) -> Any:
        if isinstance(arg, Value):
            return env[arg]
        if isinstance(arg, Dim):
            return int(env[arg.value].shape[arg.axis])
        if isinstance(arg, Math):
            return OPERATORS[arg.operator](of(arg.left), of(arg.right))
        if isinstance(arg, Raw):
            return eval(arg.text, {"net": net, "np": np, "Network": Network})
        return tuple(map(of, arg)) if isinstance(arg, tuple | list) else arg

    if call.function == "fixed":
        return call.options["value"].values
    inputs = [of(each) for each in call.inputs]
    if call.array:
        options = {f"o_{key}": of(value) for key, value in call.options.items()}
        given = {f"a{i}": each for i, each in enumerate(inputs)}
        text = call.function.format(*given, **{key: f"o_{key}" for key in call.options})
        return eval(text, {"np": np, **vars(tables), **given, **options})
    place, name = _place(net, call.path or (), base)
    if "." in call.function:
        arguments = {key: argument_of(value, call.path or ()) for key, value in call.options.items()}
        return block_of(call.function)(_below(place, name.split(".") if name else ()), *inputs, **arguments)
    options = {key: of(value) for key, value in call.options.items()}
    if call.function == "parameter":
        found = place.parameter(name or "", options["shape"])
        return found.astype(options["dtype"]) if "dtype" in options else found
    return getattr(place, call.function)(*inputs, name, **options)


def _place(net: Network, path: tuple[str, ...], base: tuple[str, ...]) -> tuple[Network, str | None]:
    """Where a layer is, and its name there."""
    # What is elsewhere has no weights: a module without any that many share, whose output is nobody's.
    rest = path[len(base) :] if path[: len(base)] == base else ("elsewhere", *path)
    at = next((i for i, part in enumerate(rest) if "@" in part), None)
    if at is None:
        return net, ".".join(rest) or None
    name, _, number = rest[at].partition("@")
    return _below(net, (*rest[:at], name)).call(int(number)), ".".join(rest[at + 1 :]) or None


def _below(net: Network, path: Sequence[str]) -> Network:
    for part in path:
        net = net / part
    return net
