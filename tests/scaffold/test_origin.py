"""What SOURCE and --input mean, and the weights that are made up."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from netdefs.core.errors import CheckpointError, InputError, MissingPackageError
from netdefs.core.source import load_module
from netdefs.scaffold.inputs import Input, arrays, named, read_input
from netdefs.scaffold.origin import open_origin
from netdefs.scaffold.seeding import seed_weights

FILE = """
from __future__ import annotations

import dataclasses

from torch import nn

from beside import WIDTH


@dataclasses.dataclass
class Config:
    width: int = WIDTH


class Net(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, config.width, 3)

    def forward(self, x):
        return self.conv(x)

    @staticmethod
    def wide(width=16):
        return Net(Config(width))


def small():
    return Net(Config())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("WIDTH = 8\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("net", "beside"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("source", ["net.py", "./net.py", "net"])
def test_a_file_and_what_lies_beside_it(folder, source):
    path = list(sys.path)
    assert load_module(f"{source}:small").conv.out_channels == 8
    assert load_module(f"{source}:Net.wide", arguments={"width": 4}).conv.out_channels == 4
    assert sys.path == path


def test_the_file_elsewhere(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("other"))
    assert load_module(f"{folder / 'net.py'}:small").conv.out_channels == 8
    with pytest.raises(CheckpointError, match="can't import net"):
        load_module("net:small")


def test_wrong_arguments(folder):
    with pytest.raises(CheckpointError, match=r"unexpected keyword argument 'depth'.* It is called with depth"):
        load_module("net.py:small", arguments={"depth": 1})
    with pytest.raises(CheckpointError, match=r"no function or class is called 'Net\.narrow'"):
        load_module("net.py:Net.narrow")


def test_a_package_that_is_missing(folder):
    (folder / "needy.py").write_text("import no_such_thing\n")
    for source in ("needy.py", "needy"):
        with pytest.raises(CheckpointError, match="'no_such_thing', which is not installed: pip install no_such_thing"):
            load_module(f"{source}:make")


def test_inputs_as_text():
    assert read_input("1x3x224x224") == Input("", (1, 3, 224, 224))
    assert read_input("images:2x3x480x640") == Input("images", (2, 3, 480, 640))
    assert read_input("tokens:1x16:int64") == Input("tokens", (1, 16), "int64")
    assert str(read_input("tokens:1x16:int64")) == "tokens:1x16:int64" and str(read_input("7")) == "7"


@pytest.mark.parametrize("text", ["", "1x3x0x2", "1,3", "x:", "1x3:float33", "a b:1x3", "1x-3"])
def test_what_is_no_input(text):
    with pytest.raises(InputError, match=r"is no input, which is \[NAME:\]SIZES|inputs are of the types float32"):
        read_input(text)


class Two(nn.Module):
    def forward(self, images, scale, flag=False):
        return images * scale


def test_names_of_inputs():
    one, two = Input("", (1, 3, 8, 8)), Input("", (1, 1))
    assert list(named([one], Two())) == ["input"]
    assert list(named([one, two], Two())) == ["images", "scale"]
    swapped = [Input("scale", (1, 1)), Input("images", (1, 3, 8, 8))]
    assert list(named(swapped, Two())) == ["images", "scale"]
    with pytest.raises(InputError, match="some have names"):
        named([one, Input("scale", (1, 1))], Two())
    with pytest.raises(InputError, match="Two inputs are called 'a'"):
        named([Input("a", (1,)), Input("a", (1,))], Two())
    with pytest.raises(InputError, match=r"4 inputs are given, and Two\.forward takes 3 by place"):
        named([one] * 4, Two())


def test_values_of_inputs():
    inputs = {"images": Input("", (2, 3, 20, 30)), "ids": Input("", (2, 5), "int64"), "raw": Input("", (2, 9), "uint8")}
    found = arrays(inputs, 3, (40, 50), seed=1)
    assert {name: (each.shape, str(each.dtype)) for name, each in found.items()} == {
        "images": ((3, 3, 40, 50), "float32"),
        "ids": ((3, 5), "int64"),
        "raw": ((3, 9), "uint8"),
    }
    assert found["ids"].min() >= 0 and found["ids"].max() < 8 and found["raw"].max() > 100
    again, other = arrays(inputs, 3, (40, 50), seed=1), arrays(inputs, 3, (40, 50), seed=2)
    assert np.array_equal(found["images"], again["images"]) and not np.array_equal(found["images"], other["images"])


def test_a_batch_that_can_be_traced(folder):
    origin = open_origin("net.py:small", [read_input("1x3x16x16")])
    assert origin.inputs == {"input": Input("", (2, 3, 16, 16))} and origin.source == "net.py, small"
    assert origin.seeded and not origin.module.training
    (folder / "single.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x.reshape(3, 16, 16)\n"
    )
    assert open_origin("single.py:Net", [read_input("1x3x16x16")]).inputs["input"].shape == (1, 3, 16, 16)
    with pytest.raises(InputError, match=r"single\.py:Net can't run on 1x4x16x16: RuntimeError"):
        open_origin("single.py:Net", [read_input("1x4x16x16")])
    with pytest.raises(InputError, match=r"What is single\.py:Net called with\? Give --input"):
        open_origin("single.py:Net")


def test_a_checkpoint_is_left_as_it_is(folder):
    module = load_module("net.py:small")
    torch.save({f"module.{key}": value for key, value in module.state_dict().items()}, "net.pt")
    origin = open_origin("net.py:small", [read_input("1x3x16x16")], checkpoint="net.pt")
    assert not origin.seeded and torch.equal(origin.module.conv.weight, module.conv.weight)
    torch.save({"conv.weight": module.conv.weight}, "part.pt")
    with pytest.raises(CheckpointError, match=r"does not fit net\.py:small.*Missing key"):
        open_origin("net.py:small", [read_input("1x3x16x16")], checkpoint="part.pt")


def test_timm_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match="pip install timm"):
        open_origin("timm:resnet18")


