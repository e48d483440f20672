"""Marking layers as outputs."""

import fnmatch
from typing import Any

from netdefs.core.errors import NetworkError
from netdefs.core.network import tensors_of
from netdefs.core.scope import near


def mark(network: Any, pattern: str) -> list[str]:
    """Marks every tensor whose name matches `pattern` as an output, in addition to those there are.

    Marking keeps TensorRT from fusing across the layer, which can change its speed and its last digits.

    Args:
        network: a `Network` or a raw `INetworkDefinition`.
        pattern: a name, or a glob such as "layer1.*" (`*` also matches dots).

    Returns:
        The names that match, in execution order.

    Raises:
        NetworkError: nothing matches.
    """
    definition = getattr(network, "definition", network)
    tensors = tensors_of(definition)
    found = [t for t in tensors if fnmatch.fnmatchcase(t.name, pattern) and not t.is_network_input]
    if not found:
        raise NetworkError(f"No layer's output matches {pattern!r}.{near(pattern, [t.name for t in tensors])}")
    for tensor in found:
        if not tensor.is_network_output:
            definition.mark_output(tensor)
    return [tensor.name for tensor in found]
