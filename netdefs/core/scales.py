"""The scales of a network's quantized tensors: from a calibration, when all layers are there."""

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from netdefs.core.errors import NetdefsError
from netdefs.core.quantize import scale_of
from netdefs.core.scope import near

if TYPE_CHECKING:
    from netdefs.core.network import Network

LISTED = 10  # how many tensors an error spells out


def set_scales(network: "Network") -> None:
    """Gives every Quantize layer of a network its scale, and writes down in `info` what is quantized and how.

    Tensors that share a scale have the largest range of those that are quantized.

    Raises:
        NetdefsError: there is no calibration, it is for other weights or another network, or lacks tensors.
    """
    quantization = network.quantization
    network.info.update(quantized=quantization.layers, scales={})
    if not quantization.pairs:
        return
    needed = dict.fromkeys(name for name, _ in quantization.pairs)
    trained = quantization.trained
    ranges = trained if trained.keys() >= needed.keys() else {**_ranges(network), **trained}
    missing = [name for name in needed if name not in ranges]
    if missing:
        listed = "\n".join(f"  {name}{near(name, ranges)}" for name in missing[:LISTED])
        more = f"\n  ... and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise NetdefsError(
            f"The calibration of {network.name} has no range for {len(missing)} of its {len(needed)} quantized "
            f"tensors:\n{listed}{more}\nCalibrate this very definition: {command(network)}"
        )
    for name in needed:
        value = ranges[name]
        if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise NetdefsError(f"The calibration of {network.name} gives {name!r} the range {value!r}: it must be > 0.")
    shared: dict[str, float] = {}
    for name in needed:
        group = quantization.group(name)
        shared[group] = max(shared.get(group, 0.0), float(ranges[name]))
    for (name, kind), pair in quantization.pairs.items():
        pair.value[...] = scale_of(np.float64(shared[quantization.group(name)]), kind)
        network.info["scales"][name] = float(pair.value[0])


def _ranges(network: "Network") -> Mapping[str, float]:
    """Tensor name -> clipping range, of the calibration that the network was given."""
    calibration = network.calibration
    if calibration is None:
        raise NetdefsError(
            f"{network.name} with precision {network.precision} needs a calibration: the ranges of its activations. "
            f"Make it from pictures such as those it will see, 16 or more:\n  {command(network)}\n"
            "and give it: calibration='calibration.json'."
        )
    if isinstance(calibration, str | os.PathLike):
        import netdefs  # the facade, when needed: calibrating is no part of a definition

        calibration = netdefs.Calibration.load(calibration)
    if isinstance(calibration, Mapping):
        return calibration
    if not (hasattr(calibration, "amax") and hasattr(calibration, "check")):
        raise NetdefsError(
            "calibration is a netdefs.Calibration, the path of one, or a mapping of tensor names to clipping ranges, "
            f"not {type(calibration).__name__}."
        )
    calibration.check(network)
    ranges: Mapping[str, float] = calibration.amax
    return ranges


def command(network: Any) -> str:
    """The command that calibrates a network."""
    return f"netdefs quantize {network.name} --weights {network.weights.source} --images DIR -o calibration.json"
