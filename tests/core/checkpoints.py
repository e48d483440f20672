"""A module with everything a checkpoint can hold, and how the tests save and compare."""

import numpy as np
import pytest
import torch
from torch import nn

both_formats = pytest.mark.parametrize(
    "zipped", [True, False], ids=["zip", "old"]
)  # torch.save's own, and its older one


class Block(nn.Module):
    """As Ultralytics' Conv: one conv, its norm, its activation."""

    def __init__(self, activation):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4, eps=1e-3, momentum=0.03)
        self.act = activation


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(Block(nn.SiLU()), Block(nn.LeakyReLU(0.1)), Block(nn.Identity()))
        self.stem = nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.ConvTranspose2d(2, 2, 2)
        )
        self.conv1 = nn.Conv2d(2, 2, 1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(2, 2, 1)
        self.layers = nn.ModuleList([nn.Conv2d(2, 2, 1), nn.GELU()])
        self.norm = nn.SyncBatchNorm(2, eps=1e-4)
        self.register_buffer("anchors", torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("grid", torch.zeros(3), persistent=False)
        self.register_parameter("nothing", None)
        self.stride = torch.tensor([8.0, 16.0])


# What the names of Net's state_dict do not tell.
EPS = {"model.0.bn": 1e-3, "model.1.bn": 1e-3, "model.2.bn": 1e-3, "stem.1": 1e-5, "norm": 1e-4}
ACTIVATION = {"model.0.conv": "SiLU", "model.1.conv": "LeakyReLU(0.1)", "model.2.conv": "Identity", "stem.0": "ReLU"}


def net():
    torch.manual_seed(0)
    module = Net()
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return module


def save(path, thing, zipped=True):
    torch.save(thing, path, _use_new_zipfile_serialization=zipped)
    return path


def same(found, state_dict):
    assert list(found) == list(state_dict)
    for name, array in found.items():
        expected = state_dict[name].detach()
        assert array.shape == expected.shape, name
        expected = expected.float() if expected.dtype == torch.bfloat16 else expected
        assert str(array.dtype) == str(expected.dtype).removeprefix("torch."), name
        assert array.flags.c_contiguous and np.array_equal(array, expected.numpy(), equal_nan=array.dtype.kind == "f")


STATE = net().state_dict()
