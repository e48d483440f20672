"""A definition of a few layers, run through the ONNX exporter and ONNX Runtime, against PyTorch's function."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import netdefs


class Case(NamedTuple):
    define: Callable[..., Any]  # (net, x) -> tensor
    torch: Callable[..., torch.Tensor]  # (x, weights) -> tensor
    shape: tuple[int, ...] = (2, 6, 5, 4)
    weights: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    positive: bool = False  # the function is of positive numbers


def case(name, define, reference, shape=(2, 6, 5, 4), weights=None, positive=False):
    return pytest.param(Case(define, reference, shape, weights or {}, positive), id=name)


def values(shape, positive=False, seed=1):
    x = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return np.abs(x) + 0.1 if positive else x


def network(define, shape, weights=None, precision="fp32"):
    net = netdefs.Network(weights or {}, precision=precision)
    net.finish(net.output(define(net, net.input("x", shape)), "result"))
    return net


def run(net, x):
    with netdefs.build(net, target="cpu") as engine:
        return engine.run({"x": x})["result"]


def check(case, precision="fp32", dynamic=False, tolerance=2e-6):
    """`case` with a fixed or dynamic batch; TensorRT's own shape must be PyTorch's as well."""
    rng = np.random.default_rng(0)
    weights = {
        key: (rng.random(size) + 0.5 if "var" in key else rng.standard_normal(size)).astype(np.float32)
        for key, size in case.weights.items()
    }
    x = values(case.shape, case.positive)
    expected = case.torch(torch.from_numpy(x), {key: torch.from_numpy(value) for key, value in weights.items()}).numpy()
    shape = ((1, case.shape[0], 8), *case.shape[1:]) if dynamic else case.shape
    net = network(case.define, shape, weights, precision)
    sizes = tuple(net.definition.get_output(0).shape)
    assert len(sizes) == expected.ndim
    assert all(size in (-1, n) if dynamic else size == n for size, n in zip(sizes, expected.shape, strict=True))
    got = run(net, x)
    assert got.shape == expected.shape
    if expected.dtype == np.bool_ or np.issubdtype(expected.dtype, np.integer):
        assert (got.dtype == np.bool_) == (expected.dtype == np.bool_)
        np.testing.assert_array_equal(got, expected)
        return
    expected = expected.astype(np.float64)
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert error < tolerance, error


def compile_all(params, precision="fp32"):
    """Compiles all cases as one network, each in a scope of its own, with a dynamic batch."""
    cases = {f"case{i}": param.values[0] for i, param in enumerate(params)}
    weights = {
        f"{name}.{key}": np.ones(size, np.float32) for name, case in cases.items() for key, size in case.weights.items()
    }
    net, outputs = netdefs.Network(weights, precision=precision), []
    for name, case in cases.items():
        x = net.input(f"{name}.x", ((1, 2, 4), *case.shape[1:]))
        outputs.append(net.output(case.define(net / name, x), f"{name}.result"))
    net.finish(outputs)
    assert len(netdefs.build(net, target="tensorrt_rtx").outputs) == len(cases)
