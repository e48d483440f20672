"""Pools and resizes."""

from collections.abc import Sequence
from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import differing, pair
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Arg, Value


@lowers("aten.max_pool2d.default", "aten.max_pool1d.default", "aten.max_pool3d.default")
def _max_pool(op: Op) -> Value:
    kernel = pair(op["kernel_size"])
    options = differing(
        {"stride": kernel, "padding": 0, "dilation": 1, "ceil_mode": False},
        stride=pair(op["stride"]) if op["stride"] else kernel,
        padding=pair(op["padding"]),
        dilation=pair(op["dilation"]),
        ceil_mode=op["ceil_mode"],
    )
    return op.layer("max_pool", op["self"], kernel=kernel, **options)


@lowers("aten.max_pool2d_with_indices.default", "aten.max_pool1d_with_indices.default")
@lowers("aten.max_pool3d_with_indices.default")
def _max_pool_with_indices(op: Op) -> Any:
    return _max_pool(op), None


@lowers("aten.avg_pool2d.default", "aten.avg_pool1d.default", "aten.avg_pool3d.default")
def _avg_pool(op: Op) -> Value:
    kernel = pair(op["kernel_size"])
    options = differing(
        {"stride": kernel, "padding": 0, "ceil_mode": False, "count_include_pad": True, "divisor_override": None},
        stride=pair(op["stride"]) if op["stride"] else kernel,
        padding=pair(op["padding"]),
        ceil_mode=op["ceil_mode"],
        count_include_pad=op["count_include_pad"],
        divisor_override=op.given.get("divisor_override"),
    )
    if options.get("padding", 0) == 0:
        options.pop("count_include_pad", None)
    return op.layer("avg_pool", op["self"], kernel=kernel, **options)


@lowers("aten.adaptive_avg_pool2d.default", "aten._adaptive_avg_pool2d.default", "aten.adaptive_avg_pool1d.default")
@lowers("aten.adaptive_avg_pool3d.default", "aten._adaptive_avg_pool3d.default")
def _adaptive_avg_pool(op: Op) -> Value:
    return adaptive(op, "avg")


@lowers("aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool1d.default", "aten.adaptive_max_pool3d.default")
def _adaptive_max_pool(op: Op) -> Any:
    return adaptive(op, "max"), None


def adaptive(op: Op, kind: str) -> Value:
    """An adaptive pool, which is a global one where it gives one value."""
    size = pair(op.sizes(op["output_size"]))
    if isinstance(size, int) and size == 1:
        return op.layer(f"global_{kind}_pool", op["self"])
    if len(op.shape) == 5:
        raise Unsupported("volumes have no adaptive pool in the library but to a single value.")
    return op.layer(f"adaptive_{kind}_pool", op["self"], size=size)


@lowers(
    "aten.upsample_nearest1d.vec",
    "aten.upsample_linear1d.vec",
    "aten.upsample_nearest2d.vec",
    "aten.upsample_bilinear2d.vec",
    "aten.upsample_bicubic2d.vec",
    "aten._upsample_nearest_exact1d.vec",
    "aten._upsample_nearest_exact2d.vec",
)
def _upsample(op: Op) -> Value:
    factors = op["scale_factors"]
    if factors is None:
        return resized(op, op["input"], {"size": size_of(op, op["output_size"])})
    numbers = tuple(int(f) if isinstance(f, float) and f.is_integer() else f for f in factors)
    return resized(op, op["input"], {"scale_factor": pair(numbers)})


@lowers(
    "aten.upsample_nearest1d.default",
    "aten.upsample_linear1d.default",
    "aten.upsample_nearest2d.default",
    "aten.upsample_bilinear2d.default",
    "aten.upsample_bicubic2d.default",
    "aten._upsample_nearest_exact1d.default",
    "aten._upsample_nearest_exact2d.default",
)
def _upsample_to(op: Op) -> Value:
    names = ("scales",) if "1d" in str(op.node.target) else ("scales_h", "scales_w")
    factors = [op.given.get(name) for name in names]
    numbers = [int(f) if f.is_integer() else f for f in factors if isinstance(f, float)]
    if len(numbers) == len(factors):
        return resized(op, op["self"], {"scale_factor": pair(numbers)})
    return resized(op, op["self"], {"size": size_of(op, op["output_size"])})


def resized(op: Op, x: Value, options: dict[str, Arg]) -> Value:
    """A resize by the options that it is given; the value itself if it has that size already."""
    if op.shape == x.shape:
        return x
    word = str(op.node.target).split(".")[1].removeprefix("_").removeprefix("upsample_")
    mode = {"nearest": "nearest", "nearest_exact": "nearest-exact", "linear": "linear"}.get(word[:-2], word[:-2])
    options.update(differing({"mode": "nearest", "align_corners": False}, mode=mode))
    if op.given.get("align_corners"):
        options["align_corners"] = True
    return op.layer("upsample", x, **options)


def size_of(op: Op, size: Sequence[Any]) -> Arg:
    """Height and width to resize to: those of a tensor where it has both, and they follow from the input."""
    if len(size) == 2 and not any(isinstance(n, int) for n in size):
        for value in op.near():
            if value.kind == "tensor" and len(value.shape) == 4 and tuple(value.shape[2:]) == tuple(size):
                return value
    return pair(op.sizes(size))


ANTIALIASED = tuple(
    f"aten._upsample_{mode}2d_aa.{form}" for mode in ("bilinear", "bicubic") for form in ("vec", "default")
)


@computes(*ANTIALIASED)
def _antialiased_array(op: Op) -> Value:
    """An array, such as a table of positions that follows the input's size."""
    x, options = _antialias(op)
    if op.shape == x.shape:
        return x
    size = options.pop("size", None) or op.sizes(op.shape[2:])
    texts = "".join(f", {key}={{{key}}}" for key in options)
    return op.array("antialiased({0}, {size}" + texts + ")", x, size=size, **options)


@lowers(*ANTIALIASED)
def _antialiased(op: Op) -> Value:
    x, options = _antialias(op)
    if op.shape == x.shape:
        return x
    options = {key: pair(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return op.layer("upsample", x, **options, antialias=True)


def _antialias(op: Op) -> tuple[Value, dict[str, Arg]]:
    """What is resized, and to which `size` or by which `scale_factor`, a pair, in which `mode`."""
    x: Value = next(iter(op.given.values()))
    if len(x.shape) != 4:
        raise Unsupported("antialias is for (N, C, H, W).")
    factors = op.given.get("scale_factors") or [op.given.get(name) for name in ("scales_h", "scales_w")]
    if all(isinstance(factor, float) for factor in factors):
        options: dict[str, Arg] = {"scale_factor": tuple(int(f) if f.is_integer() else f for f in factors)}
    else:
        options = {"size": op.sizes(op.shape[2:])}
    options["mode"] = "bicubic" if "bicubic" in str(op.node.target) else "bilinear"
    if op["align_corners"]:
        options["align_corners"] = True
    return x, options


@lowers("aten.upsample_nearest3d.vec", "aten.upsample_trilinear3d.vec")
def _three_dimensions(op: Op) -> Any:
    raise Unsupported("the library resizes (N, C, H, W) and (N, C, L), not volumes.")
