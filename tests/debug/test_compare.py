"""`compare`: what it matches and measures, and how."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import CompareError, InputError
from netdefs.debug import measurement
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


def row(report, name):
    return next(row for row in report.rows if row.name == name)


def unmatched(report):
    return {item.name: item.reason for item in report.unmatched}


@pytest.mark.parametrize("mode", ["chained", "isolated", "both"])
def test_a_correct_network_agrees(module, mode):
    report = netdefs.compare(network(module), module, picture(), mode=mode)
    assert report.ok
    assert report.first_bad is None
    assert report.bad == []
    layers = [row for row in report.rows if row.kind == "layer"]
    assert f"all {len(layers)} layers agree with PyTorch" in report.verdict
    assert "the output logits" in report.verdict
    for row in report.rows:
        assert (row.chained is None) == (mode == "isolated"), row.name
        assert (row.isolated is None) == (mode == "chained"), row.name
        for metrics in (row.chained, row.isolated):
            assert metrics is None or (metrics.ok and metrics.relative < 1e-5 and metrics.outside == 0)
    assert {row.verdict for row in report.rows} == {"ok"}


def test_every_convolution_norm_and_linear_is_compared(module):
    report = netdefs.compare(network(module), module, picture())
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.Upsample)
    wanted = {name for name, m in module.named_modules() if isinstance(m, kinds) and "unused" not in name}
    found = [row.name for row in report.rows]
    blocks = ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
    functions = {f"{block}.{name}" for block in blocks for name in ("bn1.relu", "add")}
    functions |= {"cat", "mix.relu", "fc1.relu"}
    assert wanted | functions | {"relu", *blocks, "logits"} == set(found)
    assert found[:3] == ["conv1", "bn1", "relu"]
    assert found[-3:] == ["fc1.relu", "fc2", "logits"]
    conv = row(report, "layer2.0.downsample.0")
    assert (conv.type, conv.shape, conv.dtype) == ("Conv2d, convolution", (2, 16, 8, 12), "float32")
    assert conv.fed == ("layer1.1",)
    assert row(report, "cat").fed == ("branches.high", "up")
    assert row(report, "cat").type == "cat, concatenation"
    assert row(report, "mix").fed == ("cat",)
    assert row(report, "fc1").fed == ("mix.relu",)
    assert row(report, "fc1").via == ("mean", "flatten")


def test_what_has_no_partner_is_listed_with_the_reason(module):
    report = netdefs.compare(network(module), module, picture())
    reasons = unmatched(report)
    assert reasons["layer1.0.relu"] == "is called more than once (2 times)"
    assert reasons["branches"] == "returns several values (a list of 2)"
    assert reasons["branches.unused"] == "is never called"
    assert reasons["flatten"] == "has no module"
    assert reasons["mean"] == (
        "has another shape than PyTorch's function of that name ((2, 16, 1, 1), and there (2, 16))"
    )
    assert report.aliases == {
        "layer1": "layer1.1",
        "layer2": "layer2.1",
        "layer2.0.downsample": "layer2.0.downsample.1",
    }


class Border(nn.Module):
    """What the network lacks here is an offset in the last column: too little to count in a large tensor as a whole."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv1(x)
        column = torch.zeros_like(x)
        column[..., -1] = 0.005
        return self.conv2(x + column)


def test_one_wrong_column_of_a_large_tensor():
    module = seeded(Border())
    for weight in (module.conv1.bias, module.conv2.bias):
        weight.data.zero_()

    def define(net, x):
        x = net.conv(x, "conv1", 4, 3, padding=1)
        return net.output(net.conv(x, "conv2", 4, 3, padding=1), "out")

    x = picture(1, 3, 16, 4096)
    report = netdefs.compare(build(define, module.state_dict(), x.shape), module, x)
    wrong = report.first_bad
    assert wrong.name == "conv2"
    assert wrong.isolated.relative < 1e-4  # as a whole it is within the tolerance
    assert 0 < wrong.isolated.outside < 2 * 2 / 4096
    assert wrong.isolated.index[3] in (4094, 4095)


def test_rounding_noise_around_zero_is_no_error():
    """What is zero in exact arithmetic has no size that an error could be relative to."""

    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.zero = nn.Threshold(float("inf"), 0.0)

        def forward(self, x):
            return self.zero(x)

    def define(net, x):
        x = net.sub(net.add(x, 0.1, "a"), x, "b")
        return net.output(net.sub(x, 0.1, "zero"), "out")

    report = netdefs.compare(build(define, {}, (1, 3, 8, 8)), Zero(), picture(1, 3, 8, 8))
    assert row(report, "zero").chained.relative == float("inf")
    assert report.ok, report.verdict


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_no_false_alarm_in_any_precision(module, precision):
    report = netdefs.compare(network(module, precision=precision), module, picture())
    assert report.ok
    assert report.precision == precision
    assert row(report, "mix").dtype == {"fp16": "float16", "bf16": "bfloat16"}.get(precision, "float32")
    assert row(report, "logits").dtype == "float32"


