"""What takes values at places, against PyTorch."""

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, network, run, values

RNG = np.random.default_rng(3)
FIVES, SIXES, FOURS = RNG.integers(-5, 5, (2, 3)), RNG.integers(-6, 6, 3), RNG.integers(-4, 4, (2, 1))
MASK = RNG.random((5, 4)) > 0.5
TABLE = RNG.standard_normal((6, 2)).astype(np.float32)


def takes(name, define, reference, shape=(2, 6, 5, 4)):
    return case(name, define, lambda x, w: reference(x), shape)


def indexed(name, *indices):
    known = [slice(None) if index is None else torch.from_numpy(index) for index in indices]
    return takes(f"index-{name}", lambda net, x: net.index(x, "y", indices), lambda x: x[tuple(known)])


def ranked(net, x, k=3, dim=1):
    return net.topk(x, "ranked", k, dim=dim)[1]


def scattered(*bounds, dim=2):
    taken = (slice(None),) * dim + (slice(*bounds),)

    def define(net, x):
        return net.slice_scatter(
            x, net.relu(net.slice(x, "s", dim, bounds[0] or 0, *bounds[1:]), "r"), "y", dim, *bounds
        )

    return takes(f"slice_scatter{bounds}", define, lambda x: torch.slice_scatter(x, x[taken].relu(), dim, *bounds))


CASES = [
    takes("select", lambda net, x: net.select(x, "y", -1, -2), lambda x: x.select(-1, -2)),
    takes("select-first", lambda net, x: net.select(x, "y", 1, 0), lambda x: x[:, 0]),
    takes("select-of-the-batch", lambda net, x: net.select(x, "y", 0, 1), lambda x: x[1]),
    takes("unbind", lambda net, x: net.sub(*net.unbind(x, "u", 1), "y"), lambda x: x[:, 0] - x[:, 1], (2, 2, 5)),
    takes(
        "index_select",
        lambda net, x: net.index_select(x, "y", -1, [3, 0, -1]),
        lambda x: x[..., [3, 0, -1]],
    ),
    takes(
        "index_select-tensor",
        lambda net, x: net.index_select(x, "y", 1, net.select(ranked(net, x), "i", 0, 0)),
        lambda x: x.index_select(1, x.topk(3, dim=1)[1][0]),
        (2, 6),
    ),
    takes(
        "repeat_interleave", lambda net, x: net.repeat_interleave(x, "y", 3, -1), lambda x: x.repeat_interleave(3, -1)
    ),
    takes(
        "repeat_interleave-batch",
        lambda net, x: net.repeat_interleave(x, "y", 3, 0),
        lambda x: x.repeat_interleave(3, 0),
    ),
    takes(
        "repeat_interleave-each",
        lambda net, x: net.repeat_interleave(x, "y", [0, 1, 2, 3, 0, 1], 1),
        lambda x: x.repeat_interleave(torch.tensor([0, 1, 2, 3, 0, 1]), 1),
    ),
    takes("repeat_interleave-flat", lambda net, x: net.repeat_interleave(x, "y", 2), lambda x: x.repeat_interleave(2)),
    indexed("one", None, SIXES),
    indexed("one-2d", None, None, FIVES),
    indexed("nothing", None, None),
    indexed("two", None, None, FIVES, FOURS),
    indexed("apart", None, SIXES, None, FOURS),
    indexed("with-the-batch", np.array([0, 1, 0]), SIXES),
    indexed("three", None, SIXES, FIVES, FOURS),
    indexed("mask", None, None, MASK),
    indexed("mask-and-one", None, RNG.random(6) > 0.4, None, np.array([2])),
    takes(
        "index-negative-tensor-and-array",
        lambda net, x: net.index(
            net.mul(x, 2.0, "m"),
            "y",
            (None, np.array([[4], [-2]]), net.sub(ranked(net, net.global_max_pool(x, "g")), 6, "s")),
        ),
        lambda x: (2 * x)[:, torch.tensor([[4], [-2]]), x.amax((2, 3), keepdim=True).topk(3, dim=1)[1] - 6],
        (2, 6, 6, 2),
    ),
    takes(
        "index-table",
        lambda net, x: net.index(TABLE, "y", (ranked(net, x),)),
        lambda x: torch.from_numpy(TABLE)[x.topk(3, dim=1)[1]],
    ),
    scattered(1, 3),
    scattered(0, 3),
    scattered(-2, None),
    scattered(None, None),
    scattered(1, None, 2),
    takes(
        "slice_scatter-into-an-array",
        lambda net, x: net.slice_scatter(net.expand(np.ones((1, 6, 2, 3)), "e", (0, -1, -1, -1), x), x, "y", -1, 0, 2),
        lambda x: torch.slice_scatter(torch.ones((2, 6, 2, 3)), x, -1, 0, 2),
        (2, 6, 2, 2),
    ),
    takes(
        "select_scatter",
        lambda net, x: net.select_scatter(x, net.relu(net.select(x, "s", 3, 1), "r"), "y", 3, -1),
        lambda x: torch.select_scatter(x, x[..., 1].relu(), 3, -1),
    ),
    takes("tril", lambda net, x: net.tril(x, "y", -1), lambda x: x.tril(-1)),
    takes("triu", lambda net, x: net.triu(x, "y", 1), lambda x: x.triu(1)),
    takes("sort", lambda net, x: net.sort(x, "y", 1)[0], lambda x: x.sort(1)[0]),
    takes("sort-down-indices", lambda net, x: net.sort(x, "y", -1, descending=True)[1], lambda x: x.sort(-1, True)[1]),
]


