"""Pooling beyond that of test_primitives.py against PyTorch: dilations, divisors, rows, adaptive sizes."""

import pytest
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, network


def pool(kind, shape=(2, 3, 13, 11), **options):
    theirs = getattr(F, f"{kind}_pool{len(shape) - 2}d")
    renamed = {("kernel_size" if key == "kernel" else key): value for key, value in options.items()}
    return case(
        f"{kind}-{len(shape) - 2}d-{options}",
        lambda net, x: getattr(net, f"{kind}_pool")(x, "y", **options),
        lambda x, w: theirs(x, **renamed),
        shape,
    )


def adaptive(kind, size, shape=(2, 3, 9, 8)):
    theirs = getattr(F, f"adaptive_{kind}_pool{len(shape) - 2}d")
    return case(
        f"adaptive-{kind}-{len(shape) - 2}d-{size}",
        lambda net, x: getattr(net, f"adaptive_{kind}_pool")(x, "y", size),
        lambda x, w: x if size is None else theirs(x, size),
        shape,
    )


ROW = (2, 3, 12)
CASES = [
    pool("max", kernel=3, dilation=2, padding=1),
    pool("max", kernel=(2, 3), dilation=(1, 2), stride=(2, 1), padding=(1, 0)),
    pool("max", kernel=2, dilation=2, stride=2, padding=1, ceil_mode=True),
    pool("max", kernel=2, dilation=3, stride=2, ceil_mode=True),
    pool("max", ROW, kernel=3, stride=2, padding=1),
    pool("max", ROW, kernel=3, stride=2, ceil_mode=True),
    pool("max", ROW, kernel=(3,), stride=(2,), padding=(1,), dilation=(2,)),
    pool("avg", ROW, kernel=3, stride=2, padding=1),
    pool("avg", ROW, kernel=3, padding=1, count_include_pad=False),
    pool("avg", ROW, kernel=3, stride=2, ceil_mode=True),
    pool("avg", kernel=2, divisor_override=1),
    pool("avg", kernel=3, stride=2, padding=1, divisor_override=5),
    pool("avg", (2, 3, 6, 8), kernel=3, stride=2, padding=1, divisor_override=-2, ceil_mode=True),
    *[
        adaptive(kind, size)
        for kind in ("avg", "max")
        for size in (3, (5, 7), (None, 2), (1, None), (3, 4), (9, 5), None, (14, 3), 1)
    ],
    *[adaptive(kind, size, ROW) for kind in ("avg", "max") for size in (4, 7, 1)],
    *[adaptive(kind, 7, shape) for kind in ("avg", "max") for shape in ((2, 3, 14, 21), (1, 2, 7, 7), (2, 3, 1, 8))],
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dynamic):
    check(case, dynamic=dynamic)


@pytest.mark.parametrize("case", CASES)
def test_half_precision(case):
    check(case, "fp16", dynamic=True, tolerance=3e-3)


def test_a_size_that_stays_may_be_dynamic():
    net = network(lambda net, x: net.adaptive_avg_pool(x, "y", (None, 4)), (1, 3, (8, 8, 16), 8))
    assert tuple(net.tensor("y").shape) == (1, 3, -1, 4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensorrt_rtx_compiles_it(precision):
    def define(net, x):
        x = net.max_pool(net.adaptive_max_pool(x, "a", (9, 8)), "d", kernel=3, dilation=2)
        x = net.avg_pool(net.flatten(net.avg_pool(x, "o", 3, 1, 1, divisor_override=2), "f", 2), "r", 3, padding=1)
        return net.max_pool(x, "m", kernel=2)

    net = network(define, ((1, 2, 4), 6, 13, 11), precision=precision)
    assert netdefs.build(net, target="tensorrt_rtx").outputs["result"].shape == (-1, 6, 1)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (
            lambda net, x: net.adaptive_avg_pool(x, "y", 5),
            "adaptive_avg_pool 'y' needs a fixed size along axis 2 of 'x'",
        ),
        (lambda net, x: net.adaptive_max_pool(x, "y", (None, 0)), r"y: 'x' .* can't be pooled to \(None, 0\)"),
        (lambda net, x: net.adaptive_avg_pool(x, "y", (1, 2, 3)), r"y: 'x' .* can't be pooled to \(1, 2, 3\)"),
        (
            lambda net, x: net.max_pool(x, "y", 3, dilation=2),
            "max_pool 'y' with a dilation needs a fixed size along axis 2",
        ),
        (lambda net, x: net.max_pool(x, "y", 3, dilation=0), r"y: dilation=\(0, 0\) can't be"),
        (
            lambda net, x: net.max_pool(x, "y", 3, padding=2),
            r"y: padding=\(2, 2\) must be at most half the kernel's size",
        ),
        (lambda net, x: net.avg_pool(x, "y", 2, divisor_override=0), "y: divisor_override is not to be 0"),
        (
            lambda net, x: net.max_pool(net.flatten(x, "f", 1), "y", 2),
            r"y: this pools \(N, C, H, W\), \(N, C, D, H, W\) and \(N, C, L\), not 'f'",
        ),
        (
            lambda net, x: net.avg_pool(x, "y", 3, 2, ceil_mode=True, divisor_override=3),
            "y: ceil_mode with a divisor_override needs a fixed input size",
        ),
        (
            lambda net, x: net.avg_pool(net.flatten(x, "f", 2), "y", 3, divisor_override=3),
            "y: divisor_override is for pictures; 'f' .* is none",
        ),
    ],
)
def test_what_can_not_be_is_said(define, message):
    net = netdefs.Network()
    with pytest.raises(NetworkError, match=message):
        define(net, net.input("x", (1, 3, (8, 8, 16), 8)))


def test_a_window_needs_a_value():
    net = netdefs.Network()
    x = net.input("x", (1, 3, 4, 4))
    with pytest.raises(NetworkError, match="a: a window of 9 does not fit 'x'"):
        net.max_pool(x, "a", 3, dilation=4)
    with pytest.raises(NetworkError, match="b: with this dilation a window reads nothing of 'row'"):
        net.max_pool(net.slice(x, "row", 2, 0, 2), "b", 2, padding=1, dilation=3)
