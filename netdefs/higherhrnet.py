"""HigherHRNet: the poses of all people in a picture, bottom-up.

A heat map for each keypoint, of all people, and a map of tags, which are alike where keypoints are of the same person.

Paper: https://arxiv.org/abs/1908.10357.
Upstream: HRNet/HigherHRNet-Human-Pose-Estimation, lib/models/pose_higher_hrnet.py, and for what `define` can do beyond
that lib/core/inference.py and lib/core/group.py (MIT).

Input: (N, 3, H, W) RGB, ImageNet's mean and std, H and W multiples of 32; by default 512 x 512, and 640 x 640 for w48.
Outputs, by default: `stage0_heatmaps_and_tags` (N, 2 * num_joints, H / 4, W / 4) and `stage1_heatmaps` (N, num_joints,
H / 2, W / 2).
"""

from typing import Any

from netdefs import hrnet
from netdefs.core.blocks import basic_block, deconv_bn
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.peaks import find_peaks, flat, in_pixels
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {f"higherhrnet_w{width}": hrnet.config(width) for width in (32, 48)}
DECODE = ("on_host", "in_network")
PEOPLE, RADIUS = 30, 2  # peaks of each heat map, and of the square that one is the highest in: upstream's for COCO


def define(
    net: Network,
    x: Tensor,
    variant: str = "higherhrnet_w32",
    num_joints: int | None = None,
    aggregate: bool = False,
    decode: str = "on_host",
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """Adds HigherHRNet to `net` and returns its outputs by name.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of 32.
        variant: one of `VARIANTS`.
        num_joints: keypoints of a person, 17 in COCO, 14 in CrowdPose; read off the weights when None.
        aggregate: also do upstream's first step of decoding: outputs are then `heatmaps`, the mean over stages, and
            `tags`, (N, num_joints, H, W) each.
        decode: "on_host", or "in_network" to aggregate and find the peaks too: outputs are then `scores`, `x`, `y` and
            `tags`, (N, num_joints, 30) each, x and y in pixels of the input, pixel i stretching from i to i + 1.
            Upstream's refine, which looks for what a person lacks, needs the maps and can't follow.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: there is no such way to decode.
    """
    config = config_of(VARIANTS, variant)
    if decode not in DECODE:
        raise NetworkError(f"{variant}: decode is one of {', '.join(DECODE)}, not {decode!r}.")
    joints = net.class_count(num_joints, "final_layers.1.bias", default=17, argument="num_joints")
    (x,) = hrnet.backbone(net, x, **config, outputs=1, eps=eps)
    stage0 = net.conv(x, "final_layers.0", 2 * joints, kernel=1)
    x = doubled(net / "deconv_layers" / 0, net.concat([x, stage0], "concat", dim=1), config["width"], eps)
    stage1 = net.conv(x, "final_layers.1", joints, kernel=1)
    if decode == "in_network":
        return peaks(net, *aggregated(net / "aggregate", stage0, stage1))
    if aggregate:
        heatmaps, tags = aggregated(net / "aggregate", stage0, stage1)
        return {"heatmaps": net.output(heatmaps, "heatmaps"), "tags": net.output(tags, "tags")}
    return {
        "stage0_heatmaps_and_tags": net.output(stage0, "stage0_heatmaps_and_tags"),
        "stage1_heatmaps": net.output(stage1, "stage1_heatmaps"),
    }


def doubled(net: Network, x: Tensor, channels: int, eps: float) -> Tensor:
    """A deconvolution to twice the size, then four residual blocks: (N, C, H, W) -> (N, channels, 2 * H, 2 * W)."""
    first = net / 0
    x = first.relu(deconv_bn(first, x, "0", "1", channels, kernel=4, stride=2, padding=1, eps=eps), "2")
    for i in range(1, 5):
        x = basic_block(net / i / 0, x, channels, eps=eps)
    return x


def aggregated(net: Network, stage0: Tensor, stage1: Tensor) -> tuple[Tensor, Tensor]:
    """Heat maps, the mean over both stages, and tags, both float32 and of the input's size.

    Twice doubled bilinearly, as upstream does it: to the size of the second stage, then to the picture's. In half
    precision neighbours would become equal, and what is highest would be lost.
    """
    float32, joints = net.trt.float32, int(stage1.shape[1])
    stage0 = net.upsample(net.cast(stage0, "stage0.float", float32), "stage0", scale_factor=2, mode="bilinear")
    heatmaps, tags = net.split(stage0, "stage0.parts", joints, dim=1)
    heatmaps = net.mul(net.add(heatmaps, net.cast(stage1, "stage1.float", float32), "sum"), 0.5, "mean")
    heatmaps = net.upsample(heatmaps, "heatmaps", scale_factor=2, mode="bilinear")
    return heatmaps, net.upsample(tags, "tags", scale_factor=2, mode="bilinear")


def peaks(net: Network, heatmaps: Tensor, tags: Tensor) -> dict[str, Tensor]:
    """The best peaks of the heat maps, where they are and their tags."""
    place = net / "peaks"
    found = find_peaks(place, heatmaps, PEOPLE, RADIUS)
    x, y = in_pixels(place, heatmaps, found)
    tags = place.gather(flat(place, tags, "tags.flat"), "tags", 2, found.index)
    outputs = {"scores": found.scores, "x": x, "y": y, "tags": tags}
    return {name: net.output(value, name) for name, value in outputs.items()}


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape={"higherhrnet_w32": (1, 3, 512, 512), "higherhrnet_w48": (1, 3, 640, 640)},
    preprocess=Preprocess("RGB", IMAGENET.mean, IMAGENET.std, fit="letterbox"),
    decode=Decode("grouping", "coco17"),
)
define_network, build_engine = model.define_network, model.build_engine
