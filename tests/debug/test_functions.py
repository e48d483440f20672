"""What has no module in PyTorch: adds, concats, functional ReLUs, parts of what modules return."""

import collections
import dataclasses
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netdefs
from netdefs.debug.reference import Reference
from tests.debug.nets import Net, build, network, picture, seeded

SHAPE = (1, 3, 8, 8)


class Calls(nn.Module):
    """A module whose forward is a function; `conv` is a layer with weights, `relu` one that may be called often."""

    def __init__(self, forward):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)
        self.function = forward

    def forward(self, x):
        return self.function(self, x)


def scan(forward, *arguments):
    return Reference(seeded(Calls(forward)), arguments or (picture(*SHAPE),)).scan()


def values(forward, *names):
    found = {}
    reference = Reference(seeded(Calls(forward)), (picture(*SHAPE),))
    reference.scan()
    reference.stream(names, found.__setitem__)
    return found


@pytest.mark.parametrize(
    "add",
    [
        lambda a, b: a + b,
        lambda a, b: torch.add(a, b),
        lambda a, b: a.add_(b),
        lambda a, b: a.__iadd__(b),
        lambda a, b: b.__radd__(a),
    ],
)
def test_every_way_to_add_is_an_add(add):
    assert "add" in scan(lambda m, x: add(m.conv(x), x)).operations


def test_names():
    def forward(m, x):
        y = F.relu(m.conv(x))  # conv.relu, and one of two relus here
        y = F.relu(torch.cat([y, x], 1))
        a, b = y.chunk(2, 1)
        return F.interpolate(a + b, scale_factor=2)

    found = scan(forward).operations
    assert {"conv.relu", "relu#1", "relu#2", "cat", "concat", "cat.relu", "split.0", "split.1", "add"} <= set(found)
    assert {"interpolate", "upsample", "add.interpolate"} <= set(found)
    assert "relu1" not in found  # people number their layers from where they like
    assert (found["split.1"].type, found["split.1"].shape) == ("split", (1, 3, 8, 8))


def test_calls_of_one_activation_module_are_told_apart_by_what_they_are_given():
    found = scan(lambda m, x: m.relu(m.relu(m.conv(x)) + x))
    assert found.modules["relu"].reason == "is called more than once (2 times)"
    assert {"conv.relu", "add", "add.relu"} <= set(found.operations)


def test_what_two_calls_could_claim_is_no_name():
    def forward(m, x):
        y = m.conv(x)
        return F.relu(y) + F.relu(y)

    assert "conv.relu" not in scan(forward).operations


def test_a_module_keeps_its_name():
    found = scan(lambda m, x: F.conv2d(F.relu(x), m.conv.weight))
    assert "relu" not in found.operations  # the module of that name was not called, and its name is taken
    assert "conv2d" in found.operations


def test_a_module_that_runs_twice_has_no_unique_names_inside():
    class Inner(nn.Module):
        def forward(self, x):
            return [x + 1, x * 2]

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(self.inner(x)[0])[1]

    assert Reference(Twice(), (picture(*SHAPE),)).scan().operations == {}


def test_parts_of_what_a_module_returns():
    module = seeded(Net())
    found = {}
    reference = Reference(module, (picture(),))
    scan = reference.scan()
    assert scan.operations["branches.1"].shape == (2, 8, 4, 6)
    reference.stream(["branches.1", "branches.low"], found.__setitem__)
    assert (found["branches.1"] == found["branches.low"]).all()


def test_values_are_those_of_the_moment():
    def forward(m, x):
        y = m.conv(x)
        y += x
        z = F.relu_(y)
        return z * 2

    found = values(forward, "conv", "add", "relu#1", "add.relu", "mul")
    assert (found["add"] == found["conv"] + picture(*SHAPE)).all()
    assert (found["add"] < 0).any()
    assert (found["add.relu"] == found["add"].clip(0)).all()
    assert (found["mul"] == 2 * found["add.relu"]).all()


def test_an_error_that_the_module_catches_does_not_confuse_the_names():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError

    class Catches(nn.Module):
        def __init__(self):
            super().__init__()
            self.fails = Fails()

        def forward(self, x):
            try:
                return self.fails(x)
            except ValueError:
                return x + 1

    assert list(Reference(Catches(), (picture(*SHAPE),)).scan().operations) == ["add"]


def test_a_module_that_does_not_bear_being_watched_is_compared_by_its_modules(monkeypatch):
    def forward(m, x):
        if torch.overrides._get_current_function_mode() is not None:
            raise RuntimeError("not so")
        return m.conv(x) + x

    found = scan(forward)
    assert list(found.modules) == ["conv", "relu"]
    assert found.operations == {}
    assert found.notes == [
        "Only modules are compared: functions such as an add could not be watched in this module "
        "(RuntimeError: not so)."
    ]


def test_data_dependent_flow_is_no_trouble():
    found = scan(lambda m, x: m.conv(x) + x if x.sum() > 0 else m.conv(x) * x)
    assert len({"add", "mul"} & set(found.operations)) == 1


def compared(theirs, ours, **options):
    module = seeded(Calls(theirs))
    return netdefs.compare(build(ours, module.state_dict(), SHAPE), module, picture(*SHAPE), **options)


def test_blame_lies_with_the_add_not_with_what_comes_after_it():
    module = seeded(Net())
    report = netdefs.compare(network(module, "branch"), module, picture())
    assert (report.first_bad.name, report.first_bad.type) == ("layer1.1.add", "add, elementwise")
    assert report.cause.kind == "branch"


@pytest.mark.parametrize("mode", ["chained", "isolated", "both"])
def test_a_layer_that_only_has_a_functions_name_is_no_error(mode):
    """The network calls `mul` what is something else; all that is computed from it is right."""

    def ours(net, x):
        half = net.mul(x, 0.5, "mul")
        return net.output(net.add(net.conv(x, "conv", 3, 1), net.add(half, half, "whole"), "sum"), "out")

    report = compared(lambda m, x: m.conv(x) + x * 1, ours, mode=mode)
    assert report.ok, report.verdict
    reason = next(item.reason for item in report.unmatched if item.name == "mul")
    assert reason == "has the name of a function of PyTorch's, and is something else"


def test_another_shape_of_the_same_numbers_is_said_and_no_error():
    def ours(net, x):
        return net.output(net.flatten(net.global_avg_pool(net.conv(x, "conv", 3, 1), "mean"), "flat", 1), "out")

    report = compared(lambda m, x: m.conv(x).mean((2, 3)), ours)
    assert report.ok, report.verdict
    assert next(item.reason for item in report.unmatched if item.name == "mean").startswith("has another shape than")


@dataclasses.dataclass
class Found:
    logits: torch.Tensor
    other: object = None


class Named(NamedTuple):
    other: object
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("make", "label"),
    [
        (lambda y: Found(y * 1), ".logits"),
        (lambda y: Named(None, y * 1), ".logits"),
        (lambda y: collections.OrderedDict(other=None, logits=y * 1), "['logits']"),
    ],
)
def test_outputs_in_dataclasses_and_named_tuples_go_by_name(make, label):
    def ours(net, x):
        y = net.conv(x, "conv", 3, 1)
        return {"first": net.output(net.add(y, y, "twice"), "first"), "logits": net.output(y, "logits")}

    report = compared(lambda m, x: make(m.conv(x)), ours)
    note = next(note for note in report.notes if note.startswith("The output logits "))
    assert note == f"The output logits is compared with module(x){label}: the same name."
