"""Deformable convolution in plain PyTorch, by gathering the four neighbours of every place that is read.

Papers: https://arxiv.org/abs/1703.06211, with a mask https://arxiv.org/abs/1811.11168. The arguments are torchvision's.
"""

import torch
from torch import Tensor


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """(N, C, H, W), offsets (N, 2 * parts * taps, H', W'), weight (out, C / groups, kh, kw) -> (N, out, H', W')."""
    n, channels, height, width = x.shape
    out_channels, per_group, kh, kw = weight.shape
    h, w = offset.shape[2:]
    parts, groups = offset.shape[1] // (2 * kh * kw), channels // per_group
    offset = offset.reshape(n, parts, kh * kw, 2, h, w)
    factor = torch.ones_like(offset[:, :, :, 0]) if mask is None else mask.reshape(n, parts, kh * kw, h, w)
    pictures = x.reshape(n, parts, channels // parts, height * width)
    out = x.new_zeros(n, groups, out_channels // groups, h, w)
    for tap in range(kh * kw):
        row, column = divmod(tap, kw)
        y = torch.arange(h).reshape(-1, 1) * stride - padding + row * dilation + offset[:, :, tap, 0]
        z = torch.arange(w).reshape(1, -1) * stride - padding + column * dilation + offset[:, :, tap, 1]
        read = x.new_zeros(n, parts, channels // parts, h, w)
        for top in (y.floor(), y.floor() + 1):
            for left in (z.floor(), z.floor() + 1):
                share = (1 - (y - top).abs()) * (1 - (z - left).abs())
                inside = (top >= 0) & (top < height) & (left >= 0) & (left < width)
                index = (top * width + left).where(inside, torch.zeros_like(top)).long()
                index = index.reshape(n, parts, 1, h * w).expand(-1, -1, channels // parts, -1)
                value = pictures.gather(3, index).reshape(read.shape)
                read += value * (share * inside * factor[:, :, tap]).unsqueeze(2)
        kernel = weight[:, :, row, column].reshape(groups, out_channels // groups, per_group)
        out += torch.einsum("goc,ngchw->ngohw", kernel, read.reshape(n, groups, per_group, h, w))
    out = out.reshape(n, out_channels, h, w)
    return out if bias is None else out + bias.reshape(-1, 1, 1)
