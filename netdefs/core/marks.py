"""Marking layers as outputs."""

import fnmatch
from typing import Any

from netdefs.core.errors import NetworkError
from netdefs.core.network import definition_of, results_of
from netdefs.core.scope import near


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
    tensors = results_of(definition)
    found = [tensor for tensor in tensors if fnmatch.fnmatchcase(tensor.name, pattern)]
    if not found:
        raise NetworkError(f"No layer's output matches {pattern!r}.{near(pattern, [t.name for t in tensors])}")
    for tensor in found:
        if not tensor.is_network_output:
            definition.mark_output(tensor)
    return [tensor.name for tensor in found]
