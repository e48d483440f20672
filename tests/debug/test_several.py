"""`compare` on several inputs: the worst of each layer, the mean, and which input it is."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.errors import InputError
from netdefs.debug import reference
from netdefs.debug.aggregate import Aggregate
from netdefs.debug.inputs import Several
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture(scope="module")
def wrong(module):
    return network(module, eps={"layer1.1.bn1": 1e-1})


INPUTS = [0.01 * picture(seed=0), picture(seed=1), 30 * picture(seed=2)]


def test_the_worst_and_the_mean_of_each_row(module, wrong):
    alone = [netdefs.compare(wrong, module, x) for x in INPUTS]
    report = netdefs.compare(wrong, module, INPUTS)
    assert report.labels == ["input 1 of 3", "input 2 of 3", "input 3 of 3"]
    assert [row.name for row in report.rows] == [row.name for row in alone[0].rows]
    for i, row in enumerate(report.rows):
        those = [each.rows[i] for each in alone]
        for way in ("chained", "isolated"):
            errors = [getattr(each, way).relative for each in those]
            assert getattr(row, way).relative == pytest.approx(max(errors), rel=1e-6, abs=1e-9), row.name
            assert getattr(row.over, f"{way}_mean") == pytest.approx(np.mean(errors), rel=1e-6, abs=1e-9)
        assert row.over.inputs == 3
        assert row.over.wrong == sum(not each.ok for each in those)
    assert report.first_bad.name == "layer1.1.bn1"
    errors = [each.first_bad.isolated.relative for each in alone]
    worst = int(np.argmax(errors))
    assert report.first_bad.worst_input == worst
    assert f"Wrong with 3 of 3 inputs, most with input {worst + 1} of 3" in report.verdict
    assert report.cause.kind == "bn_eps"
    content = json.loads(json.dumps(report.to_dict()))
    assert content["labels"] == report.labels
    assert content["rows"][0]["over"]["inputs"] == 3


def test_agreement_names_the_input_of_the_largest_error(module):
    report = netdefs.compare(network(module), module, Several(["a.jpg", "b.jpg"], INPUTS.__getitem__))
    assert report.ok
    assert "with each of 2 inputs" in report.verdict
    assert "of 2, " in report.verdict.partition("The largest relative error is")[2]
    assert {row.over.wrong for row in report.rows} == {0}
    assert "in 2 inputs" in report.answers["inputs"]
    low, high = min(float(x.min()) for x in INPUTS[:2]), max(float(x.max()) for x in INPUTS[:2])
    assert (report.inputs[0].low, report.inputs[0].high) == (low, high)


def test_one_input_in_a_list_is_one_input(module):
    assert netdefs.compare(network(module), module, [picture()]).ok
    assert netdefs.compare(network(module), module, [torch.from_numpy(picture())]).ok


def test_inputs_are_loaded_one_after_another_and_pytorch_runs_once_for_each(module, monkeypatch):
    loaded, scans, runs = [], [], []
    scan, stream = reference.Reference.scan, reference.Reference.stream
    monkeypatch.setattr(reference.Reference, "scan", lambda self, *args: scans.append(1) or scan(self, *args))
    monkeypatch.setattr(reference.Reference, "stream", lambda self, *args: runs.append(1) or stream(self, *args))

    def load(i):
        loaded.append(i)
        return {"input": picture(seed=i)}

    report = netdefs.compare(network(module), module, Several(list("abcd"), load))
    assert report.ok
    assert loaded[:4] == [0, 1, 2, 3]
    assert (len(scans), len(runs)) == (1, 4)


def test_inputs_of_several_sizes(module):
    net = network(module, shape=((1, 2, 4), 3, (16, 32, 64), (16, 48, 64)))
    report = netdefs.compare(net, module, [picture(1, 3, 16, 16), picture(4, 3, 64, 24), picture(1, 3, 16, 16)])
    assert report.ok
    assert {row.over.inputs for row in report.rows} == {3}


def test_a_mistake_that_one_input_shows(module):
    """Zeros behind a ReLU hide what comes before it; NaN in one input only is told of that one."""
    bad = picture(seed=1)
    bad[0, 0, 0, 0] = np.nan
    report = netdefs.compare(network(module), module, [picture(), bad])
    assert report.inputs[0].problem == "holds NaN or infinity (input 2 of 2)"


def test_what_is_refused(module):
    net = network(module)
    with pytest.raises(InputError, match="inputs is an empty list"):
        netdefs.compare(net, module, [])
    with pytest.raises(InputError, match=r"In input 2 of 2: Input 'input' must be \(2, 3, 32, 48\)"):
        netdefs.compare(net, module, [picture(), picture(1, 3, 32, 48)])
    with pytest.raises(InputError, match="A list is several inputs, one after another"):
        netdefs.compare(net, module, (picture(), picture()))
    with pytest.raises(InputError, match=r"In input 1 of 2: An input is an array, and .a.jpg. a name"):
        netdefs.compare(net, module, ["a.jpg", "b.jpg"])
    with pytest.raises(InputError, match="inputs gives 2 for the network, and module_inputs 1"):
        netdefs.compare(net, module, [picture(), picture()], module_inputs=picture())


def test_random_inputs(module):
    net = network(module)
    first, second = netdefs.random_inputs(net, 2)
    np.testing.assert_array_equal(first["input"], np.random.default_rng(0).standard_normal((2, 3, 32, 48), np.float32))
    assert not np.array_equal(first["input"], second["input"])
    np.testing.assert_array_equal(netdefs.random_inputs(net, seed=1)[0]["input"], second["input"])
    report = netdefs.compare(net, module, netdefs.random_inputs(net, 2))
    assert report.ok
    assert report.labels == ["input 1 of 2, random 0", "input 2 of 2, random 1"]
    with netdefs.build(net, target="cpu") as engine:
        assert netdefs.random_inputs(engine.definition if hasattr(engine, "definition") else engine)[0]["input"].any()
    for count in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="count="):
            netdefs.random_inputs(net, count)
    dynamic = network(module, shape=((1, 2, 4), 3, (16, 32, 64), (16, 48, 64)))
    assert netdefs.random_inputs(dynamic)[0]["input"].shape == (2, 3, 32, 48)


def test_random_inputs_of_other_types():
    def define(net, x):
        bytes_in = net.raw_input("bytes", (1, 3, 4, 4), net.trt.uint8, ("n", "c", "h", "w"))
        return net.output(net.add(net.cast(bytes_in, "cast", net.trt.float32), x, "sum"), "out")

    (feed,) = netdefs.random_inputs(build(define, {}, (1, 3, 4, 4)))
    assert feed["bytes"].dtype == np.uint8
    assert feed["bytes"].max() > 200
    assert feed["input"].dtype == np.float32


def test_rows_that_only_some_inputs_can_be_compared_in(module, wrong):
    """What has another shape with one of them counts as wrong, whatever the numbers with the others."""
    one = netdefs.compare(wrong, module, picture()).rows
    two = [dataclasses.replace(row) for row in one]
    two[0].isolated, two[0].isolated_shape = None, (1, 2)
    both = Aggregate()
    both.add(one)
    both.add(two)
    found = both.rows([row.name for row in one])
    assert (found[0].verdict, found[0].isolated_shape, found[0].worst_input) == ("own error", (1, 2), 1)
    assert found[0].chained == one[0].chained
    assert found[0].over.wrong == 1
