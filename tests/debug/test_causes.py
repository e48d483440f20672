"""The cause of a wrong layer: what mistakes are told apart, with numbers, and what is said where none fits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netdefs
from netdefs.core.blocks import conv_bn
from netdefs.debug.causes.where import where_differs
from netdefs.debug.relations import relate
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


FAULTS = {
    "branch": ("branch", "in place of relu PyTorch has layer1.0"),
    "no relu": ("activation_missing", "a ReLU is missing behind layer1.0"),
    "stride": ("stride", "its stride is 1, PyTorch's is 2"),
    "padding": ("padding_side", "its padding is 2 at the top, 2 left, 0 below, 0 right, PyTorch's is 1"),
    "upsample": ("resize_mode", "it resizes bilinear, align_corners=False; PyTorch's is nearest"),
    "order": ("concat_order", "the concat cat has the order up, branches.high; PyTorch's is branches.high, up"),
}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_cause_of_a_planted_fault(module, fault, precision):
    report = netdefs.compare(network(module, fault, precision=precision), module, picture())
    kind, text = FAULTS[fault]
    assert report.cause.kind == kind
    assert text in report.cause.text
    assert report.cause is report.first_bad.cause
    tolerance = report.tolerance.isolated
    assert report.cause.after < tolerance
    assert report.cause.before is None or report.cause.before > 4 * tolerance
    assert f"Likely cause: {report.cause.text}" in report.verdict


@pytest.mark.parametrize("fold_bn", [False, True])
@pytest.mark.parametrize("eps", [1e-3, 1.7e-4, 1e-1])
def test_eps_is_solved_for(module, eps, fold_bn):
    report = netdefs.compare(network(module, eps={"layer1.1.bn2": eps}, fold_bn=fold_bn), module, picture())
    assert (report.cause.kind, report.cause.modelled) == ("bn_eps", True)
    assert report.cause.text == f"its eps is {eps:g}, PyTorch's is 1e-05"
    assert report.cause.after < 1e-6 < 1e-5 < report.cause.before


def test_a_folded_convolution_with_a_wrong_kernel(module):
    weights = dict(module.state_dict())
    weights["layer2.1.conv1.weight"] = weights["layer2.1.conv1.weight"].flip(2, 3)
    report = netdefs.compare(network(loaded(weights), fold_bn=True), module, picture())
    assert (report.first_bad.name, report.cause.kind) == ("layer2.1.bn1", "kernel_flipped")


def loaded(weights):
    other = seeded(Net())
    other.load_state_dict(weights)
    return other


def test_an_engine_gets_causes_too(module):
    with netdefs.build(network(module, "order"), target="cpu") as engine:
        assert netdefs.compare(engine, module, picture()).cause.kind == "concat_order"


def test_chained_alone_has_no_cause_and_says_how_to_get_one(module):
    report = netdefs.compare(network(module, "order"), module, picture(), mode="chained")
    assert report.cause is None
    assert "mode='both' tells" in report.answers["own or inherited"]


def test_the_answers_come_in_the_order_of_the_questions(module):
    report = netdefs.compare(network(module, "upsample"), module, picture())
    questions = ["weights", "inputs", "outputs", "first wrong layer", "own or inherited", "spread", "likely cause"]
    assert list(report.answers) == questions
    assert report.answers["weights"].startswith("All 60 weights are identical to PyTorch's.")
    assert report.answers["inputs"].startswith("input: (2, 3, 32, 48) float32 from -3.")
    assert report.answers["first wrong layer"] == "up (Upsample)"
    assert report.answers["spread"] == "6 later layers inherit it."
    assert report.answers["likely cause"].startswith("it resizes bilinear")
    for question, answer in report.answers.items():
        assert f"{question} " in str(report)
        assert answer.split()[0] in str(report)
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["answers"] == report.answers
    assert content["cause"]["kind"] == "resize_mode"
    assert next(row for row in content["rows"] if row["name"] == "up")["cause"] == content["cause"]
    right = netdefs.compare(network(module), module, picture())
    assert list(right.answers) == questions[:3]


def chain(between, layers, shape=(1, 3, 12, 12)):
    """A report on two convolutions with what PyTorch and the network each have between them."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
            self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)

        def forward(self, x):
            return self.conv2(between(self, self.conv1(x)))

    def define(net, x):
        net.weights.ignore("norm.*")
        x = layers(net, net.conv(x, "conv1", 8, 3, padding=1))
        return net.output(net.conv(x, "conv2", 8, 3, padding=1), "out")

    module = seeded(Chain())
    return netdefs.compare(build(define, module.state_dict(), shape), module, picture(*shape))


