"""Causes that are in the numbers: half precision, overflow, a picture's colors and normalization, factors, offsets."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.causes.case import EXACT, HALF, Candidate, Case, attributes_of, made, plain
from netdefs.debug.relations import ROUNDINGS

TYPES = {"fp16": "float16", "bf16": "bfloat16"}
NAMES = {10: "float16", 16: "bfloat16"}  # ONNX's numbers
SIGNS = {"Add": ("offset", "plus"), "Sub": ("offset", "minus"), "Mul": ("scale", "times"), "Div": ("scale", "over")}
LARGEST = {"float16": 65504.0, "bfloat16": 3.39e38}


def overflow(case: Case) -> Iterator[Candidate]:
    """The first tensor that is infinite, and the value that half precision could not hold."""
    if np.isfinite(case.ours).all() or not np.isfinite(case.expected).all():
        return
    casts = {node.output[0]: NAMES.get(attributes_of(node)["to"], "") for node in case.nodes if node.op_type == "Cast"}
    for name, array in case.values.items():
        if not name.endswith(EXACT) or not np.isfinite(array).all():
            continue
        kind = casts.get(plain(name) + HALF, "")
        rounded = case.values.get(plain(name))
        if kind and rounded is not None and not np.isfinite(rounded).all():
            worst = float(array.reshape(-1)[np.abs(array).argmax()])
            text = f"{plain(name)} overflows: {worst:.6g} is more than {kind} holds, which is {LARGEST[kind]:g}"
            yield Candidate("overflow", text, values=lambda: _exact(case), where=plain(name))
            return


def precision(case: Case) -> Iterator[Candidate]:
    """Nothing but rounding to half precision: without it the values are PyTorch's; or PyTorch has it too."""
    if not np.isfinite(case.ours).all():
        return
    kinds = {NAMES.get(attributes_of(node)["to"], "") for node in case.nodes if node.op_type == "Cast"} - {""}
    if kinds:
        text = f"it computes in {' and '.join(sorted(kinds))}: without the rounding the values are PyTorch's"
        yield Candidate("precision", text, values=lambda: _exact(case))
    kind = TYPES.get(case.precision, "")
    if kind and case.module is not None and case.given is not None and case.convolution is None:
        text = f"it computes in {kind}, and so does PyTorch when its weights and values are rounded to that"
        yield Candidate("precision", text, ours=lambda: _in_half(case, kind))


def pictures(case: Case) -> Iterator[Candidate]:
    """The picture's colors in another order, or its values on another scale."""
    ours, expected = case.ours, case.expected
    picture = next((name for name in case.inputs if case.values[name].shape == ours.shape), "")
    if not picture or ours.ndim != 4 or ours.shape != expected.shape or ours.shape[1] > 4:
        return
    reverse = ours[:, ::-1]
    text = "its colors are in the other order: where PyTorch's input is RGB, the network's is BGR, or the other way"
    yield Candidate("channel_order", text, values=made(case.target, np.copy, reverse))
    for kind, array, more in (("normalization", ours, ""), ("channel_order", reverse, " and its colors are reversed")):
        factors, offsets = _fit(array, expected, per_channel=True)
        wide = (1, -1, 1, 1)
        scaled = (array * factors.reshape(wide) + offsets.reshape(wide)).astype(np.float32)
        one = _fit(array, expected, per_channel=False)
        scale = f"times {_some(factors)} plus {_some(offsets)}"
        if np.ptp(factors) <= 1e-4 * np.abs(factors).max() and np.ptp(offsets) <= 1e-4 * (np.abs(offsets).max() + 1):
            scale = f"times {float(one[0][0]):.4g} plus {float(one[1][0]):.4g}"
        text = f"the picture is normalized otherwise: PyTorch's is the network's {scale}{more}"
        yield Candidate(kind, text, values=made(case.target, np.copy, scaled))


