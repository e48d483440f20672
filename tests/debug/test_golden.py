"""`compare` on full-size networks, with the weights and inputs of the stored references."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from tests import golden
from tests.reference import MODELS

ZOO = {"resnet50": netdefs.resnet, "hrnet_w18_small_v2": netdefs.hrnet, "lenet5": netdefs.lenet}


@functools.cache
def reference(name):
    stored = golden.load(name, Path(golden.__file__).parent / "data")
    module = MODELS[name]()
    module.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in stored.state_dict.items()})
    return module.eval(), stored


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", ZOO)
def test_all_layers_agree(name, precision):
    module, stored = reference(name)
    net = ZOO[name].define_network(module.state_dict(), name, precision=precision)
    report = netdefs.compare(net, module, stored.input)
    assert report.ok, report.verdict
    assert report.weights.status == "identical"
    compared = {row.name for row in report.rows}
    for path, inner in module.named_modules():
        assert path in compared or not isinstance(inner, nn.Conv2d | nn.BatchNorm2d | nn.Linear | nn.Upsample)
    if precision == "fp32":
        assert max(row.chained.relative for row in report.rows) < 1e-5
        assert max(row.isolated.relative for row in report.rows) < 1e-6


def test_one_wrong_eps_in_hrnet_is_named():
    module, stored = reference("hrnet_w18_small_v2")
    name = "stage3.1.branches.1.0.bn2"
    weights = netdefs.Weights(module.state_dict())
    weights.metadata["eps"] = {name: 1e-3}
    report = netdefs.compare(netdefs.hrnet.define_network(weights, "hrnet_w18_small_v2"), module, stored.input)
    assert report.first_bad.name == name
    assert [row.name for row in report.rows if row.verdict == "own error"] == [name]
    assert f"First wrong layer: {name} (BatchNorm2d): an error of its own" in report.verdict
    assert {row.verdict for row in report.rows[: report.rows.index(report.first_bad)]} == {"ok"}


def test_a_wrong_eps_everywhere_in_resnet50_is_every_norms_own_error():
    module, stored = reference("resnet50")
    net = netdefs.resnet.define_network(module.state_dict(), "resnet50", eps=1e-3)
    report = netdefs.compare(net, module, stored.input)
    assert report.first_bad.name == "bn1"
    own = {row.name for row in report.rows if row.verdict == "own error"}
    assert own <= {path for path, inner in module.named_modules() if isinstance(inner, nn.BatchNorm2d)}
    assert len(own) > 40
