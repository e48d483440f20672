"""Our PyTorch references against upstream's stored values and published sizes."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests import golden
from tests.reference import MODELS

DATA = Path(__file__).parent / "data"

# parameters, state_dict keys and num_batches_tracked among them, of upstream's models of these names
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
    "hrnet_seg_w18": (9_641_119, 1839, 306),
    "hrnet_seg_w18_small_v1": (1_540_819, 435, 72),
    "hrnet_seg_w18_small_v2": (3_939_579, 873, 145),
    "hrnet_seg_w48": (65_859_379, 1839, 306),
    "hrnet_ocr_w48": (70_372_678, 1890, 314),
    "hrnet_pose_w32": (28_536_113, 1754, 292),
    "hrnet_pose_w48": (63_595_745, 1754, 292),
    "higherhrnet_w32": (28_645_331, 1810, 301),
    "higherhrnet_w48": (63_827_139, 1810, 301),
    "openpose_body": (52_311_446, 184, 0),
    "openpose_hand": (36_832_324, 104, 0),
    "fastpose_res50": (40_577_745, 348, 55),
    "fastpose_res50_dcn": (41_158_587, 374, 55),
    "pose_resnet50": (33_999_697, 338, 56),
    "pose_resnet101": (52_991_825, 644, 107),
    "pose_resnet152": (68_635_473, 950, 158),
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


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "hrnet_w18_small_v2",
        "hrnet_seg_w48",
        "hrnet_pose_w32",
        "higherhrnet_w32",
        "openpose_body",
        "fastpose_res50",
        "lenet5",
    ],
)
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
