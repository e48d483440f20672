"""`netdefs capture`, and `netdefs diff` with the file that it writes."""

import json

import numpy as np
import pytest
import torch

import netdefs
from netdefs.cli import main
from tests.debug.nets import Net, network, picture, seeded

SPEC = "tests/debug/nets.py:Net"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An engine with a fault, a checkpoint, an input and a capture of it."""
    folder = tmp_path_factory.mktemp("captures")
    module = seeded(Net())
    torch.save(module.state_dict(), folder / "net.pth")
    np.save(folder / "x.npy", picture())
    with netdefs.build(network(module, "order"), target="cpu") as engine:
        engine.save(folder / "order.engine")
    arguments = ["--checkpoint", str(folder / "net.pth"), "--input", str(folder / "x.npy")]
    assert main(["capture", SPEC, *arguments, "-o", str(folder / "ref.safetensors")]) == 0
    return folder


def test_capture_and_diff(folder, capsys):
    assert main(["diff", str(folder / "order.engine"), str(folder / "ref.safetensors"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["first_bad"], report["cause"]["kind"]) == ("cat", "concat_order")


def test_samples_of_several_random_inputs(folder, capsys):
    path = folder / "sampled.safetensors"
    options = ["--random", "2", "--input-shape", "2x3x32x48", "--samples", "64", "--layers", "layer*", "--json"]
    assert main(["capture", SPEC, "--checkpoint", str(folder / "net.pth"), *options, "-o", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(path), "bytes": path.stat().st_size}
    assert main(["diff", str(folder / "order.engine"), str(path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["mode"], report["first_bad"]) == (64, "chained", "logits")
    assert [label.rpartition(", ")[2] for label in report["labels"]] == ["random 0", "random 1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Give an input: --input FILE.npy, --like VARIANT --image FILE, or --input-shape for noise."),
        (["--image", "a.jpg"], "--image needs --like VARIANT"),
        (["--input", "x.npy", "--like", "resnet18"], "--input is fed as it is"),
        (["--input-shape", "1:2:4x3x8x8"], "one shape here"),
        (["--input-shape", "1x3x8x8", "--prefix", "a."], "--prefix and --skip are about the names in a --checkpoint"),
        (["--like", "resnet19"], "neither a file nor a variant"),
        (["--input-shape", "1x3x8x8", "--samples", "3"], "samples=3"),
    ],
)
def test_what_capture_refuses(tmp_path, capsys, options, message):
    assert main(["capture", SPEC, *options, "-o", str(tmp_path / "a.safetensors")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_exists_is_kept(folder, capsys):
    assert main(["capture", SPEC, "--input-shape", "1x3x8x8", "-o", str(folder / "ref.safetensors")]) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--image", "--input", "--random", "--checkpoint"])
def test_diff_takes_no_input_with_a_capture(folder, capsys, option):
    arguments = ["diff", str(folder / "order.engine"), str(folder / "ref.safetensors"), option, "1"]
    assert main(arguments) == 2
    assert f"{option} is for a PyTorch module" in capsys.readouterr().err