class Untrained(nn.Module):
    """What hides mistakes, as modules are made."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.gamma = nn.Parameter(1e-6 * torch.ones(8))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.ln = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)
        self.frozen = nn.Parameter(torch.arange(4.0), requires_grad=False)
        nn.init.zeros_(self.bn.weight)
        nn.init.trunc_normal_(self.head.weight, std=1e-4)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        x = self.bn(self.conv(x)).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1)
        return self.head(self.ln(x + self.gamma * x.relu())).mean(1) * self.frozen


def seeded(seed=0):
    torch.manual_seed(1)
    module, x = Untrained(), torch.from_numpy(Input("", (2, 3, 12, 12)).array(seed=5))
    seed_weights(module, lambda: module(x), seed)
    return module, x


def test_every_weight_makes_a_difference():
    module, x = seeded()
    module.eval()
    with torch.no_grad():
        expected = module(x)
        assert expected.std() > 0.1
        for name, parameter in module.named_parameters():
            before = parameter.clone()
            parameter.mul_(1.2).add_(0.1)
            changed = (module(x) - expected).norm() / expected.norm()
            parameter.copy_(before)
            assert changed > 1e-4, name


def test_batch_norms_are_measured():
    module, x = seeded()
    found = []
    module.bn.register_forward_hook(lambda _, given, output: found.append((given[0], output)))
    assert module.training and module.bn.momentum == 0.1
    with torch.no_grad():
        module.eval()(x)
    given, output = found[0]
    assert torch.allclose(module.bn.running_mean, given.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose((output.std((0, 2, 3)) / module.bn.weight).abs(), torch.ones(8), atol=0.01)


def test_seeds_and_what_is_left_alone():
    (first, _), (again, _), (other, _) = seeded(), seeded(), seeded(1)
    same = {key: torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items()}
    differs = {key: not torch.equal(value, other.state_dict()[key]) for key, value in first.state_dict().items()}
    assert all(same.values()) and differs["bn.weight"] and differs["token"] and not differs["frozen"]
    assert torch.equal(first.frozen, torch.arange(4.0))


def test_weights_that_do_not_suit_a_module():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Parameter(torch.zeros(1000))

        def forward(self, x):
            return self.offset.sqrt() + x.sum()

    module = Root()
    seed_weights(module, lambda: module(torch.ones(2)))
    assert torch.equal(module.offset, torch.zeros(1000))
