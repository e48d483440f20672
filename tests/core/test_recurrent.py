"""LSTMs from TensorRT's loops against torch.nn.LSTM, on the CPU and through TensorRT-RTX's compiler."""

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.errors import NetworkError
from netdefs.core.recurrent import lstm

HIDDEN, CHANNELS = 8, 12


def network(bidirectional, shape, precision="fp32"):
    torch.manual_seed(0)
    module = torch.nn.LSTM(CHANNELS, HIDDEN, bidirectional=bidirectional)
    net = netdefs.Network({f"rnn.{key}": value for key, value in module.state_dict().items()}, precision=precision)
    net.finish(net.output(lstm(net, net.input("x", shape), "rnn", HIDDEN, bidirectional), "y"))
    return module, net


@pytest.mark.parametrize("bidirectional", [False, True], ids=["", "bidirectional"])
@pytest.mark.parametrize("shape", [(9, 3, CHANNELS), ((1, 9, 20), (1, 3, 4), CHANNELS)], ids=["", "dynamic"])
def test_is_pytorchs(bidirectional, shape):
    rng = np.random.default_rng(0)
    for precision, tolerance in (("fp32", 1e-6), ("fp16", 5e-3), ("bf16", 4e-2)):
        module, net = network(bidirectional, shape, precision)
        with netdefs.build(net, target="cpu") as engine:
            for steps, batch in ((9, 3), (1, 1), (14, 2)) if isinstance(shape[0], tuple) else ((9, 3),):
                x = rng.standard_normal((steps, batch, CHANNELS), dtype=np.float32)
                with torch.no_grad():
                    expected = module(torch.from_numpy(x))[0].numpy()
                got = engine.run({"x": x})["y"]
                assert got.shape == expected.shape
                assert np.linalg.norm(got - expected) < tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("shape", [(9, 3, CHANNELS), ((1, 9, 20), (1, 3, 4), CHANNELS)], ids=["", "dynamic"])
def test_rtx_compiles_the_loop(shape):
    for precision in ("fp32", "fp16"):
        _, net = network(True, shape, precision)
        kinds = [net.definition.get_layer(i).type.name for i in range(net.definition.num_layers)]
        assert kinds.count("TRIP_LIMIT") == 1 and kinds.count("RECURRENCE") == 4  # both directions in one loop
        with netdefs.build(net, target="tensorrt_rtx") as engine:
            assert engine.outputs["y"].shape[2] == 2 * HIDDEN


def test_a_pattern_of_the_precision_takes_the_loop_as_a_whole():
    _, net = network(True, (9, 3, CHANNELS), {"*": "fp16", "rnn": "fp32"})
    assert {net.tensor(name).dtype for name in ("rnn.h", "rnn.gates", "rnn.c.next", "rnn")} == {net.trt.float32}


def test_other_shapes_are_refused():
    net = netdefs.Network({})
    with pytest.raises(NetworkError, match=r"rnn: an LSTM takes \(T, N, C\), not 'x' float\(2, 3, 4, 5\)"):
        lstm(net, net.input("x", (2, 3, 4, 5)), "rnn", 8)
