"""One run of PyTorch where its values fit into memory, and what that must not change."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.debug import session
from netdefs.debug.reference import Reference
from tests.debug.nets import Net, build, network, picture, seeded

ALL = 1 << 40


class Counting(Net):
    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        return super().forward(x)


def values(reference, names):
    found = {}
    reference.stream(names, found.__setitem__)
    return found


def test_what_is_kept_is_what_a_second_run_gives():
    """ReLUs in place, one of them called by many, and += change what was returned before."""
    module = seeded(Counting())
    kept, again = Reference(module, [picture()]), Reference(module, [picture()])
    scan = kept.scan(ALL)
    again.scan()
    assert module.runs == 2
    names = [name for name, seen in {**scan.modules, **scan.operations, **scan.returned}.items() if not seen.reason]
    first, second = values(kept, names), values(again, names)
    assert module.runs == 3
    assert (kept.replayed, again.replayed) == (True, False)
    assert {"conv1", "layer1.0.bn1", "layer1.0", "layer1.0.add", "()"} <= set(first) == set(second)
    for name, array in second.items():
        np.testing.assert_array_equal(first[name], array)
    assert list(first) == sorted(first, key=list(second).index)  # in the order in which they are computed


def test_values_that_do_not_fit_are_let_go_and_it_runs_again():
    module = seeded(Counting())
    reference = Reference(module, [picture()])
    reference.scan(1 << 16)
    assert "logits" not in values(reference, ["conv1", "()"])
    assert module.runs == 2
    assert not reference.replayed


@pytest.mark.parametrize(("kept", "runs"), [(0, 2), (ALL, 1)])
def test_compare_runs_it_once(monkeypatch, kept, runs):
    monkeypatch.setattr(session, "KEPT", kept)
    module = seeded(Counting())
    report = netdefs.compare(network(module), module, picture(), mode="chained")
    assert report.ok
    assert module.runs == runs


def test_randomness_is_found_though_it_agrees():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x) + 1e-9 * torch.rand(1)

    module = seeded(Noisy())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    reference = Reference(module, [picture(1, 3, 4, 4)])
    reference.scan(ALL)
    values(reference, ["conv"])
    assert not reference.replayed
    assert netdefs.compare(net, module, picture(1, 3, 4, 4)).ok


def test_another_result_on_a_second_run_is_said_where_something_is_wrong():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.runs = 0

        def forward(self, x):
            self.runs += 1
            return self.conv(x) * self.runs

    module = seeded(Fickle())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    module.runs = 1  # the network's output is the first run's
    report = netdefs.compare(net, module, picture(1, 3, 4, 4))
    assert any("is not the same twice on one input" in note for note in report.notes)


def test_large_weights_are_not_copied():
    """ONNX Runtime reads them where the network has them."""
    from netdefs.debug.subject import subject_of

    weights = {"conv.weight": np.ones((64, 3, 3, 3), np.float32)}
    net = build(lambda net, x: net.output(net.conv(x, "conv", 64, 3, bias=False), "out"), weights, (1, 3, 8, 8))
    graph = subject_of(net).graph
    x = picture(1, 3, 8, 8)
    _, _, feeds = graph.piece(["conv"], graph.steps(["conv"], ()), {"input": x})
    (name,) = set(feeds) - {"input"}
    kernel = net.definition.get_layer(0)
    kernel.__class__ = netdefs.core.trt.module_of(net.definition).IConvolutionLayer
    assert feeds[name].ctypes.data == kernel.kernel.ctypes.data
