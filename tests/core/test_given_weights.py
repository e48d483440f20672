"""Weights that are taken or given as arrays, `parameter` and `affine`; modules that are called twice; conv1d."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.blocks import conv_bn
from netdefs.core.errors import NetworkError, WeightsError
from tests.core.against_torch import case, check, compile_all, network, run, values

WEIGHT, BIAS = values((5, 4), seed=2), values(5, seed=3)


def conv1d(label, kernel=3, bias=True, **options):
    groups = options.get("groups", 1)
    return case(
        f"conv1d-{label}",
        lambda net, x: net.conv1d(x, "c", 8, kernel, bias=bias, **options),
        lambda x, w: F.conv1d(x, w["c.weight"], w.get("c.bias"), **options),
        (2, 6, 11),
        {"c.weight": (8, 6 // groups, kernel), **({"c.bias": (8,)} if bias else {})},
    )


def batch_norm(shape, affine):
    keys = ("running_mean", "running_var", *(("weight", "bias") if affine else ()))
    return case(
        f"batch_norm-{len(shape)}d-{affine}",
        lambda net, x: net.batch_norm(x, "b", 1e-3, affine=affine),
        lambda x, w: F.batch_norm(
            x, w["b.running_mean"], w["b.running_var"], w.get("b.weight"), w.get("b.bias"), eps=1e-3
        ),
        shape,
        {f"b.{key}": (shape[1],) for key in keys},
    )


CASES = [
    case(
        "affine",
        lambda net, x: net.affine(x, "a", WEIGHT, BIAS),
        lambda x, w: F.linear(x, torch.from_numpy(WEIGHT), torch.from_numpy(BIAS)),
    ),
    case("affine-2d", lambda net, x: net.affine(x, "a", WEIGHT), lambda x, w: x @ torch.from_numpy(WEIGHT).T, (3, 4)),
    case(
        "parameter",
        lambda net, x: net.add(x, (net / "at").parameter("pos", (1, 6, 5, 4)), "y"),
        lambda x, w: x + w["at.pos"],
        weights={"at.pos": (1, 6, 5, 4)},
    ),
    case(
        "matmul-array",
        lambda net, x: net.matmul(x, WEIGHT, "y", transpose_b=True),
        lambda x, w: x @ torch.from_numpy(WEIGHT).T,
    ),
    case(
        "matmul-array-first",
        lambda net, x: net.matmul(WEIGHT, x, "y"),
        lambda x, w: torch.from_numpy(WEIGHT) @ x,
        (2, 6, 4, 3),
    ),
    conv1d("1", kernel=1),
    conv1d("3-padded", padding=1),
    conv1d("stride", stride=2, padding=2, bias=False),
    conv1d("dilated", dilation=2),
    conv1d("depthwise", groups=2, padding=1),
    *[batch_norm(shape, affine) for shape in ((2, 6), (2, 6, 7), (2, 6, 5, 4)) for affine in (True, False)],
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_float32(case, dynamic):
    check(case, dynamic=dynamic)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("bf16", 4e-2)])
@pytest.mark.parametrize("case", CASES)
def test_half_precision(case, precision, tolerance):
    check(case, precision, tolerance=tolerance)


def test_conv1d_of_a_dynamic_length():
    x, weights = values((2, 6, 11)), {"c.weight": values((4, 6, 3)), "c.bias": values(4)}
    net = network(lambda net, x: net.conv1d(x, "c", 4, 3, padding=1), ((1, 2, 4), 6, (4, 11, 20)), weights)
    expected = F.conv1d(*map(torch.from_numpy, (x, *weights.values())), padding=1).numpy()
    np.testing.assert_allclose(run(net, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "define",
    [
        lambda net, x: net.affine(x, "y", WEIGHT, BIAS),
        lambda net, x: net.conv1d(x, "y", 5, 3),
    ],
    ids=["affine", "conv1d"],
)
def test_they_are_quantized_as_their_likes_are(define):
    weights = {"y.weight": values((5, 6, 3)), "y.bias": BIAS}
    net = netdefs.Network(weights, precision="int8", calibration={"x": 4.0, "y.row": 4.0})
    y = define(net, net.input("x", (2, 6, 4)))
    assert y.name == "y" and tuple(y.shape)[-1] != 6
    net.weights.ignore("y.*")
    net.finish(net.output(y, "result"))
    kinds = [net.definition.get_layer(i).type.name for i in range(net.definition.num_layers)]
    assert kinds.count("QUANTIZE") == 1 and kinds.count("DEQUANTIZE") == 2


KEYS = ("weight", "bias", "running_mean", "running_var")
BLOCK = {
    "block.conv.weight": values((6, 6, 3, 3), seed=5),
    **{f"block.bn.{key}": values(6, positive=True, seed=i) for i, key in enumerate(KEYS)},
    "block.bn.num_batches_tracked": np.array(7.0),
    "block.inner.fc.weight": values((4, 4), seed=6),
    "block.inner.fc.bias": values(4, seed=7),
    "block.scale": values((6, 1, 1), seed=8),
}


def block(net, x):
    x = net.mul(conv_bn(net, x, "conv", "bn", 6, 3), net.parameter("scale", (6, 1, 1)), "scaled")
    inner = net / "inner"
    for k in range(2):
        x = (inner.call(k) / "fc").linear(net.relu(x, f"relu@{k}"), None, 4)
    return net.relu(x)


def reference(x):
    x = F.conv2d(x, torch.from_numpy(BLOCK["block.conv.weight"]), padding=1)
    mean, var, weight, bias = (
        torch.from_numpy(BLOCK[f"block.bn.{key}"]) for key in ("running_mean", "running_var", "weight", "bias")
    )
    x = F.batch_norm(x, mean, var, weight, bias) * torch.from_numpy(BLOCK["block.scale"])
    for _ in range(2):
        x = F.linear(torch.relu(x), *(torch.from_numpy(BLOCK[f"block.inner.fc.{key}"]) for key in ("weight", "bias")))
    return torch.relu(x)


def twice(**options):
    net = netdefs.Network(BLOCK, **options)
    x = net.input("x", (2, 6, 5, 4))
    for k in range(2):
        x = block((net / "block").call(k), x)
    net.finish(net.output(x, "result"))
    return net


def test_a_module_that_is_called_twice():
    net = twice()
    assert set(net.weights.taken) == set(BLOCK) - {"block.bn.num_batches_tracked"}
    assert {"block", "block.inner@1.fc", "block@1", "block@1.inner@1.fc"} <= set(net.names)
    x = values((2, 6, 5, 4))
    once = reference(torch.from_numpy(x))
    expected = reference(once).numpy()
    read = ["block", *(f"block{call}.relu@{k}" for call in ("", "@1") for k in range(2))]
    with netdefs.build(net, target="cpu", outputs=read) as engine:
        got = engine.run({"x": x})
    np.testing.assert_allclose(got["block"], once.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got["result"], expected, rtol=1e-4, atol=1e-4)
    ranges = {name: float(np.abs(value).max()) for name, value in {"x": x, **got}.items() if name != "result"}
    quantized = run(twice(precision="int8", calibration=ranges), x)
    assert np.linalg.norm(quantized - expected) < 0.15 * np.linalg.norm(expected)


def test_calls_of_a_file_with_other_names_and_an_eps():
    weights = netdefs.Weights(
        {"old.bn.weight": np.ones(3), **{f"old.bn.{k}": np.ones(3) for k in ("bias", "running_mean", "running_var")}}
    )
    weights.metadata["eps"] = {"old.bn": 0.25}
    net = netdefs.Network(weights)
    net.other_names(lambda key: key.replace("new.", "old."))
    place = (net / "new").call(2)
    assert place.weights.eps(place.path_of("bn")) == 0.25
    x = place.batch_norm(net.input("x", (1, 3)), "bn")
    assert x.name == "new@2.bn"
    net.finish(net.output(x, "y"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_compile(precision):
    compile_all(CASES, precision)


def test_errors():
    net = netdefs.Network({"k": np.ones(6)})
    x = net.input("x", (2, 3))
    with pytest.raises(NetworkError, match=r"a: a weight \(5, 4\) and a bias \(5,\) don't fit x of shape \(2, 3\)"):
        net.affine(x, "a", WEIGHT, BIAS)
    with pytest.raises(NetworkError, match=r"a: a weight \(5, 3\) and a bias \(4,\) don't fit"):
        net.affine(x, "a", WEIGHT[:, :3], BIAS[:4])
    with pytest.raises(NetworkError, match=r"c: conv1d takes \(N, C, L\), not 'x'"):
        net.conv1d(x, "c", 4, 3)
    with pytest.raises(NetworkError, match=r"m: matmul takes matrices, of rank 2 or more"):
        net.matmul(x, np.ones(3), "m")
    with pytest.raises(NetworkError, match=r"call\(-1\) of at: a module's calls count from 0"):
        (net / "at").call(-1)
    with pytest.raises(NetworkError, match=r"call\(1\) of the network itself"):
        net.call(1)
    with pytest.raises(ValueError, match="read-only"):
        net.parameter("k", (2, 3))[0] = 0
    net.finish(net.output(x, "y"))


def test_a_shape_that_does_not_fit_is_told_though_a_later_one_fits():
    net = netdefs.Network({"k": np.ones((2, 3))})
    net.parameter("k", (3, 2))
    net.parameter("k", (2, 3))
    with pytest.raises(WeightsError, match=r"k: the network has \(3, 2\), the file \(2, 3\)"):
        net.finish(net.output(net.input("x", (2, 3)), "y"))
