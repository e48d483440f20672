"""DLA-34 with CenterNet's way back to a quarter of the size: deep layer aggregation, with deformable convolutions.

Paper: https://arxiv.org/abs/1707.06484.
Upstream: xingyizhou/CenterNet, src/lib/models/networks/pose_dla_dcn.py (MIT).
"""

from collections.abc import Sequence

from netdefs.core.blocks import conv_bn, conv_bn_relu
from netdefs.core.network import Network
from netdefs.core.scope import Tensor


def dla34_up(net: Network, x: Tensor, eps: float) -> Tensor:
    """(N, 3, H, W) -> (N, 64, H / 4, W / 4)."""
    levels = dla34(net / "base", x, eps)[2:]
    found = [levels[-1]]
    for i, (channels, start) in enumerate(((256, 2), (128, 1), (64, 0))):
        levels[start:] = aggregate(net / "dla_up" / f"ida_{i}", levels[start:], channels, (1, 2, 2, 2), eps)
        found.insert(0, levels[-1])
    return aggregate(net / "ida_up", found[:3], 64, (1, 2, 4), eps)[-1]


def dla34(net: Network, x: Tensor, eps: float) -> list[Tensor]:
    """The trunk: six pictures, each half as large as the one before it, from (N, 16, H, W) on."""
    net.ignore("fc.*")  # of ImageNet's classes
    for level in ("level3", "level4"):  # trees of two levels, which look at their first tree's projection
        (net / level).ignore("project.*")
    x = conv_bn_relu(net / "base_layer", x, "0", "1", 16, kernel=7, relu="2", eps=eps)
    found = [conv_bn_relu(net / "level0", x, "0", "1", 16, kernel=3, relu="2", eps=eps)]
    found.append(conv_bn_relu(net / "level1", found[-1], "0", "1", 32, kernel=3, stride=2, relu="2", eps=eps))
    for i, (levels, channels) in enumerate(((1, 64), (2, 128), (2, 256), (1, 512)), start=2):
        found.append(tree(net / f"level{i}", found[-1], levels, channels, eps, stride=2, rooted=i > 2))
    return found


def tree(
    net: Network,
    x: Tensor,
    levels: int,
    channels: int,
    eps: float,
    stride: int = 1,
    rooted: bool = False,
    children: Sequence[Tensor] = (),
) -> Tensor:
    """Two blocks, or two trees of a level less, and a root: a 1x1 convolution of what they and `children` gave.

    `rooted` trees give their root their own input too, at the size of the output.
    """
    bottom = net.max_pool(x, "downsample", kernel=stride) if stride > 1 and (levels == 1 or rooted) else x
    if rooted:
        children = (*children, bottom)
    if levels > 1:
        first = tree(net / "tree1", x, levels - 1, channels, eps, stride)
        return tree(net / "tree2", first, levels - 1, channels, eps, children=(*children, first))
    skip = bottom
    if bottom.shape[1] != channels:
        skip = conv_bn(net / "project", bottom, "0", "1", channels, kernel=1, eps=eps)
    first = block(net / "tree1", x, skip, channels, stride, eps)
    second = block(net / "tree2", first, first, channels, 1, eps)
    joined = net.concat([second, first, *children], "root.concat", dim=1)
    return conv_bn_relu(net / "root", joined, "conv", "bn", channels, kernel=1, relu="relu", eps=eps)


def block(net: Network, x: Tensor, skip: Tensor, channels: int, stride: int, eps: float) -> Tensor:
    """Two 3x3 convolutions, and a sum with `skip`."""
    out = conv_bn_relu(net, x, "conv1", "bn1", channels, kernel=3, stride=stride, eps=eps)
    out = conv_bn(net, out, "conv2", "bn2", channels, kernel=3, eps=eps)
    return net.relu(net.add(out, skip, "add"))


def aggregate(net: Network, levels: Sequence[Tensor], channels: int, scales: Sequence[int], eps: float) -> list[Tensor]:
    """Each level brought to the first one's size and summed with what came of the one before it."""
    found = [levels[0]]
    for i, level in enumerate(levels[1:], start=1):
        up = deformable_unit(net / f"proj_{i}", level, channels, eps)
        factor = scales[i]
        up = net.deconv(
            up, f"up_{i}", channels, 2 * factor, stride=factor, padding=factor // 2, groups=channels, bias=False
        )
        summed = net.add(up, found[-1], f"node_{i}.sum")
        found.append(deformable_unit(net / f"node_{i}", summed, channels, eps))
    return found


def deformable_unit(net: Network, x: Tensor, channels: int, eps: float) -> Tensor:
    """A deformable convolution `conv`, batch norm `actf.0` and ReLU `actf.1`."""
    x = net.batch_norm(modulated_conv(net, x, "conv", channels), "actf.0", eps)
    return net.relu(x, "actf.1")


def modulated_conv(net: Network, x: Tensor, name: str, channels: int) -> Tensor:
    """A deformable 3x3 convolution that reads where, and weighs by what, `<name>.conv_offset_mask` says."""
    told = net.conv(x, f"{name}.conv_offset_mask", 27, kernel=3, padding=1)
    offset, mask = net.split(told, f"{name}.told", [18, 9], dim=1)
    mask = net.sigmoid(mask, f"{name}.sigmoid")
    return net.deform_conv(x, offset, name, channels, kernel=3, padding=1, mask=mask)
