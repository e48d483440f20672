"""LSTMs, GRUs and RNNs from TensorRT's loops against PyTorch's, on the CPU and through TensorRT-RTX's compiler."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import NetworkError

HIDDEN, CHANNELS = 8, 12
STEPS, BATCH = (1, 9, 20), (1, 3, 4)  # smallest, usual and largest


def network(module, shape, precision="fp32", given=False, **options):
    """`module` as the network's only layer, with the results `y`, `h`, `c` as far as it has them.

    Args:
        module: nn.LSTM, nn.GRU or nn.RNN.
        shape: of the input.
        precision: of the network.
        given: its initial states are inputs `h_0`, `c_0`.
        options: further ones of the layer.
    """
    weights = {f"rnn.{key}": value for key, value in module.state_dict().items()}
    net = netdefs.Network(weights, precision=precision)
    method = {"LSTM": net.lstm, "GRU": net.gru}.get(module.mode, net.rnn)
    words = ("num_layers", "bias", "batch_first", "bidirectional")
    options |= {word: getattr(module, word) for word in words}
    if module.mode.startswith("RNN"):
        options["nonlinearity"] = module.nonlinearity
    x = net.input("x", shape)
    letters = "hc" if module.mode == "LSTM" else "h"
    if given:
        size = (module.num_layers * (1 + module.bidirectional), shape[0 if module.batch_first else 1], HIDDEN)
        options["initial"] = [net.input(f"{letter}_0", size) for letter in letters]
    made = method(x, "rnn", HIDDEN, **options)
    made = made if options.get("states") else [made]
    net.finish([net.output(each, name) for each, name in zip(made, "yhc", strict=False)])
    return net


def torchs(kind, **options):
    torch.manual_seed(0)
    return kind(CHANNELS, HIDDEN, **options).eval()


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_near(got, wanted, tolerance):
    wanted = wanted.detach().numpy()
    assert got.shape == wanted.shape
    assert np.linalg.norm(got - wanted) < tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["", "bidirectional"])
@pytest.mark.parametrize("shape", [(9, 3, CHANNELS), (STEPS, BATCH, CHANNELS)], ids=["", "dynamic"])
def test_is_pytorchs(bidirectional, shape):
    module = torchs(nn.LSTM, bidirectional=bidirectional)
    for precision, tolerance in (("fp32", 1e-6), ("fp16", 5e-3), ("bf16", 4e-2)):
        with netdefs.build(network(module, shape, precision), target="cpu") as engine:
            for steps, batch in ((9, 3), (1, 1), (14, 2)) if isinstance(shape[0], tuple) else ((9, 3),):
                x = values(steps, batch, CHANNELS)
                assert_near(engine.run({"x": x})["y"], module(torch.from_numpy(x))[0], tolerance)


KINDS = {
    "lstm": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "lstm of three layers": (nn.LSTM, {"num_layers": 3, "bias": False, "batch_first": True}),
    "gru": (nn.GRU, {}),
    "gru of two layers": (nn.GRU, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "gru without bias": (nn.GRU, {"bias": False, "bidirectional": True}),
    "rnn": (nn.RNN, {"bidirectional": True, "batch_first": True}),
    "rnn of relu": (nn.RNN, {"num_layers": 2, "nonlinearity": "relu"}),
}


@pytest.mark.parametrize("given", [False, True], ids=["", "given"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_and_their_states(kind, given):
    """With zeros or given states in the beginning; their last ones are results as well."""
    maker, options = KINDS[kind]
    module = torchs(maker, **options)
    first, letters = options.get("batch_first", False), "hc" if maker is nn.LSTM else "h"
    directions = module.num_layers * (1 + module.bidirectional)
    for dynamic in (False, True):
        shape = [BATCH, STEPS] if first else [STEPS, BATCH]
        shape = (*(shape if dynamic else [size[1] for size in shape]), CHANNELS)
        net = network(module, shape, given=given, states=True)
        assert [net.tensor(name).shape[2] for name in "yh"] == [HIDDEN * (1 + module.bidirectional), HIDDEN]
        with netdefs.build(net, target="cpu") as engine:
            for steps, batch in ((9, 3), (1, 1), (14, 2)) if dynamic else ((9, 3),):
                feeds = {"x": values(*((batch, steps) if first else (steps, batch)), CHANNELS)}
                if given:
                    feeds |= {f"{each}_0": values(directions, batch, HIDDEN, seed=i) for i, each in enumerate(letters)}
                tensors = [torch.from_numpy(each) for each in feeds.values()]
                states = tensors[1:] and [tuple(tensors[1:]) if letters == "hc" else tensors[1]]
                y, last = module(tensors[0], *states)
                wanted = dict(zip("yhc", (y, *(last if letters == "hc" else (last,))), strict=False))
                got = engine.run(feeds)
                assert got.keys() == wanted.keys()
                for name, each in wanted.items():
                    assert_near(got[name], each, 1e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", KINDS)
def test_rtx_compiles_the_loops(kind, precision):
    maker, options = KINDS[kind]
    module = torchs(maker, **options)
    shape = [BATCH, STEPS] if module.batch_first else [STEPS, BATCH]
    for sizes in (shape, [9, 3]):
        net = network(module, (*sizes, CHANNELS), precision, states=True)
        kinds = [net.definition.get_layer(i).type.name for i in range(net.definition.num_layers)]
        directions = module.num_layers * (1 + module.bidirectional)
        assert kinds.count("TRIP_LIMIT") == module.num_layers  # both directions in one loop
        assert kinds.count("RECURRENCE") == directions * (2 if maker is nn.LSTM else 1)
        with netdefs.build(net, target="tensorrt_rtx") as engine:
            assert engine.outputs["y"].shape[2] == HIDDEN * (1 + module.bidirectional)


def test_a_pattern_of_the_precision_takes_the_loops_as_a_whole():
    module = torchs(nn.LSTM, num_layers=2, bidirectional=True)
    net = network(module, (9, 3, CHANNELS), {"*": "fp16", "rnn": "fp32"}, given=True, states=True)
    inside = ("rnn.h_l0", "rnn.gates_l0", "rnn.c.next_l0_reverse", "rnn.out_l0", "rnn", "rnn.1.0", "rnn.1.1")
    assert {net.tensor(name).dtype for name in inside} == {net.trt.float32}


def test_what_does_not_fit_is_refused():
    net = netdefs.Network({})
    x, state = net.input("x", (2, 3, 4)), net.input("state", (1, 3, 5))
    with pytest.raises(NetworkError, match=r"rnn: an LSTM takes \(T, N, C\), not 'y' float\(2, 3, 4, 5\)"):
        net.lstm(net.input("y", (2, 3, 4, 5)), "rnn", 8)
    with pytest.raises(NetworkError, match=r"rnn: num_layers=0 must be positive"):
        net.gru(x, "rnn", 8, num_layers=0)
    with pytest.raises(NetworkError, match=r"rnn: nonlinearity='sigmoid' is neither 'tanh' nor 'relu'"):
        net.rnn(x, "rnn", 8, nonlinearity="sigmoid")
    with pytest.raises(NetworkError, match=r"rnn: initial states are h and c, of the shape \(1, 3, 5\) each, not 'st"):
        net.lstm(x, "rnn", 5, initial=[state])
    with pytest.raises(NetworkError, match=r"gru: initial states are h, of the shape \(1, 2, 5\) each, not 'state' fl"):
        net.gru(x, "gru", 5, batch_first=True, initial=[state])
