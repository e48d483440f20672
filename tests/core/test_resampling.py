"""Upsampling beyond that of test_primitives.py, and grid sampling, against PyTorch."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from netdefs.core.tables import antialiased
from tests.core.against_torch import case, check, network, run, values

ROW, PICTURE = (2, 3, 10), (1, 2, 45, 50)


def resize(shape, **options):
    label = "-".join(f"{key}={value}" for key, value in options.items())
    return case(
        f"upsample-{len(shape) - 2}d-{label}",
        lambda net, x: net.upsample(x, "y", **options),
        lambda x, w: F.interpolate(x, **options),
        shape,
    )


def sampled(mode, padding_mode, align_corners):
    """Places that reach outside of the picture."""
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}

    def grid(net, x):
        places = net.reshape(net.slice(net.flatten(x, "f", 1), "s", 1, 0, 24), "r", (-1, 4, 3, 2))
        return net.mul(places, 0.7, "places")

    return case(
        f"grid_sample-{mode}-{padding_mode}-{align_corners}",
        lambda net, x: net.grid_sample(x, grid(net, x), "y", **options),
        lambda x, w: F.grid_sample(x, x.flatten(1)[:, :24].reshape(-1, 4, 3, 2) * 0.7, **options),
        (2, 3, 5, 7),
    )


CASES = [
    resize(ROW, scale_factor=2),
    resize(ROW, scale_factor=1.7),
    resize(ROW, size=5),
    resize(ROW, size=(7,), mode="nearest-exact"),
    resize(ROW, scale_factor=2, mode="linear"),
    resize(ROW, scale_factor=(1.7,), mode="linear"),
    resize(ROW, size=5, mode="linear", align_corners=True),
    resize(ROW, scale_factor=2.5, mode="linear", align_corners=True),
    # Sizes and places where PyTorch's own rounding shows: 45 * 1.4 is less than 63 there.
    resize(PICTURE, scale_factor=(1.4, 2.3)),
    resize(PICTURE, scale_factor=(1.4, 2.3), mode="nearest-exact"),
    resize(PICTURE, scale_factor=(1.4, 2.3), mode="bilinear"),
    resize(PICTURE, scale_factor=(1.4, 2.3), mode="bilinear", align_corners=True),
    resize(PICTURE, scale_factor=0.7, mode="bicubic"),
    resize(PICTURE, size=(27, 81)),
    *[
        resize(PICTURE, antialias=True, **options)
        for options in (
            {"size": (20, 30), "mode": "bilinear"},
            {"size": (20, 71), "mode": "bicubic"},
            {"size": (45, 13), "mode": "bicubic"},
            {"size": (91, 50), "mode": "bilinear"},
            {"size": (45, 50), "mode": "bilinear"},
            {"scale_factor": 0.5, "mode": "bilinear"},
            {"scale_factor": (1.4, 0.23), "mode": "bicubic"},
            {"scale_factor": (0.7, 1.7), "mode": "bicubic", "align_corners": True},
        )
    ],
    case(
        "upsample-antialias-like",
        lambda net, x: net.upsample(net.max_pool(x, "p", kernel=2), "y", size=x, mode="bicubic", antialias=True),
        lambda x, w: F.interpolate(F.max_pool2d(x, 2), x.shape[2:], mode="bicubic", antialias=True),
        PICTURE,
    ),
    case(
        "upsample-1d-like",
        lambda net, x: net.upsample(net.max_pool(x, "p", kernel=2), "y", size=x),
        lambda x, w: F.interpolate(F.max_pool1d(x, 2), x.shape[2]),
        ROW,
    ),
    *[
        sampled(mode, padding_mode, align_corners)
        for mode in ("bilinear", "nearest", "bicubic")
        for padding_mode in ("zeros", "border", "reflection")
        for align_corners in (False, True)
    ],
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dynamic):
    check(case, dynamic=dynamic, tolerance=1e-5)


@pytest.mark.parametrize("case", [each for each in CASES if "grid_sample" not in each.id])
def test_half_precision(case):
    check(case, "fp16", dynamic=True, tolerance=3e-3)


def test_nearest_sizes_like_pytorch():
    """One network of many sizes: where single precision puts a value's place next to a whole number, too."""
    x = values((1, 1, 41, 1))
    sizes = [n for n in range(1, 130) if n != 41]

    def define(net, x, mode):
        every = [net.upsample(x, f"{n}", size=(n, 1), mode=mode) for n in sizes]
        return net.concat(every, "all", dim=2)

    for mode in ("nearest", "nearest-exact"):
        expected = torch.cat([F.interpolate(torch.from_numpy(x), (n, 1), mode=mode) for n in sizes], 2)
        np.testing.assert_array_equal(run(network(partial(define, mode=mode), x.shape), x), expected.numpy())


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias_of_arrays(mode):
    """Sizes up and down, among them those where PyTorch's rounding to single precision can be seen."""
    for height, width, size in ((14, 14, (16, 12)), (561, 40, (363, 41)), (7, 300, (7, 299)), (224, 160, (3, 224))):
        x = values((2, height, width))
        for options in ({}, {"align_corners": True}, {"scale_factor": (1.37, 0.61)}):
            given = {"size": size, **options} if "scale_factor" not in options else options
            expected = F.interpolate(torch.from_numpy(x)[None], mode=mode, antialias=True, **given).numpy()[0]
            got = antialiased(x, expected.shape[1:], mode, **options)
            assert got.dtype == np.float32
            assert np.linalg.norm(got - expected) < 1e-6 * np.linalg.norm(expected)


