"""Drafts of whole networks: of the zoo's from their PyTorch references, and of families that the zoo has none of."""

import io
import re
import subprocess
import sys
import tokenize
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import NetdefsError
from netdefs.scaffold import scaffold
from netdefs.scaffold.check import load
from netdefs.scaffold.seeding import seed_weights
from tests.reference import MODELS
from tests.scaffold import models

ROOT = Path(__file__).parents[2]
MOST = 1.6  # times as many lines as the file that was written by hand
TRACED = re.compile(r"\b[a-z]+_\d{2,}\b")


def prepared(module, *shape):
    """The module with weights that make a difference, and what it is traced with."""
    torch.manual_seed(0)
    module, x = module.eval(), torch.rand(shape)
    seed_weights(module, lambda: module(x))
    return module, x


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def assert_in_style(path):
    """The file is as the repository wants its own, and has no trace of tracing."""
    with tokenize.open(path) as file:
        names = [
            t.string for t in tokenize.generate_tokens(io.StringIO(file.read()).readline) if t.type == tokenize.NAME
        ]
    assert not [name for name in names if TRACED.search(name)]
    if find_spec("ruff") is None:  # only developers have it
        return
    settings = ("--no-cache", "--config", str(ROOT / "pyproject.toml"), str(path))
    for command in (("check", "--output-format", "concise"), ("format", "--diff")):
        ran = subprocess.run([sys.executable, "-m", "ruff", *command, *settings], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def assert_layers(network, module):
    """Layers have names of their own, and those with weights are called as PyTorch's modules are."""
    definition = network.definition
    names = [definition.get_layer(i).name for i in range(definition.num_layers)]
    assert len(set(names)) == len(names) and all(names)
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d
    assert {path for path, each in module.named_modules() if isinstance(each, kinds)} <= set(names)


# variant -> its module in the zoo, and the most lines where that is not MOST times as many.
ZOO = {
    "resnet50": ("resnet", None),
    "hrnet_w18_small_v2": ("hrnet", 200),
    "hrnet_pose_w32": ("hrnet_pose", 200),
    "higherhrnet_w32": ("higherhrnet", 200),
    "openpose_body": ("openpose", None),
    "yolov8n": ("yolov8", None),
    "yolo11n": ("yolo11", None),
    "yolox_s": ("yolox", None),
}


@pytest.mark.parametrize("variant", ZOO)
def test_the_zoo_again(tmp_path, variant):
    by_hand, most = ZOO[variant]
    module, x = prepared(MODELS[variant](), 2, 3, 64, 96)
    path = tmp_path / f"{by_hand}.py"
    verdict = scaffold({variant: module}, x, path, compiles=variant == "yolov8n")
    assert verdict.clean, verdict.text
    (checked,) = verdict.variants
    assert checked.error < 1e-4 and checked.also[0].startswith("batch 3")
    assert verdict.lines == lines(path) <= (most or MOST * lines(ROOT / "netdefs" / path.name))
    assert_in_style(path)
    assert_layers(load(path).define_network(module.state_dict(), variant, input_shape=((1, 2, 4), 3, 64, 96)), module)


@pytest.mark.parametrize(
    ("model", "height", "width"), [("detr", 64, 96), ("svtr", 32, 100), ("unet", 40, 72), ("panoptic_fpn", 64, 96)]
)
def test_other_families(tmp_path, model, height, width):
    module, x = prepared(getattr(models, model)(), 2, 3, height, width)
    path = tmp_path / f"{model}.py"
    verdict = scaffold({model: module}, x, path, compiles=False)
    assert verdict.clean, verdict.text
    assert verdict.variants[0].error < 1e-4 and verdict.variants[0].also
    assert_in_style(path)


def test_several_variants(tmp_path):
    modules = {name: prepared(MODELS[name](), 2, 3, 32, 64)[0] for name in ("resnet18", "resnet34")}
    path = tmp_path / "resnets.py"
    verdict = scaffold(modules, torch.rand(2, 3, 32, 64), path, compiles=False)
    assert verdict.clean and [each.variant for each in verdict.variants] == list(modules), verdict.text
    variants = load(path).VARIANTS
    assert variants == {"resnet18": {"blocks": (2, 2, 2, 2)}, "resnet34": {"blocks": (3, 4, 6, 3)}}
    assert_in_style(path)


def test_variants_of_different_networks_are_refused(tmp_path):
    modules = {name: getattr(models, name)().eval() for name in ("unet", "panoptic_fpn")}
    with pytest.raises(NetdefsError, match="unet, panoptic_fpn are not variants of one network"):
        scaffold(modules, torch.rand(2, 3, 32, 32), tmp_path / "x.py")
    assert not list(tmp_path.iterdir())


def test_a_part_that_cannot_be_written(tmp_path):
    module, x = prepared(models.gapped(), 2, 3, 32, 48)
    path = tmp_path / "gapped.py"
    with pytest.raises(NetdefsError, match=r"fft_fft2.*models\.py, line \d+"):
        scaffold({"gapped": module}, x, path)
    assert not path.exists()
    verdict = scaffold({"gapped": module}, x, path, partial=True, compiles=False)
    assert not verdict.clean and not verdict.variants[0].problems and verdict.gaps
    assert 'net.gap(x, "abs", (-1, 8, x.shape[2], x.shape[3])' in path.read_text() and "aten.fft_fft2" in verdict.text
    assert_in_style(path)


class Branching(nn.Module):
    """Goes one way or the other, as the values tell it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        return x if x.sum() > 0 else -x


class Finding(nn.Module):
    """Gives as many values as there are above 0."""

    def forward(self, x):
        return x[x > 0]


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Branching(), r"depends on the data \(test_drafts\.py, line \d+: `return x if x\.sum\(\) > 0 else -x`\)"),
        (Finding(), r"test_drafts\.py, line \d+: `return x\[x > 0\]`\): how many values a mask takes is not known"),
    ],
    ids=["branches", "finds"],
)
def test_what_depends_on_the_data_is_refused(tmp_path, module, says):
    with pytest.raises(NetdefsError, match=says):
        scaffold(module.eval(), torch.rand(2, 3, 8, 8), tmp_path / "x.py")
    assert not list(tmp_path.iterdir())


def test_a_dynamic_batch_and_another_size(tmp_path):
    module, x = prepared(models.unet(bilinear=True), 2, 3, 32, 48)
    path = tmp_path / "unet.py"
    verdict = scaffold(module, x, path, compiles=False)
    assert verdict.clean and "batch 3 of " in verdict.variants[0].also[0], verdict.text
    draft = load(path)
    for batch, height, width in (((1, 2, 8), 32, 48), (4, 40, 24)):
        network = draft.define_network(module.state_dict(), input_shape=(batch, 3, height, width))
        given = torch.rand(batch if isinstance(batch, int) else 5, 3, height, width).numpy()
        assert netdefs.compare(network, module, given).ok


class Masked(nn.Module):
    """Takes a second picture, which is called as the module that it goes through."""

    def __init__(self):
        super().__init__()
        self.mask, self.conv = nn.Conv2d(1, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x, mask):
        return self.conv(x) * self.mask(mask).sigmoid()


def test_a_second_input_follows_the_first(tmp_path):
    path = tmp_path / "masked.py"
    given = {"x": torch.rand(2, 3, 8, 8), "mask": torch.rand(2, 1, 8, 8)}
    verdict = scaffold(Masked().eval(), given, path, compiles=False)
    assert verdict.clean and verdict.variants[0].also == ["batch 3 of 40x72"], verdict.text
    assert 'mask = net.input("mask_input", (-1, 1, x.shape[2], x.shape[3]))' in path.read_text()
    assert_in_style(path)
