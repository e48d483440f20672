"""HRNet for segmentation, also with OCR's head, in PyTorch, with the state_dict keys of the published checkpoints.

Papers: https://arxiv.org/abs/1908.07919, https://arxiv.org/abs/1909.11065.
Upstream: HRNet/HRNet-Semantic-Segmentation, lib/models/seg_hrnet.py and, on its branch HRNet-OCR,
lib/models/seg_hrnet_ocr.py (MIT); the small variants' configurations are those of its master branch.
"""

from typing import Any

import torch
from torch import Tensor, nn

from examples.hrnet_torch import Backbone, conv_bn_relu, resize


class SegHRNet(Backbone):
    """(N, 3, H, W) in; logits (N, num_classes, H / 4, W / 4), rounded up, out. `config` is the backbone's."""

    def __init__(self, width: int, num_classes: int, align_corners: bool, **config: Any):
        super().__init__(width, align_corners=align_corners, **config)
        self.align_corners = align_corners
        channels = sum(self.widths)
        self.last_layer = conv_bn_relu(channels, channels, kernel=1, bias=True)
        self.last_layer.append(nn.Conv2d(channels, num_classes, 1))

    def concatenated(self, x: Tensor) -> Tensor:
        """All branches, the smaller ones enlarged."""
        x, *smaller = self.features(x)
        return torch.cat([x, *(resize(y, x, self.align_corners) for y in smaller)], 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits_stride4": self.last_layer(self.concatenated(x))}


class SpatialGather(nn.Module):
    """What the pixels of each class look like on average: (N, C, H, W) and logits (N, K, H, W) -> (N, C, K, 1)."""

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        weights = logits.flatten(2).softmax(2)
        return torch.einsum("nkp,ncp->nck", weights, features.flatten(2)).unsqueeze(3)


def conv_bnrelu(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU()),
    ]


class ObjectAttention(nn.Module):
    """For each pixel a mixture of the classes' looks, by how much it is like them."""

    def __init__(self, channels: int, keys: int):
        super().__init__()
        self.keys = keys
        self.f_pixel = nn.Sequential(*conv_bnrelu(channels, keys), *conv_bnrelu(keys, keys))
        self.f_object = nn.Sequential(*conv_bnrelu(channels, keys), *conv_bnrelu(keys, keys))
        self.f_down = nn.Sequential(*conv_bnrelu(channels, keys))
        self.f_up = nn.Sequential(*conv_bnrelu(keys, channels))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        query, key, value = self.f_pixel(x), self.f_object(context), self.f_down(context)
        likeness = torch.einsum("nchw,nck->nhwk", query, key.flatten(2)) * self.keys**-0.5
        return self.f_up(torch.einsum("nhwk,nck->nchw", likeness.softmax(-1), value.flatten(2)))


class SpatialOCR(nn.Module):
    """Features enriched by what their classes look like."""

    def __init__(self, channels: int, keys: int):
        super().__init__()
        self.object_context_block = ObjectAttention(channels, keys)
        self.conv_bn_dropout = nn.Sequential(*conv_bnrelu(2 * channels, channels), nn.Dropout2d(0.05))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.conv_bn_dropout(torch.cat([self.object_context_block(x, context), x], 1))


class OCRHRNet(SegHRNet):
    """SegHRNet's features with the head of object-contextual representations; a plain head's logits come with it."""

    def __init__(self, width: int, num_classes: int, align_corners: bool, **config: Any):
        super().__init__(width, num_classes, align_corners, **config)
        self.aux_head = self.last_layer
        del self.last_layer
        self.conv3x3_ocr = conv_bn_relu(sum(self.widths), 512, bias=True)
        self.ocr_gather_head = SpatialGather()
        self.ocr_distri_head = SpatialOCR(512, 256)
        self.cls_head = nn.Conv2d(512, num_classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.concatenated(x)
        aux = self.aux_head(x)
        x = self.conv3x3_ocr(x)
        x = self.ocr_distri_head(x, self.ocr_gather_head(x, aux))
        return {"aux_logits_stride4": aux, "logits_stride4": self.cls_head(x)}


def hrnet_seg_w18(num_classes: int = 19, align_corners: bool = False) -> SegHRNet:
    return SegHRNet(18, num_classes, align_corners)


def hrnet_seg_w18_small_v1(num_classes: int = 19, align_corners: bool = False) -> SegHRNet:
    return SegHRNet(16, num_classes, align_corners, stem=(32, 1), blocks=2, modules=(1, 1, 1))


def hrnet_seg_w18_small_v2(num_classes: int = 19, align_corners: bool = False) -> SegHRNet:
    return SegHRNet(18, num_classes, align_corners, stem=(64, 2), blocks=2, modules=(1, 3, 2))


def hrnet_seg_w48(num_classes: int = 19, align_corners: bool = False) -> SegHRNet:
    return SegHRNet(48, num_classes, align_corners)


def hrnet_ocr_w48(num_classes: int = 19, align_corners: bool = True) -> OCRHRNet:
    return OCRHRNet(48, num_classes, align_corners)


MODELS = {
    build.__name__: build
    for build in (hrnet_seg_w18, hrnet_seg_w18_small_v1, hrnet_seg_w18_small_v2, hrnet_seg_w48, hrnet_ocr_w48)
}
