"""Comparing int8 and fp8 networks: with PyTorch at the same scales, where rounding is no error and a mistake is one."""

import pytest
import torch

import netdefs
from examples.seeded import seed_weights
from netdefs.core.blocks import basic_block
from netdefs.debug.quantized import as_quantized
from tests.debug.nets import Block
from tests.quant import nets

X = nets.pictures(9)


@pytest.fixture(scope="module")
def module():
    return nets.module()


def define(module, precision="fp32", calibration=None, weights=None):
    return nets.network(module.state_dict() if weights is None else weights, precision, calibration)


@pytest.fixture(scope="module")
def calibration(module):
    return netdefs.quant.calibrate(define(module), X)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_nothing_but_rounding_is_no_error(module, calibration, precision):
    report = netdefs.compare(define(module, precision, calibration), module, X[:1])
    assert report.ok
    assert max(row.isolated.relative for row in report.rows) < 1e-5
    assert {"stem", "dw1_bn", "pw1_bn", "dw2", "pw2", "fc"} <= {row.name for row in report.rows}
    assert any("network's scales" in note for note in report.notes)
    assert "All 18 weights are identical" in str(report)


def test_an_engine_is_compared_in_the_same_way(module, calibration):
    with netdefs.build(define(module, "int8", calibration), target="cpu") as engine:
        assert netdefs.compare(engine, module, X[:1]).ok


def test_there_is_no_other_yardstick(module, calibration):
    with pytest.raises(netdefs.NetdefsError, match="is compared with PyTorch's module in int8 already"):
        netdefs.compare(define(module, "int8", calibration), module, X[:1], yardstick=True)


def test_a_mistake_that_rounding_would_hide_is_found(module, calibration):
    """A bias that is off by less than int8's own noise, in a layer that has 3 dB of that."""
    weights = {key: value.clone() for key, value in module.state_dict().items()}
    weights["dw2.bias"] += 0.05
    mapping = dict(calibration.amax)
    report = netdefs.compare(define(module, "int8", mapping, weights), module, X[:1], tolerance=1e-3)
    assert report.first_bad.name == "dw2"
    assert report.first_bad.isolated.relative < 0.05
    clean = netdefs.compare(define(module, "int8", mapping), module, X[:1], tolerance=1e-3, mode="isolated")
    assert clean.ok


def test_the_module_stays_as_it_was(module, calibration):
    before = {key: value.clone() for key, value in module.state_dict().items()}
    netdefs.compare(define(module, "int8", calibration), module, X[:1])
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


class Blocks(torch.nn.Module):
    """Residual blocks: one adds what a module returned, one a downsampled input; and a sum of sums."""

    def __init__(self):
        super().__init__()
        self.layer1 = torch.nn.Sequential(Block(3, 8, stride=2), Block(8, 8))
        self.a = torch.nn.Conv2d(8, 8, 1)
        self.b = torch.nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.layer1(x)
        return x + self.a(x) + self.b(x)


def blocks(module, precision="fp32", calibration=None):
    options = {} if calibration is None else {"calibration": calibration}
    net = netdefs.Network(module.state_dict(), "blocks", precision, **options)
    x = net.input("input", (1, 3, 16, 16))
    x = basic_block(net / "layer1" / 0, x, 8, stride=2)
    x = basic_block(net / "layer1" / 1, x, 8)
    y = net.add(x, net.conv(x, "a", 8, 1), "add#1")
    y = net.add(y, net.conv(x, "b", 8, 1), "add#2")
    net.finish(net.output(y, "y"))
    return net


def test_the_terms_of_sums_are_rounded_too():
    module = seed_weights(Blocks(), input_shape=(4, 3, 16, 16))
    network = blocks(module, "int8", netdefs.quant.calibrate(blocks(module), X))
    sums = [name for name, entry in network.info["quantized"].items() if entry["weight"] is None]
    assert len(sums) >= 3
    report = netdefs.compare(network, module, X[:1])
    assert max(row.isolated.relative for row in report.rows) < 1e-5
    assert report.ok


def test_what_has_no_counterpart_is_named(module, calibration):
    info = define(module, "int8", calibration).info
    found = as_quantized(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), info)
    assert found.missing == list(info["quantized"])
    assert "Not so in 6 layers" in found.note


def test_weights_are_put_back_if_the_module_fails(module, calibration):
    found = as_quantized(module, define(module, "int8", calibration).info).module
    before = found.stem.weight.clone()
    with torch.no_grad():
        expected = found(torch.from_numpy(X[:1]))
        for wrong in (torch.zeros(1, 3, 16), torch.zeros(1, 4, 16, 16)):
            with pytest.raises(RuntimeError):
                found(wrong)
        assert torch.equal(found.stem.weight, before)
        assert torch.equal(found(torch.from_numpy(X[:1])), expected)
