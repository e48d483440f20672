"""`Report.blocks`: from the outside in, to the first wrong layer."""

import io
import json

import pytest
import torch
from rich.console import Console
from torch import nn

import netdefs
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture(scope="module")
def wrong(module):
    return netdefs.compare(network(module, eps={"layer2.1.bn1": 1e-1}), module, picture())


def printed(report, **options):
    target = io.StringIO()
    report.print_to(Console(file=target, width=120, color_system=None), **options)
    return target.getvalue()


def test_each_block_over_its_layers(module, wrong):
    blocks = {block.name: block for block in wrong.blocks}
    inner = {name for name, m in module.named_modules() if name and list(m.children())}
    assert set(blocks) == inner
    assert [block.name for block in wrong.blocks][:3] == ["layer1", "layer1.0", "layer1.1"]
    for name, block in blocks.items():
        rows = [row for row in wrong.rows if row.kind == "layer" and f"{row.name}.".startswith(f"{name}.")]
        assert block.rows == len(rows)
        assert block.wrong == sum(not row.ok for row in rows)
        assert block.own == sum(row.verdict == "own error" for row in rows)
        assert block.chained == max(row.chained.relative for row in rows)
        assert block.isolated == max(row.isolated.relative for row in rows)
    assert (blocks["layer1"].ok, blocks["layer2.0"].ok) == (True, True)
    assert blocks["layer2.1"].first_bad == blocks["layer2"].first_bad == "layer2.1.bn1"
    assert (blocks["layer2"].type, blocks["layer2.1"].type, blocks["layer2.1"].depth) == ("Sequential", "Block", 1)
    assert blocks["branches"].own == 0
    assert not blocks["branches"].ok
    content = json.loads(json.dumps(wrong.to_dict()))
    assert [block["name"] for block in content["blocks"]] == list(blocks)


def test_the_verdict_says_where(module, wrong):
    assert "It is inside layer2.1; layer2 has 2 blocks, and the one before layer2.1 agrees." in wrong.verdict
    first = netdefs.compare(network(module, eps={"layer1.0.bn1": 1e-1}), module, picture())
    assert "inside layer1.0; layer1 has 2 blocks, and layer1.0 is the first" in first.answers["where"]
    end = netdefs.compare(network(module, "no relu"), module, picture())
    assert end.first_bad.name == "layer1.0"
    assert end.answers["where"].startswith("the end of layer1.0; layer1 has 2 blocks")
    top = netdefs.compare(network(module, "upsample"), module, picture())
    assert "where" not in top.answers
    branch = netdefs.compare(network(module, eps={"layer1.0.bn1": 1e-1, "layer2.1.bn1": 1e-1}), module, picture())
    assert "inside layer1.0" in branch.verdict


def test_how_many_before_it_agree():
    """Rows of a third block that is wrong, and one of the two before it inherits something already."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(4)))

        def forward(self, x):
            return self.body(x)

    module = seeded(Chain())
    weights = {key: value.clone() for key, value in module.state_dict().items()}

    def define(net, x):
        for i in range(4):
            block = net / "body" / i
            x = block.relu(block.conv(x, "0", 3, 1), "1")
        return net.output(x, "out")

    with torch.no_grad():
        module.body[2][0].bias += 1
    report = netdefs.compare(build(define, weights, (1, 3, 4, 4)), module, picture(1, 3, 4, 4))
    assert "inside body.2; body has 4 blocks, and the 2 before body.2 agree" in report.verdict


def test_on_the_terminal(module, wrong):
    text = printed(wrong, blocks=True)
    lines = [line for line in text.partition("───")[2].splitlines()[1:] if line.strip()]
    assert [line.split()[0] for line in lines] == ["layer1", "layer2", ".0", ".1", "branches"]
    assert "bn1" in lines[3]
    full = printed(wrong, blocks=True, full=True)
    assert full.count(".downsample") == 1
    assert "layers agree with PyTorch" in printed(netdefs.compare(network(module), module, picture()), blocks=True)
    flat = seeded(nn.Sequential(nn.Conv2d(3, 3, 1)))
    net = build(lambda net, x: net.output(net.conv(x, "0", 3, 1), "out"), flat.state_dict(), (1, 3, 4, 4))
    assert "No module that contains others" in printed(netdefs.compare(net, flat, picture(1, 3, 4, 4)), blocks=True)


class Plain(nn.Module):
    """Three convolutions; what it returns is the very tensor of the last."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv3(self.conv2(self.conv1(x)))


def test_a_glob_of_blocks_leaves_none_out():
    """A block that hands on its last layer's tensor has no layer of its own, and answers for what is inside it."""
    module = seeded(nn.Sequential(Plain(), Plain(), Plain()))

    def define(net, x):
        for i in range(3):
            for layer in ("conv1", "conv2", "conv3"):
                x = (net / i).conv(x, layer, 3, 1)
        return net.output(x, "out")

    state = module.state_dict()
    net = build(define, {**state, "1.conv2.weight": 1.01 * state["1.conv2.weight"]}, (1, 3, 8, 8))
    report = netdefs.compare(net, module, picture(1, 3, 8, 8), layers="?")
    assert [row.name for row in report.rows] == ["0.conv3", "1.conv3", "2.conv3", "out"]
    assert report.first_bad.name == "1.conv3" and report.first_bad.verdict == "own error"
    assert report.first_bad.fed == ("0.conv3",) and not report.first_bad.via and not report.first_bad.given
