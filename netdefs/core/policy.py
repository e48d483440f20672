"""Which layers int8 and fp8 leave alone unless they are told otherwise: the last ones, and depthwise convolutions."""

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from netdefs.core import trt as tensorrt
from netdefs.core.scope import Tensor

WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
AVERAGES = ("POOLING", "REDUCE")  # they take the rounding of many values out of each
# A linear layer with as many inputs is such an average itself. Below this share of a network's weights, it is not worth
# it: in float32 it makes an int8 network larger by 3 * 5 % of what that would be in int8.
LARGE_INPUTS, LARGE_SHARE = 512, 0.05
GROUP = 4  # channels: what integer kernels multiply at a time


def kept_layers(definition: Any, outputs: Tensor | Mapping[str, Tensor] | Sequence[Tensor]) -> list[str]:
    """The `last_layers` and the `depthwise_layers`; arguments as there."""
    return [*last_layers(definition, outputs), *depthwise_layers(definition)]


def depthwise_layers(definition: Any) -> list[str]:
    """Convolutions of groups of less than `GROUP` channels.

    An integer kernel takes four channels of a group, so TensorRT-RTX joins zeros to every group of the input, as large
    as the picture and stored in the plan, and multiplies by them: three quarters of the work of a depthwise one. And
    the few weights of a channel leave rounding errors no others to cancel with.
    """
    trt, found = tensorrt.module_of(definition), []
    for layer in (definition.get_layer(i) for i in range(definition.num_layers)):
        if layer.type.name == "CONVOLUTION":
            layer.__class__ = trt.IConvolutionLayer
            if layer.num_groups > 1 and layer.get_input(0).shape[1] // layer.num_groups < GROUP:
                found.append(layer.name)
    return found


def last_layers(definition: Any, outputs: Tensor | Mapping[str, Tensor] | Sequence[Tensor]) -> list[str]:
    """The layers with weights whose results reach an output without passing another one, or an average.

    What they round nothing behind them makes up for, and they are few. So it is with those that say where a deformable
    convolution reads. Left out are large linear layers: those with `LARGE_INPUTS` inputs or more, that hold
    `LARGE_SHARE` or more of the network's weights. Each of their results is a sum of many roundings, which cancel.

    Args:
        definition: an INetworkDefinition in a floating-point type.
        outputs: what a `define` returns.
    """
    tensors: Any = outputs.values() if isinstance(outputs, Mapping) else outputs
    waiting = [tensor.name for tensor in (tensors if not hasattr(tensors, "dtype") else [tensors])]
    made: dict[str, Any] = {}
    for layer in (definition.get_layer(i) for i in range(definition.num_layers)):
        made.update((layer.get_output(i).name, layer) for i in range(layer.num_outputs))
        if layer.type.name == "GRID_SAMPLE":
            waiting.append(layer.get_input(1).name)
    sizes = {layer.name: _weights(layer, made, tensorrt.module_of(definition)) for layer in made.values()}
    large = LARGE_SHARE * sum(sizes.values())
    found, seen = [], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in made:
            continue
        seen.add(name)
        layer = made[name]
        if layer.type.name in WEIGHTED:
            linear = layer.type.name == "MATRIX_MULTIPLY" and layer.get_input(0).shape[-1] >= LARGE_INPUTS
            if not (linear and sizes[layer.name] >= large):
                found.append(layer.name.removesuffix(".matmul"))  # a linear layer with a bias is two
        elif layer.type.name not in AVERAGES:
            inputs = (layer.get_input(i) for i in range(layer.num_inputs))
            waiting += [tensor.name for tensor in inputs if tensor is not None]
    return found


def _weights(layer: Any, made: Mapping[str, Any], trt: ModuleType) -> int:
    """How many weights a layer has, biases not counted."""
    if layer.type.name in ("CONVOLUTION", "DECONVOLUTION"):
        layer.__class__ = trt.IConvolutionLayer if layer.type.name == "CONVOLUTION" else trt.IDeconvolutionLayer
        return int(layer.kernel.size)
    if layer.type.name == "MATRIX_MULTIPLY":
        factors = [layer.get_input(i) for i in range(2)]
        constant = [x for x in factors if x.name in made and made[x.name].type.name == "CONSTANT"]
        return sum(math.prod(x.shape) for x in constant)
    return 0
