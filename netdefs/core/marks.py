"""Choosing layers by name, and marking them as outputs."""

import fnmatch
from collections.abc import Iterable
from typing import Any

from netdefs.core.errors import NetdefsError, NetworkError
from netdefs.core.network import definition_of, results_of
from netdefs.core.scope import near

GLOB = frozenset("*?[")  # the characters that make a glob of a name


def mark(network: Any, pattern: str) -> list[str]:
    """Marks every layer's output whose name matches `pattern` as an output, in addition to those there are.

    Marking keeps TensorRT from fusing across the layer, which can change its speed and its last digits.

    Args:
        network: a `Network` or a raw `INetworkDefinition`.
        pattern: a name, or a glob such as "layer1.*" (`*` also matches dots).

    Returns:
        The names that match, in execution order.

    Raises:
        NetworkError: nothing matches.
    """
    definition = definition_of(network)
    tensors = {tensor.name: tensor for tensor in results_of(definition)}
    found = matching(tensors, pattern)
    for name in found:
        if not tensors[name].is_network_output:
            definition.mark_output(tensors[name])
    return found


def matching(names: Iterable[str], pattern: str, error: type[NetdefsError] = NetworkError) -> list[str]:
    """The names that `pattern` matches, in their order.

    Args:
        names: of layers' outputs.
        pattern: one of them, or a glob (`*` also matches dots).
        error: the class of the error.

    Raises:
        NetdefsError: none does; the message has the nearest names.
    """
    names = list(names)
    if pattern in names and not GLOB.intersection(pattern):
        return [pattern]
    found = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise error(f"No layer's output matches {pattern!r}.{near(pattern, names)}")
    return found
