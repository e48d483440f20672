"""Functions of one tensor and activations against PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, compile_all, network, run

POSITIVE = ("log", "sqrt", "rsqrt", "reciprocal")
NAMES = (*POSITIVE, "exp", "square", "erf", "sin", "cos", "atan", "abs", "neg", "sign", "floor", "ceil", "round")


def spread(net, x):
    """Values far enough from 0 for every part of an activation."""
    return net.mul(x, 4.0, "spread")


def activation(name, *arguments, **options):
    label = "-".join([name, *map(str, arguments), *(f"{key}={value}" for key, value in options.items())])
    return case(
        label,
        lambda net, x: getattr(net, name)(spread(net, x), "y", *arguments, **options),
        lambda x, w: getattr(F, name)(4 * x, *arguments, **options),
    )


CASES = [
    *[
        case(
            name,
            lambda net, x, name=name: getattr(net, name)(x, "y"),
            lambda x, w, name=name: getattr(torch, name)(x),
            positive=name in POSITIVE,
        )
        for name in NAMES
    ],
    case("tan", lambda net, x: net.tan(net.sigmoid(x, "s"), "y"), lambda x, w: torch.tan(torch.sigmoid(x))),
    case(
        "round-halves",
        lambda net, x: net.round(net.div(net.floor(net.mul(x, 4.0, "a"), "b"), 2.0, "c"), "y"),
        lambda x, w: torch.round(torch.floor(x * 4) / 2),
    ),
    activation("elu"),
    activation("elu", 0.3),
    activation("selu"),
    activation("celu"),
    activation("celu", 2.5),
    activation("softplus"),
    activation("softplus", beta=2.0),
    activation("softplus", beta=0.5, threshold=1.0),
    activation("logsigmoid"),
    activation("softsign"),
    activation("hardtanh"),
    activation("hardtanh", -2.0, 3.5),
    activation("hardshrink"),
    activation("hardshrink", 1.5),
    activation("softshrink"),
    activation("softshrink", 1.5),
    activation("tanhshrink"),
    activation("threshold", 0.5, -3.0),
    activation("glu", dim=1),
    activation("glu", -1),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_float32(case, dynamic):
    check(case, dynamic=dynamic)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("bf16", 4e-2)])
@pytest.mark.parametrize(
    "case", [param for param in CASES if param.id not in ("floor", "ceil", "round", "round-halves")]
)
def test_half_precision(case, precision, tolerance):
    check(case, precision, tolerance=tolerance)


@pytest.mark.parametrize(
    "name", ["exp", "sqrt", "rsqrt", "reciprocal", "square", "abs", "neg", "sign", "floor", "round"]
)
def test_integers(name):
    x = np.array([[1, 4, 9, 2]], np.float32)
    net = network(lambda net, x: getattr(net, name)(net.cast(x, "int", net.trt.int32), "y"), x.shape)
    expected = getattr(torch, name)(torch.from_numpy(x).int()).numpy()
    got = run(net, x)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_float32_of_integers_stays_so_in_half_precision():
    """Half precision has no 4099: what PyTorch computes from integers is float32."""
    x = np.array([[4098.0]], np.float32)

    def define(net, x):
        wide = net.cast(x, "wide", net.trt.float32)
        return net.sqrt(net.add(net.cast(wide, "int", net.trt.int32), 1, "more"), "y")

    net = network(define, x.shape, precision={"*": "fp16"})
    assert net.tensor("y").dtype == net.trt.float32


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_compile(precision):
    compile_all(CASES, precision)


def test_errors():
    net = netdefs.Network()
    x = net.input("x", (2, 3))
    with pytest.raises(NetworkError, match="g: glu halves axis 1, whose size 3 is odd"):
        net.glu(x, "g")
    with pytest.raises(NetworkError, match="c: celu's alpha must be positive; it is -1"):
        net.celu(x, "c", -1.0)
    with pytest.raises(NetworkError, match="s: softplus' beta must be positive; it is 0"):
        net.softplus(x, "s", 0.0)
    with pytest.raises(NetworkError, match="g: axis 2 is out of range"):
        net.glu(x, "g", 2)
