"""Live models by name: what is loaded, and what each wrong name says."""

import sys
import types

import pytest
import torch
from torch import nn

from netdefs.core.errors import CheckpointError, FileError, MissingPackageError
from netdefs.core.source import load_module
from tests.core.checkpoints import net

FILE = """
from torch import nn

class Small(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))

def make():
    return Small().train()

def needs_one(size):
    return Small()

def a_dict():
    return {}

number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(FILE)
    return path


def equal(module, other):
    ours, theirs = module.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", ["make", "Small"])
def test_a_function_or_class_in_a_file(file, name):
    module = load_module(f"{file}:{name}")
    assert "0.weight" in module.state_dict() and not module.training


def test_a_function_in_a_module():
    module = load_module("tests.core.checkpoints:net")
    assert equal(module, net()) and not module.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_checkpoint_is_loaded_into_it(tmp_path, dtype):
    saved = net()
    saved.requires_grad_(False).conv1.weight.fill_(2)
    path = tmp_path / "x.pt"
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in saved.to(dtype).state_dict().items()}}, path
    )
    module = load_module("tests.core.checkpoints:net", path)
    assert equal(module, saved.float())


def test_a_checkpoint_with_a_prefix(tmp_path):
    """HRNet's segmentation checkpoints hold the whole trainer: model.* and loss.*."""
    saved = {f"model.{name}": tensor for name, tensor in net().state_dict().items()}
    path = tmp_path / "x.pt"
    torch.save({**saved, "loss.weight": torch.ones(19)}, path)
    with pytest.raises(
        CheckpointError, match=r"begin with 'model\.': give --prefix model\. and --skip .* loss\.weight"
    ):
        load_module("tests.core.checkpoints:net", path)
    module = load_module("tests.core.checkpoints:net", path, prefix="model.", skip=["loss.*"])
    assert list(module.state_dict()) == [name.removeprefix("model.") for name in saved]


def test_a_checkpoint_must_fit(file, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"0.weight": torch.ones(2, 1, 1, 1), "2.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError) as raised:
        load_module(f"{file}:make", path)
    message = str(raised.value)
    assert f"{path} (a state_dict) does not fit {file}:make" in message and "\n" not in message
    assert (
        'Missing key(s) in state_dict: "0.bias"' in message and 'Unexpected key(s) in state_dict: "2.weight"' in message
    )
    torch.save({f"{i}.weight": torch.ones(1) for i in range(1000)}, path)
    with pytest.raises(CheckpointError) as raised:
        load_module(f"{file}:make", path)
    assert len(str(raised.value)) < 1500
    with pytest.raises(FileError, match=r"missing\.pt does not exist"):
        load_module(f"{file}:make", tmp_path / "missing.pt")


@pytest.mark.parametrize("spec", ["resnet50", "", ":", "timm:", ":make"])
def test_specs_that_name_nothing(spec):
    with pytest.raises(CheckpointError, match=r"does not name a model\. A model is timm:NAME, torchvision:NAME"):
        load_module(spec)


WRONG = {
    "{file}:nothing": "no function or class is called 'nothing'. There are: Small, make, needs_one, a_dict.",
    "{file}:number": "no function or class is called 'number'",
    "{file}:needs_one": r"TypeError: needs_one\(\) missing 1 required positional argument: 'size'. It is called",
    "{file}:a_dict": r"gives an object of type dict, not a torch\.nn\.Module",
    "no_such_package.models:make": "can't import no_such_package.models .*path/to/file.py:make",
    "json:loads": r"json:loads raised TypeError",
}


@pytest.mark.parametrize("spec", WRONG)
def test_wrong_names_say_which_part_is_wrong(file, spec):
    with pytest.raises(CheckpointError, match=WRONG[spec]):
        load_module(spec.format(file=file))


def test_files_that_are_missing_or_fail(tmp_path):
    with pytest.raises(FileError, match=r"gone\.py does not exist"):
        load_module(f"{tmp_path / 'gone.py'}:make")
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(CheckpointError, match=r"Running .*bad\.py raised ZeroDivisionError"):
        load_module(f"{tmp_path / 'bad.py'}:make")


def library(monkeypatch, name, **functions):
    module = types.ModuleType(name)
    vars(module).update(functions, list_models=lambda: ["resnet18", "resnet34", "vgg11"])
    monkeypatch.setitem(sys.modules, name, module)
    if "." in name:
        monkeypatch.setitem(sys.modules, name.partition(".")[0], types.ModuleType(name.partition(".")[0]))


def test_timm(monkeypatch, tmp_path):
    asked = []
    library(
        monkeypatch, "timm", create_model=lambda name, pretrained: asked.append((name, pretrained)) or nn.Linear(1, 1)
    )
    torch.save({"weight": torch.ones(1, 1), "bias": torch.ones(1)}, tmp_path / "x.pt")
    assert load_module("timm:resnet18", tmp_path / "x.pt").weight.item() == 1
    load_module("timm:resnet34.a1_in1k")
    assert asked == [("resnet18", False), ("resnet34.a1_in1k", True)]
    with pytest.raises(CheckpointError, match=r"timm has no model 'resnet17'\. It has resnet18, "):
        load_module("timm:resnet17")


def test_torchvision(monkeypatch):
    asked = []

    def get_model(name, weights):
        asked.append((name, weights))
        if name == "vgg11":
            raise OSError("no connection")
        return nn.Linear(1, 1)

    library(monkeypatch, "torchvision.models", get_model=get_model)
    load_module("torchvision:resnet18")
    assert asked == [("resnet18", "DEFAULT")]
    with pytest.raises(
        CheckpointError, match=r"can't make 'vgg11': no connection\. If it can't download .* --checkpoint"
    ):
        load_module("torchvision:vgg11")


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_a_library_that_is_not_installed(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=f"{name}:resnet18 needs {name}: pip install {name}"):
        load_module(f"{name}:resnet18")
