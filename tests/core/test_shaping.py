"""What gives values another shape or place, against PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, network, run

TABLE = np.arange(8, dtype=np.float32).reshape(1, 2, 4)


def moves(name, define, reference, shape=(2, 6, 5, 4)):
    return case(name, define, lambda x, w: reference(x), shape)


def padding(pads, mode="constant", value=0.0):
    return moves(
        f"pad-{mode}-{pads}",
        lambda net, x: net.pad(x, "y", pads, value, mode),
        lambda x: F.pad(x, pads, mode, value or None),
    )


CASES = [
    moves("transpose", lambda net, x: net.transpose(x, "y", 1, -1), lambda x: x.transpose(1, -1)),
    moves("unsqueeze", lambda net, x: net.unsqueeze(x, "y", 1), lambda x: x.unsqueeze(1)),
    moves("unsqueeze-last", lambda net, x: net.unsqueeze(x, "y", -1), lambda x: x.unsqueeze(-1)),
    moves("squeeze", lambda net, x: net.squeeze(x, "y", -2), lambda x: x.squeeze(-2), (2, 6, 1, 4)),
    moves("squeeze-some", lambda net, x: net.squeeze(x, "y", (1, 3)), lambda x: x.squeeze((1, 3)), (2, 1, 5, 3)),
    moves("squeeze-all", lambda net, x: net.squeeze(x, "y"), torch.squeeze, (2, 1, 5, 1)),
    moves(
        "stack",
        lambda net, x: net.stack([x, net.relu(x, "r")], "y", -2),
        lambda x: torch.stack([x, F.relu(x)], -2),
    ),
    moves(
        "stack-array",
        lambda net, x: net.stack([TABLE[0], net.select(x, "s", 0, 0)], "y", 1),
        lambda x: torch.stack([torch.from_numpy(TABLE[0]), x[0]], 1),
        (1, 2, 4),
    ),
    moves(
        "concat-arrays",
        lambda net, x: net.concat([TABLE, net.index_select(x, "s", 0, [0]), 2 * TABLE], "y", dim=1),
        lambda x: torch.cat([torch.from_numpy(TABLE), x[:1], torch.from_numpy(2 * TABLE)], 1),
        (1, 3, 4),
    ),
    moves(
        "chunk",
        lambda net, x: net.concat(net.chunk(x, "c", 4, 1)[::-1], "y", 1),
        lambda x: torch.cat(x.chunk(4, 1)[::-1], 1),
    ),
    moves(
        "expand",
        lambda net, x: net.expand(x, "y", (-1, 6, -1, 4)),
        lambda x: x.expand(-1, 6, -1, 4),
        (2, 1, 5, 1),
    ),
    moves("expand-nothing", lambda net, x: net.expand(x, "y", (0, 6, -1, 4)), lambda x: x.expand(-1, 6, -1, 4)),
    moves(
        "expand-lifted",
        lambda net, x: net.expand(net.slice(x, "s", 1, 0, 1), "y", (3, 0, 6, 5, 4), like=net.unsqueeze(x, "u", 0)),
        lambda x: x[:, :1].expand(3, x.shape[0], 6, 5, 4),
    ),
    moves(
        "expand-array",  # a class token
        lambda net, x: net.concat([net.expand(TABLE[:, :1], "t", (0, -1, -1), like=x), x], "y", dim=1),
        lambda x: torch.cat([torch.from_numpy(TABLE[:, :1]).expand(x.shape[0], -1, -1), x], 1),
        (2, 3, 4),
    ),
    moves("repeat", lambda net, x: net.repeat(x, "y", (2, 1, 3, 1)), lambda x: x.repeat(2, 1, 3, 1)),
    moves("repeat-lifted", lambda net, x: net.repeat(x, "y", (3, 1, 2, 1, 1)), lambda x: x.repeat(3, 1, 2, 1, 1)),
    moves("roll", lambda net, x: net.roll(x, "y", (-2, 3), (2, -1)), lambda x: x.roll((-2, 3), (2, -1))),
    moves("roll-beyond", lambda net, x: net.roll(x, "y", 13, 2), lambda x: x.roll(13, 2)),
    moves("roll-twice", lambda net, x: net.roll(x, "y", (1, 2), (1, 1)), lambda x: x.roll((1, 2), (1, 1))),
    moves("roll-nothing", lambda net, x: net.roll(x, "y", (6,), (1,)), lambda x: x),
    moves("flip", lambda net, x: net.flip(x, "y", (1, -1)), lambda x: x.flip((1, -1))),
    padding((1, 2)),
    padding((1, 2, 0, 3), value=-5.0),
    padding((0, 0, 1, -2, 3, 0), value=2.0),
    padding((-1, -2)),
    *[padding((1, 2, 3, 0), mode) for mode in ("reflect", "replicate", "circular")],
    *[padding((-1, -2, 3, 0), mode) for mode in ("reflect", "replicate", "circular")],
    moves(
        "pixel_unshuffle",
        lambda net, x: net.pixel_unshuffle(x, "y", 2),
        lambda x: F.pixel_unshuffle(x, 2),
        (2, 3, 4, 6),
    ),
    moves("channel_shuffle", lambda net, x: net.channel_shuffle(x, "y", 3), lambda x: F.channel_shuffle(x, 3)),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dynamic):
    check(case, dynamic=dynamic, tolerance=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_half_precision(case):
    check(case, "fp16", dynamic=True, tolerance=1e-3)


def test_a_flat_roll_needs_no_axes():
    x = np.random.default_rng(0).standard_normal((2, 3, 4), dtype=np.float32)
    got = run(network(lambda net, x: net.roll(x, "y", 5), x.shape), x)
    np.testing.assert_array_equal(got, torch.from_numpy(x).roll(5).numpy())


def test_integers_are_moved_too():
    """Indices of the largest values, moved about; TensorRT-RTX compiles it."""

    def define(net, x):
        index = net.topk(x, "t", 2, dim=1)[1]
        index = net.pad(net.roll(index, "r", 1, 1), "p", (1, 2), value=7)
        index = net.concat(
            [net.expand(net.unsqueeze(index, "u", 1), "e", (-1, 2, -1, -1)), np.full((1, 2, 2, 7), 9)], "y", 2
        )
        return net.flip(index, "f", -1)

    x = np.random.default_rng(0).standard_normal((1, 5, 4), dtype=np.float32)
    index = F.pad(torch.from_numpy(x).topk(2, dim=1)[1].roll(1, 1), (1, 2), value=7)
    expected = torch.cat([index.unsqueeze(1).expand(-1, 2, -1, -1), torch.full((1, 2, 2, 7), 9)], 2).flip(-1)
    net = network(define, x.shape)
    np.testing.assert_array_equal(run(net, x), expected.numpy())
    assert netdefs.build(net, target="tensorrt_rtx").outputs["result"].shape == tuple(expected.shape)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensorrt_rtx_compiles_it(precision):
    def define(net, x):
        x = net.roll(net.pad(x, "p", (1, 2), mode="reflect"), "r", (1, 2), (1, 2))
        x = net.pad(net.pad(x, "c", (1, 2), mode="circular"), "e", (1, 2), mode="replicate")
        x = net.repeat(net.flip(x, "f", (1, 2)), "again", (1, 2, 1, 1))
        return net.channel_shuffle(net.expand(net.unsqueeze(x, "u", 1), "y", (0, 3, -1, -1, -1)), "s", 3)

    net = network(define, ((1, 2, 4), 6, 5, 4), precision=precision)
    assert netdefs.build(net, target="tensorrt_rtx").outputs["result"].shape == (-1, 3, 12, 5, 13)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda net, x: net.permute(x, "y", (0, 1, 1, 2)), r"y: permute to \(0, 1, 1, 2\) needs every axis of 'x'"),
        (lambda net, x: net.transpose(x, "y", 1, 4), r"y: axis 4 is out of range for \(-1, 6, 5, 4\)"),
        (lambda net, x: net.reshape(x, "y", (0, 6, 20, 1, 0)), "0 for one of 'x' .*, at its own place there"),
        (lambda net, x: net.squeeze(x, "y", 0), "squeeze 'y' needs a fixed size along axis 0 of 'x'"),
        (lambda net, x: net.squeeze(x, "y", (1, -3)), r"y: the axes \(1, 1\) .* are to be different ones"),
        (lambda net, x: net.unsqueeze(x, "y", 5), "y: there can't be a new axis 5 in 'x'"),
        (lambda net, x: net.stack([x, x], "y", 5), "y: tensors of rank 4 can't be stacked along axis 5"),
        (lambda net, x: net.chunk(x, "y", 0, 1), "y: chunks=0 must be positive"),
        (lambda net, x: net.chunk(x, "y", 2), "y needs a fixed size along axis 0"),
        (lambda net, x: net.expand(x, "y", (-1, 12, -1, -1)), r"y: can't expand 'x' .* to .*: axis 1 is not of size 1"),
        (lambda net, x: net.expand(x, "y", (-1, -1, 6, 5, 4)), r"y: can't expand .*: -1 says no size here"),
        (lambda net, x: net.expand(x, "y", (5, 4)), "y: 2 sizes for a tensor of rank 4"),
        (lambda net, x: net.expand(TABLE, "y", (3, 2, 4)), "y: an array is expanded to the sizes of a tensor"),
        (lambda net, x: net.expand(x, "y", (4, 6, 5, 4)), r"y: can't expand .*: axis 0 is not of size 1"),
        (lambda net, x: net.repeat(x, "y", (1, 1, 1, 0)), r"y: repeats=\(1, 1, 1, 0\) must be positive"),
        (lambda net, x: net.pad(x, "y", (1, 2, 3)), r"y: padding=\(1, 2, 3\) is to be pairs for the last axes"),
        (lambda net, x: net.pad(x, "y", (1, 2), mode="mirror"), "y: mode is one of constant, .*, not 'mirror'"),
        (lambda net, x: net.pad(x, "y", (1, 2), 1.0, "reflect"), "y: value=1.0 has no meaning with mode='reflect'"),
        (
            lambda net, x: net.pad(x, "y", (4, 0), mode="reflect"),
            "y: axis 3 of 'x' .* can't be padded by 4 and 0, reflect",
        ),
        (lambda net, x: net.pad(x, "y", (-1, 2), mode="reflect"), "y: axis 3 of 'x' .* can't be padded by -1 and 2"),
        (lambda net, x: net.pad(x, "y", (-2, -2)), "y: axis 3 of 'x' .* can't be padded by -2 and -2, constant"),
        (lambda net, x: net.pad(x, "y", (0, 0, 0, 0, 0, 0, 1, 0)), "pad 'y' needs a fixed size along axis 0"),
        (lambda net, x: net.roll(x, "y", (1, 2), 1), "y: 2 shifts for 1 axes"),
        (lambda net, x: net.roll(x, "y", 1, 0), "roll 'y' needs a fixed size along axis 0"),
        (lambda net, x: net.flip(x, "y", 0), "flip 'y' needs a fixed size along axis 0"),
        (
            lambda net, x: net.pixel_unshuffle(x, "y", 2),
            "y: pixel_unshuffle by 2 needs a height and width that it divides",
        ),
        (lambda net, x: net.channel_shuffle(x, "y", 4), "y: channel_shuffle of 4 groups needs a multiple .*, not 6"),
        (lambda net, x: net.concat([TABLE, TABLE], "y"), "y: all operands are arrays: compute it with numpy"),
        (
            lambda net, x: net.concat([net.topk(x, "t", 2)[1], TABLE + 0.5], "y"),
            "y: an array holds values that .* can't",
        ),
    ],
)
def test_what_can_not_be_is_said(define, message):
    net = netdefs.Network()
    with pytest.raises(NetworkError, match=message):
        define(net, net.input("x", ((1, 2, 4), 6, 5, 4)))
