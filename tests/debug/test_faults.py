"""`compare` on networks with a planted fault: it must name exactly the layer that is wrong, and say what may be."""

import pytest
from torch import nn
from torch.nn import functional as F

import netdefs
from netdefs.core.blocks import conv_bn
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


def row(report, name):
    return next(row for row in report.rows if row.name == name)


FAULTS = {
    "branch": "layer1.1.add",
    "no relu": "layer1.0",
    "stride": "layer2.0.conv1",
    "padding": "layer2.1.conv2",
    "upsample": "up",
    "order": "cat",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_planted_fault_is_named(module, fault, precision):
    report = netdefs.compare(network(module, fault, precision=precision), module, picture())
    assert not report.ok
    assert report.first_bad.name == FAULTS[fault]
    assert report.first_bad.verdict == "own error"
    assert [row.name for row in report.rows if row.verdict == "own error"] == own_errors(fault)
    before = report.rows[: report.rows.index(report.first_bad)]
    assert all(row.ok for row in before)
    assert f"First wrong layer: {FAULTS[fault]} (" in report.verdict
    assert "own error" in str(report)


def own_errors(fault):
    # With the stride of the block's first convolution, its shortcut was changed too: that is a fault of its own.
    return ["layer2.0.conv1", "layer2.0.downsample.0"] if fault == "stride" else [FAULTS[fault]]


def test_what_comes_after_a_fault_inherits_it(module):
    report = netdefs.compare(network(module, "upsample"), module, picture())
    after = [row.name for row in report.rows if row.verdict == "inherited"]
    assert after == ["cat", "mix", "mix.relu", "fc1", "fc1.relu", "fc2", "logits"]
    assert report.verdict.endswith("6 later layers inherit it.")
    assert "output logits is wrong" in report.verdict
    # The two branches side by side: what does not depend on the fault is right.
    assert row(report, "branches.high").ok
    assert row(report, "mix").isolated.ok
    assert not row(report, "mix").chained.ok


def test_what_is_between_two_modules_is_named_too():
    def define(net, x):
        x = net.conv(x, "0", 4, 3)
        return net.output(net.conv(net.add(x, x, "twice"), "1", 2, 1), "out")

    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)))
    report = netdefs.compare(build(define, module.state_dict(), (1, 3, 8, 8)), module, picture(1, 3, 8, 8))
    assert "1 (Conv2d): an error of its own (relative error " in report.verdict
    assert "when fed PyTorch's 0." in report.verdict
    assert "It may also be in what lies between them and has no module: twice." in report.verdict


@pytest.mark.parametrize("name", ["bn1", "layer1.1.bn2", "layer2.0.downsample.1"])
@pytest.mark.parametrize("fold_bn", [False, True])
def test_a_wrong_eps_is_named(module, name, fold_bn):
    report = netdefs.compare(network(module, eps={name: 1e-3}, fold_bn=fold_bn), module, picture())
    assert report.first_bad.name == name
    assert [row.name for row in report.rows if row.verdict == "own error"] == [name]


def test_folded_convolutions_are_listed(module):
    report = netdefs.compare(network(module, fold_bn=True), module, picture())
    assert report.ok
    assert report.folded["layer1.0.conv1"] == "layer1.0.bn1"
    reasons = {item.name: item.reason for item in report.unmatched}
    assert reasons["layer1.0.conv1"] == "is folded into its batch norm (layer1.0.bn1)"


def test_shapes_that_differ(module):
    report = netdefs.compare(network(module, "stride"), module, picture())
    wrong = report.first_bad
    assert (wrong.shape, wrong.isolated_shape, wrong.chained_shape) == (
        (2, 16, 8, 12),
        (2, 16, 16, 24),
        (2, 16, 16, 24),
    )
    assert wrong.chained is wrong.isolated is None
    assert "its shape is (2, 16, 16, 24), PyTorch's is (2, 16, 8, 12)" in report.verdict
    later = row(report, "layer2.1.conv2")
    assert later.verdict == "inherited"
    assert later.isolated.ok


def test_transposed_weights_are_said_first(module):
    weights = dict(module.state_dict())
    weights["fc1.weight"] = weights["fc1.weight"].T
    changed = seeded(Net())
    changed.load_state_dict(weights)
    report = netdefs.compare(network(changed), module, picture())
    assert report.verdict.startswith("The weights differ: 1 weight is not PyTorch's: fc1.weight.")
    assert report.first_bad.name == "fc1"
    assert report.weights.status == "different"
    assert report.weights.keys[0].key == "fc1.weight"
    assert report.weights.keys[0].max_abs > 0.1


