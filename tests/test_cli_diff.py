"""`netdefs diff` on several inputs, on a stretch, on pictures that the network normalizes itself; and its --repro."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from skimage import data

import netdefs
from examples.lenet_torch import lenet5
from netdefs.cli import main

SPEC = ["lenet5", "examples.lenet_torch:lenet5", "--checkpoint", "lenet5.pth"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """LeNet-5's weights and checkpoint, another one with a wrong bias, two pictures and two arrays."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = lenet5()
    torch.save(module.state_dict(), "lenet5.pth")
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    (tmp_path / "weights").mkdir()
    netdefs.save_wts("weights/lenet5.wts", weights)
    netdefs.save_wts("wrong.wts", {**weights, "conv2.bias": weights["conv2.bias"] + 1})
    (tmp_path / "photos").mkdir()
    cv2.imwrite("photos/a.png", cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
    cv2.imwrite("photos/b.png", cv2.cvtColor(data.coffee(), cv2.COLOR_RGB2BGR))
    for i in range(2):
        np.save(f"{i}.npy", np.random.default_rng(i).random((1, 1, 32, 32), dtype=np.float32))
    return tmp_path


def report(capsys, *options, code=0):
    assert main(["diff", *SPEC, *options, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def fails(capsys, options, *words):
    assert main(["diff", *SPEC, *options]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for word in words:
        assert word in said, said


def test_several_inputs(folder, capsys):
    assert report(capsys)["labels"] == []
    assert report(capsys, "--random", "1")["labels"] == []
    assert report(capsys, "--random", "2")["labels"] == ["input 1 of 2, random 0", "input 2 of 2, random 1"]
    assert report(capsys, "--input", "0.npy", "1.npy")["labels"] == ["input 1 of 2, 0.npy", "input 2 of 2, 1.npy"]
    pictures = ["input 1 of 2, a.png", "input 2 of 2, b.png"]
    assert report(capsys, "--image", "photos")["labels"] == pictures
    assert report(capsys, "--image", "photos/a.png", "photos/b.png")["labels"] == pictures
    wrong = report(capsys, "-w", "wrong.wts", "--image", "photos", code=1)
    assert "Wrong with 2 of 2 inputs, most with input" in wrong["verdict"]
    assert wrong["first_bad"] == "conv2"


def test_pictures_in_batches(folder, capsys):
    assert report(capsys, "--image", "photos", "--input-shape", "2x1x32x32")["labels"] == []
    assert report(capsys, "--image", "photos", "--input-shape", "1:1:4x1x32x32")["labels"] != []
    fails(capsys, ["--image", "photos/a.png", "--input-shape", "2x1x32x32"], "1 pictures", "takes 2 at a time")


def test_a_stretch(folder, capsys):
    rows = [row["name"] for row in report(capsys, "--from", "conv2", "--to", "fc1")["rows"]]
    assert (rows[0], rows[-1]) == ("conv2", "fc1")
    assert report(capsys, "-w", "wrong.wts", "--from", "fc1")["ok"]
    fails(capsys, ["--from", "conv9"], "start='conv9'", "Near: conv2")


def test_a_repro(folder, capsys):
    assert main(["diff", *SPEC, "-w", "wrong.wts", "--repro", "first"]) == 1
    assert "python repro-conv2/repro.py" in capsys.readouterr().out
    done = subprocess.run([sys.executable, "repro-conv2/repro.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "They differ." in done.stdout
    fails(capsys, ["--repro", "conv2"], "not empty", "--force")
    assert main(["diff", *SPEC, "--repro", "conv2", "--force"]) == 0
    assert main(["diff", *SPEC, "--repro", "fc1", "--repro-to", "here"]) == 0
    assert (folder / "here" / "README.md").exists()
    assert main(["diff", *SPEC, "--repro", "first", "--repro-to", "nothing"]) == 0
    assert not (folder / "nothing").exists()
    fails(capsys, ["--repro-to", "there"], "--repro-to", "--repro LAYER")
    fails(capsys, ["--repro", "conv7"], "no row or block 'conv7'", "Near: conv2")


def test_pictures_that_the_network_normalizes_itself(folder, capsys):
    found = report(capsys, "--preprocess", "in_network", "--image", "photos")
    assert found["ok"]
    assert "The network was fed its own" in found["answers"]["inputs"]
    assert found["inputs"][0]["dtype"] == "uint8"
    fails(capsys, ["--preprocess", "in_network"], "lenet5 takes pictures and normalizes them itself", "give --image")
    fails(capsys, ["--preprocess", "in_network", "--random", "2"], "give --image")


def test_what_is_refused(folder, capsys):
    fails(capsys, ["--image", "nowhere"], "There is no picture, video or folder nowhere")
    fails(capsys, ["--input", "0.npy", "nowhere.npy"], "nowhere.npy")
    with pytest.raises(SystemExit):
        main(["diff", *SPEC, "--random", "0"])
    with pytest.raises(SystemExit):
        main(["diff", *SPEC, "--random", "2", "--input", "0.npy"])
