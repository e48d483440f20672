"""The heads of YOLO26, one of which needs no non-maximum suppression.

Upstream: ultralytics/ultralytics, ultralytics/nn/modules/{head,block}.py (AGPL-3.0).
"""

from collections.abc import Sequence

from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.scope import Tensor
from netdefs.core.yolo.detection import best_detections, check_decode
from netdefs.core.yolo.suppression import Suppression
from netdefs.core.yolo.ultralytics import conv
from netdefs.core.yolo.ultralytics_heads import CLASSES, Head, decoded_values, prototypes, raw_values, suppressed

PREFIXES = {"one2one": "one2one_", "one2many": ""}  # of a head's modules


def detect_twice(
    net: Network,
    place: Network,
    maps: Sequence[Tensor],
    head: Head,
    num_classes: int | None,
    decode: str = "both",
    branch: str | None = None,
    max_det: int | None = None,
    nms: Suppression | None = None,
) -> dict[str, Tensor]:
    """Detect, Segment26, Pose26 and OBB26 of YOLO26: one head trained one to one, which needs no NMS, one with many.

    Args:
        net: the root, where the outputs get their names.
        place: the head's module.
        maps: (N, C, H, W) of the strides 8, 16, 32.
        head: what both are like.
        num_classes: read off the weights when None.
        decode: which outputs: "raw", "decoded" or "both".
        branch: "one2one", "one2many" or "both"; when None, those that the weights have, and for decode="decoded" one.
        max_det: how many detections one2one gives: 300 when None. Those of one2many are limited by `nms`.
        nms: which boxes of one2many stay, if that is decided inside.

    Returns:
        Of one2one, decoded: `dets`, (N, max_det, 6 + more), rows of left, top, right and bottom (of rotated boxes
        centre x, centre y, width, height) in pixels, score, class and more, the best first; `one2one_pred`, as
        `detect`'s `pred`, but boxes as above, unless decode is "decoded". Raw: `one2one_boxes`, `one2one_cls_logits`
        and so on.
        Of one2many, raw: `one2many_boxes`, `one2many_cls_logits` and so on; decoded, where there is no one2one,
        `one2many_pred` as `detect`'s `pred`, and with `nms` `dets` as `suppress` has it. Of masks always `proto`.
    """
    check_decode(decode)
    branches = branches_of(place, branch, decode)
    if nms is not None and branches[0] == "one2one":
        raise NetworkError(
            "nms='in_network': the head one2one needs no suppression. Leave it out, or take branch='one2many'."
        )
    if max_det is not None and nms is None and (decode == "raw" or branches[0] != "one2one"):
        raise NetworkError(
            f"max_det={max_det}: only decoded outputs of the head one2one are chosen from; leave it out."
        )
    outputs: dict[str, Tensor] = {}
    raw_outputs: dict[str, Tensor] = {}
    for name in branches:
        prefix = PREFIXES[name]
        classes = place.class_count(num_classes, f"{prefix}cv3.0.2.bias", CLASSES[head.task])
        values = raw_values(place, maps, head, classes, prefix)
        raw = {key: net.output(x, f"{name}_{key}") for key, x in values.items()}
        raw_outputs |= {f"{name}_{key}": x for key, x in raw.items()}
        if decode == "raw" or name != branches[0]:
            continue
        end2end = name == "one2one"
        parts = decoded_values(place, raw, maps, head, corners=end2end)
        if end2end:
            rows = [place.permute(x, f"rows.{i}", (0, 2, 1)) for i, x in enumerate(parts)]
            best = best_detections(place / "best", rows[0], rows[1], rows[2:], 300 if max_det is None else max_det)
            outputs["dets"] = net.output(best, "dets")
        elif nms is not None:
            outputs["dets"] = net.output(suppressed(place, parts, nms), "dets")
        if decode == "both" or "dets" not in outputs:
            outputs[f"{name}_pred"] = net.output(place.concat(parts, "pred", dim=1), f"{name}_pred")
    if head.task == "seg":
        outputs["proto"] = net.output(refined_prototypes(place / "proto", maps, head), "proto")
    for pattern in ("proto.semseg.*", "flow_model.*", "cv4_sigma.*", "one2one_cv4_sigma.*"):  # used in training only
        place.ignore(pattern)
    return outputs if decode == "decoded" else outputs | raw_outputs


def branches_of(place: Network, branch: str | None, decode: str) -> list[str]:
    """Which of YOLO26's heads to add; weights of another that is there are ignored."""
    known = (*PREFIXES, "both")
    if branch is not None and branch not in known:
        raise NetworkError(f"branch={branch!r}: it is one of {', '.join(map(repr, known))}, or None.")
    if branch is None:
        there = [name for name, prefix in PREFIXES.items() if place.path_of(f"{prefix}cv2.0.2.bias") in place.weights]
        chosen = there or list(PREFIXES)
        chosen = chosen[:1] if decode == "decoded" else chosen
    else:
        chosen = list(PREFIXES) if branch == "both" else [branch]
    if "one2one" not in chosen:
        place.ignore("one2one_*")
    if "one2many" not in chosen:
        place.ignore("cv[234]*")
    return chosen


def refined_prototypes(net: Network, maps: Sequence[Tensor], head: Head) -> Tensor:
    """Proto26: the coarser maps are added to the finest through `feat_refine`; `feat_fuse`, then as `prototypes`."""
    x = maps[0]
    for i, other in enumerate(maps[1:]):
        refine = net / "feat_refine" / i
        y = conv(refine, other, int(maps[0].shape[1]), eps=head.eps)
        x = net.add(x, refine.upsample(y, "upsample", scale_factor=2 ** (i + 1)), f"feat_refine.add{i}")
    return prototypes(net, conv(net / "feat_fuse", x, head.proto_width, 3, eps=head.eps), head)
