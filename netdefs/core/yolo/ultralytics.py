"""The blocks of Ultralytics' networks: YOLOv5, v8, 11, 12 and 26.

Upstream: ultralytics/ultralytics, ultralytics/nn/modules/{conv,block}.py, and ultralytics/yolov5, models/common.py
(both AGPL-3.0). Modules are called as there, and so are the arguments that a yaml file gives to them.

A block or a Sequential whose last layer already has a module's name gets that value a second time under its own, by an
identity layer, which TensorRT removes.
"""

from collections.abc import Callable

from netdefs.core.blocks import conv_bn
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor

Inner = Callable[[Network, Tensor], Tensor]  # what a CSP block repeats
EPS = 1e-3  # of every batch norm of a detector; classifiers have PyTorch's 1e-5


def conv(
    net: Network,
    x: Tensor,
    out_channels: int,
    kernel: int = 1,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    act: str | None = None,
    eps: float = EPS,
) -> Tensor:
    """Conv: convolution `conv`, batch norm `bn` and an activation, SiLU where neither `act` nor the weights tell.

    Where the weights have no `bn`, because the model was fused, `conv` has a bias instead.

    Args:
        net: the place of the module.
        x: (N, C, H, W).
        out_channels: of the result.
        kernel: its height and width.
        stride: of the convolution.
        padding: half the kernel if None.
        groups: of the convolution.
        act: PyTorch's class of the activation, with its argument where it has one: "SiLU", "LeakyReLU(0.1)".
        eps: of the batch norm, where the weights don't tell.
    """
    kind = act or net.weights.activation(net.path_of("conv")) or "SiLU"
    if _is_fused(net):
        x = net.conv(x, "conv", out_channels, kernel, stride, kernel // 2 if padding is None else padding, 1, groups)
    else:
        x = conv_bn(net, x, "conv", "bn", out_channels, kernel, stride, padding, groups=groups, eps=eps)
    return activation(net, x, kind)


def activation(net: Network, x: Tensor, kind: str) -> Tensor:
    """An activation by PyTorch's class, named after the scope; "Identity" is none.

    Raises:
        NetworkError: it is none that Ultralytics' networks are trained with.
    """
    name, _, argument = kind.removesuffix(")").partition("(")
    if name == "Identity":
        return same(net, x)
    if name == "LeakyReLU":
        return net.leaky_relu(x, negative_slope=float(argument or 0.01))
    known = {"SiLU": net.silu, "ReLU": net.relu, "Hardswish": net.hardswish, "Mish": net.mish, "GELU": net.gelu}
    if name not in known or argument:
        raise NetworkError(
            f"{net.path}: the weights say that its activation is {kind}, which these networks can't have here; "
            f"they can have {', '.join(known)}, LeakyReLU or Identity."
        )
    return known[name](x)


def same(net: Network, x: Tensor) -> Tensor:
    """`x` under the name of this scope."""
    return net.identity(x)


def bottleneck(
    net: Network,
    x: Tensor,
    kernels: tuple[int, int] = (3, 3),
    shortcut: bool = True,
    expansion: float = 0.5,
    eps: float = EPS,
) -> Tensor:
    """Bottleneck: convolutions `cv1`, `cv2` with `expansion` times the channels between them, and the input added."""
    channels = int(x.shape[1])
    y = conv(net / "cv1", x, int(channels * expansion), kernels[0], eps=eps)
    y = conv(net / "cv2", y, channels, kernels[1], eps=eps)
    return net.add(x, y) if shortcut else same(net, y)


def c2f(
    net: Network,
    x: Tensor,
    out_channels: int,
    repeats: int = 1,
    shortcut: bool = False,
    expansion: float = 0.5,
    inner: Inner | None = None,
    eps: float = EPS,
) -> Tensor:
    """C2f: half of `cv1` goes through `m`, and all that comes by is joined and mixed by `cv2`.

    `inner` is what `m` repeats: by default `bottleneck` with 3x3 convolutions of full width.
    """

    def usual(net: Network, x: Tensor) -> Tensor:
        return bottleneck(net, x, shortcut=shortcut, expansion=1.0, eps=eps)

    hidden = int(out_channels * expansion)
    parts = net.split(conv(net / "cv1", x, 2 * hidden, eps=eps), "split", hidden, dim=1)
    for i in range(repeats):
        parts.append((inner or usual)(net / "m" / i, parts[-1]))
    return same(net, conv(net / "cv2", net.concat(parts, "concat", dim=1), out_channels, eps=eps))


def c3(
    net: Network,
    x: Tensor,
    out_channels: int,
    repeats: int = 1,
    shortcut: bool = True,
    kernels: tuple[int, int] = (1, 3),
    eps: float = EPS,
) -> Tensor:
    """C3: `cv1` and bottlenecks `m` beside `cv2`, joined and mixed by `cv3`."""
    hidden = out_channels // 2
    y = conv(net / "cv1", x, hidden, eps=eps)
    for i in range(repeats):
        y = bottleneck(net / "m" / i, y, kernels, shortcut, expansion=1.0, eps=eps)
    y = same(net / "m", y)
    y = net.concat([y, conv(net / "cv2", x, hidden, eps=eps)], "concat", dim=1)
    return same(net, conv(net / "cv3", y, out_channels, eps=eps))


def c3k(net: Network, x: Tensor, eps: float = EPS) -> Tensor:
    """C3k as other blocks repeat it: `c3` with two bottlenecks of 3x3 convolutions, as many channels out as in."""
    return c3(net, x, int(x.shape[1]), repeats=2, kernels=(3, 3), eps=eps)


def c3k2(
    net: Network,
    x: Tensor,
    out_channels: int,
    repeats: int,
    nested: bool,
    expansion: float = 0.5,
    attention: bool = False,
    eps: float = EPS,
) -> Tensor:
    """C3k2: `c2f` of bottlenecks, if `nested` of `c3k`, with `attention` of a bottleneck and a `psa_block` each."""

    def inner(net: Network, x: Tensor) -> Tensor:
        if attention:
            return same(net, psa_block(net / 1, bottleneck(net / 0, x, eps=eps), eps))
        return c3k(net, x, eps) if nested else bottleneck(net, x, eps=eps)

    return c2f(net, x, out_channels, repeats, expansion=expansion, inner=inner, eps=eps)


def sppf(
    net: Network,
    x: Tensor,
    out_channels: int,
    kernel: int = 5,
    shortcut: bool = False,
    act: str | None = None,
    usual_act: str = "SiLU",
    eps: float = EPS,
) -> Tensor:
    """SPPF: `cv1`, three max pools in a row, everything joined and mixed by `cv2`.

    The activation of `cv1` is `act`, or what the weights tell, or `usual_act`: upstream's versions differ in it.
    """
    first = net / "cv1"
    act = act or net.weights.activation(first.path_of("conv")) or usual_act
    parts = [conv(first, x, int(x.shape[1]) // 2, act=act, eps=eps)]
    for i in range(3):
        parts.append(net.max_pool(parts[-1], f"m.{i}", kernel, stride=1, padding=kernel // 2))
    y = conv(net / "cv2", net.concat(parts, "concat", dim=1), out_channels, eps=eps)
    return net.add(x, y) if shortcut else same(net, y)


def c2psa(net: Network, x: Tensor, repeats: int, eps: float = EPS) -> Tensor:
    """C2PSA: half of `cv1` goes through `psa_block`s `m`, both halves are mixed by `cv2`."""
    channels = int(x.shape[1])
    a, b = net.split(conv(net / "cv1", x, 2 * (channels // 2), eps=eps), "split", channels // 2, dim=1)
    for i in range(repeats):
        b = psa_block(net / "m" / i, b, eps)
    b = same(net / "m", b)
    return same(net, conv(net / "cv2", net.concat([a, b], "concat", dim=1), channels, eps=eps))


def psa_block(net: Network, x: Tensor, eps: float = EPS) -> Tensor:
    """PSABlock: attention `attn` and two convolutions `ffn`, the input of each added; a head for every 64 channels."""
    channels = int(x.shape[1])
    heads = max(channels // 64, 1)
    width = channels // heads
    x = net.add(x, attention(net / "attn", x, heads, width // 2, kernel=3, eps=eps), "add")
    y = conv(net / "ffn" / 0, x, 2 * channels, eps=eps)
    return net.add(x, same(net / "ffn", conv(net / "ffn" / 1, y, channels, act="Identity", eps=eps)))


def a2c2f(
    net: Network,
    x: Tensor,
    out_channels: int,
    repeats: int,
    areas: int | None,
    scaled: bool = False,
    mlp_ratio: float = 2.0,
    eps: float = EPS,
) -> Tensor:
    """A2C2f of YOLO12: `cv1`, blocks `m` and all that comes by joined and mixed by `cv2`.

    A block is a `c3k` if `areas` is None, else two `area_block`s. If `scaled`, the input is added, to the result times
    `gamma`.
    """
    parts = [conv(net / "cv1", x, out_channels // 2, eps=eps)]
    for i in range(repeats):
        block = net / "m" / i
        if areas is None:
            parts.append(c3k(block, parts[-1], eps))
        else:
            y = area_block(block / 0, parts[-1], areas, mlp_ratio, eps)
            parts.append(same(block, area_block(block / 1, y, areas, mlp_ratio, eps)))
    y = conv(net / "cv2", net.concat(parts, "concat", dim=1), out_channels, eps=eps)
    if areas is None or not scaled:
        return same(net, y)
    gamma = net.weights.take(net.path_of("gamma"), (out_channels,)).reshape(1, -1, 1, 1)
    return net.add(x, net.mul(y, net.constant(gamma, "gamma", like=y), "scaled"))


def area_block(net: Network, x: Tensor, areas: int, mlp_ratio: float, eps: float = EPS) -> Tensor:
    """ABlock of YOLO12: attention inside each area `attn` and two convolutions `mlp`, the input of each added."""
    channels = int(x.shape[1])
    x = net.add(x, attention(net / "attn", x, channels // 32, 32, kernel=7, areas=areas, eps=eps), "add")
    y = conv(net / "mlp" / 0, x, int(channels * mlp_ratio), eps=eps)
    return net.add(x, same(net / "mlp", conv(net / "mlp" / 1, y, channels, act="Identity", eps=eps)))


def attention(
    net: Network, x: Tensor, heads: int, key_size: int, kernel: int, areas: int = 1, eps: float = EPS
) -> Tensor:
    """Attention and AAttn: `qkv`, `proj`, and `pe`, a depthwise convolution of the values that tells positions.

    Args:
        net: the place of the module.
        x: (N, C, H, W), C a multiple of `heads`.
        heads: of C / heads channels each.
        key_size: channels of a query and of a key.
        kernel: of `pe`.
        areas: how many parts the pixels, row by row, are cut into; each attends to itself only.
        eps: of the batch norms, where the weights don't tell.
    """
    channels = int(x.shape[1])
    size = channels // heads

    def pixels(y: Tensor, name: str) -> Tensor:
        return net.reshape(net.permute(y, f"{name}.permute", (0, 1, 3, 2, 4)), name, (0, channels, 0, 0), like=x)

    y = conv(net / "qkv", x, channels + 2 * key_size * heads, act="Identity", eps=eps)
    y = net.reshape(y, "heads", (0, heads, 2 * key_size + size, areas, -1))
    y = net.permute(y, "areas", (0, 1, 3, 2, 4))
    q, k, v = net.split(y, "part", (key_size, key_size, size), dim=3)
    q = net.mul(q, key_size**-0.5, "scaled")
    weight = net.softmax(net.matmul(q, k, "product", transpose_a=True), "softmax", dim=-1)
    mixed = net.matmul(v, weight, "mixed", transpose_b=True)
    place = conv(net / "pe", pixels(v, "values"), channels, kernel, groups=channels, act="Identity", eps=eps)
    y = net.add(pixels(mixed, "pixels"), place, "add")
    return same(net, conv(net / "proj", y, channels, act="Identity", eps=eps))


def upsample_concat(net: Network, number: int, x: Tensor, other: Tensor) -> Tensor:
    """Two modules, `number` and the next: x twice as large, and joined with another map."""
    x = net.upsample(x, str(number), scale_factor=2)
    return net.concat([x, other], str(number + 1), dim=1)


def _is_fused(net: Network) -> bool:
    return net.path_of("conv.bias") in net.weights and net.path_of("bn.running_var") not in net.weights
