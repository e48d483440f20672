"""Blocks of the library are recognized in modules of PyTorch's, and whatever differs from them in one thing is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.hrnet_torch import BasicBlock, Bottleneck
from netdefs.scaffold.candidates import BLOCKS
from netdefs.scaffold.candidates_ultralytics import BLOCKS as ULTRALYTICS
from netdefs.scaffold.capture import capture
from netdefs.scaffold.known import Known
from netdefs.scaffold.library import block_of
from netdefs.scaffold.names import Names
from netdefs.scaffold.program import Name, Raw, Unit
from netdefs.scaffold.units import Builder
from tests.reference.mobilenet import Excite as NamedExcite
from tests.reference.mobilenet import Inverted
from tests.reference.senet import Bottleneck as SEBottleneck
from tests.reference.senet import Excite
from tests.ultralytics_blocks import C2PSA, C3, SPPF, A2C2f, Conv, c2f, c3k, c3k2

Found = dict[str, tuple[str, dict[str, Any]]]


class Net(nn.Module):
    """A first convolution, and what is looked at: `block`."""

    def __init__(self, stem: nn.Module, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.block = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.stem(x))


def found(channels: int, *blocks: nn.Module, stem: nn.Module | None = None, eps: float | None = None) -> Found:
    """The blocks of the library that modules are, by path: of all modules in `blocks`."""
    module = Net(stem or nn.Conv2d(3, channels, 3, 1, 1), *blocks).eval()
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d) and eps is not None:
            each.eps = eps
    inputs = {"x": torch.rand(2, 3, 8, 8)}
    root = Builder(capture(module, inputs), Names(module, list(inputs.values()))).build()
    known, result = Known([root], inputs), {}
    for unit in _inner_first(root):
        call = known(unit)
        if call is not None:
            assert call.inputs == unit.inputs and call.results == unit.outputs and call.path == unit.path
            options = {key: _plain(value, unit.path) for key, value in call.options.items()}
            result[".".join(unit.path).removeprefix("block.")] = (call.function.removeprefix("blocks."), options)
    return result


def yolo(channels: int, *blocks: nn.Module, eps: float = 1e-3) -> Found:
    """As `found`, of a network that begins with Ultralytics' Conv; without its module and in short."""
    whole = found(channels, *blocks, stem=Conv(3, channels, 3), eps=eps)
    return {path: (name.removeprefix("yolo.ultralytics."), options) for path, (name, options) in whole.items()}


def _inner_first(unit: Unit) -> list[Unit]:
    inner = [each for item in unit.body if isinstance(item, Unit) for each in _inner_first(item)]
    return [*inner, unit]


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, Name):
        return ".".join(value.path[len(path) :])
    return value.text if isinstance(value, Raw) else value


def test_residual_blocks() -> None:
    down = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    block = BasicBlock(16, 32, 2)
    block.downsample = down
    assert found(16, block, BasicBlock(32, 32)) == {
        "0": ("basic_block", {"channels": 32, "stride": 2}),
        "1": ("basic_block", {"channels": 32}),
    }
    assert found(64, Bottleneck(64, 16)) == {"0": ("bottleneck", {"channels": 16})}
    wide = {"channels": 16, "groups": 4, "base_width": 32}
    assert found(64, Bottleneck(64, 16, groups=4, base_width=32))["0"] == ("bottleneck", wide)
    assert found(16, BasicBlock(16, 16), eps=1e-4)["0"] == ("basic_block", {"channels": 16, "eps": 1e-4})


def test_squeeze_excite_whatever_its_layers_are_called() -> None:
    named = {"reduce": "fc1", "expand": "fc2", "squeeze_channels": 2, "names": ("act", "gate")}
    assert found(32, Excite(32)) == {"0": ("squeeze_excite", named)}
    hard = {**named, "squeeze_channels": 8, "names": ("activation", "scale_activation"), "gate": "Network.hardsigmoid"}
    assert found(32, NamedExcite(32, 8, nn.ReLU, nn.Hardsigmoid)) == {"0": ("squeeze_excite", hard)}
    assert set(found(64, SEBottleneck(64, 16))) == {"0.se"}  # the library has no block for what is around it


def test_inverted_residual() -> None:
    excite = NamedExcite(48, 8, nn.ReLU, nn.Hardsigmoid)
    blocks = (Inverted(16, 16, 3, 1, 16, nn.ReLU, None, 1e-3), Inverted(16, 24, 5, 2, 48, nn.Hardswish, excite, 1e-3))
    wanted = {"channels": 16, "kernel": 3, "stride": 1, "hidden": 16, "act": "Network.relu", "eps": 1e-3}
    result = found(16, *blocks)
    assert result["0"] == ("inverted_residual", wanted)
    more = {"squeeze": 8, "gate": "Network.hardsigmoid", "act": "Network.hardswish"}
    assert result["1"] == (
        "inverted_residual",
        wanted | more | {"channels": 24, "kernel": 5, "stride": 2, "hidden": 48},
    )