# Which values are the largest differs where half precision rounds two to the same.
EXACT = ("indices", "tensor", "table")


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dynamic):
    check(case, dynamic=dynamic, tolerance=1e-6)


@pytest.mark.parametrize("case", [each for each in CASES if not any(word in each.id for word in EXACT)])
def test_half_precision(case):
    check(case, "fp16", tolerance=1e-3)


def test_either_of_a_scatter_may_be_an_array():
    x, ones = values((2, 5, 3)), np.ones((2, 5, 3), np.float32)
    for define, expected in (
        (lambda net, x: net.slice_scatter(x, ones[:, :2], "y", 1, 2, 4), [x[:, :2], ones[:, :2], x[:, 4:]]),
        (lambda net, x: net.slice_scatter(ones, net.slice(x, "s", 1, 0, 2), "y", 1, 3), [ones[:, :3], x[:, :2]]),
        (lambda net, x: net.select_scatter(x, ones[:, 0], "y", 1, 0), [ones[:, :1], x[:, 1:]]),
    ):
        np.testing.assert_array_equal(run(network(define, x.shape), x), np.concatenate(expected, 1))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensorrt_rtx_compiles_it(precision):
    def define(net, x):
        x = net.tril(net.index(x, "i", (None, SIXES, FIVES[0])), "l")
        x = net.index(x, "j", (None, net.reshape(ranked(net, net.select(x, "s", 2, 0), 2), "r", (-1,))))
        return net.sort(net.repeat_interleave(net.unsqueeze(x, "u", 1), "again", 2, 0), "sorted", -1)[0]

    net = network(lambda net, x: define(net, x), (1, 6, 5, 4), precision=precision)
    assert netdefs.build(net, target="tensorrt_rtx").outputs["result"].shape[0] == 2


def test_an_index_of_a_table_has_the_precision_of_the_network():
    net = netdefs.Network(precision="fp16")
    x = net.input("x", (1, 6))
    assert net.index(TABLE, "y", (ranked(net, x),)).dtype == net.trt.float16


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda net, x: net.select(x, "y", 1, 6), "y: the index 6 is out of range for an axis of size 6"),
        (lambda net, x: net.select(x, "y", 0, -1), "y: the index -1 needs a fixed size along axis 0 of 'x'"),
        (lambda net, x: net.unbind(x, "y"), "unbind 'y' needs a fixed size along axis 0"),
        (lambda net, x: net.index_select(x, "y", 1, [0, -7]), "y: the index -7 is out of range"),
        (lambda net, x: net.index_select(x, "y", 1, [[0, 1]]), "y: index_select takes an index of rank 1"),
        (lambda net, x: net.index_select(x, "y", 1, [0.5]), "y: an index is to hold integers, or be a mask"),
        (lambda net, x: net.index(x, "y", (None, [True] * 5)), r"y: a mask \(5,\) for the axes from 1 on of 'x'"),
        (lambda net, x: net.index(x, "y", (None, net.gt(x, 0, "g"))), "an index is int32 or int64, not 'g' bool"),
        (lambda net, x: net.index(x, "y", (None,) * 4 + ([0],)), "y: 5 indices for 'x'"),
        (lambda net, x: net.index(x, "y", (None, [0, 1], [0, 1, 2])), r"indices of shapes \(2,\) and \(3,\)"),
        (lambda net, x: net.index(x, "y", (None, [0], None, [9])), "the index 9 is out of range for an axis of size 4"),
        (lambda net, x: net.repeat_interleave(x, "y", 0, 1), "y: repeats=0 can't be"),
        (lambda net, x: net.repeat_interleave(x, "y", [1, 2], 1), "y: 2 repeats for the 6 values along axis 1"),
        (
            lambda net, x: net.slice_scatter(x, x, "y", 1, 0, 3),
            r"y: the slice of 'x' .* is \(-1, 3, 5, 4\); it can't be 'x'",
        ),
        (lambda net, x: net.select_scatter(x, x, "y", 1, 9), "y: the index 9 is out of range"),
        (
            lambda net, x: net.tril(net.select(net.select(net.select(x, "a", 1, 0), "b", 1, 0), "c", 0, 0), "y"),
            "no rows",
        ),
        (lambda net, x: net.sort(x, "y", 0), "sort 'y' needs a fixed size along axis 0"),
    ],
)
def test_what_can_not_be_is_said(define, message):
    net = netdefs.Network()
    with pytest.raises(NetworkError, match=message):
        define(net, net.input("x", ((1, 2, 4), 6, 5, 4)))
