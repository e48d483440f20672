"""Resize and grid sample."""

from typing import Any

import numpy as np
from onnx import TensorProto

from netdefs.export.context import Context
from netdefs.export.types import INT64

MODES = {"NEAREST": "nearest", "LINEAR": "linear", "CUBIC": "cubic"}
COORDINATES = {"ALIGN_CORNERS": "align_corners", "ASYMMETRIC": "asymmetric", "HALF_PIXEL": "half_pixel"}
ROUNDINGS = {"HALF_UP": "round_prefer_ceil", "HALF_DOWN": "round_prefer_floor", "FLOOR": "floor", "CEIL": "ceil"}


def resize(c: Context, layer: Any) -> None:
    """Resize by scales or to a size."""
    mode = MODES[layer.resize_mode.name]
    coordinates = COORDINATES[layer.coordinate_transformation.name]
    if coordinates == "half_pixel" and layer.selector_for_single_pixel.name == "UPPER":
        # An output of one pixel is then the input's first. The other transformations give that in any case.
        coordinates = "pytorch_half_pixel"
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attributes["nearest_mode"] = ROUNDINGS[layer.nearest_rounding.name]
    if mode == "cubic":
        attributes["cubic_coeff_a"] = layer.cubic_coeff
        attributes["exclude_outside"] = int(layer.exclude_outside)
    if not runnable(c, mode):
        flattened(c, layer, 2 if mode == "cubic" else 3, attributes)
    elif size := target_size(c, layer):
        c.emit("Resize", c.inputs[0], "", "", size, **attributes)
    else:
        c.emit("Resize", c.inputs[0], "", c.constant("scales", list(layer.scales), TensorProto.FLOAT), **attributes)


def target_size(c: Context, layer: Any) -> str:
    """The output's size as a tensor; "" if the layer has scales instead."""
    if c.connected(1):
        return c.int64(1)
    shape = layer.shape
    return "" if shape is None else c.constant("sizes", np.array(list(shape), np.int64))


def runnable(c: Context, mode: str) -> bool:
    """True if ONNX Runtime resizes this rank as it is: its linear and cubic modes know images and volumes only."""
    shape, result = c.shape(), c.output_shape()
    if mode == "cubic":
        return len(shape) in (2, 4)
    if mode == "linear" and len(shape) == 4:
        return shape[1] == result[1] >= 0  # three resized axes need a fifth
    return mode == "nearest" or len(shape) in (2, 3, 5)


def flattened(c: Context, layer: Any, inner: int, attributes: dict[str, Any]) -> None:
    """Resize of the last `inner` axes at most, all before them flattened into one. TensorRT resizes no others."""
    rank = len(c.shape())
    inner = min(inner, rank)
    x = c.inputs[0]
    shape = c.helper("shape", "Shape", x, dtype=INT64)

    def some(what: str, of: str, axes: range) -> str:
        return c.helper(what, "Gather", of, c.constant(f"{what}.axes", np.array(axes, np.int64)))

    last, outer = range(rank - inner, rank), range(rank - inner)
    flat_shape = c.helper(
        "flat.shape", "Concat", c.constant("one.rest", np.array([1, -1])), some("inner", shape, last), axis=0
    )
    flat = c.helper("flat", "Reshape", x, flat_shape)
    if size := target_size(c, layer):
        front = some("front", c.helper("flat.size", "Shape", flat, dtype=INT64), range(2))
        target = c.helper("target", "Concat", front, some("inner.target", size, last), axis=0)
        resized = c.helper("resized", "Resize", flat, "", "", target, **attributes)
    else:
        scales = c.constant("scales", [1, 1, *list(layer.scales)[rank - inner :]], TensorProto.FLOAT)
        resized = c.helper("resized", "Resize", flat, "", scales, **attributes)
    found = some("found", c.helper("resized.shape", "Shape", resized, dtype=INT64), range(2, 2 + inner))
    c.emit("Reshape", resized, c.helper("final", "Concat", some("outer", shape, outer), found, axis=0))


def grid_sample(c: Context, layer: Any) -> None:
    """GridSample. Outside the input are zeros (FILL), its border (CLAMP) or its mirror image (REFLECT)."""
    volumes = len(c.shape()) == 5
    c.require(20 if volumes else 16, "grid sample of volumes" if volumes else "grid sample")
    later = volumes or c.opset >= 20  # opset 20 renamed the modes
    modes = {
        "NEAREST": "nearest",
        "LINEAR": "linear" if later else "bilinear",
        "CUBIC": "cubic" if later else "bicubic",
    }
    c.emit(
        "GridSample",
        *c.inputs,
        mode=modes[layer.interpolation_mode.name],
        padding_mode={"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}[layer.sample_mode.name],
        align_corners=int(layer.align_corners),
    )