def test_blocks_of_ultralytics() -> None:
    blocks = [Conv(32, 64, 3, 2, act=False), c2f(64, 64, 2, True), c2f(64, 32, 1), c3k2(32, 32, 1, False, 0.25)]
    blocks += [c3k2(32, 64, 1, True), C3(64, 64, 2, False), SPPF(64, 64)]
    result = yolo(32, *blocks)
    assert {path: each for path, each in result.items() if path.isdigit()} == {
        "0": ("conv", {"out_channels": 64, "kernel": 3, "stride": 2, "act": "Identity"}),
        "1": ("c2f", {"out_channels": 64, "repeats": 2, "shortcut": True}),
        "2": ("c2f", {"out_channels": 32}),
        "3": ("c3k2", {"out_channels": 32, "repeats": 1, "nested": False, "expansion": 0.25}),
        "4": ("c3k2", {"out_channels": 64, "repeats": 1, "nested": True}),
        "5": ("c3", {"out_channels": 64, "repeats": 2, "shortcut": False}),
        "6": ("sppf", {"out_channels": 64}),
    }
    assert result["stem"] == ("conv", {"out_channels": 32, "kernel": 3})
    assert result["4.m.0"] == ("c3k", {})
    assert result["4.m.0.m.1"] == ("bottleneck", {"expansion": 1.0})


def test_attention_that_is_computed_in_another_order() -> None:
    blocks = (C2PSA(128, 1), A2C2f(128, 128, 1, 4, True, 1.5), A2C2f(128, 64, 1, None, False, 2.0))
    result = yolo(128, *blocks)
    assert result["0"] == ("c2psa", {"repeats": 1})
    assert result["0.m.0"] == ("psa_block", {})
    assert result["0.m.0.attn"] == ("attention", {"heads": 1, "key_size": 32, "kernel": 3})
    scaled = {"scaled": True, "mlp_ratio": 1.5}
    assert result["1"] == ("a2c2f", {"out_channels": 128, "repeats": 1, "areas": 4, **scaled})
    assert result["1.m.0.1"] == ("area_block", {"areas": 4, "mlp_ratio": 1.5})
    assert result["2"] == ("a2c2f", {"out_channels": 64, "repeats": 1, "areas": None})


def test_blocks_of_ultralytics_are_not_taken_for_other_networks() -> None:
    """A convolution, a batch norm and no activation are called conv and bn in many networks."""
    assert found(16, Conv(16, 16, act=False)) == {}
    assert found(16, c3k(16), stem=Conv(3, 16))["0"] == ("yolo.ultralytics.c3k", {"eps": 1e-5})


class Residual(nn.Module):
    """BasicBlock's two convolutions, and ways in which they are not it."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change = change
        self.conv1 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        last = "conv3" if change == "name" else "conv2"
        self.add_module(last, nn.Conv2d(16, 16, 3, padding=1, bias=change == "bias"))
        self.bn2 = nn.BatchNorm2d(16, eps=1e-6 if change == "eps" else 1e-5)
        self.last = nn.ReLU() if change == "named relu" else F.relu

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = y if self.change == "no relu" else F.leaky_relu(y, 0.1) if self.change == "leaky" else F.relu(y)
        y = self.bn2((self.conv3 if self.change == "name" else self.conv2)(y))
        y = y + y if self.change == "other sum" else y - x if self.change == "difference" else y + x
        return y if self.change == "no last relu" else self.last(y)


def test_the_same_written_by_others() -> None:
    assert found(16, Residual(""))["0"] == ("basic_block", {"channels": 16, "relu": "relu#1"})


@pytest.mark.parametrize(
    "change", ["name", "bias", "eps", "no relu", "leaky", "other sum", "difference", "no last relu", "named relu"]
)
def test_one_difference_is_one_too_many(change: str) -> None:
    assert found(16, Residual(change)) == {}


class Squeeze(nn.Module):
    """Squeeze-and-excitation, and ways in which it is not."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change = change
        self.fc1, self.fc2 = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.act, self.gate = nn.ReLU(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        s = x.amax((2, 3), keepdim=True) if self.change == "max" else x.mean((2, 3), keepdim=True)
        s = x if self.change == "no mean" else s
        s = self.gate(self.fc2(self.act(self.fc1(s))))
        return x * s + x if self.change == "sum" else x * s / 2 if self.change == "half" else x * s


@pytest.mark.parametrize("change", ["max", "no mean", "sum", "half"])
def test_values_must_agree_where_layers_may_differ(change: str) -> None:
    assert set(found(16, Squeeze(""))) == {"0"}
    assert found(16, Squeeze(change)) == {}


def test_every_block_is_in_the_library() -> None:
    assert all(isinstance(block_of(name), Callable) for name in BLOCKS | ULTRALYTICS)
