"""The blocks of Ultralytics' networks that a module may be, and the arguments with which it would be."""

from collections.abc import Sequence

from netdefs.core.yolo.ultralytics import EPS
from netdefs.scaffold.candidates import Guess, Options, Parts, without
from netdefs.scaffold.program import Call, Unit

ACTIVATIONS = {"relu": "ReLU", "hardswish": "Hardswish", "mish": "Mish", "gelu": "GELU"}
AREAS = 4


def is_made_of(body: Sequence[Call | Unit], path: Sequence[str]) -> bool:
    """Whether this is the Conv that these networks are made of: where there is none, modules only look alike."""
    calls = [item for item in body if isinstance(item, Call)]
    names = ["".join(call.path[len(path) :]) for call in calls if call.path and call.path[: len(path)] == tuple(path)]
    functions = [call.function for call in calls]
    return functions == ["conv", "batch_norm", "silu"] and names[:2] == ["conv", "bn"] and "act" not in names


def conv(parts: Parts) -> Options:
    """Of `ultralytics.conv`."""
    last = parts.by_name.get("bn") or parts.by_name["conv"]
    act = parts.after(last)
    if act is None:
        kind = "Identity"
    elif act.function == "leaky_relu":
        kind = f"LeakyReLU({act.options.get('negative_slope', 0.01)})"
    else:
        kind = ACTIVATIONS.get(str(act.function), "SiLU")
    kernel = parts.kernel("conv")
    found = {"out_channels": parts.out("conv"), "kernel": kernel}
    found |= {key: parts.option("conv", key, usual) for key, usual in (("stride", 1), ("padding", 0), ("groups", 1))}
    found |= {"act": kind, **_eps(parts)}
    if isinstance(kernel, int) and found["padding"] == kernel // 2:
        del found["padding"]
    return without(found, kernel=1, stride=1, groups=1, act="SiLU")


def bottleneck(parts: Parts) -> Options:
    """Of `ultralytics.bottleneck`."""
    kernels = (parts.kernel("cv1.conv"), parts.kernel("cv2.conv"))
    found = {"kernels": kernels, "shortcut": parts.has("add"), "expansion": parts.out("cv1.conv") / parts.channels}
    return without(found | _eps(parts), kernels=(3, 3), shortcut=True, expansion=0.5)


def _halves(parts: Parts) -> tuple[Options, Options]:
    """The arguments that every block with parts `m` has."""
    out = parts.out("cv2.conv")
    found = {"out_channels": out, "repeats": parts.count("m.")}
    return found, {"expansion": parts.out("cv1.conv") / 2 / out, **_eps(parts)}


def c2f(parts: Parts) -> Options:
    """Of `ultralytics.c2f` of bottlenecks."""
    found, others = _halves(parts)
    shortcut = {"shortcut": parts.by_name["m.0.cv2.bn"] is not None and _adds(parts, "m.0")}
    return without(found | shortcut | others, repeats=1, shortcut=False, expansion=0.5)


def c3k2(parts: Parts) -> Options:
    """Of `ultralytics.c3k2`."""
    found, others = _halves(parts)
    kinds = {"nested": "m.0.m.0.cv1.conv" in parts.by_name, "attention": "m.0.1.attn.qkv.conv" in parts.by_name}
    kinds["nested"] |= kinds["attention"]  # as upstream's yaml files have it
    return without(found | kinds | others, expansion=0.5, attention=False)


def c3k(parts: Parts) -> Options:
    """Of `ultralytics.c3k`."""
    if parts.count("m.") != 2 or parts.out("cv3.conv") != parts.channels:
        raise LookupError
    return _eps(parts)


def c3(parts: Parts) -> Options:
    """Of `ultralytics.c3`."""
    found: Options = {"out_channels": parts.out("cv3.conv"), "repeats": parts.count("m.")}
    found["shortcut"] = _adds(parts, "m.0")
    found["kernels"] = (parts.kernel("m.0.cv1.conv"), parts.kernel("m.0.cv2.conv"))
    return without(found | _eps(parts), repeats=1, shortcut=True, kernels=(1, 3))


def sppf(parts: Parts) -> Options:
    """Of `ultralytics.sppf`."""
    pool = parts.first("max_pool")
    first = parts.after(parts.by_name["cv1.bn"])
    found = {
        "out_channels": parts.out("cv2.conv"),
        "kernel": pool.options["kernel"],
        "shortcut": parts.has("add"),
        "act": "Identity" if first is pool else "SiLU",
    }
    return without(found | _eps(parts), kernel=5, shortcut=False, act="SiLU")


def c2psa(parts: Parts) -> Options:
    """Of `ultralytics.c2psa`."""
    parts.out("m.0.attn.qkv.conv")  # it is of psa_blocks
    return {"repeats": parts.count("m."), **_eps(parts)}


def psa_block(parts: Parts) -> Options:
    """Of `ultralytics.psa_block`."""
    parts.out("attn.qkv.conv"), parts.out("ffn.1.conv")  # there is nothing to say, if it has these
    return _eps(parts)


def attention(parts: Parts) -> Options:
    """Of `ultralytics.attention`."""
    heads = _heads(parts)
    key = (parts.out("qkv.conv") - parts.channels) // (2 * heads)
    found = {"heads": heads, "key_size": key, "kernel": parts.kernel("pe.conv")}
    return without(found | {"areas": _areas(parts)} | _eps(parts), areas=1)


def area_block(parts: Parts) -> Options:
    """Of `ultralytics.area_block`."""
    ratio = parts.out("mlp.0.conv") / parts.channels
    return {"areas": _areas(parts), "mlp_ratio": ratio, **_eps(parts)}


def a2c2f(parts: Parts) -> Options:
    """Of `ultralytics.a2c2f`."""
    found: Options = {"out_channels": parts.out("cv2.conv"), "repeats": parts.count("m.")}
    if "m.0.cv3.conv" in parts.by_name:
        return found | {"areas": None} | _eps(parts)
    ratio = parts.out("m.0.0.mlp.0.conv") / parts.out("cv1.conv")
    others = without({"scaled": "gamma" in parts.by_name, "mlp_ratio": ratio}, scaled=False, mlp_ratio=2.0)
    return found | {"areas": _areas(parts)} | others | _eps(parts)


def _eps(parts: Parts) -> Options:
    return parts.eps(EPS)


def _heads(parts: Parts) -> int:
    return int(parts.first("softmax").results[0].shape[1])


def _areas(parts: Parts) -> int:
    """1, or the 4 that there are in YOLO12: each is then a picture of its own."""
    return 1 if parts.first("softmax").results[0].shape[0] == parts.given.shape[0] else AREAS


def _adds(parts: Parts, inside: str) -> bool:
    """Whether a block that is in this one adds its input."""
    return any(c.function == "add" and f"{parts.name(c)}.".startswith(f"{inside}.") for c in parts.calls)


# Of blocks that could be the same, the one with less to say comes first.
BLOCKS: dict[str, Guess] = {
    "yolo.ultralytics.conv": conv,
    "yolo.ultralytics.bottleneck": bottleneck,
    "yolo.ultralytics.c2f": c2f,
    "yolo.ultralytics.c3k2": c3k2,
    "yolo.ultralytics.c3k": c3k,
    "yolo.ultralytics.c3": c3,
    "yolo.ultralytics.sppf": sppf,
    "yolo.ultralytics.c2psa": c2psa,
    "yolo.ultralytics.psa_block": psa_block,
    "yolo.ultralytics.attention": attention,
    "yolo.ultralytics.area_block": area_block,
    "yolo.ultralytics.a2c2f": a2c2f,
}
