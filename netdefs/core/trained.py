"""Ranges and scales that checkpoints bring along which were trained, or calibrated, with quantization in PyTorch.

NVIDIA's pytorch-quantization (`_input_quantizer._amax`) and ModelOpt (`input_quantizer._amax`) keep the range of what a
module reads and of its weight, and in residual blocks `residual_quantizer`. PyTorch's own fake quantization keeps the
scales of a module's weight, `weight_fake_quant.scale`, and of what it gives, `activation_post_process.scale`.
"""

from collections.abc import Iterable

import numpy as np

from netdefs.core.errors import WeightsError
from netdefs.core.quantize import LARGEST
from netdefs.core.weights import Weights

INPUTS = ("_input_quantizer._amax", "input_quantizer._amax")
WEIGHTS = ("_weight_quantizer._amax", "weight_quantizer._amax")
RESIDUALS = ("residual_quantizer._amax", "_residual_quantizer._amax")
FAKE_WEIGHT, FAKE_OUTPUT = "weight_fake_quant", "activation_post_process"
FAKE_STATE = ("fake_quant_enabled", "observer_enabled", "eps", "min_val", "max_val", "activation_post_process.*")


def amax(weights: Weights, keys: Iterable[str]) -> float | None:
    """The largest of the ranges that there are."""
    found = [float(np.max(_taken(weights, key))) for key in keys if key in weights]
    return max(found, default=None)


def output_amax(weights: Weights, tensor: str, kind: str) -> float | None:
    """The range of what the module called as a tensor gives, by PyTorch's fake quantization."""
    scale = _fake_scale(weights, f"{tensor}.{FAKE_OUTPUT}")
    return None if scale is None else float(np.max(scale)) * LARGEST[kind]


def weight_amax(weights: Weights, module: str, channels: int, kind: str) -> np.ndarray | None:
    """The ranges of the output channels of a module's weight, (channels,) float64.

    Raises:
        WeightsError: there are neither one nor as many as channels, or they have zero points.
    """
    key = next((f"{module}.{name}" for name in WEIGHTS if f"{module}.{name}" in weights), "")
    if key:
        found = _taken(weights, key)
    else:
        key, scale = f"{module}.{FAKE_WEIGHT}.scale", _fake_scale(weights, f"{module}.{FAKE_WEIGHT}")
        if scale is None:
            return None
        found = scale * LARGEST[kind]
    if found.size not in (1, channels) or not (np.isfinite(found) & (found >= 0)).all():
        raise WeightsError(
            f"{key} must hold one number from 0 on, or one for each of {channels} output channels; it holds "
            f"{found.size}, from {found.min():g} to {found.max():g}."
        )
    return np.broadcast_to(found, (channels,))


def ignore(weights: Weights, module: str) -> None:
    """Says that the ranges of a module which is not quantized are knowingly left unused."""
    for name in (*INPUTS, *WEIGHTS, f"{FAKE_WEIGHT}.*"):
        weights.ignore(f"{module}.{name}")


def _taken(weights: Weights, key: str) -> np.ndarray:
    return weights.take(key, weights[key].shape or (1,)).astype(np.float64).reshape(-1)


def _fake_scale(weights: Weights, prefix: str) -> np.ndarray | None:
    """`<prefix>.scale`, float64, if there is one; its zero points must be 0, since TensorRT has none."""
    if f"{prefix}.scale" not in weights:
        return None
    if f"{prefix}.zero_point" in weights and _taken(weights, f"{prefix}.zero_point").any():
        raise WeightsError(
            f"{prefix}.zero_point is not 0, but TensorRT quantizes symmetrically only: train with symmetric qint8, or "
            "leave the quantizers out (gen_wts.py --skip) and calibrate."
        )
    for name in FAKE_STATE:
        weights.ignore(f"{prefix}.{name}")
    return _taken(weights, f"{prefix}.scale")
