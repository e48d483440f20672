"""Gaps: what a definition lacks so far is fed from PyTorch, and what lies before and behind it is still proven."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import CompareError, InputError, NetworkError


class Gapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3)
        self.after = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.after(torch.cumprod(self.before(x), 1)).relu()


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Gapped().eval()


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((3, 3, 16, 12), dtype=np.float32)


def define(module, gap="cumprod", batch=3, precision="fp32", wrong=""):
    weights = {key: value * (1.01 if key == wrong else 1) for key, value in module.state_dict().items()}
    net = netdefs.Network(weights, precision=precision)
    x = net.conv(net.input("input", (batch, 3, 16, 12)), "before", 4, kernel=3)
    x = net.gap(x, gap, (-1, 4, x.shape[2], x.shape[3]), reason="no layer")
    x = net.relu(net.conv(x, "after", 4, kernel=3), "relu")
    net.finish(net.output(x, "y"))
    return net


@pytest.mark.parametrize("batch", [3, (1, 2, 4)], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("mode", ["both", "chained", "isolated"])
def test_both_sides_are_compared(module, x, batch, mode):
    report = netdefs.compare(define(module, batch=batch), module, x, mode=mode)
    assert report.ok and [row.name for row in report.rows] == ["before", "after", "relu", "y"]
    assert "Not defined yet, and fed PyTorch's values: cumprod." in report.notes
    assert next(row for row in report.rows if row.name == "after").fed == ("cumprod",)


@pytest.mark.parametrize("key", ["before.weight", "after.bias"])
def test_a_mistake_on_one_side_is_not_on_the_other(module, x, key):
    report = netdefs.compare(define(module, wrong=key), module, x)
    layer = key.partition(".")[0]
    assert report.first_bad.name == layer and report.first_bad.verdict == "own error"
    # What lies behind the gap does not follow from what lies before it.
    assert {row.name for row in report.bad} == ({"before"} if layer == "before" else {"after", "relu", "y"})


def test_several_inputs_and_another_precision(module, x):
    inputs = [x, x[::-1].copy()]
    report = netdefs.compare(define(module, precision="fp16"), module, inputs)
    assert report.ok and report.rows[0].over.inputs == 2


def test_an_engine_and_a_capture(module, x, tmp_path):
    with netdefs.build(define(module), target="cpu") as engine:
        assert netdefs.compare(engine, module, x).ok
    netdefs.capture(module, x, tmp_path / "all.safetensors")
    assert netdefs.compare(define(module), tmp_path / "all.safetensors").ok
    netdefs.capture(module, x, tmp_path / "few.safetensors", samples=16)
    with pytest.raises(CompareError, match="gap 'cumprod' can't be filled: the capture has only samples"):
        netdefs.compare(define(module), tmp_path / "few.safetensors")


def test_what_goes_in_is_told(module):
    assert define(module).info["gaps"] == {"cumprod": {"takes": ["before"], "reason": "no layer"}}


def test_a_gap_that_stands_for_nothing(module, x):
    with pytest.raises(
        CompareError, match="'cumsum' of network can't be filled: cumsum is neither a module nor a func"
    ):
        netdefs.compare(define(module, gap="cumsum"), module, x)


def test_gaps_are_no_inputs_to_give(module, x):
    with pytest.raises(InputError, match="cumprod"):
        netdefs.compare(define(module), module, {"input": x, "cumprod": x})


def test_types_and_weights():
    net = netdefs.Network({"spectrum.filter": np.ones(3)})
    x = net.input("input", (2, 3, 8, 8))
    with pytest.raises(NetworkError, match=r"gap\('fft'\) of type 'complex64': TensorRT has no such type"):
        net.gap(x, "fft", (-1, 3), dtype="complex64")
    assert tuple((net / "spectrum").gap(x, None, (-2, 3), weights="filter").shape) == (4, 3)
    assert net.gap(x, "index", (-1, 5), dtype="int64").dtype == net.trt.int64
    net.finish(net.output(net.relu(x, "relu"), "y"))
