"""Blocks that networks share: functions over a path, with PyTorch's names for what they are made of."""

from collections.abc import Callable
from typing import Any

from netdefs.core.network import Network
from netdefs.core.scope import IntPair, Tensor, pair

Block = Callable[..., Tensor]


def conv_bn(
    net: Network,
    x: Tensor,
    conv: str,
    bn: str,
    out_channels: int,
    kernel: IntPair,
    stride: IntPair = 1,
    padding: IntPair | None = None,
    dilation: IntPair = 1,
    groups: int = 1,
    bias: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """A convolution and its batch norm: two layers, named as their modules.

    `padding` is by default what keeps the size at stride 1 with an odd kernel. With the network's `fold_bn` the two
    become one convolution, named after the batch norm, since that is whose output it gives.
    """
    if padding is None:
        (kh, kw), (dh, dw) = pair(kernel), pair(dilation)
        padding = (dh * (kh // 2), dw * (kw // 2))
    if net.fold_bn:
        return net.folded_conv(x, conv, bn, out_channels, kernel, stride, padding, dilation, groups, bias, eps)
    x = net.conv(x, conv, out_channels, kernel, stride, padding, dilation, groups, bias)
    return net.batch_norm(x, bn, eps)


def conv_bn_relu(
    net: Network,
    x: Tensor,
    conv: str,
    bn: str,
    out_channels: int,
    kernel: IntPair,
    stride: IntPair = 1,
    relu: str | None = None,
    **options: Any,
) -> Tensor:
    """`conv_bn`, whose further options it takes, and a ReLU: called `relu`, or by default `<bn>.relu`."""
    x = conv_bn(net, x, conv, bn, out_channels, kernel, stride, **options)
    return net.relu(x, relu or f"{bn}.relu")


def shortcut(net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5) -> Tensor:
    """What a residual block adds: its input, or `downsample.0`, `downsample.1` of it where size or channels change."""
    if stride == 1 and x.shape[1] == channels:
        return x
    return conv_bn(net / "downsample", x, "0", "1", channels, kernel=1, stride=stride, eps=eps)


def basic_block(net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5) -> Tensor:
    """ResNet's block of two 3x3 convolutions: (N, C, H, W) -> (N, channels, H / stride, W / stride)."""
    out = conv_bn_relu(net, x, "conv1", "bn1", channels, kernel=3, stride=stride, eps=eps)
    out = conv_bn(net, out, "conv2", "bn2", channels, kernel=3, eps=eps)
    return net.relu(net.add(out, shortcut(net, x, channels, stride, eps), "add"))


def bottleneck(
    net: Network,
    x: Tensor,
    channels: int,
    stride: int = 1,
    groups: int = 1,
    base_width: int = 64,
    eps: float = 1e-5,
    stride_first: bool = False,
) -> Tensor:
    """ResNet's 1x1, 3x3, 1x1 block, strided on the 3x3: (N, C, H, W) -> (N, 4 * channels, H / stride, W / stride).

    `groups` and `base_width` make it ResNeXt's and Wide ResNet's; `stride_first`, the stride on the first 1x1, Caffe's.
    """
    width = channels * base_width // 64 * groups
    first, second = (stride, 1) if stride_first else (1, stride)
    out = conv_bn_relu(net, x, "conv1", "bn1", width, kernel=1, stride=first, eps=eps)
    out = conv_bn_relu(net, out, "conv2", "bn2", width, kernel=3, stride=second, groups=groups, eps=eps)
    out = conv_bn(net, out, "conv3", "bn3", 4 * channels, kernel=1, eps=eps)
    return net.relu(net.add(out, shortcut(net, x, 4 * channels, stride, eps), "add"))


def layer(net: Network, x: Tensor, block: Block, channels: int, blocks: int, stride: int = 1, **options: Any) -> Tensor:
    """`blocks` blocks in a row, called 0, 1 ...; the first has the stride. `options` go to every block."""
    for i in range(blocks):
        x = block(net / i, x, channels, stride=stride if i == 0 else 1, **options)
    return x


def upsample(net: Network, x: Tensor, out_channels: int, scale_factor: int, eps: float = 1e-5) -> Tensor:
    """A 1x1 convolution `0`, its batch norm `1` and nearest upsampling `2`, as in HRNet's fuse layers."""
    x = conv_bn(net, x, "0", "1", out_channels, kernel=1, eps=eps)
    return net.upsample(x, "2", scale_factor=scale_factor)


def squeeze_excite(net: Network, x: Tensor, reduce: str, expand: str, squeeze_channels: int) -> Tensor:
    """Squeeze-and-excitation (https://arxiv.org/abs/1709.01507) with 1x1 convolutions `reduce` and `expand`.

    The channels of x, (N, C, H, W), are scaled by sigmoid(expand(relu(reduce(mean of x)))); named after the scope.
    """
    s = net.global_avg_pool(x, "avgpool")
    s = net.relu(net.conv(s, reduce, squeeze_channels, kernel=1), f"{reduce}.relu")
    s = net.sigmoid(net.conv(s, expand, int(x.shape[1]), kernel=1), f"{expand}.sigmoid")
    return net.mul(x, s)
