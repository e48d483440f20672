"""OpenPose: the poses of all people in a picture by part-affinity fields, and the keypoints of a hand.

Papers: https://arxiv.org/abs/1611.08050, https://arxiv.org/abs/1704.07809.
Upstream: Hzzone/pytorch-openpose, src/model.py (no licence stated), whose checkpoints are converted from CMU's.

Input: (N, 3, H, W) BGR, value / 256 - 0.5. H and W are 8 or more; what multiples of 8 leave over is not looked at.
Outputs: `paf_38` and `heatmap_19` of a body, `heatmap_22` of a hand, (N, 38, H/8, W/8) and so on. The last of the heat
maps is the background's.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "openpose_body": {"stray_relu": True},
    "openpose_hand": {"stray_relu": False},
}
Convolution = tuple[str, int, int]  # name, output channels, kernel


def define(
    net: Network, x: Tensor, variant: str = "openpose_body", stray_relu: bool | None = None
) -> Tensor | dict[str, Tensor]:
    """Adds an OpenPose to `net`; returns `paf_38` and `heatmap_19` of a body, or the `heatmap_22` of a hand.

    Weights are named as in the module's state_dict (`model0.conv1_1.weight`) or in the released checkpoints
    (`conv1_1.weight`).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        stray_relu: whether a ReLU follows the last layer of heat maps. By default as upstream, whose body has one: of
            the layers that shall have none its list names another one twice.
    """
    config = config_of(VARIANTS, variant)
    net.other_names(lambda key: key.partition(".")[2])
    add = hand if variant == "openpose_hand" else body
    return add(net, x, config["stray_relu"] if stray_relu is None else stray_relu)


def body(net: Network, x: Tensor, stray_relu: bool) -> dict[str, Tensor]:
    """The network of all people in a picture: six stages, each of them a branch of fields and one of heat maps."""
    features = vgg(net / "model0", x, [("conv4_3_CPM", 256, 3), ("conv4_4_CPM", 128, 3)])
    paf = convolutions(net / "model1_1", features, first_stage("_L1", 38))
    heatmap = convolutions(net / "model1_2", features, first_stage("_L2", 19))
    for i in range(2, 7):
        x = net.concat([paf, heatmap, features], f"stage{i}.input", dim=1)
        paf = convolutions(net / f"model{i}_1", x, later_stage(i, "_L1", 38))
        heatmap = convolutions(net / f"model{i}_2", x, later_stage(i, "_L2", 19), last_relu=stray_relu and i == 6)
    return {"paf_38": net.output(paf, "paf_38"), "heatmap_19": net.output(heatmap, "heatmap_19")}


def hand(net: Network, x: Tensor, stray_relu: bool) -> Tensor:
    """The network of one hand: six stages, each of them a branch of heat maps."""
    deeper = [(f"conv{i}", 512, 3) for i in ("4_3", "4_4", "5_1", "5_2")]
    features = vgg(net / "model1_0", x, [*deeper, ("conv5_3_CPM", 128, 3)])
    heatmap = convolutions(net / "model1_1", features, [("conv6_1_CPM", 512, 1), ("conv6_2_CPM", 22, 1)])
    for i in range(2, 7):
        x = net.concat([heatmap, features], f"stage{i}.input", dim=1)
        heatmap = convolutions(net / f"model{i}", x, later_stage(i, "", 22), last_relu=stray_relu and i == 6)
    return net.output(heatmap, "heatmap_22")


def vgg(net: Network, x: Tensor, end: Sequence[Convolution]) -> Tensor:
    """The first ten convolutions of VGG-19, and those of `end`: (N, 3, H, W) -> (N, C, H / 8, W / 8), rounded down."""
    for i, (channels, count) in enumerate(((64, 2), (128, 2), (256, 4)), start=1):
        x = convolutions(net, x, [(f"conv{i}_{j + 1}", channels, 3) for j in range(count)], last_relu=True)
        x = net.max_pool(x, f"pool{i}_stage1", kernel=2)
    return convolutions(net, x, [("conv4_1", 512, 3), ("conv4_2", 512, 3), *end], last_relu=True)


def first_stage(branch: str, channels: int) -> list[Convolution]:
    """A branch of the body's first stage."""
    inner = [(f"conv5_{i}_CPM{branch}", 128, 3) for i in (1, 2, 3)]
    return [*inner, (f"conv5_4_CPM{branch}", 512, 1), (f"conv5_5_CPM{branch}", channels, 1)]


def later_stage(stage: int, branch: str, channels: int) -> list[Convolution]:
    """A branch of one of the stages 2 to 6."""
    inner = [(f"Mconv{i}_stage{stage}{branch}", 128, 7 if i < 6 else 1) for i in range(1, 7)]
    return [*inner, (f"Mconv7_stage{stage}{branch}", channels, 1)]


def convolutions(net: Network, x: Tensor, layers: Sequence[Convolution], last_relu: bool = False) -> Tensor:
    """Convolutions in a row that keep height and width, with a ReLU after each; after the last only if asked for."""
    for i, (name, channels, kernel) in enumerate(layers, start=1):
        x = net.conv(x, name, channels, kernel, padding=kernel // 2)
        if i < len(layers) or last_relu:
            x = net.relu(x, f"relu_{name}")
    return x


# value / 256 - 0.5, as of value / 255
BODY = Preprocess("BGR", mean=(0.5 * 256 / 255,) * 3, std=(256 / 255,) * 3, fit="corner", pad=128)

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape={"openpose_body": (1, 3, 184, 328), "openpose_hand": (1, 3, 368, 368)},
    preprocess={"openpose_body": BODY, "openpose_hand": dataclasses.replace(BODY, fit="box")},
    decode={"openpose_body": Decode("fields", "coco18"), "openpose_hand": Decode("heatmap", "hand21")},
)
define_network, build_engine = model.define_network, model.build_engine