def test_antialias_in_integers_is_done_in_floating_point():
    net = netdefs.Network(precision="int8")
    x = net.input("x", (1, 3, 8, 8))
    net.finish(net.output(net.upsample(x, "y", size=(5, 4), mode="bicubic", antialias=True), "result"))
    kinds = [net.definition.get_layer(i).type.name for i in range(net.definition.num_layers)]
    assert kinds.count("MATRIX_MULTIPLY") == 2 and "QUANTIZE" not in kinds


def test_grid_sample_of_arrays():
    grid = values((2, 4, 3, 2))
    x = values((2, 3, 5, 7))
    got = run(network(lambda net, x: net.grid_sample(x, grid, "y"), x.shape), x)
    np.testing.assert_allclose(
        got, F.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), align_corners=False), atol=1e-6
    )
    got = run(network(lambda net, grid: net.grid_sample(x, grid, "y"), grid.shape), grid)
    np.testing.assert_allclose(
        got, F.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), align_corners=False), atol=1e-6
    )


def test_grid_sample_is_done_in_float32():
    net = netdefs.Network(precision="fp16")
    x, grid = net.input("x", (1, 3, 5, 7)), net.input("grid", (1, 4, 4, 2))
    y = net.grid_sample(x, grid, "y")
    assert y.dtype == net.trt.float32
    assert net.relu(y, "relu").dtype == net.trt.float16


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensorrt_rtx_compiles_it(precision):
    def define(net, x):
        row = net.upsample(net.flatten(x, "f", 2), "row", scale_factor=1.7, mode="linear")
        grid = net.reshape(net.slice(row, "s", 2, 0, 24), "r", (-1, 9, 4, 2))
        y = net.upsample(net.grid_sample(x, grid, "g", "bicubic", "reflection"), "up", scale_factor=(1.4, 2.3))
        return net.upsample(y, "y", size=(7, 5), mode="bicubic", antialias=True)

    net = network(define, ((1, 2, 4), 3, 5, 7), precision=precision)
    assert netdefs.build(net, target="tensorrt_rtx").outputs["result"].shape == (-1, 3, 7, 5)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (
            lambda net, x: net.upsample(x, "y", 2, mode="linear"),
            "y: mode is one of nearest, .* for 'x' .*, not 'linear'",
        ),
        (lambda net, x: net.upsample(net.flatten(x, "f", 1), "y", 2), "y: this resizes .* not 'f'"),
        (
            lambda net, x: net.upsample(x, "y", (2, 2, 2)),
            r"y: scale_factor=\(2, 2, 2\) is to be a positive number, or 2",
        ),
        (lambda net, x: net.upsample(x, "y", size=0), "y: size=0 is to be a positive number"),
        (lambda net, x: net.upsample(x, "y"), "y: give either scale_factor or size"),
        (lambda net, x: net.upsample(x, "y", 2, antialias=True), "y: antialias is for .* not 'nearest'"),
        (
            lambda net, x: net.upsample(x, "y", 0.1, mode="bicubic", antialias=True),
            r"y: 'x' .* by 0\.1 would be empty",
        ),
        (
            lambda net, x: net.upsample(net.input("z", (1, 3, (4, 5, 6), 7)), "y", 2, mode="bicubic", antialias=True),
            "upsample 'y' with antialias needs a fixed size along axis 2 of 'z'",
        ),
        (
            lambda net, x: net.grid_sample(x, x, "y", "cubic"),
            "y: mode is one of bilinear, nearest, bicubic, not 'cubic'",
        ),
        (
            lambda net, x: net.grid_sample(x, x, "y", padding_mode="edge"),
            "y: padding_mode is one of zeros, .*, not 'edge'",
        ),
        (lambda net, x: net.grid_sample(x, np.zeros((1, 2, 2, 3)), "y"), r"y: .* needs a grid \(1, \.\.\., 2\)"),
        (lambda net, x: net.grid_sample(x, np.zeros((2, 2, 2, 2)), "y"), r"y: .* not 'y.constant' float\(2, 2, 2, 2\)"),
    ],
)
def test_what_can_not_be_is_said(define, message):
    net = netdefs.Network()
    with pytest.raises(NetworkError, match=message):
        define(net, net.input("x", (1, 3, 5, 7)))
