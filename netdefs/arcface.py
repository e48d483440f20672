"""ArcFace's iresnets: what a face looks like, as a vector that is compared with those of other faces.

Paper: https://arxiv.org/abs/1801.07698.
Upstream: deepinsight/insightface, recognition/arcface_torch/backbones/iresnet.py (code MIT; weights for research only).

Input: (N, 3, 112, 112) RGB, -1 to 1: an aligned face, as `netdefs.vision.align_face` makes it of RetinaFace's five
landmarks. Output: `embedding` (N, 512), of any length; `netdefs.vision.cosine_distances` compares two sets of them.
"""

from typing import Any

from netdefs.core.blocks import conv_bn, layer, shortcut
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "iresnet18": {"layers": (2, 2, 2, 2)},
    "iresnet34": {"layers": (3, 4, 6, 3)},
    "iresnet50": {"layers": (3, 4, 14, 3)},
    "iresnet100": {"layers": (3, 13, 30, 3)},
}
SIZE = (112, 112)


def define(net: Network, x: Tensor, variant: str = "iresnet18", eps: float = 1e-5) -> Tensor:
    """Adds an iresnet to `net` and returns its `embedding`, (N, features): 512 features, or as many as `fc` gives.

    With `fold_bn` the norms behind convolutions are folded. Those in front of one stay layers: a norm moves its zeros,
    and the convolution's padding is zero after it, so the two are no convolution together.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, 112, 112).
        variant: one of `VARIANTS`.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: x has another size.
    """
    config = config_of(VARIANTS, variant)
    if tuple(x.shape[2:]) != SIZE:
        height, width = x.shape[2:]
        raise NetworkError(
            f"{variant} looks at faces of 112 x 112, and its last layer fits no other size: not {height} x {width}. "
            "netdefs.vision.align_face cuts faces out."
        )
    x = net.prelu(conv_bn(net, x, "conv1", "bn1", 64, kernel=3, eps=eps), "prelu", 64)
    for i, count in enumerate(config["layers"]):
        x = layer(net / f"layer{i + 1}", x, block, 64 * 2**i, count, stride=2, eps=eps)
    x = net.flatten(net.batch_norm(x, "bn2", eps), "flatten", start_dim=1)
    x = net.linear(x, "fc", net.class_count(None, "fc.bias", default=512))
    return net.output(net.batch_norm(x, "features", eps), "embedding")


def block(net: Network, x: Tensor, channels: int, stride: int = 1, eps: float = 1e-5) -> Tensor:
    """A residual block with a batch norm in front and no ReLU at its end; its second convolution has the stride."""
    out = net.batch_norm(x, "bn1", eps)
    out = conv_bn(net, out, "conv1", "bn2", channels, kernel=3, eps=eps)
    out = net.prelu(out, "prelu", channels)
    out = conv_bn(net, out, "conv2", "bn3", channels, kernel=3, stride=stride, eps=eps)
    return net.add(out, shortcut(net, x, channels, stride, eps))


HALF = (0.5, 0.5, 0.5)
model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, *SIZE),
    preprocess=Preprocess("RGB", HALF, HALF, fit="squeeze"),
    decode=Decode("embedding"),
)
define_network, build_engine = model.define_network, model.build_engine
