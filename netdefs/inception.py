"""Inception v3 and v4 for image classification.

Papers: https://arxiv.org/abs/1512.00567, https://arxiv.org/abs/1602.07261.
Upstream: torchvision/models/inception.py (BSD-3-Clause) for inception_v3; Cadene/pretrained-models.pytorch,
pretrainedmodels/models/inceptionv4.py (BSD-3-Clause) for inception_v4. timm's inception_v3 and inception_v4 have the
same keys.

Input: (N, 3, H, W) RGB, 299 x 299 by default, 75 x 75 at least; ImageNet's mean and std for v3, -1 to 1 for v4.
Output: `logits` (N, num_classes).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from netdefs.core.blocks import conv_bn
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.scope import IntPair, Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {"inception_v3": {}, "inception_v4": {}}
SMALLEST = 75  # of what is smaller the unpadded convolutions leave nothing
REDUCE: dict[str, Any] = {"stride": 2, "padding": 0}
VALID: dict[str, Any] = {"padding": 0}
Step = tuple[Any, ...]  # name, output channels, kernel and, as a dictionary, what else `unit` takes
Steps = Sequence[Any]  # steps, one after the other; those in a list are side by side


def define(
    net: Network,
    x: Tensor,
    variant: str = "inception_v3",
    num_classes: int | None = None,
    transform_input: bool | None = None,
    eps: float = 1e-3,
) -> Tensor:
    """Adds an Inception to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        transform_input: whether inception_v3 first turns ImageNet's normalization into -1 to 1, as torchvision has it
            do with its own weights, and by default. The weights don't tell: those that were trained by torchvision's
            code from scratch want False, and so does timm's module, whose input is -1 to 1 already.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: the picture is too small, or `transform_input` is not for this variant.
    """
    config_of(VARIANTS, variant)
    height, width = x.shape[2:]
    if 0 < height < SMALLEST or 0 < width < SMALLEST:
        raise NetworkError(
            f"{variant}: a picture has to be {SMALLEST} x {SMALLEST} at least, not {height} x {width}: it has "
            "convolutions without padding."
        )
    if variant == "inception_v4":
        if transform_input is not None:
            raise NetworkError(f"transform_input is for inception_v3; {variant} takes its input as it is.")
        x, head = net.global_avg_pool(v4(net, x, eps), "avg_pool"), "last_linear"
    else:
        if transform_input is not False:
            x = to_unit_range(net, x)
        x, head = net.global_avg_pool(v3(net, x, eps), "avgpool"), "fc"
    x = net.flatten(x, "flatten", start_dim=1)
    x = net.linear(x, head, net.class_count(num_classes, f"{head}.bias", default=1000))
    return net.output(x, "logits")


def to_unit_range(net: Network, x: Tensor) -> Tensor:
    """A picture normalized with ImageNet's mean and std as one from -1 to 1."""
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    x = net.mul(x, net.constant(std / 0.5, "transform.std", like=x), "transform.scaled")
    return net.add(x, net.constant((mean - 0.5) / 0.5, "transform.mean", like=x), "transform")


def v3(net: Network, x: Tensor, eps: float) -> Tensor:
    """Inception v3 without its head: (N, 3, 299, 299) -> (N, 2048, 8, 8)."""
    net.ignore("AuxLogits.*")  # only training looks at it
    stem = [("Conv2d_1a_3x3", 32, 3, REDUCE), ("Conv2d_2a_3x3", 32, 3, VALID), ("Conv2d_2b_3x3", 64, 3)]
    x = net.max_pool(chain(net, x, stem, eps), "maxpool1", kernel=3, stride=2)
    x = chain(net, x, [("Conv2d_3b_1x1", 80, 1), ("Conv2d_4a_3x3", 192, 3, VALID)], eps)
    x = net.max_pool(x, "maxpool2", kernel=3, stride=2)
    for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        branches: list[Steps] = [
            [("branch1x1", 64, 1)],
            [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
            [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ]
        x = mixed(net / name, x, branches, [("branch_pool", pooled, 1)], eps)
    double: Steps = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, REDUCE)]
    x = reduction(net / "Mixed_6a", x, [[("branch3x3", 384, 3, REDUCE)], double], eps)
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        once = [("branch7x7_1", width, 1), ("branch7x7_2", width, (1, 7)), ("branch7x7_3", 192, (7, 1))]
        kernels = [1, (7, 1), (1, 7), (7, 1), (1, 7)]
        twice = [(f"branch7x7dbl_{i + 1}", 192 if i == 4 else width, kernel) for i, kernel in enumerate(kernels)]
        x = mixed(net / name, x, [[("branch1x1", 192, 1)], once, twice], [("branch_pool", 192, 1)], eps)
    small = [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, REDUCE)]
    large = [(f"branch7x7x3_{i + 1}", 192, kernel) for i, kernel in enumerate([1, (1, 7), (7, 1)])]
    x = reduction(net / "Mixed_7a", x, [small, [*large, ("branch7x7x3_4", 192, 3, REDUCE)]], eps)
    for name in ("Mixed_7b", "Mixed_7c"):
        single: Steps = [("branch3x3_1", 384, 1), fork("branch3x3_2", 384, (1, 3), (3, 1))]
        double = [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), fork("branch3x3dbl_3", 384, (1, 3), (3, 1))]
        x = mixed(net / name, x, [[("branch1x1", 320, 1)], single, double], [("branch_pool", 192, 1)], eps)
    return x


