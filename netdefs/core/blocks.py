"""Blocks that networks share: functions over a path, with PyTorch's names for what they are made of."""

from collections.abc import Callable, Sequence
from typing import Any

from netdefs.core.network import Network
from netdefs.core.scope import IntPair, Tensor, pair

Block = Callable[..., Tensor]
Activation = Callable[[Network, Tensor, str], Tensor]


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

    `padding` is by default what keeps the size at stride 1 with an odd kernel. With the network's `fold_bn`, and where
    the convolution is quantized, the two become one, named after the batch norm, since that is whose output it gives.
    """
    if padding is None:
        (kh, kw), (dh, dw) = pair(kernel), pair(dilation)
        padding = (dh * (kh // 2), dw * (kw // 2))
    if net.folds(x, conv, bn):
        return net.folded_conv(x, conv, bn, out_channels, kernel, stride, padding, dilation, groups, bias, eps)
    x = net.conv(x, conv, out_channels, kernel, stride, padding, dilation, groups, bias, bn=bn)
    return net.batch_norm(x, bn, eps, conv=conv)


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


def deconv_bn(
    net: Network,
    x: Tensor,
    deconv: str,
    bn: str,
    out_channels: int,
    kernel: IntPair,
    stride: IntPair = 1,
    padding: IntPair = 0,
    output_padding: IntPair = 0,
    bias: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """A deconvolution and its batch norm, as `conv_bn`."""
    if net.folds(x, deconv, bn):
        return net.folded_deconv(x, deconv, bn, out_channels, kernel, stride, padding, output_padding, bias, eps)
    x = net.deconv(x, deconv, out_channels, kernel, stride, padding, output_padding, bias=bias, bn=bn)
    return net.batch_norm(x, bn, eps, conv=deconv)


def shortcut(net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5) -> Tensor:
    """What a residual block adds: its input, or `downsample.0`, `downsample.1` of it where size or channels change."""
    if stride == 1 and x.shape[1] == channels:
        return x
    return conv_bn(net / "downsample", x, "0", "1", channels, kernel=1, stride=stride, eps=eps)


def basic_block(
    net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5, relu: str | None = None
) -> Tensor:
    """ResNet's block of two 3x3 convolutions: (N, C, H, W) -> (N, channels, H / stride, W / stride).

    `relu` is what the first ReLU is called: where a module is used for it alone, that module's name.
    """
    out = conv_bn_relu(net, x, "conv1", "bn1", channels, kernel=3, stride=stride, relu=relu, eps=eps)
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


def squeeze_excite(
    net: Network,
    x: Tensor,
    reduce: str,
    expand: str,
    squeeze_channels: int,
    act: Activation = Network.relu,
    gate: Activation = Network.sigmoid,
    names: tuple[str, str] | None = None,
) -> Tensor:
    """Squeeze-and-excitation (https://arxiv.org/abs/1709.01507) with 1x1 convolutions `reduce` and `expand`.

    The channels of x, (N, C, H, W), are scaled by gate(expand(act(reduce(mean of x)))); named after the scope. `names`
    are those of `act` and `gate`, by default `<reduce>.relu` and `<expand>.sigmoid`.
    """
    inner, outer = names or (f"{reduce}.relu", f"{expand}.sigmoid")
    s = net.global_avg_pool(x, "avgpool")
    s = act(net, net.conv(s, reduce, squeeze_channels, kernel=1), inner)
    s = gate(net, net.conv(s, expand, int(x.shape[1]), kernel=1), outer)
    return net.mul(x, s)


def conv_bn_act(
    net: Network,
    x: Tensor,
    out_channels: int,
    kernel: IntPair,
    stride: IntPair = 1,
    act: Activation | None = Network.relu,
    groups: int = 1,
    start: int = 0,
    bias: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Convolution, batch norm and activation of an nn.Sequential: called `start` and the two numbers after it."""
    conv, bn, last = (str(start + i) for i in range(3))
    x = conv_bn(net, x, conv, bn, out_channels, kernel, stride, groups=groups, bias=bias, eps=eps)
    return x if act is None else act(net, x, last)


def inverted_residual(
    net: Network,
    x: Tensor,
    channels: int,
    kernel: int,
    stride: int,
    hidden: int,
    act: Activation,
    squeeze: int = 0,
    squeeze_act: Activation = Network.relu,
    gate: Activation = Network.sigmoid,
    eps: float = 1e-5,
) -> Tensor:
    """MobileNet V3's and EfficientNet's block: a 1x1 convolution to `hidden` channels, a depthwise one, a 1x1 back.

    Between the latter two is squeeze-and-excitation by way of `squeeze` channels, unless that is 0. Where size and
    channels stay the input is added.
    """
    at, out = 0, x
    if hidden != x.shape[1]:
        out, at = conv_bn_act(net / "block" / at, out, hidden, 1, act=act, eps=eps), at + 1
    out = conv_bn_act(net / "block" / at, out, hidden, kernel, stride, act=act, groups=hidden, eps=eps)
    if squeeze:
        at += 1
        names = ("activation", "scale_activation")
        out = squeeze_excite(net / "block" / at, out, "fc1", "fc2", squeeze, squeeze_act, gate, names)
    out = conv_bn_act(net / "block" / (at + 1), out, channels, 1, act=None, eps=eps)
    return net.add(out, x) if stride == 1 and x.shape[1] == channels else out


def layer_norm(net: Network, x: Tensor, name: str, dim: int = -1, eps: float = 1e-6) -> Tensor:
    """`Network.layer_norm` over one axis, with the eps of vision transformers. Weights: `name.weight`, `name.bias`."""
    return net.layer_norm(x, name, dim, eps)


def attend(
    net: Network, query: Tensor, key: Tensor, value: Tensor, heads: int, biases: Sequence[Tensor] = ()
) -> Tensor:
    """Attention in `heads` parts of the channels, each softmax(q k^T / sqrt(channels of a part) + biases) v.

    All are (N, ..., L, C), of fixed sizes but for N, and so is the result; `biases` broadcast to (N, ..., heads, L, L).
    """
    *middle, count, hidden = (int(size) for size in query.shape[1:])
    first, part = len(middle) + 1, hidden // heads
    outer, turned, plain = tuple(range(first)), (first + 1, first + 2, first), (first + 1, first, first + 2)
    query, key, value = (
        net.permute(net.reshape(x, f"{name}.heads", (0, *middle, count, heads, part)), name, outer + order)
        for x, name, order in ((query, "q", plain), (key, "k", turned), (value, "v", plain))
    )
    scores = net.mul(net.matmul(query, key, "scores"), part**-0.5, "scores.scaled")
    for i, bias in enumerate(biases):
        scores = net.add(scores, bias, f"scores.biased.{i}")
    out = net.matmul(net.softmax(scores, "weights", dim=first + 2), value, "weighted")
    return net.reshape(net.permute(out, "weighted.tokens", outer + plain), "joined", (0, *middle, count, hidden))


def make_divisible(channels: float, divisor: int = 8, least: float = 0.9) -> int:
    """The multiple of `divisor` next to a number of channels, one further where that is less than `least` of it."""
    found = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return found if found >= least * channels else found + divisor


def unit_length(net: Network, x: Tensor) -> Tensor:
    """x / ||x||, the length taken over axis 1; in float32: half precision can't hold a sum of hundreds of squares."""
    trt, definition = net.trt, net.definition
    x = net.cast(x, "float", trt.float32)
    squares = net.mul(x, x, "squares")
    total = net.layer(definition.add_reduce(squares, trt.ReduceOperation.SUM, 0b10, True), "total", squares)
    length = net.layer(definition.add_unary(total, trt.UnaryOperation.SQRT), "length", total)
    return net.div(x, length, "unit")
