"""Real-ESRGAN: a picture four times as large, from its RRDBNet.

Papers: https://arxiv.org/abs/2107.10833, https://arxiv.org/abs/1809.00219.
Upstream: xinntao/Real-ESRGAN (BSD-3-Clause), whose network is XPixelGroup/BasicSR, basicsr/archs/rrdbnet_arch.py
(Apache-2.0). Its checkpoints have the weights under `params_ema`.

Input: (N, 3, H, W) RGB in 0..1, of any size; 64 x 64, that of upstream's training, by default. A whole photograph
takes much memory: give `input_shape`, dynamic if need be.
Output: `picture` (N, 3, 4 * H, 4 * W) RGB, mostly in 0..1.
"""

from typing import Any

from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "realesrgan_x4plus": {"blocks": 23},
    "realesrgan_x4plus_anime_6b": {"blocks": 6},
}
CHANNELS, GROWTH, SLOPE, SHARE = 64, 32, 0.2, 0.2


def define(net: Network, x: Tensor, variant: str = "realesrgan_x4plus") -> dict[str, Tensor]:
    """Adds an RRDBNet to `net` and returns its `picture`, (N, 3, 4 * H, 4 * W), by name.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
    """
    first = net.conv(x, "conv_first", CHANNELS, kernel=3, padding=1)
    x = first
    for i in range(config_of(VARIANTS, variant)["blocks"]):
        at = net / "body" / i
        out = x
        for name in ("rdb1", "rdb2", "rdb3"):
            out = dense_block(at / name, out)
        x = at.add(at.mul(out, SHARE, "scaled"), x)
    x = net.add(first, net.conv(x, "conv_body", CHANNELS, kernel=3, padding=1), "add")
    for name in ("conv_up1", "conv_up2"):
        x = conv_lrelu(net, net.upsample(x, f"{name}.upsample", scale_factor=2), name, CHANNELS)
    x = conv_lrelu(net, x, "conv_hr", CHANNELS)
    return {"picture": net.output(net.conv(x, "conv_last", 3, kernel=3, padding=1), "picture")}


def dense_block(net: Network, x: Tensor) -> Tensor:
    """Five convolutions, each of x and all before it; a fifth of the last one's output is added to x."""
    parts = [x]
    for i in range(1, 5):
        seen = net.concat(parts, f"concat{i}", dim=1) if len(parts) > 1 else x
        parts.append(conv_lrelu(net, seen, f"conv{i}", GROWTH))
    out = net.conv(net.concat(parts, "concat5", dim=1), "conv5", CHANNELS, kernel=3, padding=1)
    return net.add(net.mul(out, SHARE, "scaled"), x)


def conv_lrelu(net: Network, x: Tensor, name: str, channels: int) -> Tensor:
    """A 3x3 convolution and a leaky ReLU."""
    return net.leaky_relu(net.conv(x, name, channels, kernel=3, padding=1), f"{name}.lrelu", SLOPE)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 64, 64),
    preprocess=Preprocess("RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    decode=Decode("picture"),
)
define_network, build_engine = model.define_network, model.build_engine