def v4(net: Network, x: Tensor, eps: float) -> Tensor:
    """Inception v4 without its head: (N, 3, 299, 299) -> (N, 1536, 8, 8)."""
    net = net / "features"
    x = chain(net, x, [("0", 32, 3, REDUCE), ("1", 32, 3, VALID), ("2", 64, 3)], eps)
    at = net / 3
    pooled = at.max_pool(x, "maxpool", kernel=3, stride=2)
    x = at.concat([pooled, unit(at / "conv", x, 96, 3, eps=eps, **REDUCE)], None, dim=1)
    long = [("branch1.0", 64, 1), ("branch1.1", 64, (1, 7)), ("branch1.2", 64, (7, 1)), ("branch1.3", 96, 3, VALID)]
    short = [("branch0.0", 64, 1), ("branch0.1", 96, 3, VALID)]
    at = net / 4
    x = at.concat([chain(at, x, steps, eps) for steps in (short, long)], None, dim=1)
    at = net / 5
    reduced = unit(at / "conv", x, 192, 3, eps=eps, **REDUCE)
    x = at.concat([reduced, at.max_pool(x, "maxpool", kernel=3, stride=2)], None, dim=1)
    for i in range(6, 10):
        branches: list[Steps] = [
            [("branch0", 96, 1)],
            [("branch1.0", 64, 1), ("branch1.1", 96, 3)],
            [("branch2.0", 64, 1), ("branch2.1", 96, 3), ("branch2.2", 96, 3)],
        ]
        x = mixed(net / i, x, branches, [("branch3.1", 96, 1)], eps, pool="branch3.0", count_include_pad=False)
    double: list[Any] = [("branch1.0", 192, 1), ("branch1.1", 224, 3), ("branch1.2", 256, 3, REDUCE)]
    x = reduction(net / 10, x, [[("branch0", 384, 3, REDUCE)], double], eps, pool="branch2")
    for i in range(11, 18):
        once = [("branch1.0", 192, 1), ("branch1.1", 224, (1, 7)), ("branch1.2", 256, (7, 1))]
        twice = [("branch2.0", 192, 1), ("branch2.1", 192, (7, 1)), ("branch2.2", 224, (1, 7))]
        twice += [("branch2.3", 224, (7, 1)), ("branch2.4", 256, (1, 7))]
        branches = [[("branch0", 384, 1)], once, twice]
        x = mixed(net / i, x, branches, [("branch3.1", 128, 1)], eps, pool="branch3.0", count_include_pad=False)
    small = [("branch0.0", 192, 1), ("branch0.1", 192, 3, REDUCE)]
    large = [
        ("branch1.0", 256, 1),
        ("branch1.1", 256, (1, 7)),
        ("branch1.2", 320, (7, 1)),
        ("branch1.3", 320, 3, REDUCE),
    ]
    x = reduction(net / 18, x, [small, large], eps, pool="branch2")
    for i in range(19, 22):
        single: Steps = [("branch1_0", 384, 1), fork("branch1_1", 256, (1, 3), (3, 1))]
        double = [("branch2_0", 384, 1), ("branch2_1", 448, (3, 1)), ("branch2_2", 512, (1, 3))]
        double.append(fork("branch2_3", 256, (1, 3), (3, 1)))
        branches = [[("branch0", 256, 1)], single, double]
        x = mixed(net / i, x, branches, [("branch3.1", 256, 1)], eps, pool="branch3.0", count_include_pad=False)
    return x


def mixed(
    net: Network,
    x: Tensor,
    branches: Sequence[Steps],
    last: Steps,
    eps: float,
    pool: str = "avg_pool",
    count_include_pad: bool = True,
) -> Tensor:
    """Branches side by side, the last of them behind an average pool of 3 x 3; height and width stay."""
    found = [chain(net, x, steps, eps) for steps in branches]
    pooled = net.avg_pool(x, pool, kernel=3, stride=1, padding=1, count_include_pad=count_include_pad)
    return net.concat([*found, chain(net, pooled, last, eps)], None, dim=1)


def reduction(net: Network, x: Tensor, branches: Sequence[Steps], eps: float, pool: str = "max_pool") -> Tensor:
    """Branches that halve height and width side by side with a max pool of 3 x 3."""
    found = [chain(net, x, steps, eps) for steps in branches]
    return net.concat([*found, net.max_pool(x, pool, kernel=3, stride=2)], None, dim=1)


def chain(net: Network, x: Tensor, steps: Steps, eps: float) -> Tensor:
    """One `unit` after the other; those in a list are side by side."""
    for step in steps:
        if isinstance(step, list):
            x = net.concat([chain(net, x, [each], eps) for each in step], step[0][0].removesuffix("a"), dim=1)
        else:
            name, channels, kernel, *options = step
            x = unit(net / name, x, channels, kernel, eps=eps, **(options[0] if options else {}))
    return x


def fork(name: str, channels: int, first: IntPair, second: IntPair) -> list[Step]:
    """Two units side by side, `<name>a` and `<name>b`."""
    return [(f"{name}a", channels, first), (f"{name}b", channels, second)]


def unit(
    net: Network,
    x: Tensor,
    out_channels: int,
    kernel: IntPair,
    stride: IntPair = 1,
    padding: IntPair | None = None,
    eps: float = 1e-3,
) -> Tensor:
    """Convolution `conv`, batch norm `bn` and ReLU, which is named after the scope."""
    return net.relu(conv_bn(net, x, "conv", "bn", out_channels, kernel, stride, padding=padding, eps=eps))


HALF = (0.5, 0.5, 0.5)
model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 299, 299),
    preprocess={
        "inception_v3": Preprocess("RGB", IMAGENET.mean, IMAGENET.std, fit="crop", crop_pct=299 / 342),
        "inception_v4": Preprocess("RGB", HALF, HALF, fit="crop", crop_pct=0.875),
    },
    decode=Decode("classes"),
)
define_network, build_engine = model.define_network, model.build_engine
