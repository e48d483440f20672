"""Windows and Einstein sums against PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, network, values

SIZE = (6, 7)
W, V = values((6, 4)), values((5, 3))


def windows(**options):
    renamed = {("kernel_size" if key == "kernel" else key): value for key, value in options.items()}
    shape = (2, 3, *SIZE)
    return [
        case(
            f"unfold-{options}",
            lambda net, x: net.unfold(x, "y", **options),
            lambda x, w: F.unfold(x, **renamed),
            shape,
        ),
        case(
            f"fold-{options}",
            lambda net, x: net.fold(net.unfold(x, "u", **options), "y", SIZE, **options),
            lambda x, w: F.fold(F.unfold(x, **renamed), SIZE, **renamed),
            shape,
        ),
    ]


def total(equation, *others, itself=False):
    def define(net, x):
        return net.einsum(equation, [x, net.relu(x, "r")] if itself else [x, *others], "y")

    def reference(x, w):
        return torch.einsum(equation, x, *([F.relu(x)] if itself else map(torch.from_numpy, others)))

    return case(f"einsum-{equation}", define, reference)


CASES = [
    *windows(kernel=3),
    *windows(kernel=(2, 3), dilation=(2, 1), padding=(1, 2)),
    *windows(kernel=3, stride=3, padding=1),
    *windows(kernel=(2, 7), stride=(2, 7)),
    *windows(kernel=2, stride=2),
    case("tensor_unfold", lambda net, x: net.tensor_unfold(x, "y", -1, 3, 1), lambda x, w: x.unfold(-1, 3, 1)),
    case(
        "tensor_unfold-tiles",
        lambda net, x: net.tensor_unfold(net.tensor_unfold(x, "a", 2, 2, 2), "y", 3, 2, 2),
        lambda x, w: x.unfold(2, 2, 2).unfold(3, 2, 2),
    ),
    total("bchw,ck->bkhw", W),
    total("bchw,bdhw->bcd", itself=True),
    total("bchw,bchw->bhw", itself=True),
    total("...hw,hk->...kw", V),
    total("bchw,ck,hj->bkj", W, V),
    total("bchw->bwhc"),
    total("B c h w , c K", W),
    total("bchw->"),
    total("b...,...k->bk", values((6, 5, 4, 2))),
    total("bchw,ch->bcw", values((6, 1))),  # an axis of size 1 fits any
    total("...chw,...cw->...hc", values((1, 6, 4))),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dynamic):
    check(case, dynamic=dynamic)


@pytest.mark.parametrize("case", CASES)
def test_half_precision(case):
    check(case, "fp16", dynamic=True, tolerance=5e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensorrt_rtx_compiles_it(precision):
    def define(net, x):
        x = net.fold(net.unfold(x, "u", 3, padding=1), "f", (6, 4), 3, padding=1)
        x = net.einsum("bchw,chk,wk->bck", [x, values((3, 6, 5)), values((4, 5))], "e")
        return net.tensor_unfold(x, "y", -1, 3, 1)

    net = network(define, ((1, 2, 4), 3, 6, 4), precision=precision)
    assert netdefs.build(net, target="tensorrt_rtx").outputs["result"].shape == (-1, 3, 3, 3)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda net, x: net.unfold(net.flatten(x, "f", 2), "y", 3), r"y: unfold takes \(N, C, H, W\), not 'f'"),
        (lambda net, x: net.unfold(x, "y", 7), r"y: the kernel \(7, 7\) does not fit into a picture of \(6, 4\)"),
        (lambda net, x: net.unfold(x, "y", 3, stride=0), r"y: kernel=\(3, 3\), .* stride=\(0, 0\) can't be"),
        (
            lambda net, x: net.fold(net.flatten(x, "f", 2), "y", 4, 2),
            r"y: fold to \(4, 4\) .* takes \(N, C \* 4, 9\), not 'f'",
        ),
        (lambda net, x: net.tensor_unfold(x, "y", 3, 5, 1), "y: windows of 5 every 1 along axis 3 of 'x'"),
        (lambda net, x: net.einsum("bchw", [x, x], "y"), "y: the equation 'bchw' .*: it has 1 terms for 2 operands"),
        (lambda net, x: net.einsum("bch->b", [x], "y"), "the term 'bch' has another number of axes than its operand"),
        (lambda net, x: net.einsum("bchw->k", [x], "y"), "'k' is no axis of an operand"),
        (lambda net, x: net.einsum("bchw->bb", [x], "y"), "the axis 'b' is there twice in one term"),
        (lambda net, x: net.einsum("bchh->b", [x], "y"), "the axis 'h' is there twice in one term"),
        (lambda net, x: net.einsum("bchw,hw->b", [x, np.ones((5, 4))], "y"), "has both the size 6 and 5"),
    ],
)
def test_what_can_not_be_is_said(define, message):
    net = netdefs.Network()
    with pytest.raises(NetworkError, match=message):
        define(net, net.input("x", ((1, 2, 4), 4, 6, 4)))
