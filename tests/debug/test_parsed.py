"""Networks that came through ONNX are compared under the names of PyTorch's modules."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        return self.linear(self.stem(x).mean((2, 3)))


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def path(module, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    torch.onnx.export(module, (torch.zeros(1, 3, 8, 8),), str(path), dynamo=True, verbose=False)
    return path


X = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)


def test_layers_are_matched_by_module(module, path):
    report = netdefs.compare(netdefs.from_onnx(path), module, X)
    assert report.ok, report.verdict
    assert {"stem.0", "stem.1"} <= {row.name for row in report.rows}


def test_a_changed_weight_is_named(module, path):
    changed = Small().eval()
    changed.load_state_dict(module.state_dict())
    with torch.no_grad():
        changed.stem[0].bias += 0.1
    report = netdefs.compare(netdefs.from_onnx(path), changed, X)
    assert not report.ok and report.first_bad.name == "stem.0"
    assert report.first_bad.verdict == "own error"
