"""Attention, rotary embedding and KV-cache update, against PyTorch or plain numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from netdefs.core.errors import ExportError
from netdefs.export import to_onnx
from tests.export.nets import Net, close, evaluate, floats, rng, trt

SOFTMAX, NONE = trt.AttentionNormalizationOp.SOFTMAX, trt.AttentionNormalizationOp.NONE
CAUSAL = trt.CausalMaskKind


def attention(q, k, v, kind=CAUSAL.NONE, norm=SOFTMAX, mask=None, lengths=None, dynamic=False):
    net = Net()
    shapes = [(-1, x.shape[1], -1, x.shape[3]) if dynamic else x.shape for x in (q, k, v)]
    inputs = [net.input(name, shape) for name, shape in zip("qkv", shapes, strict=True)]
    layer = net.definition.add_attention_v2(*inputs, norm, kind)
    feeds = {"q": q, "k": k, "v": v}
    if mask is not None:
        layer.mask = net.input("mask", mask.shape, getattr(trt, str(mask.dtype)))
        feeds["mask"] = mask
    if lengths is not None:
        layer.key_value_lengths = net.input("lengths", lengths.shape, trt.int32)
        feeds["lengths"] = lengths
    layer.decomposable = True
    output = layer.get_output(0)
    output.name = "y"
    net.definition.mark_output(output)
    return evaluate(net, feeds)["y"]


def reference(q, k, v, **options):
    return F.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v)), scale=1.0, **options)


Q, K, V = floats(2, 4, 5, 8), floats(2, 4, 7, 8, seed=1), floats(2, 4, 7, 8, seed=2)


@pytest.mark.parametrize("dynamic", [False, True])
def test_attention(dynamic):
    close(attention(Q, K, V, dynamic=dynamic), reference(Q, K, V))


def test_without_normalization():
    close(attention(Q, K, V, norm=NONE), Q @ K.transpose(0, 1, 3, 2) @ V, 1e-4)


def test_fewer_key_and_value_heads():
    k, v = K[:, :2], V[:, :2]
    close(attention(Q, k, v), reference(Q, k, v, enable_gqa=True))


@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_masks(dtype):
    mask = rng().integers(0, 2, (2, 1, 5, 7)).astype(bool)
    mask[..., 0] = True
    mask = mask if dtype == "bool" else np.where(mask, 0.5, -9).astype(np.float32)
    close(attention(Q, K, V, mask=mask), reference(Q, K, V, attn_mask=torch.from_numpy(mask)))


def test_a_query_that_sees_nothing_gets_zero():
    mask = np.ones((1, 1, 5, 7), bool)
    mask[0, 0, 2] = False
    y = attention(Q, K, V, mask=mask)
    assert (y[:, :, 2] == 0).all() and np.isfinite(y).all()


@pytest.mark.parametrize("queries", [5, 7])
@pytest.mark.parametrize(("kind", "offset"), [(CAUSAL.UPPER_LEFT, 0), (CAUSAL.LOWER_RIGHT, None)])
def test_causal_masks(kind, offset, queries):
    q = floats(2, 4, queries, 8)
    shift = 7 - queries if offset is None else offset
    mask = np.tril(np.ones((queries, 7), bool), shift)
    close(attention(q, K, V, kind), reference(q, K, V, attn_mask=torch.from_numpy(mask)))


def test_key_value_lengths():
    lengths = np.array([3, 7], np.int32)
    mask = (np.arange(7) < lengths[:, None])[:, None, None]
    close(attention(Q, K, V, lengths=lengths), reference(Q, K, V, attn_mask=torch.from_numpy(mask)))


def test_packed_sequences_are_an_error():
    net = Net()
    q, k, v = (net.input(name, (10, 4, 8), trt.float16) for name in "qkv")
    layer = net.definition.add_attention_v2(q, k, v, SOFTMAX, CAUSAL.NONE)
    if layer is None:
        pytest.skip("this TensorRT takes no packed queries")
    layer.query_form = layer.key_value_form = trt.AttentionIOForm.PACKED_NHD
    layer.query_lengths = layer.key_value_lengths = net.input("lengths", (3,), trt.int32)
    net.definition.mark_output(layer.get_output(0))
    with pytest.raises(ExportError):
        to_onnx(net.definition)


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("turned", [0, 4])
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_embedding(interleaved, turned, ids):
    x = floats(2, 3, 5, 8)
    count = (turned or 8) // 2
    angles = rng().uniform(-3, 3, (20, count) if ids else (2, 5, count)).astype(np.float32)
    positions = rng(1).integers(0, 20, (2, 5))
    net = Net()
    cos, sin = net.input("cos", angles.shape), net.input("sin", angles.shape)
    layer = net.definition.add_rotary_embedding(net.input("x", x.shape), cos, sin, interleaved, turned)
    feeds = {"x": x, "cos": np.cos(angles), "sin": np.sin(angles)}
    if ids:
        layer.set_input(3, net.input("ids", (2, 5), trt.int64))
        feeds["ids"] = positions
    net.output(layer)
    angle = (angles[positions] if ids else angles)[:, None]
    expected = x.copy()
    first, second = (
        (x[..., 0 : 2 * count : 2], x[..., 1 : 2 * count : 2])
        if interleaved
        else (x[..., :count], x[..., count : 2 * count])
    )
    real, imaginary = first * np.cos(angle) - second * np.sin(angle), first * np.sin(angle) + second * np.cos(angle)
    if interleaved:
        expected[..., 0 : 2 * count : 2], expected[..., 1 : 2 * count : 2] = real, imaginary
    else:
        expected[..., :count], expected[..., count : 2 * count] = real, imaginary
    close(evaluate(net, feeds)["y"], expected)


def test_kv_cache_update():
    cache, update, at = floats(3, 2, 10, 4), floats(3, 2, 4, 4, seed=1), np.array([0, 6, 3], np.int32)
    net = Net()
    inputs = net.input("cache", cache.shape), net.input("update", (3, 2, -1, 4)), net.input("at", (3,), trt.int32)
    net.output(net.definition.add_kv_cache_update(*inputs, trt.KVCacheMode.LINEAR))
    expected = cache.copy()
    for i, start in enumerate(at):
        expected[i, :, start : start + 4] = update[i]
    assert (evaluate(net, {"cache": cache, "update": update, "at": at})["y"] == expected).all()
