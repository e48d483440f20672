import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.export.nets import Net, close, evaluate, export, floats, trt

T = torch.from_numpy


def normalize(x, scale, bias, axes, groups=1, version=2, epsilon=1e-3, dtype=None, **options):
    net = Net()
    add = net.definition.add_normalization_v2 if version == 2 else net.definition.add_normalization
    layer = add(net.input("x", x.shape, dtype), net.constant(scale), net.constant(bias), sum(1 << a for a in axes))
    layer.epsilon, layer.num_groups = epsilon, groups
    net.output(layer)
    return evaluate(net, {"x": x}, **options)["y"], export(net, **options)


@pytest.mark.parametrize("opset", [None, 13])
@pytest.mark.parametrize("axes", [(3,), (2, 3), (1, 2, 3)])
def test_layer_normalization(axes, opset):
    x = floats(2, 3, 4, 5)
    shape = [1] * axes[0] + list(x.shape[axes[0] :])
    scale, bias = floats(*shape, seed=1), floats(*shape, seed=2)
    y, model = normalize(x, scale, bias, axes, opset=opset)
    expected = F.layer_norm(
        T(x),
        x.shape[axes[0] :],
        T(scale).flatten().reshape(x.shape[axes[0] :]),
        T(bias).reshape(x.shape[axes[0] :]),
        1e-3,
    )
    close(y, expected)
    if opset is None and axes != (2, 3):
        assert [node.op_type for node in model.graph.node][-1] == "LayerNormalization"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 4, 5), (1, 6, 2, 3, 4)])
def test_instance_normalization(shape, version):
    x = floats(*shape)
    wide = (1, 6, *[1] * (len(shape) - 2))
    scale, bias = floats(*wide, seed=1), floats(*wide, seed=2)
    y, _ = normalize(x, scale, bias, range(2, len(shape)), version=version)
    close(y, F.instance_norm(T(x), weight=T(scale).flatten(), bias=T(bias).flatten(), eps=1e-3), 1e-4)


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_group_normalization_with_a_scale_for_each_channel(groups):
    x, scale, bias = floats(2, 6, 4, 5), floats(1, 6, 1, 1, seed=1), floats(1, 6, 1, 1, seed=2)
    y, _ = normalize(x, scale, bias, (2, 3), groups)
    close(y, F.group_norm(T(x), groups, T(scale).flatten(), T(bias).flatten(), 1e-3), 1e-4)


@pytest.mark.parametrize("groups", [2, 3])
def test_group_normalization_with_a_scale_for_each_group(groups):
    x, scale, bias = floats(2, 6, 4, 5), floats(1, groups, 1, 1, seed=1), floats(1, groups, 1, 1, seed=2)
    y, _ = normalize(x, scale, bias, (2, 3), groups, version=1)
    wide = (np.repeat(v.flatten(), 6 // groups) for v in (scale, bias))
    close(y, F.group_norm(T(x), groups, *map(T, wide), 1e-3), 1e-4)


def test_any_other_axes():
    x, scale, bias = floats(2, 3, 4, 5), floats(1, 1, 4, 1, seed=1), floats(1, 1, 4, 1, seed=2)
    y, _ = normalize(x, scale, bias, (1, 3))
    mean, variance = x.mean((1, 3), keepdims=True), x.var((1, 3), keepdims=True)
    close(y, (x - mean) / np.sqrt(variance + 1e-3) * scale + bias, 1e-4)


def test_half_precision():
    x, scale, bias = (v.astype(np.float16) for v in (floats(2, 3, 8), floats(1, 1, 8, seed=1), floats(1, 1, 8, seed=2)))
    y, _ = normalize(x, scale, bias, (2,), dtype=trt.float16)
    expected = F.layer_norm(T(x).float(), (8,), T(scale).flatten().float(), T(bias).flatten().float(), 1e-3)
    close(y.astype(np.float32), expected, 1e-2)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn(size):
    x = floats(2, 7, 4, 4)
    net = Net()
    net.output(net.definition.add_lrn(net.input("x", x.shape), size, 0.02, 0.75, 1.5))
    close(evaluate(net, {"x": x})["y"], F.local_response_norm(T(x), size, 0.02, 0.75, 1.5))
