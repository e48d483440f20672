"""`netdefs scaffold`, from a module to a file that is clean; and what it says where it can't be."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.cli import main
from netdefs.core.errors import FileError, InputError
from netdefs.scaffold import scaffold
from netdefs.scaffold.writing import variant_of
from tests.scaffold import models

MODELS = "tests.scaffold.models"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    """The exit code and what was printed."""
    code = main(["scaffold", *map(str, arguments)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_clean_draft(folder, capsys):
    code, out, err = run(capsys, f"{MODELS}:unet", "--input", "1x3x64x96", "-o", "unet.py")
    assert code == 0 and not err.strip()
    assert out.startswith("unet.py: clean. ") and "also with batch 3 of 96x160" in out
    module = models.unet().eval()
    for batch, size in ((1, (64, 96)), (2, (40, 72))):
        x = np.random.default_rng(0).standard_normal((batch, 3, *size), dtype=np.float32)
        network = load(folder / "unet.py").define_network(module.state_dict(), input_shape=x.shape)
        assert netdefs.compare(network, module, x).ok


def test_json_and_no_compiling(folder, capsys):
    arguments = (f"{MODELS}:panoptic_fpn", "--input", "1x3x64x64", "-o", "fpn.py", "--json", "--no-compile")
    code, out, _ = run(capsys, *arguments)
    found = json.loads(out)
    assert code == 0 and found["clean"] and found["path"] == "fpn.py"
    assert found["lines"] == len((folder / "fpn.py").read_text().splitlines())
    (variant,) = found["variants"]
    assert variant["variant"] == "panoptic_fpn" and variant["error"] < 1e-5 and not variant["compiled"]
    assert not variant["notes"]


def test_several_inputs_by_name(folder, capsys):
    inputs = ("--input", "condition:1x4", "--input", "images:1x3x32x32")
    code, out, _ = run(capsys, f"{MODELS}:two_inputs", *inputs, "-o", "two.py", "--no-compile")
    assert code == 0 and "two.py: clean" in out


def test_variants_and_arguments(folder, capsys):
    variants = (f"{MODELS}:unet", "--variant", f"narrow={MODELS}:narrow_unet")
    code, _, err = run(
        capsys, *variants, "--input", "1x3x32x32", "-o", "unets.py", "--no-compile", "--arg", "classes=3"
    )
    assert code == 0 and not err
    found = load(folder / "unets.py")
    assert list(found.VARIANTS) == ["unet", "narrow"] and found.VARIANTS["unet"] != found.VARIANTS["narrow"]
    module, x = models.narrow_unet(3), np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    assert netdefs.compare(found.define_network(module.state_dict(), "narrow"), module, x).ok


def test_a_gap(folder, capsys):
    arguments = (f"{MODELS}:gapped", "--input", "1x3x32x32", "-o", "gapped.py")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and not (folder / "gapped.py").exists()
    assert "aten.fft_fft2.default in the module itself (models.py, line " in err and "--partial" in err
    code, out, _ = run(capsys, *arguments, "--partial")
    assert code == 1 and out.startswith("gapped.py: incomplete. ") and "Gap: aten.fft_fft2.default" in out
    # What lies before the gap and what lies behind it was compared all the same.
    module, x = models.gapped(), np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    network = load(folder / "gapped.py").define_network(module.state_dict())
    assert list(network.info["gaps"]) == ["abs"] and "gap(x" in (folder / "gapped.py").read_text()
    report = netdefs.compare(network, module, x)
    assert report.ok and {"before.conv", "after.conv", "head"} <= {row.name for row in report.rows}


def test_a_checkpoint(folder, capsys):
    module = models.unet()
    torch.save({"state_dict": {f"net.{key}": value for key, value in module.state_dict().items()}}, "net.pt")
    arguments = (f"{MODELS}:unet", "--input", "1x3x32x32", "-o", "unet.py", "--no-compile", "--checkpoint", "net.pt")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "give --prefix net." in err and not (folder / "unet.py").exists()
    code, out, _ = run(capsys, *arguments, "--prefix", "net.")
    assert code == 0 and "clean" in out


REFUSED = [
    ((), "Name a module: timm:NAME"),
    ((f"{MODELS}:unet",), "Give --input"),
    ((f"{MODELS}:unet", "--input", "1,3"), "'1,3' is no input"),
    ((f"{MODELS}:nothing", "--input", "1x3x32x32"), "no function or class is called 'nothing'"),
    ((f"{MODELS}:unet", "--input", "1x4x32x32"), "can't run on 1x4x32x32"),
    ((f"{MODELS}:unet", "--prefix", "a."), "--prefix and --skip are about the names in a --checkpoint"),
    ((f"{MODELS}:unet", "--variant", f"b={MODELS}:unet", "--checkpoint", "x.pt"), "--checkpoint is for one module"),
    ((f"{MODELS}:unet", "--variant", f"unet={MODELS}:unet"), "which is given twice"),
    ((f"{MODELS}:unet", "--arg", "width=8", "--arg", "width=9"), "the same name twice"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(folder, capsys, arguments, says):
    code, _, err = run(capsys, *arguments, "-o", "x.py")
    assert code == 2 and says in err and not (folder / "x.py").exists()


@pytest.mark.parametrize("output", ["x.txt", "my-net.py", "1.py", "no/x.py"])
def test_names_of_the_file(folder, capsys, output):
    code, _, err = run(capsys, f"{MODELS}:unet", "--input", "1x3x32x32", "-o", output)
    assert code == 2 and ("can be imported" in err or "no folder" in err)


def test_a_file_is_not_written_over(folder, capsys):
    (folder / "unet.py").write_text("mine")
    arguments = (f"{MODELS}:unet", "--input", "1x3x32x32", "-o", "unet.py", "--no-compile")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "already exists" in err and (folder / "unet.py").read_text() == "mine"
    assert run(capsys, *arguments, "--force")[0] == 0


def test_from_python(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).train()
    verdict = scaffold(module, torch.ones(2, 3, 16, 16), tmp_path / "net.py", compiles=False)
    assert verdict.clean and verdict.variants[0].variant == "sequential" and module.training
    with pytest.raises(FileError, match="already exists"):
        scaffold(module, torch.ones(2, 3, 16, 16), tmp_path / "net.py")
    for wrong, inputs, says in (
        (module.state_dict(), torch.ones(1), "is a Tensor: that is no torch.nn.Module"),
        (module, [torch.ones(1)], "Several inputs are a dict"),
        (module, np.ones(()), "must be an array or tensor"),
        (module, np.ones((1, 3, 8, 8), np.complex64), "complex64"),
        ({}, torch.ones(1), "There is no module"),
    ):
        with pytest.raises(InputError, match=says):
            scaffold(wrong, inputs, tmp_path / "other.py")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("timm:resnet50.a1_in1k", "resnet50_a1_in1k"),
        ("torchvision:resnet18", "resnet18"),
        ("package.models:build_net", "build_net"),
        ("net.py:MyNet.small", "small"),
        ("net.py:MyNet", "my_net"),
    ],
)
def test_what_a_variant_is_called(source, name):
    assert variant_of(source) == name
