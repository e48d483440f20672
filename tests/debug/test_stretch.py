"""`compare(start=, end=)`: a stretch of the network, entered with PyTorch's values."""

import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import CompareError
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


def names(report):
    return [row.name for row in report.rows]


def row(report, name):
    return next(row for row in report.rows if row.name == name)


def test_from_a_layer_to_another(module):
    report = netdefs.compare(network(module), module, picture(), start="layer2.0.conv2", end="layer2.1")
    assert report.ok
    assert names(report)[0] == "layer2.0.conv2"
    assert names(report)[-1] == "layer2.1"
    assert all(name.startswith("layer2.") for name in names(report))
    assert "layer2.0.conv1" not in names(report)
    assert "layer2.0.downsample.0" not in names(report)  # it does not depend on conv2
    (note,) = [note for note in report.notes if "stretch" in note]
    assert "it is fed PyTorch's layer2.0.bn1.relu; further on PyTorch's layer2.0.downsample.1" in note


def test_a_fault_before_the_stretch_does_not_reach_it(module):
    """Its entry is PyTorch's, in the chained mode too."""
    net = network(module, eps={"layer1.0.bn1": 1e-1})
    assert row(netdefs.compare(net, module, picture()), "layer2.1").verdict == "inherited"
    report = netdefs.compare(net, module, picture(), start="layer1.1")
    assert report.ok
    assert {row.verdict for row in report.rows} == {"ok"}
    assert max(row.chained.relative for row in report.rows) < 1e-5
    assert names(report)[-1] == "logits"


def test_a_fault_in_the_stretch_is_chained_to_its_end(module):
    net = network(module, eps={"layer1.0.bn1": 1e-1, "layer2.0.bn2": 1e-1})
    report = netdefs.compare(net, module, picture(), start="layer2.0", end="branches.low")
    assert report.first_bad.name == "layer2.0.bn2"
    assert row(report, "branches.low").verdict == "inherited"
    assert report.cause.kind == "bn_eps"
    assert "branches.high" not in names(report)
    assert "logits" not in names(report)
    assert "output" not in {row.kind for row in report.rows}
    assert not any("logits" in note for note in report.notes)


def test_a_block_means_all_inside_it(module):
    report = netdefs.compare(network(module), module, picture(), start="layer2", end="layer2")
    assert names(report)[0] == "layer2.0.conv1"
    assert names(report)[-1] == "layer2.1"
    assert {name.split(".")[0] for name in names(report)} == {"layer2"}
    again = netdefs.compare(network(module), module, picture(), start="branches", end="branches")
    assert names(again) == ["branches.high", "branches.low"]
    one = netdefs.compare(network(module), module, picture(), start="mix", end="mix")
    assert "mix" in names(one)
    assert "fc1" not in names(one)


def test_only_an_end(module):
    report = netdefs.compare(network(module, eps={"layer2.0.bn1": 1e-1}), module, picture(), end="layer1")
    assert report.ok
    assert names(report)[0] == "conv1"
    assert names(report)[-1] == "layer1.1"
    whole = netdefs.compare(network(module), module, picture(), end="logits")
    assert names(whole) == names(netdefs.compare(network(module), module, picture()))


def test_side_inputs_come_from_pytorch(module):
    """What starts beside the stretch, as `up` does, is PyTorch's where the stretch reads it."""
    net = network(module, "upsample")  # up is wrong
    report = netdefs.compare(net, module, picture(), start="branches.high")
    assert report.ok
    assert "up" not in names(report)
    assert any("further on PyTorch's up" in note for note in report.notes)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision(module, precision):
    """What comes in is rounded to the network's type."""
    report = netdefs.compare(network(module, precision=precision), module, picture(), start="layer2", end="mix")
    assert report.ok, report.verdict


def test_the_modes_and_several_inputs(module):
    net = network(module, eps={"layer1.0.bn1": 1e-1})
    for mode in ("chained", "isolated"):
        assert netdefs.compare(net, module, picture(), mode=mode, start="layer1.1").ok
    report = netdefs.compare(net, module, [picture(seed=0), picture(seed=1)], start="layer1.1")
    assert report.ok
    assert len([note for note in report.notes if "stretch" in note]) == 1


def test_small_groups_give_the_same_numbers(module, monkeypatch):
    from netdefs.debug import measurement

    net = network(module, eps={"layer2.0.bn2": 1e-1})
    whole = netdefs.compare(net, module, picture(), start="layer2.0.conv2", end="fc2")
    monkeypatch.setattr(measurement, "BUDGET", 30_000)
    split = netdefs.compare(net, module, picture(), start="layer2.0.conv2", end="fc2")
    assert names(split) == names(whole)
    for a, b in zip(split.rows, whole.rows, strict=True):
        assert a.chained.relative == pytest.approx(b.chained.relative, abs=1e-6)


def test_refusals(module):
    net = network(module)

    def refused(match, **options):
        with pytest.raises(CompareError, match=match):
            netdefs.compare(net, module, picture(), **options)

    refused(r"start='layer3': the network has no layer or block of that name\. Near: layer", start="layer3")
    refused(r"end='layer1\.0\.relu': .*The module layer1\.0\.relu is called more than once", end="layer1.0.relu")
    refused(r"start='layer2' comes after end='layer1': exchange them", start="layer2", end="layer1")
    refused(
        "no way from branches.high to branches.low: they are on branches", start="branches.high", end="branches.low"
    )
    refused("Nothing that is compared lies from fc1 to fc2", start="fc1", end="fc2", layers="layer1.*")
    refused("start=3: it is the name of a layer", start=3)


def test_an_engine_that_shows_only_its_outputs(module):
    from tests.debug.test_compare import opaque

    engine = opaque(netdefs.build(network(module), target="cpu"))
    with pytest.raises(CompareError, match="can't be fed in its middle"):
        netdefs.compare(engine, module, picture(), start="layer1")


def test_a_branch_that_reads_the_networks_input():
    """The input comes in on the way, and is given as it is."""

    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 3, 1)
            self.b = nn.Conv2d(3, 3, 1)
            self.c = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.c(torch.mul(self.b(self.a(x)), x))

    def define(net, x):
        y = net.conv(net.conv(x, "a", 3, 1), "b", 3, 1)
        return net.output(net.conv(net.mul(y, x, "mul"), "c", 3, 1), "out")

    module = seeded(Skip())
    net = build(define, module.state_dict(), (1, 3, 4, 4))
    report = netdefs.compare(net, module, picture(1, 3, 4, 4), start="b")
    assert report.ok
    assert names(report)[0] == "b"