BETWEEN = {
    "activation_missing": (lambda m, x: F.relu(x), lambda net, x: x),
    "activation_extra": (lambda m, x: x, lambda net, x: net.relu(x, "relu")),
    "activation_kind": (lambda m, x: F.silu(x), lambda net, x: net.relu(x, "relu")),
    "slope": (lambda m, x: F.leaky_relu(x, 0.15), lambda net, x: net.leaky_relu(x, "act", 0.1)),
    "bn_missing": (lambda m, x: m.norm(x), lambda net, x: x),
    "operation": (lambda m, x: x * x.sigmoid(), lambda net, x: net.add(x, net.sigmoid(x, "s"), "sum")),
    "axis": (lambda m, x: x.softmax(1), lambda net, x: net.softmax(x, "softmax", dim=2)),
    "pool_kind": (lambda m, x: F.max_pool2d(x, 2), lambda net, x: net.avg_pool(x, "pool", 2)),
    "pool_window": (lambda m, x: F.max_pool2d(x, 3, 2, 1), lambda net, x: net.max_pool(x, "pool", 2, 2)),
    "count_include_pad": (
        lambda m, x: F.avg_pool2d(x, 3, 1, 1),
        lambda net, x: net.avg_pool(x, "pool", 3, 1, 1, count_include_pad=False),
    ),
    "align_corners": (
        lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        lambda net, x: net.upsample(x, "up", scale_factor=2, mode="bilinear"),
    ),
    "resize_size": (
        lambda m, x: F.interpolate(x, size=(20, 20), mode="bilinear"),
        lambda net, x: net.upsample(x, "up", scale_factor=2, mode="bilinear"),
    ),
    "split_order": (
        lambda m, x: torch.cat([x[:, 4:], x[:, 4:]], 1),
        lambda net, x: net.concat([net.slice(x, "part", 1, 0, 4)] * 2, "cat", dim=1),
    ),
    "concat_order": (
        lambda m, x: torch.cat([x[:, 4:], x[:, :4]], 1),
        lambda net, x: net.concat(net.split(x, "split", 4, dim=1), "cat", dim=1),
    ),
    "layout": (lambda m, x: x.transpose(2, 3), lambda net, x: x),
    "channel_shuffle": (
        lambda m, x: F.channel_shuffle(x, 4),
        lambda net, x: net.reshape(x, "same", tuple(int(n) for n in x.shape)),
    ),
    "pixel_order": (
        lambda m, x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2),
        lambda net, x: net.permute(
            net.reshape(net.pixel_shuffle(x, "shuffle", 2), "cells", (1, 2, 12, 2, 12, 2)), "moved", (0, 3, 5, 1, 2, 4)
        ),
    ),
    "scale": (lambda m, x: x * 3, lambda net, x: x),
    "offset": (lambda m, x: x + 0.7, lambda net, x: x),
}
NAMED = {"axis": "softmax", "split_order": "cat", "concat_order": "cat"}  # as PyTorch's function, so compared itself


@pytest.mark.parametrize("kind", [kind for kind in BETWEEN if kind != "pixel_order"])
def test_what_is_between_two_layers(kind):
    theirs, ours = BETWEEN[kind]
    report = chain(theirs, ours)
    assert report.first_bad.name == NAMED.get(kind, "conv2")
    assert report.cause.kind == kind, report.cause
    assert report.cause.after < 1e-5


