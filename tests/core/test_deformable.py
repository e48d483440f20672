"""Deformable convolution against a plain one in PyTorch, with offsets that leave the picture."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.deform import deform_conv2d

CASES = {
    "3x3": {},
    "unpadded": {"padding": 0},
    "stride 2": {"stride": 2},
    "dilation 2": {"dilation": 2, "padding": 2},
    "groups": {"groups": 4},
    "deform_groups": {"deform_groups": 2},
    "all of them": {"groups": 4, "deform_groups": 2, "stride": 2, "dilation": 3, "padding": 2},
    "1x1": {"kernel": (1, 1), "padding": 0},
    "1x3": {"kernel": (1, 3)},
    "one row": {"shape": (2, 8, 1, 9)},
    "one pixel": {"shape": (1, 8, 1, 1), "reach": 0.5},
}


class Problem:
    """Random x, offsets, mask and weights of one case, the network's answer and the plain one."""

    def __init__(
        self, shape=(2, 8, 13, 17), kernel=(3, 3), mask=False, bias=True, groups=1, deform_groups=1, reach=6, **options
    ):
        self.kernel, self.groups, self.deform_groups, self.bias = kernel, groups, deform_groups, bias
        self.options = {"stride": 1, "padding": 1, "dilation": 1, **options}
        rng = np.random.default_rng(0)
        taps, (n, channels, *size) = kernel[0] * kernel[1], shape
        plain = F.conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, *kernel), **self.options)
        sizes = {"x": shape, "offset": (n, 2 * deform_groups * taps, *plain.shape[2:])}
        if mask:
            sizes["mask"] = (n, deform_groups * taps, *plain.shape[2:])
        self.feeds = {name: rng.standard_normal(size, dtype=np.float32) for name, size in sizes.items()}
        self.feeds["offset"] *= reach
        self.weights = {"c.weight": rng.standard_normal((12, channels // groups, *kernel), dtype=np.float32) / 3}
        if bias:
            self.weights["c.bias"] = rng.standard_normal(12, dtype=np.float32)

    def network(self, dynamic=(), precision="fp32"):
        net = netdefs.Network(self.weights, precision=precision)
        x = {
            name: net.input(name, [(1, n, 4 * n) if axis in dynamic else n for axis, n in enumerate(array.shape)])
            for name, array in self.feeds.items()
        }
        more = {"groups": self.groups, "deform_groups": self.deform_groups, "bias": self.bias, "mask": x.get("mask")}
        net.finish(net.deform_conv(x["x"], x["offset"], "c", 12, self.kernel, **self.options, **more))
        return net

    def expected(self, rounded=np.float32):
        numbers = {**self.feeds, **self.weights}
        x, offset, weight, bias, mask = (
            torch.from_numpy(numbers[name].astype(rounded)).double() if name in numbers else None
            for name in ("x", "offset", "c.weight", "c.bias", "mask")
        )
        return deform_conv2d(x, offset, weight, bias, mask=mask, **self.options).numpy()

    def error(self, network, expected):
        with netdefs.build(network, target="cpu") as engine:
            got = engine.run(self.feeds)["c"]
        assert got.shape == expected.shape
        return np.linalg.norm(got - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("mask", [False, True], ids=["", "mask"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_plain_one(case, mask):
    problem = Problem(mask=mask, bias=not mask, **CASES[case])
    network, expected = problem.network(), problem.expected()
    assert network.weights.problems() == ""
    assert tuple(network.definition.get_output(0).shape) == expected.shape
    assert problem.error(network, expected) < 2e-6


@pytest.mark.parametrize("dynamic", [(0,), (0, 2, 3)], ids=["batch", "all"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_with_dynamic_sizes(case, dynamic):
    problem = Problem(mask=True, **CASES[case])
    assert problem.error(problem.network(dynamic), problem.expected()) < 2e-6


def test_many_offsets_leave_the_picture():
    """So what happens outside is seen; and inside too."""
    offset = Problem().feeds["offset"]
    rows = np.arange(13).reshape(-1, 1) + offset[:, ::2]
    assert 0.2 < ((rows < 0) | (rows > 12)).mean() < 0.8


def test_the_plain_one_without_offsets_is_a_convolution():
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 8, 9, 7, generator=rng), torch.randn(6, 4, 3, 3, generator=rng)
    options = {"stride": 2, "padding": 2, "dilation": 2}
    plain = F.conv2d(x, weight, groups=2, **options)
    got = deform_conv2d(x, torch.zeros(2, 18, *plain.shape[2:]), weight, **options)
    torch.testing.assert_close(got, plain)


def test_the_plain_one_reads_down_by_even_channels_and_right_by_odd_ones():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    offset = torch.tensor([1.0, 0.5]).reshape(1, 2, 1, 1).expand(1, 2, 3, 4)  # down 1, right 1/2
    got = deform_conv2d(x, offset, torch.ones(1, 1, 1, 1))
    assert got[0, 0].tolist() == [[4.5, 5.5, 6.5, 3.5], [8.5, 9.5, 10.5, 5.5], [0, 0, 0, 0]]


@pytest.mark.parametrize(("precision", "rounded", "tolerance"), [("fp16", np.float16, 2e-3), ("bf16", None, 2e-2)])
def test_half_precision_keeps_places_apart(precision, rounded, tolerance):
    """With the 11 or 8 bits of these types, places in a picture 300 wide would be off by tenths of a pixel or more."""
    problem = Problem(shape=(1, 8, 5, 300), mask=True)
    problem.feeds["offset"] = np.round(4 * problem.feeds["offset"]).clip(-127, 127) / 4  # exact in either type
    expected = problem.expected(rounded or np.float32)
    assert problem.error(problem.network(precision=precision), expected) < tolerance


def test_places_far_away_are_zeros():
    problem = Problem(bias=False)
    problem.feeds["offset"][:] = 1e6 * np.sign(problem.feeds["offset"])
    with netdefs.build(problem.network(), target="cpu") as engine:
        assert not engine.run(problem.feeds)["c"].any()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("batch", [2, (1, 2, 4)], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("size", [16, (8, 16, 64)], ids=["", "any size"])
def test_rtx_compiles_it(precision, batch, size):
    weights = {"o.weight": (54, 8, 3, 3), "o.bias": (54,), "c.weight": (12, 4, 3, 3), "c.bias": (12,)}
    net = netdefs.Network({key: np.ones(shape, np.float32) for key, shape in weights.items()}, precision=precision)
    x = net.input("x", (batch, 8, size, size))
    offset, mask = net.split(net.conv(x, "o", 54, kernel=3, stride=2, padding=1), "split", [36, 18], dim=1)
    y = net.deform_conv(
        x, offset, "c", 12, kernel=3, stride=2, padding=1, groups=2, deform_groups=2, mask=net.sigmoid(mask, "sigmoid")
    )
    net.finish(net.output(y, "y"))
    with netdefs.build(net, target="tensorrt_rtx") as engine:
        assert list(engine.outputs) == ["y"]


@pytest.mark.parametrize(
    ("what", "shape", "message"),
    [
        ("offset", (2, 9, 13, 17), r"the offset must be \(2, 18, 13, 17\), but it is 'offset.*\(2, 9, 13, 17\)"),
        ("offset", (2, 18, 12, 17), r"the offset must be \(2, 18, 13, 17\)"),
        ("offset", (1, 18, 13, 17), r"the offset must be \(2, 18, 13, 17\)"),
        ("offset", (2, 18, 13), r"the offset must be \(2, 18, 13, 17\)"),
        ("mask", (2, 18, 13, 17), r"the mask must be \(2, 9, 13, 17\)"),
    ],
)
def test_shapes_that_do_not_suit_are_errors(what, shape, message):
    problem = Problem(mask=True)
    problem.feeds[what] = np.zeros(shape, np.float32)
    with pytest.raises(NetworkError, match=f"^c: for the input 'x.* {message}"):
        problem.network()


def test_groups_that_do_not_divide_are_errors():
    with pytest.raises(NetworkError, match="c: deform_groups=3 does not divide 8 channels"):
        Problem(deform_groups=3).network()
    problem = Problem()
    problem.groups = 3
    with pytest.raises(NetworkError, match="c: groups=3 does not divide the 8 channels"):
        problem.network()
