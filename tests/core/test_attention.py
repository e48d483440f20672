"""Attention against PyTorch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, compile_all, network, run, values

SHAPE = (2, 3, 5, 8)  # N, heads, L, E
KEYS, VALUES = values((3, 7, 8), seed=2), values((3, 7, 6), seed=3)
MASK = np.arange(35).reshape(5, 7) % 3 > 0
BLIND = MASK & (np.arange(5) != 2)[:, None]  # whose third query sees nothing
ADDED = values((3, 5, 7), seed=4)
HIDING = np.where(MASK, 0, -np.inf).astype(np.float32)


def attention(label, mask=None, tensor_mask=False, **options):
    """Queries are the input, with its mean added to keys and values, so that these depend on it as well."""

    def define(net, x):
        shift = net.mean(x, "mean", (1, 2, 3), keepdim=True)
        key, value = (net.add(shift, part, name) for part, name in ((KEYS, "key"), (VALUES, "value")))
        given = net.constant(mask, "mask") if tensor_mask else mask
        return net.scaled_dot_product_attention(x, key, value, "y", mask=given, **options)

    def reference(x, w):
        shift = x.mean((1, 2, 3), keepdim=True)
        key, value = (shift + torch.from_numpy(part) for part in (KEYS, VALUES))
        given = None if mask is None else torch.from_numpy(mask)
        return F.scaled_dot_product_attention(x, key, value, given, **options)

    return case(label, define, reference, SHAPE)


CASES = [
    attention("plain"),
    attention("scale", scale=0.25),
    attention("causal", is_causal=True),
    attention("mask", MASK),
    attention("mask-tensor", MASK, tensor_mask=True),
    attention("blind", BLIND),
    attention("blind-tensor", BLIND, tensor_mask=True),
    attention("bias", ADDED),
    attention("bias-tensor", ADDED, tensor_mask=True),
    attention("bias-hiding", HIDING),
    attention("bias-blind", np.where(BLIND, 0.5, -np.inf).astype(np.float32)),
    attention("bias-of-large-numbers", np.where(MASK, 0, -1e9).astype(np.float32)),
    case(
        "rank3",
        lambda net, x: net.scaled_dot_product_attention(x, x, net.relu(x, "r"), "y"),
        lambda x, w: F.scaled_dot_product_attention(x, x, torch.relu(x)),
        (2, 5, 8),
    ),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_float32(case, dynamic):
    check(case, dynamic=dynamic, tolerance=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("bf16", 4e-2)])
@pytest.mark.parametrize("case", CASES)
def test_half_precision(case, precision, tolerance):
    check(case, precision, tolerance=tolerance)


def test_scores_that_half_precision_does_not_hold():
    """Scaled after the product they would be infinite."""
    x = np.float32(40) * values((1, 4, 64)) + 30

    def define(net, x):
        return net.scaled_dot_product_attention(x, x, x, "y")

    got = run(network(define, x.shape, precision="fp16"), x)
    wide = torch.from_numpy(x)
    expected = F.scaled_dot_product_attention(wide, wide, wide).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.01 * np.abs(expected).max())


def test_names_and_types():
    """Inner layers are children of the name, which is the result's; the softmax is in float32."""
    net = netdefs.Network(precision="fp16")
    x = net.input("x", (1, 2, 5, 8))
    y = (net / "attn").scaled_dot_product_attention(x, x, x, "sdpa", mask=MASK[:, :5])
    assert y.name == "attn.sdpa" and y.dtype == net.trt.float16
    assert net.tensor("attn.sdpa.weights").dtype == net.trt.float32
    assert all(name.startswith("attn.sdpa") for name in net.names if not name.startswith("x"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_compile(precision):
    compile_all(CASES, precision)


def test_errors():
    net = netdefs.Network()
    x, wide, flat = net.input("x", (1, 2, 5, 8)), net.input("wide", (1, 2, (4, 5, 6), 9)), net.input("flat", (5, 8))
    with pytest.raises(NetworkError, match=r"a: attention takes \(..., L, E\).* not 'x' float.*, 'wide' float"):
        net.scaled_dot_product_attention(x, wide, wide, "a")
    with pytest.raises(NetworkError, match=r"b: attention takes .* 'flat'"):
        net.scaled_dot_product_attention(flat, flat, flat, "b")
    with pytest.raises(NetworkError, match="c: attention takes a mask or is_causal, not both"):
        net.scaled_dot_product_attention(x, x, x, "c", mask=MASK, is_causal=True)
    with pytest.raises(NetworkError, match="causal attention 'd' needs a fixed size along axis 2 of 'wide'"):
        net.scaled_dot_product_attention(wide, wide, wide, "d", is_causal=True)
    with pytest.raises(NetworkError, match=r"TensorRT refused the layer 'e\.masked'"):
        net.scaled_dot_product_attention(x, x, x, "e", mask=MASK[:4])
