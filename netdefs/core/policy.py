"""Which layers int8 and fp8 leave alone unless they are told otherwise: those that outputs and places come from."""

from collections.abc import Mapping, Sequence
from typing import Any

from netdefs.core.scope import Tensor

WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
AVERAGES = ("POOLING", "REDUCE")  # they take the rounding of many values out of each


def last_layers(definition: Any, outputs: Tensor | Mapping[str, Tensor] | Sequence[Tensor]) -> list[str]:
    """The layers with weights whose results reach an output without passing another one, or an average.

    What they round nothing behind them makes up for, and they are few. So it is with those that say where a deformable
    convolution reads.

    Args:
        definition: an INetworkDefinition.
        outputs: what a `define` returns.
    """
    tensors: Any = outputs.values() if isinstance(outputs, Mapping) else outputs
    waiting = [tensor.name for tensor in (tensors if not hasattr(tensors, "dtype") else [tensors])]
    made: dict[str, Any] = {}
    for layer in (definition.get_layer(i) for i in range(definition.num_layers)):
        made.update((layer.get_output(i).name, layer) for i in range(layer.num_outputs))
        if layer.type.name == "GRID_SAMPLE":
            waiting.append(layer.get_input(1).name)
    found, seen = [], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in made:
            continue
        seen.add(name)
        layer = made[name]
        if layer.type.name in WEIGHTED:
            found.append(layer.name.removesuffix(".matmul"))  # a linear layer with a bias is two
        elif layer.type.name not in AVERAGES:
            inputs = (layer.get_input(i) for i in range(layer.num_inputs))
            waiting += [tensor.name for tensor in inputs if tensor is not None]
    return found
