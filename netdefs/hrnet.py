"""HRNet for image classification: branches of several resolutions side by side, fused again and again.

Paper: https://arxiv.org/abs/1908.07919.
Upstream: HRNet/HRNet-Image-Classification, lib/models/cls_hrnet.py (MIT); timm's hrnet_* have the same keys.

Input: (N, 3, H, W) RGB, ImageNet's mean and std, H and W multiples of 32; 224 x 224 by default.
Output: `logits` (N, num_classes).

`backbone` is also that of hrnet_seg, hrnet_pose and higherhrnet.
"""

from collections.abc import Sequence
from typing import Any

from netdefs.core.blocks import basic_block, bottleneck, conv_bn, conv_bn_relu, layer, upsample
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of


def config(
    width: int, stem: tuple[int, int] = (64, 4), blocks: int = 4, modules: tuple[int, int, int] = (1, 4, 3)
) -> dict[str, Any]:
    """What `backbone` is made of.

    Args:
        width: channels of the first branch; every further one has twice as many as the one before.
        stem: a quarter of the channels of layer1, and its blocks.
        blocks: residual blocks in every branch of a module.
        modules: modules in stages 2, 3 and 4.
    """
    return {"width": width, "stem": stem, "blocks": blocks, "modules": modules}


W18_SMALL_V1 = config(16, stem=(32, 1), blocks=2, modules=(1, 1, 1))
W18_SMALL_V2 = config(18, stem=(64, 2), blocks=2, modules=(1, 3, 2))

VARIANTS: dict[str, dict[str, Any]] = {
    "hrnet_w18_small": W18_SMALL_V1,
    "hrnet_w18_small_v2": W18_SMALL_V2,
    **{f"hrnet_w{width}": config(width) for width in (18, 30, 32, 40, 44, 48, 64)},
}
HEAD = (32, 64, 128, 256)  # a quarter of the head's channels, branch by branch


def define(
    net: Network, x: Tensor, variant: str = "hrnet_w18_small", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds an HRNet classifier to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of 32.
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.
    """
    xs = backbone(net, x, **config_of(VARIANTS, variant), eps=eps)
    xs = [bottleneck(net / "incre_modules" / i / 0, x, HEAD[i], eps=eps) for i, x in enumerate(xs)]
    y = xs[0]
    for i, x in enumerate(xs[1:]):
        down = net / "downsamp_modules" / i
        y = conv_bn_relu(down, y, "0", "1", 4 * HEAD[i + 1], kernel=3, stride=2, relu="2", bias=True, eps=eps)
        y = net.add(x, y, f"add#{i + 1}")
    y = conv_bn_relu(net / "final_layer", y, "0", "1", 2048, kernel=1, relu="2", bias=True, eps=eps)
    y = net.flatten(net.global_avg_pool(y, "avgpool"), "flatten", start_dim=1)
    y = net.linear(y, "classifier", net.class_count(num_classes, "classifier.bias", default=1000))
    return net.output(y, "logits")


def backbone(
    net: Network,
    x: Tensor,
    width: int,
    stem: tuple[int, int],
    blocks: int,
    modules: Sequence[int],
    outputs: int = 4,
    align_corners: bool | None = None,
    eps: float = 1e-5,
) -> list[Tensor]:
    """Stem and stages: (N, 3, H, W) -> branches of `width * 2**i` channels at H / 2**(2 + i), rounded up.

    Args:
        width, stem, blocks, modules: see `config`.
        outputs: how many of the four branches the last module gives.
        align_corners: smaller branches are enlarged bilinearly to the exact size of larger ones, with corners aligned
            or not; by default (None) they are doubled by nearest neighbour, which takes sizes that are multiples of 32.

    Raises:
        NetworkError: a branch of this height or width can't be doubled to the next one's.
    """
    if align_corners is None:
        _check_size(x)
    x = conv_bn_relu(net, x, "conv1", "bn1", 64, kernel=3, stride=2, eps=eps)
    x = conv_bn_relu(net, x, "conv2", "bn2", 64, kernel=3, stride=2, eps=eps)
    xs = [layer(net / "layer1", x, bottleneck, *stem, eps=eps)]
    for stage, count in zip((2, 3, 4), modules, strict=True):
        widths = [width * 2**branch for branch in range(stage)]
        xs = transition(net / f"transition{stage - 1}", xs, widths, eps)
        for module in range(count):
            last = stage == 4 and module == count - 1
            place = net / f"stage{stage}" / module
            xs = fuse_module(place, xs, blocks, outputs if last else stage, align_corners, eps)
    return xs


def transition(net: Network, xs: Sequence[Tensor], widths: Sequence[int], eps: float) -> list[Tensor]:
    """Brings the branches to `widths` channels; new ones start from the last, halving its resolution."""
    out = []
    for i, width in enumerate(widths):
        if i >= len(xs):
            out.append(conv_bn_relu(net / i / 0, xs[-1], "0", "1", width, kernel=3, stride=2, relu="2", eps=eps))
        elif xs[i].shape[1] != width:
            out.append(conv_bn_relu(net / i, xs[i], "0", "1", width, kernel=3, relu="2", eps=eps))
        else:
            out.append(xs[i])
    return out


def fuse_module(
    net: Network, xs: Sequence[Tensor], blocks: int, outputs: int, align_corners: bool | None, eps: float
) -> list[Tensor]:
    """One HighResolutionModule: residual blocks in each branch, then `outputs` branches become the sum of all."""
    widths = [int(x.shape[1]) for x in xs]
    xs = [layer(net / "branches" / i, x, basic_block, widths[i], blocks, eps=eps) for i, x in enumerate(xs)]
    out: list[Tensor] = []
    for i in range(outputs):
        y = None
        for j, x in enumerate(xs):
            place = net / "fuse_layers" / i / j
            if j < i:
                x = downsample(place, x, widths[i], steps=i - j, eps=eps)
            elif j > i and align_corners is None:
                x = upsample(place, x, widths[i], scale_factor=2 ** (j - i), eps=eps)
            elif j > i and align_corners is not None:
                x = conv_bn(place, x, "0", "1", widths[i], kernel=1, eps=eps)
                x = place.upsample(x, "interpolate", size=xs[i], mode="bilinear", align_corners=align_corners)
            y = x if y is None else net.add(y, x, f"add#{len(out) * (len(xs) - 1) + j}")
        # The module's one ReLU makes all outputs: only if there is a single one can it have the ReLU's name. Else they
        # are what the module returns, part by part.
        out.append(net.relu(y, "relu" if outputs == 1 else str(i)))
    return out


def downsample(net: Network, x: Tensor, out_channels: int, steps: int, eps: float) -> Tensor:
    """`steps` convolutions that each halve the resolution; only the last changes the channels, and has no ReLU."""
    for k in range(steps - 1):
        x = conv_bn_relu(net / k, x, "0", "1", int(x.shape[1]), kernel=3, stride=2, relu="2", eps=eps)
    return conv_bn(net / (steps - 1), x, "0", "1", out_channels, kernel=3, stride=2, eps=eps)


def _check_size(x: Tensor) -> None:
    for size in x.shape[2:]:
        if size > 0 and size % 32:
            raise NetworkError(
                f"HRNet's height and width must be multiples of 32, such as {size // 32 * 32 + 32}, not {size}."
            )


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, decode=Decode("classes"))
define_network, build_engine = model.define_network, model.build_engine