def test_a_wrong_pixel_order_is_told():
    theirs, ours = BETWEEN["pixel_order"]
    report = chain(theirs, lambda net, x: net.reshape(ours(net, x), "joined", (1, 8, 12, 12)))
    assert report.cause.kind == "pixel_order"


class Prepares(nn.Module):
    """A network that changes its picture first."""

    def __init__(self, prepare):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.prepare = prepare

    def forward(self, x):
        return self.conv(self.prepare(x))


MEAN = torch.tensor([0.4, 0.5, 0.6]).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("prepare", "kind", "text"),
    [
        (lambda x: x.flip(1), "channel_order", "its colors are in the other order"),
        (lambda x: x / 255, "normalization", "PyTorch's is the network's times 0.003922 plus 0"),
        (lambda x: (x - MEAN) / 0.2, "normalization", "times 5, 5, 5 plus -2, -2.5, -3"),
        (lambda x: (x.flip(1) - MEAN) / 0.2, "channel_order", "and its colors are reversed"),
    ],
)
def test_a_picture_that_is_prepared_otherwise(prepare, kind, text):
    module = seeded(Prepares(prepare))
    x = picture(1, 3, 8, 8) + 3
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 3), "out"), module.state_dict(), x.shape)
    report = netdefs.compare(net, module, x)
    assert (report.first_bad.name, report.cause.kind) == ("conv", kind)
    assert re.sub(r"-?\d\.?\d*e-\d+", "0", text) in re.sub(r"-?\d\.?\d*e-\d+", "0", report.cause.text)
    assert report.cause.text in report.answers["inputs"]


def test_half_precision_alone():
    """A tolerance that half precision can't keep: the layer is right, and PyTorch in half precision agrees."""
    module = seeded(nn.Sequential(nn.Conv2d(3, 8, 3)))
    net = build(
        lambda net, x: net.output(net.conv(x, "0", 8, 3), "out"), module.state_dict(), (1, 3, 8, 8), precision="fp16"
    )
    report = netdefs.compare(net, module, picture(1, 3, 8, 8), tolerance=1e-4)
    assert report.cause.kind == "precision"
    assert "it computes in float16" in report.cause.text


def test_what_fits_no_known_cause_is_said_to_and_where_it_is():
    """Noise in three columns of one channel is nobody's mistake."""
    report = chain(lambda m, x: noisy(x), lambda net, x: x)
    assert (report.cause.kind, report.cause.after) == ("unknown", None)
    assert report.cause.where == "conv1"
    assert report.cause.text == (
        "What it is given, conv1, is wrong: it differs only in channels 2 of 8, columns 5-7 of 12"
    )
    assert f"None of the known causes explains it: {report.cause.text}." in report.verdict


def noisy(x):
    y = x.clone()
    y[:, 2, :, 5:8] += torch.from_numpy(picture(1, 12, 3, seed=7)[0])
    return y


def test_three_layers_that_are_wrong_get_three_causes(module):
    report = netdefs.compare(network(module, eps={f"layer{i}.1.bn1": 1e-2 for i in (1, 2)}), module, picture())
    assert [row.cause.kind for row in report.bad if row.verdict == "own error"] == ["bn_eps", "bn_eps"]


def test_a_module_keeps_its_hooks_and_values_when_causes_are_searched(module):
    before = {key: value.clone() for key, value in module.state_dict().items()}
    for fault in FAULTS:
        netdefs.compare(network(module, fault), module, picture())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())


