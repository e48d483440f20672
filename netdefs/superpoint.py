"""SuperPoint: points of a picture that another picture of the same thing has too, and what they look like.

Paper: https://arxiv.org/abs/1712.07629.
Upstream: magicleap/SuperPointPretrainedNetwork, demo_superpoint.py (noncommercial research only, as are its weights).

Input: (N, 1, H, W) gray, 0 to 1, multiples of 8; 480 x 640 by default, at which the paper compares pictures. Outputs at
an eighth of the size: `semi` (N, 65, H/8, W/8), in each cell of 8 x 8 pixels the logit that the point is there, and the
last that there is none; and `desc` (N, 256, H/8, W/8), of length 1. Or `heatmap` (N, 1, H, W) instead of `semi`.
"""

from typing import Any

from netdefs.core.blocks import unit_length
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.yolo.detection import check_multiple
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {"superpoint": {"channels": (64, 64, 128, 128)}}
CELL = 8
DECODES = ("raw", "decoded")


def define(net: Network, x: Tensor, variant: str = "superpoint", decode: str = "raw") -> dict[str, Tensor]:
    """Adds a SuperPoint to `net` and returns `semi` and `desc`, or what `decode` asks for.

    Args:
        net: the place in a network where its modules are.
        x: (N, 1, H, W).
        variant: one of `VARIANTS`.
        decode: "raw": as upstream's network gives them. "decoded": `heatmap` (N, 1, H, W) and `desc`: how likely it is
            that a point is at each pixel, in float32. What is left to do is to find its peaks.

    Raises:
        NetworkError: `decode` is unknown, or height or width is no multiple of 8.
    """
    config = config_of(VARIANTS, variant)
    if decode not in DECODES:
        raise NetworkError(f"decode={decode!r}: it is one of {', '.join(map(repr, DECODES))}.")
    check_multiple(net, x, CELL)
    for i, channels in enumerate(config["channels"], start=1):
        if i > 1:
            x = net.max_pool(x, f"conv{i}a.pool", kernel=2)  # upstream has one pool and one ReLU, used again and again
        for name in (f"conv{i}a", f"conv{i}b"):
            x = net.relu(net.conv(x, name, channels, kernel=3, padding=1), f"{name}.relu")
    semi, desc = head(net, x, "convP", CELL**2 + 1), head(net, x, "convD", 256)
    places = net.output(semi, "semi") if decode == "raw" else net.output(heatmap(net / "decode", semi), "heatmap")
    return {"semi" if decode == "raw" else "heatmap": places, "desc": net.output(unit_length(net, desc), "desc")}


def head(net: Network, x: Tensor, name: str, channels: int) -> Tensor:
    """A 3x3 convolution `<name>a`, ReLU and a 1x1 convolution `<name>b`."""
    x = net.relu(net.conv(x, f"{name}a", 256, kernel=3, padding=1), f"{name}a.relu")
    return net.conv(x, f"{name}b", channels, kernel=1)


def heatmap(net: Network, semi: Tensor) -> Tensor:
    """(N, 65, H/8, W/8) -> (N, 1, H, W): probabilities without that of no point, cells unfolded row by row."""
    likely = net.softmax(semi, "softmax", dim=1)
    return net.pixel_shuffle(net.slice(likely, "points", 1, 0, CELL**2), None, CELL)


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 1, 480, 640),
    preprocess=Preprocess("GRAY", mean=(0.0,), std=(1.0,)),
    decode=Decode("points"),
)
define_network, build_engine = model.define_network, model.build_engine
