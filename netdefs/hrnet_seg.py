"""HRNet for semantic segmentation, and with the head of object-contextual representations (OCR).

Papers: https://arxiv.org/abs/1908.07919, https://arxiv.org/abs/1909.11065.
Upstream: HRNet/HRNet-Semantic-Segmentation, lib/models/seg_hrnet.py and, on its branch HRNet-OCR,
lib/models/seg_hrnet_ocr.py (MIT).

Input: (N, 3, H, W) RGB, ImageNet's mean and std, of any size; 256 x 512 by default. Upstream trains on 512 x 1024 and
tests on Cityscapes' own 1024 x 2048: give `input_shape`.
Output: `logits_stride4` (N, num_classes, H / 4, W / 4), rounded up; with OCR also those of the auxiliary head that it
starts from, `aux_logits_stride4`. Upstream enlarges them to the picture bilinearly, with the same align_corners.
"""

from collections.abc import Sequence
from typing import Any

from netdefs import hrnet
from netdefs.core.blocks import conv_bn_relu
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

# align_corners is not in the weights: these are upstream's configurations for Cityscapes.
VARIANTS: dict[str, dict[str, Any]] = {
    "hrnet_seg_w18": {"backbone": hrnet.config(18), "ocr": False, "align_corners": False},
    "hrnet_seg_w18_small_v1": {"backbone": hrnet.W18_SMALL_V1, "ocr": False, "align_corners": False},
    "hrnet_seg_w18_small_v2": {"backbone": hrnet.W18_SMALL_V2, "ocr": False, "align_corners": False},
    "hrnet_seg_w48": {"backbone": hrnet.config(48), "ocr": False, "align_corners": False},
    "hrnet_ocr_w48": {"backbone": hrnet.config(48), "ocr": True, "align_corners": True},
}
OCR_CHANNELS, OCR_KEYS = 512, 256


def define(
    net: Network,
    x: Tensor,
    variant: str = "hrnet_seg_w18",
    num_classes: int | None = None,
    align_corners: bool | None = None,
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """Adds HRNet for segmentation to `net` and returns its outputs by name.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        align_corners: of all bilinear resizes, as in the training of the weights; the variant's when None, which is
            what upstream has for Cityscapes: not aligned, but for OCR. Its other plain models of branch HRNet-OCR
            differ: aligned for COCO-Stuff and ADE20K, not for LIP and PASCAL-Context.
        eps: of the batch norms, where the weights don't tell.
    """
    config = config_of(VARIANTS, variant)
    align = bool(config["align_corners"] if align_corners is None else align_corners)
    net.info["decode"] = {"align_corners": align}  # of the last resize, to the picture
    xs = hrnet.backbone(net, x, **config["backbone"], align_corners=align, eps=eps)
    x = concatenated(net, xs, align)
    if not config["ocr"]:
        return {"logits_stride4": net.output(head(net / "last_layer", x, num_classes, eps), "logits_stride4")}
    aux = head(net / "aux_head", x, num_classes, eps)
    x = conv_bn_relu(net / "conv3x3_ocr", x, "0", "1", OCR_CHANNELS, kernel=3, relu="2", bias=True, eps=eps)
    classes = gather(net / "ocr_gather_head", x, aux)
    x = distribute(net / "ocr_distri_head", x, classes, eps)
    logits = net.conv(x, "cls_head", int(aux.shape[1]), kernel=1)
    return {
        "aux_logits_stride4": net.output(aux, "aux_logits_stride4"),
        "logits_stride4": net.output(logits, "logits_stride4"),
    }


def concatenated(net: Network, xs: Sequence[Tensor], align_corners: bool) -> Tensor:
    """All branches as one, at the size of the first."""
    first, *smaller = xs
    enlarged = [
        net.upsample(x, f"up{i + 1}", size=first, mode="bilinear", align_corners=align_corners)
        for i, x in enumerate(smaller)
    ]
    return net.concat([first, *enlarged], "concat", dim=1)


def head(net: Network, x: Tensor, num_classes: int | None, eps: float) -> Tensor:
    """Two 1x1 convolutions: (N, C, H, W) -> logits (N, num_classes, H, W)."""
    x = conv_bn_relu(net, x, "0", "1", int(x.shape[1]), kernel=1, relu="2", bias=True, eps=eps)
    return net.conv(x, "3", net.class_count(num_classes, "3.bias", default=19), kernel=1)


def gather(net: Network, x: Tensor, logits: Tensor) -> Tensor:
    """What the pixels of each class look like on average: (N, C, H, W) and (N, K, H, W) -> (N, C, K, 1)."""
    weights = net.softmax(net.flatten(logits, "logits", start_dim=2), "weights", dim=2)
    pixels = net.permute(net.flatten(x, "pixels", start_dim=2), "pixels.permute", (0, 2, 1))
    classes = net.permute(net.matmul(weights, pixels, "matmul"), "permute", (0, 2, 1))
    return net.reshape(classes, None, (0, 0, 0, 1))


def distribute(net: Network, x: Tensor, classes: Tensor, eps: float) -> Tensor:
    """Features enriched by what their classes look like: (N, C, H, W) and (N, C, K, 1) -> (N, C, H, W)."""
    context = attention(net / "object_context_block", x, classes, eps)
    x = net.concat([context, x], "concat", dim=1)
    # The module's last is a dropout, which hands on what it gets.
    return conv_bnrelu(net / "conv_bn_dropout", x, ("0", "1"), OCR_CHANNELS, eps)


def attention(net: Network, x: Tensor, classes: Tensor, eps: float) -> Tensor:
    """For each pixel a mixture of the classes' looks, by how much it is like them: shapes as in `distribute`."""

    def twice(place: Network, x: Tensor) -> Tensor:
        x = conv_bnrelu(place, x, ("0", "1"), OCR_KEYS, eps)
        return conv_bnrelu(place, x, ("2", "3"), OCR_KEYS, eps)

    pixels = twice(net / "f_pixel", x)
    query = net.permute(net.flatten(pixels, "query", start_dim=2), "query.permute", (0, 2, 1))
    key = net.flatten(twice(net / "f_object", classes), "key", start_dim=2)
    value = net.flatten(conv_bnrelu(net / "f_down", classes, ("0", "1"), OCR_KEYS, eps), "value", start_dim=2)
    likeness = net.mul(net.matmul(query, key, "matmul"), OCR_KEYS**-0.5, "scaled")
    mixture = net.matmul(net.softmax(likeness, "softmax", dim=2), net.permute(value, "value.permute", (0, 2, 1)), "mix")
    context = net.reshape(net.permute(mixture, "mix.permute", (0, 2, 1)), "context", (0, 0, 0, 0), like=pixels)
    return conv_bnrelu(net / "f_up", context, ("0", "1"), OCR_CHANNELS, eps)


def conv_bnrelu(net: Network, x: Tensor, names: tuple[str, str], out_channels: int, eps: float) -> Tensor:
    """A 1x1 convolution and a module of batch norm `0` and ReLU `1`."""
    conv, bnrelu = names
    return conv_bn_relu(net, x, conv, f"{bnrelu}.0", out_channels, kernel=1, relu=f"{bnrelu}.1", eps=eps)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 256, 512),
    preprocess=Preprocess("RGB", IMAGENET.mean, IMAGENET.std, fit="squeeze"),
    decode=Decode("mask", "cityscapes"),
)
define_network, build_engine = model.define_network, model.build_engine