def test_half_precision_is_not_mistaken_for_exact(module):
    report = netdefs.compare(network(module, precision="fp16"), module, picture(), tolerance=1e-4)
    assert not report.ok
    assert row(report, "mix").isolated.relative > 1e-4


def test_errors_that_only_add_up():
    module = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(24)))

    def define(net, x):
        for i in range(24):
            x = net.conv(x, str(i), 8, 3, padding=1)
        return net.output(x, "out")

    seeded(module)
    net = build(define, module.state_dict(), (1, 8, 16, 16), precision="fp16")
    exact = netdefs.compare(net, module, picture(1, 8, 16, 16))
    one = max(row.isolated.relative for row in exact.rows)
    report = netdefs.compare(net, module, picture(1, 8, 16, 16), tolerance=1.2 * one)
    assert report.first_bad.verdict == "inherited"
    assert "No layer has an error of its own: the differences add up" in report.verdict
    report = netdefs.compare(net, module, picture(1, 8, 16, 16), layers=(), tolerance=1.2 * one)
    assert "No compared layer has an error of its own" in report.verdict
    assert f"Or one of the {len(exact.rows) - 1} that were not compared has." in report.verdict


def test_a_small_budget_gives_the_same_numbers(module, monkeypatch):
    net = network(module)
    whole = netdefs.compare(net, module, picture())
    groups = []
    real = measurement.make_groups
    monkeypatch.setattr(measurement, "make_groups", lambda *args: groups.append(real(*args)) or groups[-1])
    monkeypatch.setattr(measurement, "BUDGET", 30_000)
    split = netdefs.compare(net, module, picture())
    assert len(groups[0]) > 10
    assert [row.name for row in split.rows] == [row.name for row in whole.rows]
    for a, b in zip(split.rows, whole.rows, strict=True):
        assert a.isolated.relative == pytest.approx(b.isolated.relative, abs=1e-6)
        assert a.chained.relative == pytest.approx(b.chained.relative, abs=1e-6)
        assert (a.verdict, a.fed, a.via) == (b.verdict, b.fed, b.via)


def test_values_are_let_go_as_soon_as_they_are_measured(module, monkeypatch):
    monkeypatch.setattr(measurement, "BUDGET", 30_000)
    held = []
    real = measurement.Measurement.receive

    def receive(self, source, array):
        real(self, source, array)
        held.append(sum(value.nbytes for value in self._values.values()))

    monkeypatch.setattr(measurement.Measurement, "receive", receive)
    report = netdefs.compare(network(module), module, picture())
    total = sum(4 * int(np.prod(row.shape)) for row in report.rows)
    largest = max(4 * int(np.prod(row.shape)) for row in report.rows)
    assert max(held) < 4 * largest < total / 4
    assert held[-1] == 0


def test_layers_restricts_the_rows_and_never_blames_one_for_what_lies_before_it(module):
    report = netdefs.compare(network(module, "no relu"), module, picture(), layers="layer2.*")
    assert [row.name for row in report.rows if row.kind == "layer"][:2] == ["layer2.0.conv1", "layer2.0.bn1"]
    assert {row.verdict for row in report.rows} == {"inherited"}
    assert row(report, "layer2.0.conv1").fed == ("layer1.1",)


def test_a_block_answers_for_its_inner_layers(module):
    net = network(module, eps={"layer1.1.bn1": 1e-1})
    report = netdefs.compare(net, module, picture(), layers=["layer?.?", "mix"])
    assert [row.name for row in report.rows] == ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "mix", "logits"]
    assert report.first_bad.name == "layer1.1"
    assert [row.verdict for row in report.rows] == ["ok", "own error", *["inherited"] * 4]
    assert row(report, "layer1.1").fed == ("layer1.0",)
    assert row(report, "layer1.0").fed == ("relu",)