class Stack(nn.Module):
    """Two convolutions and what `between` does to the tensor between them."""

    def __init__(self, between):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.between = between

    def forward(self, x):
        return self.bn2(self.conv2(self.between(self, self.bn1(self.conv1(x)))))


def stack(between, eps=(), **options):
    """A report on a network that has nothing between the two."""

    def define(net, x):
        for i in "12":
            x = conv_bn(net, x, f"conv{i}", f"bn{i}", 8, 3)
        return net.output(x, "out")

    module = seeded(Stack(between))
    weights = netdefs.Weights(module.state_dict())
    weights.metadata["eps"] = dict(eps)
    return netdefs.compare(build(define, weights, (1, 3, 8, 8), **options), module, picture(1, 3, 8, 8))


@pytest.mark.parametrize("fold_bn", [False, True])
@pytest.mark.parametrize(
    ("between", "what"),
    [
        (lambda module, x: module.relu(x), "what relu returns"),
        (
            lambda module, x: module.relu(module.relu(x)),
            "what relu returns",
        ),  # twice: the module itself is not compared
        (lambda module, x: F.relu(x), "something else"),
        (lambda module, x: x.relu_(), "something else"),
    ],
)
def test_what_the_network_lacks_between_two_layers_is_no_fault_of_the_second(between, what, fold_bn):
    report = stack(between, fold_bn=fold_bn)
    assert report.first_bad.name == ("bn2" if fold_bn else "conv2")
    assert f"when fed PyTorch's bn1. But PyTorch feeds it {what}: the network lacks" in report.verdict


@pytest.mark.parametrize("fold_bn", [False, True])
@pytest.mark.parametrize("between", [lambda module, x: x, lambda module, x: x.clone(), lambda module, x: x * 1])
def test_an_error_of_a_layers_own_is_not_put_on_what_it_is_fed(between, fold_bn):
    assert stack(between, fold_bn=fold_bn).ok
    report = stack(between, eps={"bn2": 1e-1}, fold_bn=fold_bn)
    assert report.first_bad.name == "bn2"
    assert report.first_bad.given == ""
    assert "But PyTorch feeds it" not in report.verdict


def test_a_wrong_branch_is_no_wrong_block(module):
    """The block's own sum is wrong: what it is given as a whole is right."""
    assert netdefs.compare(network(module, "no relu"), module, picture()).first_bad.given == ""


def test_what_the_network_lacks_at_its_end():
    class End(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return F.relu(self.conv(x))

    module = seeded(End())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    report = netdefs.compare(net, module, picture(1, 3, 4, 4))
    assert report.first_bad.name == "out"
    assert "PyTorch returns something else, or does something to it first." in report.verdict


def test_an_engine_that_was_built_from_other_weights(module):
    """With them nothing is to be said of layers before it is said of the weights."""
    engine = netdefs.build(network(seeded(Net(), seed=1)), target="cpu")
    engine.info["weights_sha256"] = "another"
    report = netdefs.compare(engine, module, picture())
    assert report.verdict.startswith(
        "The weights differ: Of the 13 weights of convolutions that the engine shows, 13 are"
    )
    engine = netdefs.build(network(module, eps={"bn1": 1e-1}), target="cpu")
    engine.info["weights_sha256"] = "another"
    report = netdefs.compare(engine, module, picture())
    assert report.verdict.startswith("The engine may hold other weights than the module: ")
    assert "Those of its convolutions are PyTorch's." in report.verdict
    assert report.first_bad.name == "bn1"


def test_the_engine_of_a_network_of_your_own_knows_its_weights():
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 1)))
    net = build(lambda net, x: net.conv(x, "0", 4, 1), module.state_dict(), (1, 3, 4, 4))
    engine = netdefs.build(net, target="cpu")
    assert netdefs.compare(engine, module, picture(1, 3, 4, 4)).weights.status == "identical"
    module[0].weight.data += 1
    assert netdefs.compare(engine, module, picture(1, 3, 4, 4)).weights.status == "different"


def test_the_verdict_of_one_layer():
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 1)))
    net = build(lambda net, x: net.conv(x, "0", 4, 1), module.state_dict(), (1, 3, 4, 4))
    report = netdefs.compare(net, module, picture(1, 3, 4, 4))
    assert report.verdict.startswith("net: 0, the only layer that was compared, agrees with PyTorch")
    module[0].bias.data += 1
    report = netdefs.compare(net.definition, module, picture(1, 3, 4, 4))
    assert report.verdict.startswith("net: 1 of 1 layer does not agree with PyTorch.")
