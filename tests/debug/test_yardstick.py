"""PyTorch in the network's own precision as a yardstick."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import CompareError
from netdefs.debug import yardstick
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.mark.parametrize(("precision", "kind"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_rows_have_the_error_of_pytorch_in_that_type(module, precision, kind, monkeypatch):
    monkeypatch.setattr(yardstick, "BUDGET", 1 << 17)  # in several parts
    x = picture()
    report = netdefs.compare(network(module, precision=precision), module, x, yardstick=True)
    rows = {row.name: row for row in report.rows}
    assert all(row.yardstick is not None for row in report.rows)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
        rough = seeded(Net()).to(kind)(torch.from_numpy(x).to(kind)).float().numpy()
    assert rows["logits"].yardstick == pytest.approx(np.linalg.norm(rough - expected) / np.linalg.norm(expected), 1e-6)
    assert rows["conv1"].yardstick < rows["logits"].yardstick
    word = str(kind).removeprefix("torch.")
    assert any(note.startswith(f"As exact as PyTorch in {word}: logits is off by ") for note in report.notes)
    assert next(module.parameters()).dtype == torch.float32
    assert report.to_dict()["rows"][0]["yardstick"] == report.rows[0].yardstick


def test_a_network_that_is_worse_than_rounding(module):
    eps = {"layer2.0.bn2": 3e-2}  # within the tolerance of half precision
    report = netdefs.compare(network(module, eps=eps, precision="fp16"), module, picture(), yardstick=True)
    note = next(note for note in report.notes if "PyTorch in float16" in note)
    assert re.search(r"\d+ of \d+ layers are more than 4 times as far off, first layer2.0.bn2: ", note)


def test_without_the_question_nothing_runs(module):
    report = netdefs.compare(network(module, precision="fp16"), module, picture())
    assert all(row.yardstick is None for row in report.rows)
    assert not any("PyTorch in float16" in note for note in report.notes)


def test_several_inputs(module):
    report = netdefs.compare(
        network(module, precision="bf16"), module, [picture(seed=i) for i in range(2)], yardstick=True
    )
    assert all(row.yardstick is not None for row in report.rows)


def test_tf32_rounds_the_factors():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1, 1, bias=False)

        def forward(self, x):
            return self.fc(x)

    module = One().eval()
    with torch.no_grad():
        module.fc.weight.fill_(1 + 2**-11 + 2**-12)  # rounds up to 1 + 2^-10
    net = build(lambda net, x: net.output(net.linear(x, "fc", 1, bias=False), "out"), module.state_dict(), (1, 1))
    net = netdefs.Network(module.state_dict(), "one", "tf32")
    net.finish(net.output(net.linear(net.input("input", (1, 1)), "fc", 1, bias=False), "out"))
    report = netdefs.compare(net, module, np.float32([[1 + 2**-10 + 2**-11]]), yardstick=True)  # a tie: up to even
    exact = (1 + 2**-11 + 2**-12) * (1 + 2**-10 + 2**-11)
    assert report.rows[0].yardstick == pytest.approx((1 + 2**-10) * (1 + 2**-9) / exact - 1, rel=1e-3)
    assert module.fc.weight.item() == 1 + 2**-11 + 2**-12


def test_tf32_leaves_what_is_not_finite():
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0, -1.0, 3.0e38])
    found = yardstick._tf32(values)
    assert found.isnan().tolist() == [True, False, False, False, False, False]
    assert found[1:5].tolist() == [float("inf"), -float("inf"), 1.0, -1.0]


def test_wrong_use(module, tmp_path):
    with pytest.raises(CompareError, match="is one for fp16, bf16, tf32, and this network is in fp32"):
        netdefs.compare(network(module), module, picture(), yardstick=True)
    with pytest.raises(CompareError, match="the module computes in float16 itself"):
        netdefs.compare(network(module, precision="fp16"), seeded(Net()).half(), picture(), yardstick=True)


def test_a_module_that_can_not_run_in_that_type(module):
    class Picky(Net):
        def forward(self, x):
            assert x.dtype == torch.float32, "float32 only"
            return super().forward(x)

    picky = seeded(Picky())
    with pytest.raises(CompareError, match="PyTorch can't run this module in float16 here: float32 only"):
        netdefs.compare(network(picky, precision="fp16"), picky, picture(), yardstick=True)
