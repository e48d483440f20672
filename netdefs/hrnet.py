"""HRNet for image classification: branches of several resolutions side by side, fused again and again.

Paper: https://arxiv.org/abs/1908.07919.
Upstream: HRNet/HRNet-Image-Classification, lib/models/cls_hrnet.py (MIT); timm's hrnet_* have the same keys.

Input: (N, 3, H, W) RGB, ImageNet's mean and std, H and W multiples of 32; 224 x 224 by default.
Output: `logits` (N, num_classes).
"""

from collections.abc import Sequence
from typing import Any

from netdefs.core.blocks import basic_block, bottleneck, conv_bn, conv_bn_relu, layer, upsample
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of


def _variant(width: int, stem: tuple[int, int], blocks: int, modules: tuple[int, int, int]) -> dict[str, Any]:
    """`stem`: channels and blocks of layer1; `blocks` in every branch; `modules` in stages 2, 3 and 4."""
    return {"width": width, "stem": stem, "blocks": blocks, "modules": modules}


VARIANTS: dict[str, dict[str, Any]] = {
    "hrnet_w18_small": _variant(16, stem=(32, 1), blocks=2, modules=(1, 1, 1)),
    "hrnet_w18_small_v2": _variant(18, stem=(64, 2), blocks=2, modules=(1, 3, 2)),
    **{f"hrnet_w{w}": _variant(w, stem=(64, 4), blocks=4, modules=(1, 4, 3)) for w in (18, 30, 32, 40, 44, 48, 64)},
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
    xs = backbone(net, x, config_of(VARIANTS, variant), eps)
    xs = [bottleneck(net / "incre_modules" / i / 0, x, HEAD[i], eps=eps) for i, x in enumerate(xs)]
    y = xs[0]
    for i, x in enumerate(xs[1:]):
        down = net / "downsamp_modules" / i
        y = conv_bn_relu(down, y, "0", "1", 4 * HEAD[i + 1], kernel=3, stride=2, relu="2", bias=True, eps=eps)
        y = net.add(x, y, f"head.add{i + 1}")
    y = conv_bn_relu(net / "final_layer", y, "0", "1", 2048, kernel=1, relu="2", bias=True, eps=eps)
    y = net.flatten(net.global_avg_pool(y, "avgpool"), "flatten", start_dim=1)
    y = net.linear(y, "classifier", net.class_count(num_classes, "classifier.bias", default=1000))
    return net.output(y, "logits")


def backbone(net: Network, x: Tensor, config: dict[str, Any], eps: float = 1e-5) -> list[Tensor]:
    """Stem and stages: (N, 3, H, W) -> four branches, of `width * 2**i` channels at H / 2**(2 + i)."""
    for size in x.shape[2:]:
        if size > 0 and size % 32:
            raise NetworkError(
                f"HRNet's height and width must be multiples of 32, such as {size // 32 * 32 + 32}, not {size}."
            )
    channels, blocks = config["stem"]
    x = conv_bn_relu(net, x, "conv1", "bn1", 64, kernel=3, stride=2, eps=eps)
    x = conv_bn_relu(net, x, "conv2", "bn2", 64, kernel=3, stride=2, eps=eps)
    xs = [layer(net / "layer1", x, bottleneck, channels, blocks, eps=eps)]
    for i, modules in enumerate(config["modules"]):
        widths = [config["width"] * 2**branch for branch in range(i + 2)]
        xs = transition(net / f"transition{i + 1}", xs, widths, eps)
        for module in range(modules):
            xs = fuse_module(net / f"stage{i + 2}" / module, xs, config["blocks"], eps)
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


def fuse_module(net: Network, xs: Sequence[Tensor], blocks: int, eps: float) -> list[Tensor]:
    """One HighResolutionModule: residual blocks in each branch, then every branch becomes the sum of all."""
    widths = [int(x.shape[1]) for x in xs]
    xs = [layer(net / "branches" / i, x, basic_block, widths[i], blocks, eps=eps) for i, x in enumerate(xs)]
    out = []
    for i in range(len(xs)):
        y = None
        for j, x in enumerate(xs):
            term = x if i == j else resample(net / "fuse_layers" / i / j, x, i, j, widths, eps)
            y = term if y is None else net.add(y, term, f"fuse.{i}.add{j}")
        out.append(net.relu(y, f"fuse.{i}"))
    return out


def resample(net: Network, x: Tensor, i: int, j: int, widths: Sequence[int], eps: float) -> Tensor:
    """Branch j at the resolution and width of branch i: upsampled, or through strided convolutions."""
    if j > i:
        return upsample(net, x, widths[i], scale_factor=2 ** (j - i), eps=eps)
    for k in range(i - j - 1):
        x = conv_bn_relu(net / k, x, "0", "1", widths[j], kernel=3, stride=2, relu="2", eps=eps)
    return conv_bn(net / (i - j - 1), x, "0", "1", widths[i], kernel=3, stride=2, eps=eps)


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 224, 224), preprocess=IMAGENET, task="classification")
define_network, build_engine = model.define_network, model.build_engine