KERNEL = np.random.default_rng(0).standard_normal((4, 4, 3, 3), dtype=np.float32)
OTHER = np.random.default_rng(1).standard_normal((4, 4, 3, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("ours", "kind", "text"),
    [
        (KERNEL, "", ""),
        (KERNEL[:, :, ::-1, ::-1], "kernel_flipped", "flipped"),
        (KERNEL[:, :, :, ::-1], "kernel_flipped", "along axis 3"),
        (KERNEL.swapaxes(2, 3), "kernel_transposed", "height and width are exchanged"),
        (KERNEL.transpose(1, 0, 2, 3), "weight_layout", "in the layout IOHW, and read as OIHW"),
        (KERNEL.transpose(2, 3, 1, 0).reshape(4, 4, 3, 3), "weight_layout", "in the layout HWIO, and read as OIHW"),
        (KERNEL[:, ::-1], "channel_order", "reversed input channels"),
        (KERNEL * 2.5, "scale", "2.5 times"),
        (KERNEL * 0, "weights_missing", "all zero"),
        (OTHER, "weight_key", "its weight is that of b.weight"),
        (KERNEL.astype(np.float16).astype(np.float32), "weights_rounded", "rounded to float16"),
        (KERNEL + OTHER, "values", "has other values"),
    ],
)
def test_how_weights_are_related(ours, kind, text):
    found = relate(ours, KERNEL, {"b.weight": OTHER}, rough=False)
    assert (found.kind, text in found.text) == (kind, True)
    np.testing.assert_allclose(found.apply(KERNEL), ours, rtol=1e-5)


def test_weights_that_are_in_another_order_are_said_to_be(module):
    weights = dict(module.state_dict())
    weights["fc1.weight"] = weights["fc1.weight"].T
    weights["mix.weight"] = weights["mix.weight"].flip(2, 3)
    weights["layer1.0.conv1.weight"] = weights["layer1.1.conv1.weight"]
    text = netdefs.compare(network(loaded(weights)), module, picture()).answers["weights"]
    assert "fc1.weight: its weights are transposed" in text
    assert "mix.weight: its kernel is flipped" in text
    assert "layer1.0.conv1.weight: its weight is that of layer1.1.conv1.weight" in text


def differing(*index):
    found = np.zeros((1, 8, 20, 20), np.float32)
    found[index] = 1
    return where_differs(np.ones((1, 8, 20, 20), np.float32) * 10, 10 + found, 1e-4)


def test_where_a_tensor_differs():
    everything = slice(None)
    assert differing(everything, [1, 2, 5]) == "it differs only in channels 1-2, 5 of 8"
    assert differing(everything, everything, everything, -1) == "it differs at its border only, up to 1 values deep"
    assert (
        differing(0, 3, slice(8, 10), slice(4, 9))
        == "it differs only in channels 3 of 8, rows 8-9 of 20, columns 4-8 of 20"
    )
    assert differing(everything) == "it differs everywhere (100% of its values)"
    assert where_differs(np.ones(3), np.ones(4), 1e-4) == "its shape is (4,), PyTorch's is (3,)"


def test_two_layers_of_the_same_kind_are_not_taken_for_each_other():
    """A batch norm with another one's mean: the key that would fit is found among all of its size."""
    module = seeded(Twins())

    def define(net, x):
        for i in range(4):
            x = net.relu(conv_bn(net, x, f"conv{i}", f"bn{i}", 8, 3), f"relu{i}")
        return net.output(x, "out")

    weights = dict(module.state_dict())
    weights["bn2.running_mean"] = weights["bn3.running_mean"]
    report = netdefs.compare(build(define, weights, (1, 8, 8, 8)), module, picture(1, 8, 8, 8))
    assert (report.first_bad.name, report.cause.kind) == ("bn2", "weight_key")
    assert report.cause.text == "its running_mean is that of bn3.running_mean"


class Twins(nn.Module):
    def __init__(self):
        super().__init__()
        for i in range(4):
            self.add_module(f"conv{i}", nn.Conv2d(8, 8, 3, padding=1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(8))

    def forward(self, x):
        for i in range(4):
            x = F.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)))
        return x


def test_netdefs_does_not_know_the_faults_that_are_planted():
    sources = Path(netdefs.__file__).parent.rglob("*.py")
    assert not [path for path in sources if re.search(r"\btests\b.*\bfaults\b", path.read_text(encoding="utf-8"))]
