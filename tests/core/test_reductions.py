"""Reductions and what else runs along axes, against PyTorch."""

import math

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, compile_all, network, run

DIMS = (1, -1, (2, 3), (-1, 1))
PLAIN = ("mean", "sum", "amax", "amin")


def reduction(name, dim, function=None, positive=False, keep=(False, True), **options):
    function = function or getattr(torch, name)
    return [
        case(
            f"{name}-{dim}-{'keep' if keepdim else 'drop'}{''.join(f'-{key}={v}' for key, v in options.items())}",
            lambda net, x, k=keepdim: getattr(net, name)(x, "y", dim=dim, keepdim=k, **options),
            lambda x, w, k=keepdim: function(x, dim=dim, keepdim=k, **options),
            positive=positive,
        )
        for keepdim in keep
    ]


def prod(x, dim, keepdim):
    return torch.prod(x, dim, keepdim=keepdim)


def vector_norm(x, p, dim, keepdim):
    return torch.linalg.vector_norm(x, p, dim, keepdim)


CASES = [
    *[c for name in PLAIN for dim in DIMS for c in reduction(name, dim)],
    *reduction("prod", -2, prod),
    *[c for dim in DIMS for c in reduction("var", dim)],
    *reduction("var", (2, 3), correction=0),
    *reduction("var", 1, correction=2),
    *reduction("std", -1),
    *reduction("std", (1, 2), correction=0),
    *[c for p in (1, 2.0, 3, 0.5, math.inf, -math.inf) for c in reduction("norm", (1, -1), vector_norm, p=p)],
    *reduction("norm", 0, vector_norm, p=2),
    *[c for dim in DIMS for c in reduction("logsumexp", dim)],
    *[
        case(
            f"log_softmax{dim}",
            lambda net, x, dim=dim: net.log_softmax(x, "y", dim=dim),
            lambda x, w, dim=dim: x.log_softmax(dim),
        )
        for dim in (1, -1)
    ],
    *[
        case(f"cumsum{dim}", lambda net, x, dim=dim: net.cumsum(x, "y", dim), lambda x, w, dim=dim: x.cumsum(dim))
        for dim in (1, -1)
    ],
]

ALL = [
    case("mean", lambda net, x: net.mean(x, "y"), lambda x, w: x.mean()),
    case("sum-keep", lambda net, x: net.sum(x, "y", keepdim=True), lambda x, w: x.sum(dim=(0, 1, 2, 3), keepdim=True)),
    case("std", lambda net, x: net.std(x, "y"), lambda x, w: x.std()),
    case("logsumexp", lambda net, x: net.logsumexp(x, "y"), lambda x, w: x.logsumexp((0, 1, 2, 3))),
    case("norm", lambda net, x: net.norm(x, "y"), lambda x, w: torch.linalg.vector_norm(x)),
    case("argmax", lambda net, x: net.argmax(x, "y"), lambda x, w: x.argmax()),
    case("argmax-rank1", lambda net, x: net.argmax(x, "y", dim=0), lambda x, w: x.argmax(0), shape=(7,)),
    case("argmax-rank1-keep", lambda net, x: net.argmax(x, "y", 0, True), lambda x, w: x.argmax(0, True), shape=(7,)),
    case("argmin-keep", lambda net, x: net.argmin(x, "y", keepdim=True), lambda x, w: x.argmin(keepdim=True)),
    case("any", lambda net, x: net.any(net.gt(x, 9.0, "g"), "y"), lambda x, w: (x > 9).any()),
]

EXACT = [
    *[c for name in ("argmax", "argmin") for dim in (1, -1) for c in reduction(name, dim)],
    *[
        case(
            f"{name}-{dim}-{keepdim}",
            lambda net, x, n=name, d=dim, k=keepdim: getattr(net, n)(net.gt(x, 0.0, "g"), "y", dim=d, keepdim=k),
            lambda x, w, n=name, d=dim, k=keepdim: getattr(torch, n)(x > 0, dim=d, keepdim=k),
        )
        for name in ("any", "all", "sum")
        for dim in (-1, (1, 2))
        for keepdim in (False, True)
    ],
    case("any-numbers", lambda net, x: net.any(net.relu(x, "r"), "y", dim=-1), lambda x, w: torch.relu(x).any(-1)),
    case("cumsum-bools", lambda net, x: net.cumsum(net.gt(x, 0.0, "g"), "y", 1), lambda x, w: (x > 0).cumsum(1)),
    case("sum-ints", lambda net, x: net.sum(net.argmax(x, "i", dim=1), "y", dim=-1), lambda x, w: x.argmax(1).sum(-1)),
    case(
        "argmax-bools",
        lambda net, x: net.argmax(net.gt(x, 0.5, "g"), "y", dim=-1),
        lambda x, w: (x > 0.5).int().argmax(-1),
    ),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", [*CASES, *EXACT])
def test_float32(case, dynamic):
    check(case, dynamic=dynamic)


@pytest.mark.parametrize("case", ALL)
def test_of_all_values(case):
    check(case)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("bf16", 4e-2)])
@pytest.mark.parametrize("case", CASES)
def test_half_precision(case, precision, tolerance):
    check(case, precision, tolerance=tolerance)


@pytest.mark.parametrize(
    "define",
    [
        lambda net, x: net.norm(x, "y", dim=-1),
        lambda net, x: net.std(x, "y", dim=-1),
        lambda net, x: net.mul(net.sum(x, "sum", dim=-1), 1e-3, "y"),
    ],
    ids=["norm", "std", "sum"],
)
def test_sums_that_half_precision_does_not_hold(define):
    x = np.full((2, 500), 300, np.float32)
    x[:, ::2] = 100
    net = network(define, x.shape, precision={"*": "fp16", "y": "fp32"})
    got, wide = run(net, x), run(network(define, x.shape), x)
    np.testing.assert_allclose(got, wide, rtol=2e-3)


def test_log_softmax_of_what_has_no_probability():
    """The logarithm of a softmax would be minus infinity."""
    x = np.array([[0, -300, 400]], np.float32)
    got = run(network(lambda net, x: net.log_softmax(x, "y", dim=1), x.shape), x)
    np.testing.assert_allclose(got, [[-400, -700, 0]])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_compile(precision):
    compile_all([*CASES, *EXACT], precision)


def test_errors():
    net = netdefs.Network()
    x = net.input("x", ((1, 2, 4), 3, 4))
    with pytest.raises(NetworkError, match="m: axis 3 is out of range"):
        net.mean(x, "m", 3)
    with pytest.raises(NetworkError, match=r"s: .*\(1, 1\).* different"):
        net.sum(x, "s", (1, -2))
    with pytest.raises(NetworkError, match=r"a: dim=\(\) names no axis"):
        net.amax(x, "a", ())
    with pytest.raises(NetworkError, match=r"i2: 'i' int32.* has no mean in PyTorch: cast it"):
        net.mean(net.argmax(x, "i", 1), "i2")
    with pytest.raises(NetworkError, match="v: 3 values have no variance with correction=3"):
        net.var(x, "v", 1, correction=3)
    with pytest.raises(NetworkError, match="w needs a fixed size along axis 0"):
        net.var(x, "w", 0)
    with pytest.raises(NetworkError, match="n: norm's p must be positive or -inf; it is 0"):
        net.norm(x, "n", 0)
    with pytest.raises(NetworkError, match="c: axis -4 is out of range"):
        net.cumsum(x, "c", -4)
