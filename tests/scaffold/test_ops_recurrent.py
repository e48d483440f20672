"""Recurrent layers as statements, and in drafts: what they compute, how they read, and what is refused."""

import pytest
import torch
from torch import nn

from netdefs.scaffold import scaffold
from netdefs.scaffold.units import GapsError
from tests.scaffold.executed import Executed
from tests.scaffold.lowered import Made, flat, lowered, picture
from tests.scaffold.test_drafts import assert_in_style, prepared

STEPS, CHANNELS, HIDDEN = 5, 6, 4


def sequence():
    return picture(2, STEPS, CHANNELS)


def calls(executed):
    """The statements that are recurrent layers: method, path, and options but for the values among them."""
    found = [call for call in executed.statements() if call.function in ("lstm", "gru", "rnn")]
    options = [{key: value for key, value in call.options.items() if key != "initial"} for call in found]
    return [(call.function, ".".join(call.path), each) for call, each in zip(found, options, strict=True)]


KINDS = {
    "lstm": (nn.LSTM, {"batch_first": True}),
    "lstm along the batch": (nn.LSTM, {"bidirectional": True}),
    "lstm of two layers": (nn.LSTM, {"num_layers": 2, "bias": False, "batch_first": True, "bidirectional": True}),
    "gru": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "rnn": (nn.RNN, {"batch_first": True}),
    "rnn of relu": (nn.RNN, {"nonlinearity": "relu"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_layers_compute_what_pytorch_does(kind):
    """With and without their last states; the zeros that they begin with leave nothing behind."""
    maker, options = KINDS[kind]
    torch.manual_seed(0)
    module = maker(CHANNELS, HIDDEN, **options)
    method = maker.__name__.lower()
    executed = lowered(lambda m, x: m.rnn(x)[0], sequence(), rnn=module)
    assert calls(executed) == [(method, "rnn", {"hidden_size": HIDDEN, **options})]
    assert executed.functions() == [method]
    executed = lowered(lambda m, x: flat(m.rnn(x)), sequence(), rnn=module)
    assert calls(executed) == [(method, "rnn", {"hidden_size": HIDDEN, **options, "states": True})]


def test_states_are_zeros_or_given():
    torch.manual_seed(0)
    first, second = (nn.LSTM(CHANNELS, CHANNELS, batch_first=True) for _ in range(2))
    learned = nn.Parameter(torch.rand(1, 1, CHANNELS))

    def function(m, x):
        zeros = torch.zeros(1, x.shape[0], CHANNELS).to(x.device)
        y, states = m.first(x, (zeros, torch.zeros_like(zeros)))
        y = m.second(y, states)[0]
        state = m.learned.expand(-1, x.shape[0], -1).contiguous()
        h = m.gru(y.transpose(0, 1), state)[1]
        return y, h[-1], m.first(y, (state, x.new_zeros(1, x.shape[0], CHANNELS)))[0]

    children = {"first": first, "second": second, "learned": learned, "gru": nn.GRU(CHANNELS, CHANNELS)}
    executed = lowered(function, sequence(), **children)
    found = [call for call in executed.statements() if call.function in ("lstm", "gru")]
    given = [len(call.options.get("initial", ())) for call in found]
    assert given == [0, 2, 1, 2]
    assert [call.options.get("states", False) for call in found] == [True, False, True, False]
    assert [".".join(call.path) for call in found] == ["first", "second", "gru", "first@1"]


class Tied(nn.LSTM):
    def forward(self, x):
        return torch.lstm(
            x, (x.new_zeros(1, x.shape[1], HIDDEN),) * 2, [w * 2 for w in self.parameters()],
            True, 1, 0.0, False, False, False,
        )[0]  # fmt: skip


UNSUPPORTED = {
    "projections": lambda: nn.LSTM(CHANNELS, HIDDEN, proj_size=2),
    "not a module's own": lambda: Tied(CHANNELS, HIDDEN),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_what_can_not_be_expressed_says_why(reason):
    with pytest.raises(GapsError, match=reason):
        Executed(Made(lambda m, x: flat([m.rnn(x)])[0], rnn=UNSUPPORTED[reason]()), sequence())


def test_a_module_that_is_nothing_else_has_no_name():
    with pytest.raises(GapsError, match="make it a part of one"):
        Executed(nn.GRU(CHANNELS, HIDDEN), sequence())


class Reader(nn.Module):
    """Reads a line of text: features of its columns, a recurrent layer along them, and classes."""

    def __init__(self, kind, batch_first, last=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.rnn = kind(6 * 4, 8, num_layers=2, batch_first=batch_first, bidirectional=True, dropout=0.3)
        self.fc = nn.Linear(8 if last else 16, 5)
        self.last = last

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(1, 2)
        first = self.rnn.batch_first
        x, states = self.rnn(x.permute(0, 2, 1) if first else x.permute(2, 0, 1))
        if self.last:
            return self.fc((states[0] if isinstance(states, tuple) else states)[-1])
        return self.fc(x) if first else self.fc(x).transpose(0, 1)


DRAFTS = {
    "lstm": (nn.LSTM, False, False, 'x = net.lstm(x, "rnn", 8, num_layers=2, bidirectional=True)'),
    "batch_first": (nn.LSTM, True, False, 'x = net.lstm(x, "rnn", 8, num_layers=2, batch_first=True, bidirectional='),
    "last": (nn.LSTM, True, True, "_, h_n, _ = net.lstm("),
    "gru": (nn.GRU, False, True, "_, h_n = net.gru("),
}


@pytest.mark.parametrize("variant", DRAFTS)
def test_drafts(tmp_path, variant):
    """Every layer and output agrees with PyTorch's, also of another batch, and TensorRT-RTX compiles it."""
    kind, batch_first, last, text = DRAFTS[variant]
    module, x = prepared(Reader(kind, batch_first, last), 2, 3, 8, 12)
    verdict = scaffold(module, x, tmp_path / "reader.py")
    assert verdict.clean and "also with batch 3" in verdict.text, verdict.text
    assert verdict.variants[0].compiled
    assert "rnn" in {row.name for row in verdict.variants[0].report.rows}  # the layer itself is compared
    assert text in (tmp_path / "reader.py").read_text()
    assert_in_style(tmp_path / "reader.py")
