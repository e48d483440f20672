"""Our PyTorch references against upstream's stored values and published sizes."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests import golden
from tests.reference import MODELS

DATA = Path(__file__).parent / "data"

# parameters, state_dict keys and num_batches_tracked among them, of torchvision's and timm's models of these names
SIZES = {
    "resnet18": (11_689_512, 122, 20),
    "resnet34": (21_797_672, 218, 36),
    "resnet50": (25_557_032, 320, 53),
    "resnet101": (44_549_160, 626, 104),
    "resnet152": (60_192_808, 932, 155),
    "resnext50_32x4d": (25_028_904, 320, 53),
    "resnext101_32x8d": (88_791_336, 626, 104),
    "wide_resnet50_2": (68_883_240, 320, 53),
    "wide_resnet101_2": (126_886_696, 626, 104),
    "hrnet_w18_small": (13_187_464, 552, 91),
    "hrnet_w18_small_v2": (15_597_464, 990, 164),
    "hrnet_w18": (21_299_004, 1956, 325),
    "hrnet_w30": (37_712_220, 1956, 325),
    "hrnet_w32": (41_232_680, 1956, 325),
    "hrnet_w40": (57_557_160, 1956, 325),
    "hrnet_w44": (67_064_984, 1956, 325),
    "hrnet_w48": (77_469_864, 1956, 325),
    "hrnet_w64": (128_059_944, 1956, 325),
    "lenet5": (61_706, 10, 0),
}


def run(network: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's outputs, and those of all modules that give one tensor and are called once."""
    captured: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def capture(name: str, output: Tensor) -> None:
        calls[name] += 1
        captured[name] = output.clone()  # an in-place ReLU is about to overwrite it

    def hook(name: str):
        return lambda module, args, output: capture(name, output) if isinstance(output, Tensor) else None

    handles = [module.register_forward_hook(hook(name)) for name, module in network.named_modules() if name]
    with torch.no_grad():
        outputs = network(x)
    for handle in handles:
        handle.remove()
    outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
    return outputs, {name: value for name, value in captured.items() if calls[name] == 1}


@pytest.mark.parametrize("name", ["resnet50", "hrnet_w18_small_v2", "lenet5"])
def test_agrees_with_upstream_in_every_module(name):
    g = golden.load(name, folder=DATA)
    network = MODELS[name]().eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in g.state_dict.items()}, strict=True)
    outputs, modules = run(network, torch.from_numpy(g.input))

    assert outputs.keys() == g.outputs.keys()
    assert modules.keys() == g.modules.keys()
    wrong = {key: error for key in g.outputs if (error := g.check(key, outputs[key])) > 1e-5}
    assert not wrong
    wrong = {key: error for key in g.modules if (error := g.check_module(key, modules[key])) > 1e-4}
    assert not wrong


def test_sizes_cover_every_model():
    assert SIZES.keys() == MODELS.keys()


@pytest.mark.parametrize("name", SIZES)
def test_has_the_published_size(name):
    with torch.device("meta"):
        network = MODELS[name]()
    keys = network.state_dict().keys()
    found = (
        sum(parameter.numel() for parameter in network.parameters()),
        len(keys),
        sum(key.endswith("num_batches_tracked") for key in keys),
    )
    assert found == SIZES[name]


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "hrnet_w18_small", "lenet5"])
def test_takes_another_class_count(name):
    with torch.device("meta"):
        network = MODELS[name](num_classes=7)
    *_, (key, weight) = network.named_parameters()
    assert key.endswith(".bias") and weight.shape == (7,)


@pytest.mark.parametrize("name", ["resnet18", "hrnet_w18_small"])
def test_takes_images_that_are_not_square(name):
    with torch.device("meta"):
        logits = MODELS[name]().eval()(torch.empty(2, 3, 96, 160))
    assert logits.shape == (2, 1000)
