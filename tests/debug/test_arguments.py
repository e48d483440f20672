"""Inputs by name: they go to the module's arguments of these names, live and captured."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import CompareError, FileError
from netdefs.debug.arguments import in_order

SHAPE = (1, 3, 8, 8)


class Two(nn.Module):
    """Of two inputs, which are not treated alike."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, a, b):
        return self.left(a) - 2 * self.right(b)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Two().eval()


def rebuilt(module, order):
    net = netdefs.Network(netdefs.Weights(module.state_dict()), "two")
    x = {name: net.input(name, SHAPE) for name in order}
    twice = net.mul(net.conv(x["b"], "right", 4, 1), 2.0, "mul")
    net.finish(net.output(net.sub(net.conv(x["a"], "left", 4, 1), twice, "sub"), "y"))
    return net


def given(order):
    rng = np.random.default_rng(0)
    found = {name: rng.standard_normal(SHAPE, dtype=np.float32) for name in "ab"}
    return {name: found[name] for name in order}


@pytest.mark.parametrize("network", ["ab", "ba"])
@pytest.mark.parametrize("inputs", ["ab", "ba"])
def test_a_dict_goes_by_name(module, network, inputs, tmp_path):
    net = rebuilt(module, network)
    assert netdefs.compare(net, module, given(inputs)).ok
    assert netdefs.compare(net, module, given(inputs), module_inputs=given(inputs[::-1])).ok
    netdefs.capture(module, given(inputs), tmp_path / "two.safetensors")
    assert netdefs.compare(net, tmp_path / "two.safetensors").ok


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_whose_inputs_a_wrong_layer_was_fed_is_told_by_name(module, order, tmp_path):
    net = rebuilt(module, order)
    wrong = Two().eval()
    state = module.state_dict()
    wrong.load_state_dict({**state, "right.weight": -state["right.weight"]})
    netdefs.capture(wrong, given("ba"), tmp_path / "two.safetensors")
    for report in (netdefs.compare(net, wrong, given("ba")), netdefs.compare(net, tmp_path / "two.safetensors")):
        assert report.first_bad.name == "right" and not report.first_bad.given


@pytest.mark.parametrize(
    ("names", "expected"), [("ab", "ab"), ("ba", "ab"), ("xy", "xy"), ("ax", "ax"), ("b", "b"), ("abc", "abc")]
)
def test_order(module, names, expected):
    assert in_order(list(names), module) == list(expected)
    assert in_order(list(names), "two.safetensors") == list(names)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (np.zeros(SHAPE), r"float64 \(1, 3, 8, 8\), and networks take float32"),
        (np.zeros((0, 3, 8, 8), np.float32), r"\(0, 3, 8, 8\), which has no values"),
    ],
)
def test_what_no_network_takes_is_not_captured(inputs, says, tmp_path):
    with pytest.raises(CompareError, match=says):
        netdefs.capture(nn.Conv2d(3, 4, 1), inputs, tmp_path / "a.safetensors")


def test_a_capture_is_a_safetensors(tmp_path):
    with pytest.raises(FileError, match=r"a\.npz: a capture is a \.safetensors"):
        netdefs.capture(nn.Conv2d(3, 4, 1), np.zeros(SHAPE, np.float32), tmp_path / "a.npz")
