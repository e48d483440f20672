"""Darknet's networks through TensorRT: the layers of a list, one after the other.

Upstream: https://github.com/AlexeyAB/darknet (public domain), src/*_layer.c.
"""

from collections.abc import Sequence

from netdefs.core.blocks import conv_bn
from netdefs.core.network import Network
from netdefs.core.scope import Tensor, configure
from netdefs.core.yolo.darknet_layers import (
    CLASSES,
    Conv,
    Layer,
    Names,
    Pool,
    Reorg,
    Route,
    Shortcut,
    Upsample,
    absolute,
)
from netdefs.core.yolo.ultralytics import activation, same


def add_layers(net: Network, x: Tensor, layers: Sequence[Layer], names: Sequence[Names], eps: float) -> list[Tensor]:
    """Adds a list of layers to `net`; returns what each of them gives, and for a `Detect` what it is given."""
    outputs: list[Tensor] = []
    for i, (layer, name) in enumerate(zip(layers, names, strict=True)):
        if isinstance(layer, Conv):
            x = convolutional(net, x, layer, name, eps)
        elif isinstance(layer, Pool):
            x = max_pool(net, x, name[0], layer.size, layer.stride)
        elif isinstance(layer, Route):
            x = route(net, [outputs[absolute(number, i)] for number in layer.layers], name[0], layer)
        elif isinstance(layer, Shortcut):
            x = net.add(x, outputs[absolute(layer.layer, i)], name[0])
        elif isinstance(layer, Upsample):
            x = net.upsample(x, name[0], scale_factor=layer.stride)
        elif isinstance(layer, Reorg):
            x = reorg(net, x, name[0], layer.stride)
        outputs.append(x)
    return outputs


def convolutional(net: Network, x: Tensor, layer: Conv, names: Names, eps: float) -> Tensor:
    """A convolution with its batch norm, or a bias, and its activation: the one that the weights tell of, if they do.

    Modules that hold just that get its value under their names too, by identity layers, which TensorRT removes.
    """
    conv, bn, act, *holders = names
    assert layer.filters is not None, "with_heads gives heads their filters"
    size, padding = layer.size, layer.size // 2
    if layer.batch_norm:
        x = conv_bn(net, x, conv, bn, layer.filters, size, layer.stride, padding, groups=layer.groups, eps=eps)
        x = activation(net / act, x, net.weights.activation(net.path_of(conv)) or CLASSES[layer.activation])
    else:
        x = net.conv(x, conv, layer.filters, size, layer.stride, padding, groups=layer.groups)
        x = net.sigmoid(x, act) if layer.activation == "logistic" else x
    for name in holders:
        x = same(net / name, x)
    return x


def max_pool(net: Network, x: Tensor, name: str, size: int, stride: int) -> Tensor:
    """Darknet's [maxpool]: windows that hang over the edge see the pixels inside only.

    So an even size at stride 1 keeps the input's size, as if its last row and column were there twice.
    """
    if size % 2 or stride == size:
        return net.max_pool(x, name, size, stride, size // 2 if stride == 1 else 0)
    layer = net.definition.add_pooling_nd(x, net.trt.PoolingType.MAX, (size, size))
    before, behind = (size - 1) // 2, size // 2
    configure(layer, stride_nd=(stride, stride), pre_padding=(before, before), post_padding=(behind, behind))
    return net.layer(layer, name, x)


def route(net: Network, tensors: Sequence[Tensor], name: str, layer: Route) -> Tensor:
    """The tensors' channels behind each other, or one group of them."""
    if len(tensors) > 1:
        return net.concat(tensors, name, dim=1)
    (x,) = tensors
    if layer.groups == 1:
        return same(net / name, x)
    size = net.known_size(x, 1, name) // layer.groups
    return net.slice(x, name, dim=1, start=size * layer.group, end=size * (layer.group + 1))


def reorg(net: Network, x: Tensor, name: str, stride: int) -> Tensor:
    """Darknet's [reorg]: (N, C, H, W) -> (N, C * stride^2, H / stride, W / stride).

    It takes blocks of stride x stride apart, but not of its input's pixels: it reads the input as if it had the shape
    (C / stride^2, H * stride, W * stride). The networks that have it were trained with it.
    """
    channels, height, width = (net.known_size(x, axis, name) for axis in (1, 2, 3))
    x = net.reshape(x, f"{name}.blocks", (0, channels // stride**2, height, stride, width, stride))
    x = net.permute(x, f"{name}.permute", (0, 3, 5, 1, 2, 4))
    return net.reshape(x, name, (0, channels * stride**2, height // stride, width // stride))
