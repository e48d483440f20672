"""Causes of a wrong pool or resize: other settings, tried until one gives PyTorch's values."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.causes.case import Candidate, Case, attributes_of, made, plain

POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax")
LARGEST = 6  # kernels that are tried


@dataclasses.dataclass(frozen=True)
class Pool:
    """The settings of a pool; `kind` is "max" or "average"."""

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    ceil_mode: bool = False
    count_include_pad: bool = True


# What is different, in the order in which it is named: kernel, stride and padding are chosen together.
SETTINGS = {
    "kind": "pool_kind",
    "kernel": "pool_window",
    "stride": "pool_window",
    "padding": "pool_window",
    "ceil_mode": "ceil_mode",
    "count_include_pad": "count_include_pad",
}


def pools(case: Case) -> Iterator[Candidate]:
    """Another kind of pool, window, ceil_mode or count_include_pad."""
    for node in [node for node in case.nodes if node.op_type in POOLS]:
        out, x = plain(node.output[0]), case.values[case.inputs_of(node)[0]]
        if x.ndim != 4:
            continue
        ours = _pool(node, x)
        for pool in _others(ours, case.module):
            differing = [name for name in SETTINGS if getattr(pool, name) != getattr(ours, name)]
            if not differing:
                continue
            parts = [
                f"its {_word(n)} is {_said(getattr(ours, n))}, PyTorch's is {_said(getattr(pool, n))}"
                for n in differing
            ]
            yield Candidate(
                SETTINGS[differing[0]],
                f"{'' if out == case.row else f'{out}: '}{' and '.join(parts)}",
                values=made(out, run_pool, x, pool),
                where=out,
            )


def run_pool(x: np.ndarray, pool: Pool) -> np.ndarray:
    """What PyTorch's pool gives."""
    torch = require("torch", "torch")
    f = torch.nn.functional
    tensor = torch.tensor(np.ascontiguousarray(x))
    window = (pool.kernel, pool.stride, pool.padding)
    if pool.kind == "max":
        return np.asarray(f.max_pool2d(tensor, *window, ceil_mode=pool.ceil_mode).numpy())
    return np.asarray(f.avg_pool2d(tensor, *window, pool.ceil_mode, pool.count_include_pad).numpy())


def _pool(node: Any, x: np.ndarray) -> Pool:
    found = attributes_of(node)
    kind = "max" if "Max" in node.op_type else "average"
    if "kernel_shape" not in found:
        size = (int(x.shape[2]), int(x.shape[3]))
        return Pool(kind, size, size, (0, 0))
    pads = found.get("pads", [0, 0, 0, 0])
    ceil = bool(found.get("ceil_mode", 0)) or pads[2] > pads[0] or pads[3] > pads[1]
    counted = kind == "max" or bool(found.get("count_include_pad", 0)) or not any(pads)
    stride = tuple(found.get("strides", (1, 1)))
    return Pool(kind, tuple(found["kernel_shape"]), stride, (pads[0], pads[1]), ceil, counted)


def _others(ours: Pool, module: Any) -> Iterator[Pool]:
    """Settings near ours: first those that differ in one point."""
    other_kind = "average" if ours.kind == "max" else "max"
    yield dataclasses.replace(ours, kind=other_kind)
    yield dataclasses.replace(ours, ceil_mode=not ours.ceil_mode)
    yield dataclasses.replace(ours, count_include_pad=not ours.count_include_pad)
    yield dataclasses.replace(ours, ceil_mode=not ours.ceil_mode, count_include_pad=not ours.count_include_pad)
    for kernel in range(2, LARGEST + 1):
        for stride in {ours.stride[0], 1, 2, kernel}:
            for padding in range(kernel // 2 + 1):
                for ceil in (False, True):
                    for kind in (ours.kind, other_kind) if padding == ours.padding[0] else (ours.kind,):
                        yield Pool(kind, (kernel, kernel), (stride, stride), (padding, padding), ceil)


def _word(name: str) -> str:
    return name.replace("_", " ") if name in ("kind", "kernel", "stride", "padding") else name


def _said(value: Any) -> str:
    return str(value[0]) if isinstance(value, tuple) and value[0] == value[1] else str(value)


def resizes(case: Case) -> Iterator[Candidate]:
    """Another mode, corners aligned or not, and a scale in place of a size."""
    for node in [node for node in case.nodes if node.op_type == "Resize"]:
        out, source = plain(node.output[0]), case.inputs_of(node)[0]
        x = case.values[source]
        if x.ndim != 4:
            continue
        ours = _mode(node)
        size = case.expected.shape[2:] if out == case.target and case.expected.ndim == 4 else case.values[out].shape[2:]
        scale = tuple(s / n for s, n in zip(size, x.shape[2:], strict=True))
        for mode, align in MODES:
            for how, resize in (("size", {"size": size}), ("scale_factor", _scales(scale))):
                if (mode, align) == ours and how == "size" and tuple(size) == case.values[out].shape[2:]:
                    continue
                same = (mode, align) == ours
                kind = "resize_size" if same else "align_corners" if mode == ours[0] else "resize_mode"
                theirs = f"{mode}, align_corners={align}" if mode.startswith("bi") else mode
                text = f"it resizes {_said_mode(ours)}; PyTorch's is {theirs}"
                if same:
                    text = f"its size is {_size(case.values[out].shape[2:])}; PyTorch's is {_size(size)}, by {how}"
                values = _resizing(x, out, mode, align, resize)
                yield Candidate(kind, text, values=values, where=out)


MODES = (
    ("nearest", False),
    ("bilinear", False),
    ("bilinear", True),
    ("nearest-exact", False),
    ("bicubic", False),
    ("bicubic", True),
    ("area", False),
)


def _resizing(
    x: np.ndarray, out: str, mode: str, align: bool, resize: dict[str, Any]
) -> Callable[[], dict[str, np.ndarray]]:
    torch = require("torch", "torch")

    def values() -> dict[str, np.ndarray]:
        corners = {"align_corners": align} if mode.startswith("bi") else {}
        tensor = torch.tensor(np.ascontiguousarray(x))
        return {out: torch.nn.functional.interpolate(tensor, mode=mode, **resize, **corners).numpy()}

    return values


def _scales(scale: tuple[float, ...]) -> dict[str, Any]:
    return {"scale_factor": tuple(float(f"{factor:.2g}") for factor in scale)}


def _mode(node: Any) -> tuple[str, bool]:
    found = attributes_of(node)
    align = found.get("coordinate_transformation_mode") == "align_corners"
    if found.get("mode", "nearest") == "nearest":
        exact = found.get("coordinate_transformation_mode", "half_pixel").endswith("half_pixel")
        return ("nearest-exact" if exact else "nearest"), False
    return ("bicubic" if found["mode"] == "cubic" else "bilinear"), align


def _said_mode(mode: tuple[str, bool]) -> str:
    return f"{mode[0]}, align_corners={mode[1]}" if mode[0].startswith("bi") else mode[0]


def _size(size: Any) -> str:
    return "x".join(map(str, size))
