"""Blocks that stand for one module of PyTorch, against it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import netdefs
from netdefs.core.blocks import layer_norm, make_divisible


def run(define, x, weights=None, **options):
    net = netdefs.Network(weights or {}, **options)
    net.finish(net.output(define(net, net.input("input", ((1, 2, 4), *x.shape[1:]))), "y"))
    with netdefs.build(net, target="cpu") as engine:
        return engine.run({"input": x})["y"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("shape", "dim"), [((2, 5, 6), -1), ((2, 6, 3, 4), 1)], ids=str)
def test_layer_norm(shape, dim, precision):
    rng = np.random.default_rng(0)
    x = 300 * rng.standard_normal(shape, dtype=np.float32)  # whose squares half precision does not hold
    weights = {key: rng.standard_normal(6, dtype=np.float32) for key in ("norm.weight", "norm.bias")}
    scale, shift = (torch.from_numpy(weights[key]) for key in ("norm.weight", "norm.bias"))
    expected = F.layer_norm(torch.from_numpy(x).movedim(dim, -1), (6,), scale, shift, 1e-3).movedim(-1, dim).numpy()
    got = run(lambda net, x: layer_norm(net, x, "norm", dim=dim, eps=1e-3), x, weights, precision=precision)
    np.testing.assert_allclose(got, expected, atol=1e-5 if precision == "fp32" else 5e-3)


def test_make_divisible():
    """Torchvision's own numbers: MobileNet V3's squeezed channels, MNASNet's and EfficientNet's widths."""
    assert [make_divisible(n) for n in (18, 30, 120, 168, 12.8, 1.1 * 16, 35.2)] == [24, 32, 120, 168, 16, 16, 32]
    assert make_divisible(72 / 4, 4) == 20 and make_divisible(27, 8, least=0.0) == 24
