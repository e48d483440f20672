"""What a report says: about weights, inputs, NaN and the module; on the terminal, and in JSON."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

import netdefs
from examples.lenet_torch import LeNet5
from netdefs.core.errors import CompareError, FileError
from netdefs.debug import session
from netdefs.debug.loaded import check_weights
from tests.debug.nets import Net, build, define, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture(scope="module")
def wrong(module):
    return netdefs.compare(network(module, "upsample"), module, picture())


@pytest.fixture(scope="module")
def right(module):
    return netdefs.compare(network(module), module, picture())


def found(weights, state_dict):
    return check_weights(weights, None, state_dict)


def taken(state_dict):
    weights = netdefs.Weights(state_dict)
    for key, value in state_dict.items():
        weights.take(key, tuple(value.shape))
    return weights


WEIGHTS = {"fc.weight": torch.linspace(-1, 1, 30).reshape(5, 6), "fc.bias": torch.linspace(0.1, 3, 5)}


def test_identical_weights():
    finding = found(taken(WEIGHTS), {**WEIGHTS, "bn.num_batches_tracked": torch.tensor(7)})
    assert (finding.status, finding.text, finding.keys) == (
        "identical",
        "All 2 weights are identical to PyTorch's.",
        (),
    )


def test_other_missing_and_spare_weights():
    theirs = {"fc.weight": WEIGHTS["fc.weight"] * 2, "extra": torch.ones(3)}
    finding = found(taken(WEIGHTS), theirs)
    assert finding.status == "different"
    assert {key.key: (key.problem, key.max_abs) for key in finding.keys} == {
        "fc.weight": ("has other values", 1.0),
        "fc.bias": ("is not in the module's state_dict", None),
        "extra": ("is not used by the network", None),
    }
    assert finding.text == (
        "2 weights are not PyTorch's: fc.weight, fc.bias. Of the module's, 1 weight is not used by the network: extra."
    )


def test_weights_that_the_network_ignores_or_leaves_are_no_difference():
    theirs = {**WEIGHTS, "aux.weight": torch.ones(3)}
    weights = taken(WEIGHTS)
    assert found(weights, theirs).status == "identical"
    assert [key.key for key in found(weights, theirs).keys] == ["aux.weight"]
    weights = netdefs.Weights(theirs)
    weights.ignore("aux.*")
    for key, value in WEIGHTS.items():
        weights.take(key, tuple(value.shape))
    assert found(weights, theirs).keys == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ours_is_rounded", [False, True])
def test_weights_equal_after_rounding(dtype, ours_is_rounded):
    rounded = {key: value.to(dtype) for key, value in WEIGHTS.items()}
    ours, theirs = (rounded, WEIGHTS) if ours_is_rounded else (WEIGHTS, rounded)
    finding = found(taken(ours), theirs)
    assert finding.status == "rounded"
    assert f"equal PyTorch's rounded to {str(dtype).removeprefix('torch.')}" in finding.text


def test_other_sizes():
    finding = found(taken(WEIGHTS), {**WEIGHTS, "fc.weight": WEIGHTS["fc.weight"][:4]})
    assert finding.status == "different"
    assert finding.keys[0].problem == "has the shape (4, 6) in PyTorch, (5, 6) in the network"
    assert finding.keys[0].max_abs is None


def test_an_engine_has_only_a_fingerprint():
    lenet = seeded(LeNet5())
    x = picture(1, 1, 32, 32)
    with netdefs.lenet.build_engine(lenet.state_dict(), target="cpu") as engine:
        report = netdefs.compare(engine, lenet, x)
        assert report.weights.status == "identical"
        assert report.ok
        with torch.no_grad():
            lenet.fc1.bias += 1
        report = netdefs.compare(engine, lenet, x)
        assert report.weights.status == "unproven"
        assert report.verdict.startswith("The engine may hold other weights than the module: the fingerprint ")
        assert report.first_bad.name == "fc1"


def test_inputs_are_looked_at(module):
    report = netdefs.compare(network(module), module, torch.full((2, 3, 32, 48), 0.5))
    assert "Input input is 0.5 everywhere: few mistakes show with such an input." in report.verdict
    x = picture()
    assert not netdefs.compare(network(module), module, x).inputs[0].problem
    x[0, 0, 0, 0] = np.nan
    report = netdefs.compare(network(module), module, x)
    assert report.verdict.startswith(
        "Input input holds NaN or infinity. PyTorch's own values hold NaN or infinity from conv1 on."
    )


def test_a_comparison_of_nothing_but_nan_is_no_agreement(module):
    report = netdefs.compare(network(module), module, np.full((2, 3, 32, 48), np.nan, np.float32))
    assert not report.ok
    assert report.first_bad is None
    total = len(report.rows)
    assert (
        f"net: nothing can be said of {total} of {total} tensors, from conv1 on: all values are NaN" in report.verdict
    )
    assert "logits" in str(report)
    assert report.to_dict()["ok"] is False


def test_nan_on_one_side_is_wrong_whatever_the_tolerance():
    class Log(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(self.conv(x))

    def logarithm(net, x):
        y = net.conv(x, "conv", 4, 1)
        y = net.layer(net.definition.add_unary(y, net.trt.UnaryOperation.LOG), "act", y)
        return net.output(y, "out")

    module = seeded(Log())
    net = build(logarithm, module.state_dict(), (1, 3, 4, 4))
    report = netdefs.compare(net, module, picture(1, 3, 4, 4), tolerance=1e6)
    first = report.first_bad
    assert first.name == "act"
    assert first.isolated.actual_nan > 0
    assert f"{first.isolated.actual_nan} NaN and 0 infinite values where PyTorch has 0 and 0" in report.verdict
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["rows"][1]["isolated"]["relative"] == "inf"
    assert "NaN 0 and infinite 0 in PyTorch" in " ".join(str(report).split())


def test_what_fp16_cannot_hold_is_the_error_of_the_layer_that_makes_it():
    module = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False))
    nn.init.constant_(module[0].weight, 3e4)
    nn.init.constant_(module[1].weight, 1e-5)

    def chain(net, x):
        return net.output(net.conv(net.conv(x, "0", 4, 1, bias=False), "1", 4, 1, bias=False), "out")

    x = np.ones((1, 3, 2, 2), np.float32)
    net = build(chain, module.state_dict(), x.shape, precision="fp16")
    report = netdefs.compare(net, module, x)
    assert report.first_bad.name == "0"
    assert report.first_bad.chained.actual_inf == 16


def test_the_module_is_described(module):
    notes = netdefs.compare(network(module), module, picture()).notes
    assert notes == ["The output logits is compared with module(x): both are the output of fc2."]
    module.train()
    assert "The module was in training mode" in netdefs.compare(network(module), module, picture()).notes[0]
    assert module.training
    module.eval()
    double = seeded(Net()).double()
    report = netdefs.compare(network(double.float()), double.double(), picture())
    assert report.ok
    assert "The module computes in float64." in report.notes


def test_randomness_is_told():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(F.dropout(x, training=True))

    module = seeded(Noisy())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    report = netdefs.compare(net, module, picture(1, 3, 4, 4))
    assert not report.ok
    assert "not the same twice" in report.notes[0]


def test_a_module_that_takes_another_path_each_time(monkeypatch):
    monkeypatch.setattr(session, "KEPT", 0)  # else it runs only once

    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.runs = 0

        def forward(self, x):
            self.runs += 1
            return self.conv(x) if self.runs == 1 else x

    module = seeded(Fickle())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    with pytest.raises(CompareError, match="does not run the same modules twice on one input: conv did not run again"):
        netdefs.compare(net, module, picture(1, 3, 4, 4))


def test_the_terminal_shows_what_is_wrong_and_its_neighbors(wrong):
    text = str(wrong)
    assert text.startswith("weights           All 60 weights are identical to PyTorch")
    assert "\noutputs           net: output logits is wrong (relative error " in text
    lines = [line.split() for line in text.splitlines()]
    shown = [line[0] for line in lines if line and line[-1] in ("ok", "inherited", "error")]
    around = ["branches.high", "branches.low", "up", "cat", "mix"]
    assert shown == [*around, "mix.relu", "fc1", "fc1.relu", "fc2", "logits"]
    assert "where PyTorch has" in text
    assert f"{len(wrong.rows) - 10} rows are not shown." in text
    assert "Not compared, module returns several values: branches." in text


def test_the_terminal_shows_all_when_asked(wrong, right):
    for report in (wrong, right):
        target = io.StringIO()
        report.print_to(Console(file=target, width=1000), full=True)
        text = target.getvalue()
        assert all(f"\n {row.name} " in text for row in report.rows)
        assert "not shown" not in text
        assert "layer1.0.relu (2 times)" in text
        assert "layer2.0.downsample (that of layer2.0.downsample.1)" in text


def test_a_good_report_shows_outputs_and_the_least_exact_layers(right):
    target = io.StringIO()
    Console(file=target, width=120).print(right)  # rich finds __rich__
    text = target.getvalue()
    assert text.split("\n", 1)[0].startswith("net: all ")
    assert "\n logits " in text
    worst = max(right.rows, key=lambda row: max(row.chained.relative, row.isolated.relative))
    assert f"\n {worst.name} " in text
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize("mode", ["chained", "isolated"])
def test_one_mode_alone(module, mode):
    report = netdefs.compare(network(module, "upsample"), module, picture(), mode=mode)
    assert report.first_bad.name == "up"
    header = next(line for line in str(report).splitlines() if "verdict" in line)
    assert (mode in header, "cosine" in header) == (True, True)
    if mode == "chained":
        assert [row.verdict for row in report.bad] == ["wrong"] * 8
        assert "mode='both' tells" in report.verdict
        assert "6 later layers are wrong too." in report.verdict
    else:
        assert [row.verdict for row in report.bad] == ["own error"]
        assert "output logits agrees with PyTorch, but 1 of" in report.verdict


def test_json(wrong, tmp_path):
    path = tmp_path / "report.json"
    wrong.to_json(path)

    def refuse(word):
        raise AssertionError(f"{word} is no standard JSON")

    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content == wrong.to_dict()
    assert (content["ok"], content["first_bad"], content["mode"]) == (False, "up", "both")
    assert content["verdict"] == wrong.verdict
    assert content["tolerance"] == {"chained": 1e-4, "isolated": 2e-5}
    rows = {row["name"]: row for row in content["rows"]}
    assert list(rows) == [row.name for row in wrong.rows]
    up = rows["up"]
    assert (up["verdict"], up["type"], up["shape"], up["fed"]) == (
        "own error",
        "Upsample, resize",
        [2, 8, 8, 12],
        ["branches.low"],
    )
    assert up["isolated"]["max_abs"] == abs(up["isolated"]["expected"] - up["isolated"]["actual"])
    assert up["isolated"]["sqnr_db"] < 30
    assert rows["branches.low"]["isolated"]["sqnr_db"] in ("inf", pytest.approx(140, abs=30))
    assert {"name": "branches", "side": "module", "reason": "returns several values (a list of 2)"} in content[
        "unmatched"
    ]
    assert content["aliases"]["layer1"] == "layer1.1"
    assert content["inputs"][0]["shape"] == [2, 3, 32, 48]


def test_json_replaces_only_when_it_can(right, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    right.to_json(path)
    assert json.loads(path.read_text())["first_bad"] is None
    with pytest.raises(FileError):
        right.to_json(tmp_path / "missing" / "report.json")


def test_a_name_of_the_network(module):
    weights = {key: value for key, value in module.state_dict().items() if "unused" not in key}
    net = netdefs.Network(weights, "tiny")
    net.finish(define(net, net.input("input", (2, 3, 32, 48))))
    assert netdefs.compare(net, module, picture()).verdict.startswith("tiny: all ")