def constants(case: Case) -> Iterator[Candidate]:
    """An operation with a number that PyTorch does not have."""
    for node in [node for node in case.nodes if node.op_type in SIGNS and len(node.input) == 2]:
        reads, out = case.inputs_of(node), plain(node.output[0])
        number = next((found for name in node.input if (found := case.constant(name)) is not None), None)
        if len(reads) == 1 and number is not None:
            kind, sign = SIGNS[node.op_type]
            text = f"{out} is {plain(reads[0])} {sign} {_some(number.reshape(-1))}, and PyTorch has no such {kind}"
            yield Candidate(kind, text, values=made(out, np.copy, case.values[reads[0]]), where=out)


def factors(case: Case) -> Iterator[Candidate]:
    """A factor or an offset, one for all values or one for each channel."""
    ours, expected = case.ours, case.expected
    if ours.shape != expected.shape or ours.dtype.kind != "f" or not np.isfinite(ours).all() or not ours.size:
        return
    for per_channel in (False, True) if ours.ndim > 1 and ours[:, 0].size > 3 else (False,):
        scale, offset = _fit(expected, ours, per_channel)
        shape = (1, -1, *(1,) * (ours.ndim - 2)) if per_channel else (1,)
        one, zero = np.ones_like(scale), np.zeros_like(offset)
        free = _only_scale(expected, ours, per_channel)
        only = (ours.astype(np.float64) - expected).mean() if not per_channel else offset
        for kind, a, b in (("scale", free, zero), ("offset", one, np.atleast_1d(only)), ("scale", scale, offset)):
            scaled = (expected * a.reshape(shape) + b.reshape(shape)).astype(np.float32)
            parts = [f"{_some(a)} times PyTorch's"] if kind == "scale" else ["PyTorch's"]
            parts += [f"plus {_some(b)}"] if b.any() else []
            text = f"it is {' '.join(parts)}{', channel by channel' if per_channel else ''}"
            yield Candidate(kind, text, ours=scaled.copy)


def _exact(case: Case) -> dict[str, np.ndarray]:
    found = case.unrounded()
    return {} if found is None else {case.target: found}


def _in_half(case: Case, kind: str) -> np.ndarray:
    """The module with its weights, its input and its result rounded; computed in float32, as the network is."""
    torch = require("torch", "torch")
    rounded = ROUNDINGS[kind]
    module = copy.deepcopy(case.module).cpu().float()
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(rounded(tensor.numpy().copy())))
        x = torch.from_numpy(rounded(np.asarray(case.given, np.float32)))
        return np.asarray(rounded(module(x).numpy()))


def _rows(a: np.ndarray, per_channel: bool) -> np.ndarray:
    rows = np.moveaxis(a, 1, 0).reshape(a.shape[1], -1) if per_channel else a.reshape(1, -1)
    return np.asarray(rows, np.float64)


def _fit(x: np.ndarray, y: np.ndarray, per_channel: bool) -> tuple[np.ndarray, np.ndarray]:
    """The factor and the offset that bring x nearest to y."""
    left, right = _rows(x, per_channel), _rows(y, per_channel)
    mean_left, mean_right = left.mean(1), right.mean(1)
    centered = left - mean_left[:, None]
    power = (centered**2).sum(1)
    scale = (centered * (right - mean_right[:, None])).sum(1) / np.where(power > 0, power, 1.0)
    return scale, mean_right - scale * mean_left


def _only_scale(x: np.ndarray, y: np.ndarray, per_channel: bool) -> np.ndarray:
    left, right = _rows(x, per_channel), _rows(y, per_channel)
    power = (left**2).sum(1)
    return np.asarray((left * right).sum(1) / np.where(power > 0, power, 1.0))


def _some(values: Any) -> str:
    numbers = [f"{value:.4g}" for value in np.atleast_1d(values)]
    return ", ".join(numbers[:4]) + (" ..." if len(numbers) > 4 else "")