def test_dynamic_sizes(module):
    net = network(module, shape=((1, 2, 4), 3, (16, 32, 64), (16, 48, 64)))
    for shape in ((1, 3, 16, 16), (4, 3, 64, 24)):
        report = netdefs.compare(net, module, picture(*shape))
        assert report.ok
        assert row(report, "conv1").shape == (shape[0], 8, shape[2] // 2, shape[3] // 2)
    with pytest.raises(InputError, match="input"):
        netdefs.compare(net, module, picture(5, 3, 16, 16))


def test_engines_and_definitions(module):
    net = network(module, "upsample")
    report = netdefs.compare(net.definition, module, picture())
    assert report.first_bad.name == "up"
    assert report.weights.status == "unknown"
    with netdefs.build(net, target="cpu") as engine:
        report = netdefs.compare(engine, module, picture())
        assert report.first_bad.name == "up"
        assert row(report, "mix").layer_type == "Conv"
    half = netdefs.compare(network(module, precision="fp16").definition, module, picture())
    assert half.ok
    assert half.precision == "fp16"


def test_marked_layers_stay_layers(module):
    net = network(module)
    netdefs.mark(net, "layer?.?")
    netdefs.mark(net, "mix.relu")
    report = netdefs.compare(net, module, picture())
    assert report.ok
    assert [row.name for row in report.rows if row.kind == "output"] == ["logits"]
    assert row(report, "mix.relu").kind == "layer"


@pytest.mark.parametrize("mode", ["chained", "both"])
def test_an_engine_that_shows_only_its_outputs(module, mode):
    engine = opaque(netdefs.build(network(module, "upsample"), target="cpu", outputs=["up", "branches.*"]))
    report = netdefs.compare(engine, module, picture(), mode=mode)
    assert report.mode == "chained"
    assert {row.name for row in report.rows} == {"branches.high", "branches.low", "up", "logits"}
    assert row(report, "up").verdict == "wrong"
    assert row(report, "branches.low").ok
    assert any("can't be fed in its middle" in note for note in report.notes) == (mode == "both")
    with pytest.raises(CompareError, match="can't be fed in its middle"):
        netdefs.compare(engine, module, picture(), mode="isolated")


def opaque(engine):
    """An engine as on a GPU: it runs, and shows nothing of its inside."""

    class Opaque(netdefs.Engine):
        def run(self, feeds):
            return engine.run(feeds)

        def save(self, path):
            raise NotImplementedError

    return Opaque("tensorrt", engine.inputs, engine.outputs, engine.profile, engine.info)


def test_one_layer_that_cannot_take_pytorchs_shape_spoils_only_itself(module):
    def define(net, x):
        x = net.conv(x, "conv", 4, 3, stride=2, padding=1)  # PyTorch's has stride 1
        x = net.reshape(x, "rows", (1, 4, 64))
        return net.output(net.linear(x, "fc", 10), "out")

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.rows = nn.Flatten(2)
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            return self.fc(self.rows(self.conv(x))[:, :, ::4])

    module = seeded(Rows())
    report = netdefs.compare(build(define, module.state_dict(), (1, 3, 16, 16)), module, picture(1, 3, 16, 16))
    assert report.first_bad.name == "conv"
    rows = row(report, "rows")
    assert rows.verdict == "wrong"
    assert rows.isolated_error
    assert row(report, "out").isolated.ok
    assert any("rows can't be isolated" in note for note in report.notes)


def test_an_input_that_the_module_changes_in_place():
    """The first layer works in place on what it is given: neither the caller's array nor the network may notice."""
    module = seeded(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 1)))
    x = picture(1, 3, 8, 8)
    for given in (x, torch.from_numpy(x)):
        before = x.copy()
        without = build(lambda net, x: net.output(net.conv(x, "1", 4, 1), "out"), module.state_dict(), x.shape)
        report = netdefs.compare(without, module, given)
        assert report.first_bad.name == "1"
        assert not any("random" in note for note in report.notes)
        np.testing.assert_array_equal(x, before)
    right = build(lambda net, x: net.output(net.conv(net.relu(x, "0"), "1", 4, 1), "out"), module.state_dict(), x.shape)
    assert netdefs.compare(right, module, x).ok


@pytest.mark.parametrize("scale", [1e-6, 1e-30])
def test_layers_of_a_small_scale(scale):
    """Rounding is relative to the terms that are summed up, and small weights make these small."""
    module = seeded(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)))
    with torch.no_grad():
        for values in (module[0].weight, module[0].bias):
            values *= scale
        module[1].weight /= scale

    def chain(net, x):
        x = net.conv(net.conv(x, "0", 8, 3, padding=1), "1", 8, 3, padding=1)
        return net.output(x, "out")

    x = picture(1, 3, 16, 16)
    net = build(chain, {key: value.clone() for key, value in module.state_dict().items()}, x.shape)
    assert netdefs.compare(net, module, x).ok
    with torch.no_grad():
        module[0].bias[0] += 0.05 * scale
    report = netdefs.compare(net, module, x)
    assert (report.first_bad.name, report.first_bad.verdict) == ("0", "own error")
