"""CenterNet: objects as points, the peaks of a heat map, with width and height at each of them.

Paper: https://arxiv.org/abs/1904.07850.
Upstream: xingyizhou/CenterNet, src/lib/models/networks/msra_resnet.py, resnet_dcn.py and pose_dla_dcn.py (MIT), whose
DCNv2 is that of CharlesShang/DCNv2 (BSD-3-Clause).

Input: (N, 3, H, W) BGR, multiples of 32; 512 x 512 by default. Outputs at a quarter of the size: `hm` (N, classes, H/4,
W/4), before its sigmoid, `wh` and `reg` (N, 2, H/4, W/4), width and height, and where in its pixel the middle is; or
`dets` (N, 100, 6).
"""

from typing import Any

from netdefs.core.blocks import basic_block, deconv_bn
from netdefs.core.dla import dla34_up, modulated_conv
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.peaks import find_peaks, flat
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.yolo.detection import check_multiple
from netdefs.core.zoo import Model, config_of
from netdefs.resnet import trunk

VARIANTS: dict[str, dict[str, Any]] = {
    "centernet_res18": {"head_channels": 64},
    "centernet_resdcn18": {"head_channels": 64},
    "centernet_dla34": {"head_channels": 256},
}
STRIDE = 4
MOST = 100
DECODES = ("raw", "in_network")


def define(
    net: Network,
    x: Tensor,
    variant: str = "centernet_res18",
    num_classes: int | None = None,
    decode: str = "raw",
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """Adds a CenterNet to `net` and returns `hm`, `wh` and `reg`, or what `decode` asks for.

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W).
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        decode: "raw": as upstream's network gives them. "in_network": `dets` (N, 100, 6), the best peaks of all
            classes, best first: x1, y1, x2, y2 in pixels of the input, score, class. Nothing has to be suppressed.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: `decode` is unknown, or height or width is no multiple of 32.
    """
    config = config_of(VARIANTS, variant)
    if decode not in DECODES:
        raise NetworkError(f"decode={decode!r}: it is one of {', '.join(map(repr, DECODES))}.")
    check_multiple(net, x, 32)
    if variant == "centernet_dla34":
        x = dla34_up(net, x, eps)
    else:
        x = trunk(net, x, [basic_block] * 4, (2, 2, 2, 2), eps=eps)
        x = deconvolutions(net / "deconv_layers", x, variant == "centernet_resdcn18", eps)
    classes = net.class_count(num_classes, "hm.2.bias", default=80)
    maps = {
        name: head(net / name, x, config["head_channels"], channels)
        for name, channels in (("hm", classes), ("wh", 2), ("reg", 2))
    }
    net.info["decode"] = {"num_classes": classes}
    if decode == "raw":
        return {name: net.output(tensor, name) for name, tensor in maps.items()}
    return {"dets": net.output(best(net / "decode", maps["hm"], maps["wh"], maps["reg"]), "dets")}


def deconvolutions(net: Network, x: Tensor, deformable: bool, eps: float) -> Tensor:
    """Three deconvolutions from a thirty-second of the size to a quarter, with deformable convolutions between them."""
    at = 0
    for channels in (256, 128, 64) if deformable else (256, 256, 256):
        if deformable:
            x = modulated_conv(net, x, str(at), channels)
            x = net.relu(net.batch_norm(x, str(at + 1), eps), str(at + 2))
            at += 3
        x = deconv_bn(net, x, str(at), str(at + 1), channels, kernel=4, stride=2, padding=1, eps=eps)
        x = net.relu(x, str(at + 2))
        at += 3
    return x


def head(net: Network, x: Tensor, inner: int, channels: int) -> Tensor:
    """A 3x3 convolution, ReLU and a 1x1 convolution."""
    x = net.relu(net.conv(x, "0", inner, kernel=3, padding=1), "1")
    return net.conv(x, "2", channels, kernel=1)


def best(net: Network, hm: Tensor, wh: Tensor, reg: Tensor) -> Tensor:
    """The best peaks of all classes as boxes, (N, 100, 6), in float32: half precision can't count so many pixels.

    Source: ctdet_decode in src/lib/models/decode.py of xingyizhou/CenterNet (MIT).
    """
    float32 = net.trt.float32
    hm, wh, reg = (net.cast(x, f"{name}.float", float32) for name, x in (("hm", hm), ("wh", wh), ("reg", reg)))
    peaks = find_peaks(net / "peaks", net.sigmoid(hm, "sigmoid"), MOST, radius=1)  # of each class
    scores, chosen = net.topk(net.flatten(peaks.scores, "scores", start_dim=1), "best", MOST, dim=1)
    label = net.floor_divide(chosen, MOST, "label")
    row = (0, 1, MOST)

    def of_chosen(values: Tensor, name: str) -> Tensor:
        flattened = net.flatten(values, f"{name}.flat", start_dim=1)
        return net.reshape(net.gather(flattened, f"{name}.chosen", 1, chosen), name, row)

    index = of_chosen(peaks.index, "index")
    columns = net.cast(of_chosen(peaks.columns, "columns"), "columns.float", float32)
    rows = net.cast(of_chosen(peaks.rows, "rows"), "rows.float", float32)
    both = net.concat([index, index], "index.both", dim=1)
    place = net.gather(flat(net, reg, "reg.flat"), "reg.chosen", 2, both)
    extent = net.gather(flat(net, wh, "wh.flat"), "wh.chosen", 2, both)
    middle = net.add(net.concat([columns, rows], "pixels", dim=1), place, "middle")
    half = net.mul(extent, 0.5, "half")
    edges = net.concat([net.sub(middle, half, "low"), net.add(middle, half, "high")], "edges", dim=1)
    edges = net.mul(edges, float(STRIDE), "edges.input")
    label = net.reshape(net.cast(label, "label.float", float32), "label.row", row)
    columns = net.concat([edges, net.reshape(scores, "scores.row", row), label], "columns.all", dim=1)
    return net.permute(columns, "rows.all", (0, 2, 1))


# Upstream's mean and std of COCO's pictures, in the order of its channels, which are OpenCV's.
PREPROCESS = Preprocess("BGR", mean=(0.408, 0.447, 0.470), std=(0.289, 0.274, 0.278), fit="letterbox")

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 512, 512),
    preprocess=PREPROCESS,
    decode=Decode("centers", "coco80"),
)
define_network, build_engine = model.define_network, model.build_engine
