"""Outputs whose rows are ranked: what is next to equal may be in any order, and nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.debug.ranking import ranked_as
from tests.debug.nets import build, seeded

ROWS, BEST = 64, 24


def rows(scores=None):
    """(1, 5, 4): three values and a score."""
    found = np.random.default_rng(0).standard_normal((1, 5, 4))
    found[0, :, 3] = [0.9, 0.8, 0.5, 0.5, 0.1] if scores is None else scores
    return found


def test_equal_scores_in_another_order_agree():
    expected = rows()
    actual = expected[:, [0, 1, 3, 2, 4]] + 1e-7
    found = ranked_as(expected, actual, 1e-4)
    assert (found.moved, found.replaced) == (2, 0)
    assert np.allclose(found.values, expected, rtol=0, atol=1e-6)


def test_another_choice_among_equals_at_the_end_agrees():
    expected = rows([0.9, 0.8, 0.7, 0.5, 0.5])
    actual = expected.copy()
    actual[0, 4, :3] = 7  # the same score, another row
    found = ranked_as(expected, actual, 1e-4)
    assert (found.moved, found.replaced) == (0, 1)
    assert np.array_equal(found.values, expected)


@pytest.mark.parametrize("row", [0, 2, 3])
def test_a_wrong_row_before_the_last_is_a_difference(row):
    actual = rows()
    actual[0, row, 1] += 1
    assert ranked_as(rows(), actual, 1e-4) is None


def test_a_wrong_row_is_not_excused_because_all_scores_are_alike():
    """With a wide tolerance all of these are next to equal; the scores of the two sides are, bit for bit."""
    scores = [0.99, 0.98, 0.97, 0.96, 0.95]
    actual = rows(scores)
    actual[0, 1, 0] += 3
    assert ranked_as(rows(scores), actual, 0.1) is None


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [1, 0, 2, 3, 4]])
def test_rows_out_of_order_are_a_difference(order):
    assert ranked_as(rows(), rows()[:, order], 1e-4) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_ranked(value):
    actual = rows()
    actual[0, 0, 0] = value
    assert ranked_as(rows(), actual, 1e-4) is None


class Best(nn.Module):
    """The best rows of a map: their values and scores. Those of a pair of rows are equal but for rounding."""

    def __init__(self):
        super().__init__()
        self.value, self.score = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        values, scores = self.value(x).flatten(2).transpose(1, 2), self.score(x).flatten(1).sigmoid()
        best, index = scores.topk(BEST, dim=1)
        return torch.cat([values.gather(1, index[..., None].expand(-1, -1, 3)), best[..., None]], 2)


def define(net, x, fault):
    values = net.permute(net.flatten(net.conv(x, "value", 3, 1), "flat.value", start_dim=2), "rows", (0, 2, 1))
    scores = net.sigmoid(net.flatten(net.conv(x, "score", 1, 1), "flat", start_dim=1), "sigmoid")
    best, index = net.topk(scores, "best", BEST, dim=1)
    layer = net.definition.add_gather(values, index, 1)
    layer.num_elementwise_dims = 1
    chosen = net.layer(layer, "chosen", values, index)
    if fault:
        chosen = net.mul(chosen, 1.01, "scale")
    return net.output(net.concat([chosen, net.reshape(best, "column", (0, BEST, 1))], "joined", dim=2), "dets")


@pytest.fixture(scope="module")
def module():
    return seeded(Best())


@pytest.fixture(scope="module")
def picture(module):
    x = np.random.default_rng(1).standard_normal((2, 8, ROWS), dtype=np.float32)
    weight = module.score.weight.detach().numpy().reshape(8)
    # Every second row has the score of the one before, but for the last digits, and other values.
    away = np.random.default_rng(2).standard_normal((2, 8, ROWS // 2)).astype(np.float32)
    away -= np.einsum("c,nca->na", weight, away)[:, None] * (weight / (weight @ weight))[:, None]
    x[:, :, 1::2] = x[:, :, ::2] + away
    return x[..., None]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_correct_network_agrees(module, picture, precision):
    net = build(lambda net, x: define(net, x, False), module.state_dict(), picture.shape, precision=precision)
    report = netdefs.compare(net, module, picture)
    assert report.ok, report.verdict
    if precision != "fp32":
        assert any(note.startswith("The rows of dets are ranked") for note in report.notes)


def test_a_wrong_one_does_not(module, picture):
    net = build(lambda net, x: define(net, x, True), module.state_dict(), picture.shape, precision="fp16")
    report = netdefs.compare(net, module, picture)
    assert report.first_bad.name == "dets" and report.first_bad.verdict == "own error"
