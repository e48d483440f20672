"""Normalization against PyTorch, with and without weights; all of it is in float32 by rule."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, compile_all, network, run, values

PAIR = {"n.weight": (6,), "n.bias": (6,)}
SHAPES = [(2, 6), (2, 6, 7), (2, 6, 5, 4), (2, 6, 3, 4, 5)]


def layer(label, shape, axes, elementwise_affine=True, bias=True):
    """Of the last `axes` axes."""
    whole = shape[-axes:]
    keys = ["n.weight", "n.bias"] if elementwise_affine and bias else ["n.weight"] if elementwise_affine else []
    dim = -1 if axes == 1 else tuple(range(-axes, 0))
    return case(
        f"layer_norm-{label}",
        lambda net, x: net.layer_norm(x, "n", dim, 1e-4, elementwise_affine, bias),
        lambda x, w: F.layer_norm(x, whole, w.get("n.weight"), w.get("n.bias"), 1e-4),
        shape,
        dict.fromkeys(keys, whole),
    )


def group(shape, groups, affine=True, eps=1e-5):
    return case(
        f"group_norm-{len(shape)}d-{groups}{'' if affine else '-plain'}",
        lambda net, x: net.group_norm(x, "n", groups, eps, affine),
        lambda x, w: F.group_norm(x, groups, w.get("n.weight"), w.get("n.bias"), eps),
        shape,
        PAIR if affine else {},
    )


def instance(shape, affine):
    return case(
        f"instance_norm-{len(shape)}d-{affine}",
        lambda net, x: net.instance_norm(x, "n", 1e-3, affine),
        lambda x, w: F.instance_norm(x, weight=w.get("n.weight"), bias=w.get("n.bias"), eps=1e-3),
        shape,
        PAIR if affine else {},
    )


def rms(label, axes, eps, elementwise_affine=True):
    shape = (2, 6, 5, 4)
    return case(
        f"rms_norm-{label}",
        lambda net, x: net.rms_norm(x, "n", tuple(range(-axes, 0)), eps, elementwise_affine),
        lambda x, w: F.rms_norm(x, shape[-axes:], w.get("n.weight"), eps),
        shape,
        {"n.weight": shape[-axes:]} if elementwise_affine else {},
    )


CASES = [
    layer("last", (2, 5, 6), 1),
    layer("without-bias", (2, 5, 6), 1, bias=False),
    layer("plain", (2, 5, 6), 1, elementwise_affine=False),
    layer("three-axes", (2, 6, 5, 4), 3),
    layer("two-axes-plain", (2, 6, 5, 4), 2, elementwise_affine=False),
    layer("beside-an-axis-of-1", (2, 1, 6), 1),
    layer("of-a-row", (3, 6), 1),
    *[group(shape, 3) for shape in SHAPES],
    group((2, 6, 5, 4), 1, eps=1e-3),
    group((2, 6, 5, 4), 6),
    group((2, 6, 5, 4), 2, affine=False),
    *[instance(shape, affine) for shape in SHAPES[1:] for affine in (False, True)],
    rms("last", 1, 1e-6),
    rms("two-axes", 2, 1e-6),
    rms("default-eps", 1, None),
    rms("plain", 1, 1e-6, elementwise_affine=False),
    *[
        case(
            f"local_response_norm-{size}",
            lambda net, x, size=size, o=options: net.local_response_norm(x, "n", size, **o),
            lambda x, w, size=size, o=options: F.local_response_norm(x, size, **o),
            (2, 9, 5, 4),
        )
        for size, options in ((5, {}), (3, {"alpha": 0.5, "beta": 0.6, "k": 2.0}), (1, {"alpha": 1.0}))
    ],
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_float32(case, dynamic):
    check(case, dynamic=dynamic, tolerance=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("bf16", 4e-2)])
@pytest.mark.parametrize("case", CASES)
def test_half_precision(case, precision, tolerance):
    check(case, precision, tolerance=tolerance)


@pytest.mark.parametrize(
    "define",
    [
        lambda net, x: net.layer_norm(x, "n", elementwise_affine=False),
        lambda net, x: net.group_norm(x, "n", 2, affine=False),
        lambda net, x: net.instance_norm(x, "n"),
        lambda net, x: net.rms_norm(x, "n", elementwise_affine=False),
        lambda net, x: net.local_response_norm(x, "n", 5, alpha=1.0),
    ],
    ids=["layer", "group", "instance", "rms", "local_response"],
)
def test_squares_that_half_precision_does_not_hold(define):
    x = 900 * values((1, 8, 6, 6))
    wide = run(network(define, x.shape), x)
    half = run(network(define, x.shape, precision="fp16"), x)
    np.testing.assert_allclose(half, wide, rtol=0, atol=5e-3 * np.abs(wide).max())


def test_a_layer_norm_over_channels():
    """As ConvNeXt has it: over axis 1 of a picture."""
    x = values((2, 6, 5, 4))
    weights = {key: values(6, seed=i) for i, key in enumerate(PAIR)}
    got = run(network(lambda net, x: net.layer_norm(x, "n", 1), x.shape, weights), x)
    scale, shift = (torch.from_numpy(value) for value in weights.values())
    expected = F.layer_norm(torch.from_numpy(x).permute(0, 2, 3, 1), (6,), scale, shift).permute(0, 3, 1, 2)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-5)


class Older:
    """A definition as TensorRT before 10.15 has it, whose group norm scales groups."""

    def __init__(self, definition):
        self.definition = definition

    def __getattr__(self, name):
        if name == "add_normalization_v2":
            raise AttributeError(name)
        return getattr(self.definition, name)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_group_norm_of_an_older_tensorrt(shape, groups):
    x, weights = values(shape), {key: values(6, seed=i) for i, key in enumerate(PAIR)}
    net = netdefs.Network(weights)
    whole, net.definition = net.definition, Older(net.definition)
    y = net.group_norm(net.input("x", shape), "n", groups)
    net.definition = whole
    net.finish(net.output(y, "result"))
    scale, shift = (torch.from_numpy(value) for value in weights.values())
    expected = F.group_norm(torch.from_numpy(x), groups, scale, shift).numpy()
    np.testing.assert_allclose(run(net, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_compile(precision):
    compile_all(CASES, precision)


def test_errors():
    net = netdefs.Network()
    x = net.input("x", (2, 6, (4, 8, 8), 4))
    with pytest.raises(NetworkError, match=r"g: group_norm in 4 groups needs a multiple of channels: 'x' float\(2, 6"):
        net.group_norm(x, "g", 4)
    with pytest.raises(NetworkError, match="i: instance_norm needs axes behind the channels: 'flat' float"):
        net.instance_norm(net.mean(x, "flat", (2, 3)), "i")
    with pytest.raises(NetworkError, match="the norm 'l' needs a fixed size along axis 2 of 'x'"):
        net.layer_norm(x, "l", (2, 3))
    for size in (4, 17):
        with pytest.raises(NetworkError, match=f"takes an odd size up to 15 and .N, C, H, W., not size={size}"):
            net.local_response_norm(x, "r", size)
