"""Preprocessing inside of the network: pictures go in as OpenCV has them, a quarter of the bytes to copy."""

from collections.abc import Sequence

import numpy as np

from netdefs.core.network import Dimension, Network
from netdefs.core.preprocess import Preprocess
from netdefs.core.scope import Tensor

GRAY = (3735, 19235, 9798)  # of blue, green and red in OpenCV's gray, in units of 1 / 2**15


def picture_input(net: Network, name: str, shape: Sequence[Dimension], recipe: Preprocess) -> Tensor:
    """A uint8 input of (N, H, W, 3), BGR, and the layers that make (N, C, H, W) of it: colors and normalization.

    Nothing is resized: the picture has to have the network's size already. All is computed in float32, and gives what
    `netdefs.vision.preprocess` does on the host.

    Args:
        name: the input's; the layers are called `<name>.bgr`, `<name>.normalize` and so on.
        shape: (N, C, H, W) of what the network wants; sizes may be (min, opt, max) triples.
        recipe: `color`, `mean` and `std` count.
    """
    trt, definition = net.trt, net.definition
    n, _, height, width = shape
    x = net.raw_input(name, (n, height, width, 3), trt.uint8, ("batch", "height", "width", "channels"))
    x = net.permute(net.cast(x, f"{name}.float", trt.float32), f"{name}.bgr", (0, 3, 1, 2))
    if recipe.color == "RGB":
        order = net.constant(np.array([2, 1, 0], np.int32), f"{name}.order")
        x = net.layer(definition.add_gather(x, order, 1), f"{name}.rgb", x)
    elif recipe.color == "GRAY":
        # OpenCV adds whole numbers, and rounds: float32 holds these sums exactly.
        weight = np.array(GRAY, np.float32).reshape(1, 3, 1, 1) / 2**15
        half = np.array([0.5], np.float32)
        x = net.convolution(x, f"{name}.weighted", 1, 1, weight, half)
        x = net.layer(definition.add_unary(x, trt.UnaryOperation.FLOOR), f"{name}.gray", x)
    mean, std = np.array(recipe.mean, np.float64), np.array(recipe.std, np.float64)
    shift = net.convert(-mean / std, trt.float32, name)
    scale = net.convert(1 / (255 * std), trt.float32, name)
    power = net.convert(np.ones_like(mean), trt.float32, name)
    layer = definition.add_scale(x, trt.ScaleMode.CHANNEL, shift, scale, power)
    x = net.layer(layer, f"{name}.normalize", x)
    return net.entry(x, f"{name}.cast")
