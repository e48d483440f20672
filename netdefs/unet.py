"""U-Net for segmentation, with deconvolutions or bilinear resizes on the way up.

Paper: https://arxiv.org/abs/1505.04597.
Upstream: milesial/Pytorch-UNet, unet/unet_model.py and unet_parts.py (GPL-3.0).

Input: (N, 3, H, W) RGB in 0..1, of any size from 16 x 16; by default 640 x 959, upstream's Carvana pictures halved.
Output: `logits` (N, num_classes, H, W). With one class it is the logit of that class against none.
"""

from typing import Any

from netdefs.core.blocks import conv_bn_act
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {"unet": {"bilinear": False}, "unet_bilinear": {"bilinear": True}}


def define(
    net: Network, x: Tensor, variant: str = "unet", num_classes: int | None = None, eps: float = 1e-5
) -> dict[str, Tensor]:
    """Adds a U-Net to `net` and returns its `logits`, (N, num_classes, H, W), by name.

    Args:
        net: the place in a network where its modules are.
        x: (N, C, H, W), H and W fixed.
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: height or width is dynamic.
    """
    bilinear = config_of(VARIANTS, variant)["bilinear"]
    # Upstream's convolutions had a bias before its release 3.
    options: dict[str, Any] = {"bias": net.path_of("inc.double_conv.0.bias") in net.weights, "eps": eps}
    half = 2 if bilinear else 1
    x = double_conv(net / "inc", x, 64, 64, **options)
    levels = [x]
    for i, channels in enumerate((128, 256, 512, 1024 // half), 1):
        at = net / f"down{i}" / "maxpool_conv"
        x = double_conv(at / 1, at.max_pool(x, "0", kernel=2), channels, channels, **options)
        levels.append(x)
    for i, (level, channels) in enumerate(zip(levels[-2::-1], (512, 256, 128, 64), strict=True), 1):
        at, inputs = net / f"up{i}", int(x.shape[1])
        if bilinear:
            x = at.upsample(x, "up", scale_factor=2, mode="bilinear", align_corners=True)
        else:
            x = at.deconv(x, "up", inputs // 2, kernel=2, stride=2)
        x = at.concat([level, padded(at, x, level)], "concat", dim=1)
        last = 64 if i == 4 else channels // half
        x = double_conv(at / "conv", x, channels if bilinear else last, last, **options)
    x = net.conv(x, "outc.conv", net.class_count(num_classes, "outc.conv.bias", default=2), kernel=1)
    return {"logits": net.output(x, "logits")}


def double_conv(net: Network, x: Tensor, middle: int, channels: int, bias: bool, eps: float) -> Tensor:
    """Two 3x3 convolutions with batch norms and ReLUs."""
    at = net / "double_conv"
    x = conv_bn_act(at, x, middle, 3, bias=bias, eps=eps)
    return conv_bn_act(at, x, channels, 3, start=3, bias=bias, eps=eps)


def padded(net: Network, x: Tensor, level: Tensor) -> Tensor:
    """x with zeros around it until it has the size of `level`: the pooling had dropped odd rows and columns."""
    down, across = (net.known_size(level, axis, f"{net.path}") - int(x.shape[axis]) for axis in (2, 3))
    if not (down or across):
        return x
    return net.pad(x, "pad", (across // 2, across - across // 2, down // 2, down - down // 2))


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 640, 959),
    preprocess=Preprocess("RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    decode=Decode("mask"),
)
define_network, build_engine = model.define_network, model.build_engine
