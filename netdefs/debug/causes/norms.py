"""Causes of a wrong batch norm: what it did to its input is a factor and an offset per channel, which tell all."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from netdefs.debug.causes.case import Candidate, Case, attributes_of
from netdefs.debug.causes.layers import convolve

PARTS = ("weight", "bias", "running_mean", "running_var")
Terms = dict[str, np.ndarray]


def norms(case: Case) -> Iterator[Candidate]:
    """Another eps (solved for), not applied, applied twice, a part left out, or a part of another batch norm."""
    module = case.module
    if getattr(module, "running_var", None) is None or case.given is None:
        return
    x = case.given if case.convolution is None else convolve(case.convolution, case.given)
    if x.shape != case.ours.shape:
        return
    terms = _terms(module, x.shape[1])
    eps = float(module.eps)
    scale, shift = _affine(terms, eps)

    def by(factor: np.ndarray, offset: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: (x * _wide(factor, x) + _wide(offset, x)).astype(np.float32)

    known = _stored(case) or _fitted(x, case.ours)
    for value in _eps(terms, known[0]):
        yield Candidate("bn_eps", f"its eps is {value:g}, PyTorch's is {eps:g}", ours=by(*_affine(terms, value)))
    one, zero = np.ones_like(scale), np.zeros_like(scale)
    yield Candidate("bn_missing", "it is not applied: the network hands on its input", ours=by(one, zero))
    yield Candidate("bn_twice", "it is applied twice", ours=by(scale * scale, scale * shift + shift))
    parts = {"weight": one, "bias": zero, "running_mean": zero, "running_var": one}
    for part, neutral in parts.items():
        kind = "bn_mean" if part == "running_mean" else "bn_variance" if part == "running_var" else f"bn_{part}"
        text = f"its {part} is left out"
        yield Candidate(kind, text, ours=by(*_affine({**terms, part: neutral}, eps)))
    yield Candidate(
        "bn_variance",
        "it divides by the variance, not by its root",
        ours=by(*_affine({**terms, "running_var": (terms["running_var"] + eps) ** 2}, 0.0)),
    )
    axes = (0, *range(2, x.ndim))
    batch = {**terms, "running_mean": x.mean(axes, np.float64), "running_var": x.var(axes, dtype=np.float64)}
    text = "it uses the mean and variance of its input, as in training, not the running ones"
    yield Candidate("bn_statistics", text, ours=by(*_affine(batch, eps)))
    yield from _keys(case, terms, eps, known, by)


def _keys(
    case: Case, terms: Terms, eps: float, known: tuple[np.ndarray, np.ndarray], by: Callable[..., Any]
) -> Iterator[Candidate]:
    """Parts of other batch norms that would fit."""
    for name, other in case.modules.items():
        if other is case.module or getattr(other, "running_var", None) is None:
            continue
        theirs = _terms(other, len(terms["weight"]))
        if len(theirs["weight"]) != len(terms["weight"]):
            continue
        for part in (*PARTS, ""):
            mixed = {**terms, part: theirs[part]} if part else theirs
            factors = _affine(mixed, eps)
            if all(_near(a, b) for a, b in zip(factors, known, strict=True)):
                key = f"{name}.{part}" if part else name
                own = f"its {part} is" if part else "its weights are"
                yield Candidate("weight_key", f"{own} that of {key}", ours=by(*factors))


def _terms(module: Any, channels: int) -> Terms:
    found = {}
    for part in PARTS:
        value = getattr(module, part, None)
        default = np.zeros(channels) if part in ("bias", "running_mean") else np.ones(channels)
        found[part] = default if value is None else value.detach().cpu().double().numpy()
    return found


def _affine(terms: Mapping[str, np.ndarray], eps: float) -> tuple[np.ndarray, np.ndarray]:
    """A batch norm as a factor and an offset per channel."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = terms["weight"] / np.sqrt(terms["running_var"] + eps)
    return scale, terms["bias"] - terms["running_mean"] * scale


def _stored(case: Case) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and offset as the network holds them; None if it has something else than one node for them."""
    nodes = [node for node in case.nodes if node.op_type != "Cast"]
    if len(nodes) != 1 or nodes[0].op_type != "BatchNormalization":
        return None
    parts = [case.constant(name) for name in nodes[0].input[1:5]]
    if any(part is None for part in parts):
        return None
    weight, bias, mean, var = (np.asarray(part, np.float64) for part in parts)
    scale = weight / np.sqrt(var + attributes_of(nodes[0]).get("epsilon", 1e-5))
    return scale, bias - mean * scale


def _fitted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset, per channel, that make y of x; NaN where a channel of x is constant."""
    rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1).astype(np.float64)
    out = np.moveaxis(y, 1, 0).reshape(x.shape[1], -1).astype(np.float64)
    mean_x, mean_y = rows.mean(1), out.mean(1)
    centered = rows - mean_x[:, None]
    power = (centered**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(power > 0, (centered * (out - mean_y[:, None])).sum(1) / power, np.nan)
    return scale, mean_y - mean_x * scale


def _eps(terms: Terms, scale: np.ndarray) -> Iterator[float]:
    """The eps that gives these factors: a round number if one is as good, else as solved for."""
    var = terms["running_var"]
    with np.errstate(invalid="ignore", divide="ignore"):
        each = (terms["weight"] / scale) ** 2 - var
        weight = 1 / np.maximum(var, 1e-12) ** 2  # a small variance tells eps best
    usable = np.isfinite(each) & np.isfinite(weight)
    if not usable.any():
        return
    order = np.argsort(each[usable])
    total = np.cumsum(weight[usable][order])
    solved = float(each[usable][order][np.searchsorted(total, total[-1] / 2)])
    if solved <= 0:
        if abs(solved) < 1e-7:
            yield 0.0
        return
    yield float(f"{solved:.0e}")
    yield float(f"{solved:.2e}")
    yield solved


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    usable = np.isfinite(b)
    size = np.sqrt(np.mean(np.square(b[usable]))) if usable.any() else 0.0
    return bool(usable.any() and np.sqrt(np.mean(np.square((a - b)[usable]))) <= 0.05 * size)


def _wide(terms: np.ndarray, x: np.ndarray) -> np.ndarray:
    return terms.reshape(1, -1, *(1,) * (x.ndim - 2))
