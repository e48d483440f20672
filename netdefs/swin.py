"""Swin Transformer for image classification: attention in windows that are shifted in every other block.

Paper: https://arxiv.org/abs/2103.14030.
Upstream: torchvision/models/swin_transformer.py (BSD-3-Clause).

Input: (N, 3, H, W) RGB, ImageNet's mean and std; 224 x 224 by default, any other size is padded to whole windows.
Output: `logits` (N, num_classes).
"""

import dataclasses
from typing import Any

import numpy as np

from netdefs.core.blocks import attend, layer_norm
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "swin_t": {"blocks": (2, 2, 6, 2), "channels": 96, "heads": (3, 6, 12, 24)},
    "swin_s": {"blocks": (2, 2, 18, 2), "channels": 96, "heads": (3, 6, 12, 24)},
    "swin_b": {"blocks": (2, 2, 18, 2), "channels": 128, "heads": (4, 8, 16, 32)},
}
RESIZED = {"swin_t": 232, "swin_s": 246, "swin_b": 238}
WINDOW, PATCH = 7, 4
APART = -100.0  # added to the scores of pixels that only the shift made neighbours


def define(
    net: Network, x: Tensor, variant: str = "swin_t", num_classes: int | None = None, eps: float = 1e-5
) -> Tensor:
    """Adds a Swin Transformer to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W fixed.
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the layer norms.

    Raises:
        NetworkError: height or width is dynamic, or below 4.
    """
    config = config_of(VARIANTS, variant)
    height, width = (net.known_size(x, axis, variant) for axis in (2, 3))
    if min(height, width) < PATCH:
        raise NetworkError(f"{variant} takes pictures from {PATCH} x {PATCH}, not {height} x {width}.")
    at = net / "features"
    x = (at / 0).conv(x, "0", config["channels"], kernel=PATCH, stride=PATCH)
    x = layer_norm(at / 0, (at / 0).permute(x, "1", (0, 2, 3, 1)), "2", eps=eps)
    for i, (count, heads) in enumerate(zip(config["blocks"], config["heads"], strict=True)):
        if i:
            x = merged(at / (2 * i), x, eps)
        for k in range(count):
            x = block(at / (2 * i + 1) / k, x, heads, WINDOW // 2 * (k % 2), eps)
    x = net.permute(layer_norm(net, x, "norm", eps=eps), "permute", (0, 3, 1, 2))
    x = net.flatten(net.global_avg_pool(x, "avgpool"), "flatten", start_dim=1)
    x = net.linear(x, "head", net.class_count(num_classes, "head.bias", default=1000))
    return net.output(x, "logits")


def block(net: Network, x: Tensor, heads: int, shift: int, eps: float) -> Tensor:
    """Attention and a multi-layer perceptron, each behind a layer norm and added to what goes in: (N, H, W, C)."""
    channels = int(x.shape[3])
    x = net.add(attention(net / "attn", layer_norm(net, x, "norm1", eps=eps), heads, shift), x, "attended")
    out = net.gelu(net.linear(layer_norm(net, x, "norm2", eps=eps), "mlp.0", 4 * channels), "mlp.1")
    return net.add(net.linear(out, "mlp.3", channels), x)


def attention(net: Network, x: Tensor, heads: int, shift: int) -> Tensor:
    """Attention of the pixels of each window to each other; the windows start at `shift`, and wrap around."""
    height, width, channels = (int(size) for size in x.shape[1:])
    x = padded(net, x, -height % WINDOW, -width % WINDOW)
    whole = int(x.shape[1]), int(x.shape[2])
    shifts = [shift if size > WINDOW else 0 for size in whole]  # a single window is not shifted
    for axis, by in enumerate(shifts, 1):
        x = rolled(net, x, f"rolled.{axis}", axis, by)
    rows, columns = (size // WINDOW for size in whole)
    x = net.reshape(x, "windows.split", (0, rows, WINDOW, columns, WINDOW, channels))
    x = net.permute(x, "windows.sorted", (0, 1, 3, 2, 4, 5))
    x = net.reshape(x, "windows", (0, rows * columns, WINDOW * WINDOW, channels))
    biases = [net.constant(relative_positions(net, heads), "position_bias", like=x)]
    if any(shifts):
        biases.append(net.constant(apart(whole, shifts), "mask", like=x))
    query, key, value = net.split(net.linear(x, "qkv", 3 * channels), "qkv", channels, dim=3)
    x = net.linear(attend(net, query, key, value, heads, biases), "proj", channels)
    x = net.reshape(x, "rows.split", (0, rows, columns, WINDOW, WINDOW, channels))
    x = net.reshape(net.permute(x, "rows.sorted", (0, 1, 3, 2, 4, 5)), "rows", (0, *whole, channels))
    for axis, by in enumerate(shifts, 1):
        x = rolled(net, x, f"rolled_back.{axis}", axis, -by)
    for axis, size in ((1, height), (2, width)):
        x = net.slice(x, f"cut.{axis}", axis, 0, size) if x.shape[axis] != size else x
    return net.identity(x)


def relative_positions(net: Network, heads: int) -> np.ndarray:
    """What is added to the scores of two pixels of a window for where they are to each other: (1, 1, heads, L, L)."""
    side = 2 * WINDOW - 1
    table = net.weights.take(net.path_of("relative_position_bias_table"), (side * side, heads))
    net.ignore("relative_position_index")  # the index below, as a checkpoint stores it
    y, x = np.divmod(np.arange(WINDOW * WINDOW), WINDOW)
    index = (y[:, None] - y + WINDOW - 1) * side + x[:, None] - x + WINDOW - 1
    return np.ascontiguousarray(table[index].transpose(2, 0, 1)[None, None])


def apart(size: tuple[int, int], shifts: list[int]) -> np.ndarray:
    """`APART` for the pixels of a window that come from opposite sides of the picture: (1, windows, 1, L, L)."""
    parts = []
    for length, by in zip(size, shifts, strict=True):
        place = np.arange(length)
        parts.append((place >= length - WINDOW).astype(np.int64) + (place >= length - by))
    part = 3 * parts[0][:, None] + parts[1]
    part = part.reshape(size[0] // WINDOW, WINDOW, size[1] // WINDOW, WINDOW).transpose(0, 2, 1, 3)
    part = part.reshape(-1, WINDOW * WINDOW)
    mask = np.where(part[:, :, None] == part[:, None, :], np.float32(0), np.float32(APART))
    return mask[None, :, None]


def rolled(net: Network, x: Tensor, name: str, axis: int, by: int) -> Tensor:
    """`torch.roll` of x by -`by` along an axis."""
    if not by:
        return x
    start, end = net.slice(x, f"{name}.end", axis, by), net.slice(x, f"{name}.start", axis, 0, by)
    return net.concat([start, end], name, dim=axis)


def padded(net: Network, x: Tensor, below: int, right: int) -> Tensor:
    """x, (N, H, W, C), with rows and columns of zeros at its end."""
    height, width, channels = (int(size) for size in x.shape[1:])
    if right:  # `pad` enlarges the last but one axis by what is at the bottom
        x = net.pad(x, "pad.right", (0, 0, 0, right))
    if below:
        row = (width + right) * channels
        x = net.pad(net.reshape(x, "pad.rows", (0, 1, height, row)), "pad.below", (0, 0, 0, below))
        x = net.reshape(x, "pad", (0, height + below, width + right, channels))
    return x


def merged(net: Network, x: Tensor, eps: float) -> Tensor:
    """(N, H, W, C) -> (N, H / 2, W / 2, 2 * C), rounded up: the channels of four pixels, and half of them."""
    x = padded(net, x, int(x.shape[1]) % 2, int(x.shape[2]) % 2)
    height, width, channels = (int(size) for size in x.shape[1:])
    x = net.reshape(x, "split", (0, height // 2, 2, width // 2, 2, channels))
    x = net.reshape(net.permute(x, "sorted", (0, 1, 3, 4, 2, 5)), "joined", (0, height // 2, width // 2, 4 * channels))
    return net.linear(layer_norm(net, x, "norm", eps=eps), "reduction", 2 * channels, bias=False)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 224, 224),
    preprocess={name: dataclasses.replace(IMAGENET, crop_pct=224 / resized) for name, resized in RESIZED.items()},
    decode=Decode("classes"),
)
define_network, build_engine = model.define_network, model.build_engine
