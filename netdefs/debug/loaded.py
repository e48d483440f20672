"""Whether the network was built from the PyTorch module's weights."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from netdefs.core.dtypes import as_numpy
from netdefs.core.weights import COUNTER, Weights, weights_sha256
from netdefs.debug.relations import ROUNDINGS, relate
from netdefs.debug.stored import Fingerprint, StoredState

LAST_BITS = 2.0**-22  # of the largest value: float32 results that were computed in another order
RELATED = 5  # so many of the weights that differ are looked at more closely
MOVED = ("kernel_flipped", "kernel_transposed", "weight_layout", "weight_key", "channel_order")


@dataclasses.dataclass(frozen=True)
class KeyFinding:
    """A key whose weights are not the same on both sides.

    Attributes:
        key: the state_dict's.
        problem: what is wrong with it.
        max_abs: by how much values differ at most.
        rounded_to: the precision in which they are equal, if there is one.
        relation: what was done to PyTorch's values, if that can be told: they are transposed, or another key's.
    """

    key: str
    problem: str
    max_abs: float | None = None
    rounded_to: str = ""
    relation: str = ""


@dataclasses.dataclass(frozen=True)
class WeightsFinding:
    """The weights of both sides.

    Attributes:
        status: "identical", "rounded" (equal once rounded to half precision), "different", "unproven" (an engine was
            built from a file that is not the module's exactly), or "unknown".
        text: it in words.
        keys: the keys that are not the same.
    """

    status: str
    text: str
    keys: tuple[KeyFinding, ...] = ()


def check_weights(
    weights: Weights | None,
    fingerprint: str | None,
    state_dict: Mapping[str, Any],
    kernels: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> WeightsFinding:
    """Compares the weights of a network with those of a PyTorch module.

    Args:
        weights: what a `Network` took its weights from; None for an engine or a foreign definition.
        fingerprint: the `weights_sha256` that an engine was built from, if it tells.
        state_dict: the module's.
        kernels: the weights that an engine shows, by key. They are looked at if the fingerprints differ.
    """
    if weights is not None and weights.taken:
        return _check_keys(weights, state_dict)
    if fingerprint is None:
        return WeightsFinding("unknown", "The network does not tell what weights it was built from.")
    if fingerprint == (state_dict.sha256 if isinstance(state_dict, StoredState) else weights_sha256(state_dict)):
        return WeightsFinding("identical", "The engine was built from exactly these weights.")
    shown = {key: array for key, array in kernels.items() if key in state_dict}
    differing = [f for f in (_compare_key(k, a.shape, a, state_dict) for k, a in shown.items()) if f is not None]
    if differing:
        text = f"{_of_all(differing, shown)} not PyTorch's: {_names([f.key for f in differing])}."
        if all(finding.rounded_to for finding in differing):
            kinds = " and ".join(sorted({finding.rounded_to for finding in differing}))
            text = f"{_of_all(differing, shown)} PyTorch's only once rounded to {kinds}."
            return WeightsFinding("rounded", text, tuple(differing))
        return WeightsFinding("different", text, tuple(differing))
    fine = " Those of its convolutions are PyTorch's." if shown else ""
    return WeightsFinding(
        "unproven",
        "The engine may hold other weights than the module: the fingerprint of those it was built from is another."
        f"{fine} Values may differ, or be rounded, or keys be more or named otherwise: compare the network to see "
        "which.",
    )


def _check_keys(weights: Weights, state_dict: Mapping[str, Any]) -> WeightsFinding:
    found = [_compare_key(key, shape, weights[key], state_dict) for key, shape in weights.taken.items()]
    differing = [finding for finding in found if finding is not None]
    differing = [*(_related(f, weights, state_dict) for f in differing[:RELATED]), *differing[RELATED:]]
    ignored = set(weights) - set(weights.unused())
    spare = [key for key in state_dict if key not in weights.taken and key not in ignored and not _is_counter(key)]
    keys = (*differing, *(KeyFinding(key, "is not used by the network") for key in spare))
    more = f" Of the module's, {_count(spare)} not used by the network: {_names(spare)}." if spare else ""
    if not differing:
        all_of_them = "The only weight is" if len(weights.taken) == 1 else f"All {len(weights.taken)} weights are"
        return WeightsFinding("identical", f"{all_of_them} identical to PyTorch's.{more}", keys)
    names = _names([finding.key for finding in differing])
    if all(finding.rounded_to for finding in differing):
        kinds = " and ".join(sorted({finding.rounded_to for finding in differing}))
        equal = "1 weight equals" if len(differing) == 1 else f"{len(differing)} weights equal"
        return WeightsFinding("rounded", f"{equal} PyTorch's rounded to {kinds}: {names}.{more}", keys)
    related = "".join(f" {finding.key}: {finding.relation}." for finding in differing if finding.relation)
    return WeightsFinding("different", f"{_count(differing)} not PyTorch's: {names}.{related}{more}", keys)


def _count(found: Sequence[Any]) -> str:
    return "1 weight is" if len(found) == 1 else f"{len(found)} weights are"


def _of_all(found: Sequence[Any], shown: Mapping[str, Any]) -> str:
    verb = "is" if len(found) == 1 else "are"
    return f"Of the {len(shown)} weights of convolutions that the engine shows, {len(found)} {verb}"


def _compare_key(
    key: str, shape: tuple[int, ...], values: np.ndarray, state_dict: Mapping[str, Any]
) -> KeyFinding | None:
    if key not in state_dict:
        return KeyFinding(key, "is not in the module's state_dict")
    ours = np.asarray(values, np.float32)
    if isinstance(state_dict[key], Fingerprint):
        return _compare_hash(key, ours, shape, state_dict[key])
    theirs = as_numpy(state_dict[key], key).astype(np.float32, copy=False)
    if theirs.size != ours.size:
        return KeyFinding(key, f"has the shape {theirs.shape} in PyTorch, {shape} in the network")
    ours, theirs = ours.reshape(-1), theirs.reshape(-1)  # a .wts holds no shapes
    if np.array_equal(ours, theirs) or np.array_equal(ours, theirs, equal_nan=True):
        return None
    with np.errstate(invalid="ignore"):
        worst = float(np.nanmax(np.abs(ours - theirs)))
    kind = _rounding(ours, theirs)
    return KeyFinding(key, f"is equal once rounded to {kind}" if kind else "has other values", worst, kind)


def _compare_hash(key: str, ours: np.ndarray, shape: tuple[int, ...], theirs: Fingerprint) -> KeyFinding | None:
    """As `_compare_key`, where only the hash of PyTorch's values is known."""
    if ours.size != theirs.size:
        return KeyFinding(key, f"has the shape {theirs.shape} in PyTorch, {shape} in the network")
    kind = theirs.relation(ours)
    if kind == "":
        return None
    return KeyFinding(key, f"is equal once rounded to {kind}" if kind else "has other values", None, kind or "")


def _related(finding: KeyFinding, weights: Weights, state_dict: Mapping[str, Any]) -> KeyFinding:
    """The finding, with what was done to PyTorch's values if these are only in other places."""
    if finding.max_abs is None or finding.rounded_to:
        return finding
    theirs = as_numpy(state_dict[finding.key], finding.key).astype(np.float32)
    part = finding.key.rpartition(".")[2]
    others = {
        key: as_numpy(value, key).astype(np.float32)
        for key, value in state_dict.items()
        if key != finding.key and key.rpartition(".")[2] == part and tuple(value.shape) == theirs.shape
    }
    ours = np.asarray(weights[finding.key], np.float32).reshape(theirs.shape)
    relation = relate(ours, theirs, others, False, part, theirs.ndim < 3)
    return dataclasses.replace(finding, relation=relation.text if relation.kind in MOVED else "")


def _is_counter(key: str) -> bool:
    return key.rpartition(".")[2] == COUNTER


def _names(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (" ..." if len(keys) > 3 else "")


def _rounding(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The precision in which two arrays are equal, one being the other rounded to it; "" if there is none."""
    with np.errstate(over="ignore"):
        for name, rounded in ROUNDINGS.items():
            if np.array_equal(rounded(ours), theirs) or np.array_equal(ours, rounded(theirs)):
                return name
    with np.errstate(invalid="ignore"):  # computed anew, as the weight of a weight_norm is
        return "float32" if np.abs(ours - theirs).max() <= LAST_BITS * np.abs(theirs).max() else ""
