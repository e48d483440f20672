"""Bias correction: the mean error that quantized weights and inputs give every channel is taken off its bias."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from netdefs.core.errors import CalibrationError
from netdefs.core.network import Network
from netdefs.core.weights import Weights
from netdefs.quant.calibration import Calibration
from netdefs.quant.feeds import Feed
from netdefs.quant.pairing import Paired, shifting
from netdefs.quant.walk import run, session_of


def correct_bias(
    network: Network, low: Network, paired: Paired, feeds: Iterable[Feed], calibration: Calibration
) -> tuple[Weights, Calibration]:
    """Weights whose biases make up for the mean errors of an int8 or fp8 network.

    A quantized layer, fed with the float network's values, is off by something. What of that is the same on average
    over pictures and places is taken off the channel's bias: that of the layer, or of the batch norm behind it.

    Args:
        network: the float one.
        low: the quantized one.
        paired: the two, as `pair` gives them.
        feeds: pictures.
        calibration: the one of `low`.

    Returns:
        What `define_network` takes in place of the weights, for the quantized network alone; and the calibration for
        these weights: the same ranges.

    Raises:
        CalibrationError: no quantized layer has a bias.

    Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV 2019), section
    4.2, with pictures in place of the batch norms' statistics.
    """
    taken = network.weights.taken
    ranks = {network.definition.get_layer(i).get_output(0).name: i for i in range(network.definition.num_layers)}
    axes = {}
    for name in low.info.get("quantized", {}):
        if f"{name}.bias" in taken:
            rank = len(network.definition.get_layer(ranks[name]).get_output(0).shape)
            linear = len(taken.get(f"{name}.weight", ())) == 2
            axes[name] = (rank - 1 if linear else 1, rank)
    if not axes:
        raise CalibrationError(f"No quantized layer of {low.name} has a bias, or a batch norm with one, to correct.")
    model = shifting(paired, axes)
    session, names = session_of(model), [value.name for value in model.graph.output]
    sums = {name: np.zeros(taken[f"{name}.bias"]) for name in axes}
    count = 0
    for feed in feeds:
        for name, shift in zip(axes, run(session, names, feed.arrays), strict=True):
            sums[name] += feed.count * shift.astype(np.float64)
        count += feed.count
    values = {f"{name}.bias": network.weights[f"{name}.bias"] - total / count for name, total in sums.items()}
    weights = network.weights.replaced(values)
    note = f"The biases of {len(values)} layers are corrected: these weights are for this quantized network alone."
    changed = dataclasses.replace(calibration, weights_sha256=weights.sha256, notes=[*calibration.notes, note])
    return weights, changed
