"""TITLE

    python repro.py

Computes the LAYER of a network with ONNX Runtime from PyTorch's values, compares the result with PyTorch's, and exits
with 1 if it differs. It needs numpy and onnxruntime. MODULE
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).parent
FED: dict[str, str] = {}  # what the network's part reads: PyTorch's values, by tensor, in values.npz
TOLERANCE = 0.0  # relative error that agrees
ELEMENT = 10.0  # a single value may be off by so many times that
FLOOR = 0.0  # what rounding alone may add to a value


def network(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The result of the network's part: its nodes and weights are in network.onnx."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(HERE / "network.onnx"), options, providers=["CPUExecutionProvider"])
    return session.run(None, {tensor: values[key] for tensor, key in FED.items()})[0]


def pytorch(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """PyTorch's result, as it was when the report was made."""
    return values["expected"]


def compare(expected: np.ndarray, actual: np.ndarray) -> bool:
    """Prints how two arrays differ; True if they agree."""
    if expected.shape != actual.shape:
        print(f"the network's shape is {actual.shape}, PyTorch's is {expected.shape}")
        return False
    e, a = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    with np.errstate(invalid="ignore"):
        same = (e == a) | (np.isnan(e) & np.isnan(a))
    finite = np.isfinite(e) & np.isfinite(a)
    one_sided = ~finite & ~same
    difference = np.where(
        finite, np.abs(np.where(finite, a, 0) - np.where(finite, e, 0)), np.where(one_sided, np.inf, 0)
    )
    count = max(int(finite.sum()), 1)
    rms = np.sqrt((e[finite] ** 2).sum() / count)
    error = np.sqrt((difference[finite] ** 2).sum() / count)
    relative = np.inf if one_sided.any() else error / rms if error else 0.0
    bound = ELEMENT * (TOLERANCE * (np.abs(np.where(finite, e, 0)) + rms) + FLOOR)
    outside = one_sided | (finite & (difference > bound))
    at = int(difference.argmax()) if difference.size else 0
    print(f"relative error      {relative:.3g}  (tolerance {TOLERANCE:g})")
    print(f"values out of it    {int(outside.sum())} of {outside.size} ({outside.mean() if outside.size else 0:.2%})")
    if difference.size:
        index = [int(i) for i in np.unravel_index(at, expected.shape)]
        print(f"largest difference  {difference[at]:.3g} at {index}: PyTorch {e[at]:.6g}, network {a[at]:.6g}")
    return not outside.any() and error <= TOLERANCE * rms + FLOOR


def main() -> int:
    """Compares; 1 if the two differ."""
    values = np.load(HERE / "values.npz")
    agree = compare(pytorch(values), network(values))
    print("They agree." if agree else "They differ.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
