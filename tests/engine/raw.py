"""Small networks made with TensorRT itself: what `netdefs.build` must take without netdefs' own builders."""

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.dtypes import float32_to_bfloat16

KEEP = []  # weights that TensorRT only points to


def convert(trt, array, dtype):
    """Weights of a TensorRT type, from float32."""
    array = np.ascontiguousarray(array, np.float32)
    if dtype == trt.bfloat16:
        bits = float32_to_bfloat16(array)
        KEEP.append(bits)
        return trt.Weights(trt.bfloat16, bits.ctypes.data, bits.size)
    return np.ascontiguousarray(array.astype(trt.nptype(dtype)))


def empty(name="raw", package="tensorrt_rtx"):
    """(module, INetworkDefinition) with nothing in it."""
    trt = tensorrt.load(package)
    builder = trt.Builder(tensorrt.logger_of(trt).bridge)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    definition.name = name
    return trt, definition


def named(layer, name):
    """A layer's output, after both were named."""
    layer.name = name
    layer.get_output(0).name = name
    return layer.get_output(0)


# Multiples of 1/8 below 2: their products and sums are exact in float32, in any order, but not in half precision. So
# what a half network must give is known to the last bit.
def coarse(shape, seed):
    return (np.random.default_rng(seed).integers(-15, 16, shape) / 8).astype(np.float32)


def fine(shape, seed):
    """As coarse, but no half type holds all of these, and what is left of them still makes exact sums in float32."""
    return (np.random.default_rng(seed).integers(-8191, 8192, shape) / 4096).astype(np.float32)


WEIGHTS = {
    "kernel": coarse((8, 3, 3, 3), 1),
    "bias": coarse(8, 2),
    "scale": coarse(8, 3),
    "shift": coarse(8, 4),
}


def conv_scale_relu(dtype="float32", shape=(1, 3, 8, 8), package="tensorrt_rtx", io="float32", weights=WEIGHTS):
    """x -> cast -> conv (3x3, padding 1) -> bn (a Scale) -> relu -> out, a cast back: an INetworkDefinition.

    Args:
        dtype: the type inside.
        shape: of the input, -1 for a dynamic size.
        io: the type of the input and the output.
    """
    trt, definition = empty("conv_scale_relu", package)
    inner, outer = getattr(trt, dtype), getattr(trt, io)
    x = definition.add_input("x", outer, shape)
    if inner != outer:
        x = named(definition.add_cast(x, inner), "x.cast")
    channels = weights["kernel"].shape[0]
    kernel, bias = convert(trt, weights["kernel"], inner), convert(trt, weights["bias"], inner)
    conv = definition.add_convolution_nd(x, channels, (3, 3), kernel, bias)
    conv.padding_nd = (1, 1)
    y = named(conv, "conv")
    shift, scale = convert(trt, weights["shift"], inner), convert(trt, weights["scale"], inner)
    power = convert(trt, np.ones(channels), inner)
    y = named(definition.add_scale_nd(y, trt.ScaleMode.CHANNEL, shift, scale, power, 1), "bn")
    y = named(definition.add_activation(y, trt.ActivationType.RELU), "relu")
    y = named(definition.add_cast(y, outer) if inner != outer else definition.add_identity(y), "out")
    definition.mark_output(y)
    return definition


def two_inputs(package="tensorrt_rtx"):
    """sum = a + b and product = a * b, both (2, 3): an INetworkDefinition."""
    trt, definition = empty("two_inputs", package)
    a, b = definition.add_input("a", trt.float32, (2, 3)), definition.add_input("b", trt.float32, (2, 3))
    for name, operation in (("sum", trt.ElementWiseOperation.SUM), ("product", trt.ElementWiseOperation.PROD)):
        definition.mark_output(named(definition.add_elementwise(a, b, operation), name))
    return definition
