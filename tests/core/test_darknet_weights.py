"""Darknet's .weights files, and gen_wts.py with them: what is read, and what the errors say."""

import importlib.util
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import seed_weights
from netdefs.core.errors import CheckpointError, FileError
from netdefs.core.yolo.darknet_layers import Conv, Detect, with_heads
from netdefs.core.yolo.darknet_weights import read_darknet, value_count
from tests.core.darknet_files import NETWORKS, SMALL, small, text_of, write
from tests.reference.yolov2 import Darknet, Yolo
from tests.reference.yolov3 import yolov3_tiny
from tests.reference.yolov4 import TINY, yolov4_tiny

# Bytes of the files that https://pjreddie.com/darknet/yolo and AlexeyAB/darknet's releases offer.
PUBLISHED = {
    "yolov2": 203_934_260,
    "yolov3": 248_007_048,
    "yolov3-tiny": 35_434_956,
    "yolov4-darknet": 257_717_640,
    "yolov4-tiny": 24_251_276,
    "yolov4-csp": 211_944_840,
}


def check_same(checkpoint, module):
    expected = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert set(checkpoint.state_dict) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(checkpoint.state_dict[key], value.numpy(), err_msg=key)


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_have_the_published_size(name):
    header = 16 if name == "yolov2" else 20  # of YOLOv2's days
    assert 4 * value_count(with_heads(NETWORKS[name], 80)) + header == PUBLISHED[name]


@pytest.mark.parametrize(
    "header",
    [struct.pack("<iiiq", 0, 2, 5, 2**40), struct.pack("<iiiii", 0, 2, 0, 7, 0), struct.pack("<iiii", 0, 1, 0, 7)],
    ids=["64 bits", "five integers", "32 bits"],
)
def test_weights_with_a_cfg(tmp_path, header):
    module = small()
    (tmp_path / "small.cfg").write_text(SMALL)
    checkpoint = read_darknet(write(tmp_path / "small.weights", module, header), tmp_path / "small.cfg")
    check_same(checkpoint, module)
    assert checkpoint.eps == {"models.0.bn1": 1e-5, "models.1.bn2": 1e-5}
    assert checkpoint.activation == {"models.0.conv1": "LeakyReLU(0.1)", "models.1.conv2": "LeakyReLU(0.1)"}
    assert (checkpoint.source, checkpoint.wrapping) == ("small.weights", "the layers of small.cfg")


@pytest.mark.parametrize(
    ("name", "build", "classes"), [("yolov3-tiny", yolov3_tiny, 80), ("yolov4-tiny", yolov4_tiny, 3)]
)
def test_weights_of_the_zoo_need_no_cfg(tmp_path, name, build, classes):
    module = build(num_classes=classes)
    checkpoint = read_darknet(write(tmp_path / "my.weights", module), networks=NETWORKS)
    check_same(checkpoint, module)
    assert checkpoint.notes == (f"my.weights has as many values as {name} with {classes} classes.",)


def refuse(path, *words, cfg=None, error=CheckpointError):
    with pytest.raises(error) as raised:
        read_darknet(path, cfg, NETWORKS)
    for word in (path.name, *words):
        assert word in str(raised.value)


def test_too_few_and_too_many_values(tmp_path):
    (tmp_path / "small.cfg").write_text(SMALL)
    path = write(tmp_path / "x.weights", small())
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    refuse(path, "10 are missing", "not complete, or the cfg is that of another network", cfg=tmp_path / "small.cfg")
    path.write_bytes(whole + bytes(12))
    refuse(path, "3 are left over", "not complete, or the cfg is that of another network", cfg=tmp_path / "small.cfg")
    path.write_bytes(whole[:-1])
    refuse(path, "which is not 20 and 4 for each value", cfg=tmp_path / "small.cfg")
    path.write_bytes(whole)
    refuse(path, "none of the networks that netdefs knows", "yolov4-tiny has 6,062,814", "--cfg FILE")


def test_the_first_layers_only(tmp_path):
    (tmp_path / "small.cfg").write_text(SMALL)
    path = write(tmp_path / "small.conv.2.weights", small())
    path.write_bytes(path.read_bytes()[: 20 + 4 * (4 * 4 + 4 * 3 * 9 + 4 * 6 + 6 * 4)])
    refuse(path, "holds the first 2 layers only, for a training to start from", cfg=tmp_path / "small.cfg")


def test_another_class_count(tmp_path):
    (tmp_path / "small.cfg").write_text(SMALL)
    path = write(tmp_path / "x.weights", small(num_classes=7))
    refuse(path, "With 7 classes they would fit: the cfg is that of another training", cfg=tmp_path / "small.cfg")


def test_the_cfg_of_another_network(tmp_path):
    (tmp_path / "small.cfg").write_text(SMALL)
    path = write(tmp_path / "x.weights", yolov4_tiny())
    refuse(path, "as many as yolov4-tiny with 80 classes: leave out --cfg", cfg=tmp_path / "small.cfg")


def test_values_that_can_be_no_variances(tmp_path):
    """As many values as the layers ask for, but in another order: two layers are swapped."""
    (tmp_path / "small.cfg").write_text(SMALL)
    path = write(tmp_path / "x.weights", small())
    values = np.frombuffer(path.read_bytes()[20:], "<f4")
    path.write_bytes(path.read_bytes()[:20] + values[::-1].tobytes())
    refuse(path, "models.0.bn1.running_var would be negative", cfg=tmp_path / "small.cfg")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin with a version"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(40)), "looks like a PNG image"),
        (b"PK\x03\x04" + b"x" * 40, "looks like a zip archive or a PyTorch checkpoint"),
        (b"<!doctype html><html>Google Drive can't scan this file", "looks like a web page"),
        (struct.pack("<iii", 0, 2, 5), "it is cut off, or damaged"),
    ],
)
def test_what_is_no_weights_file(tmp_path, content, words):
    path = tmp_path / "x.weights"
    path.write_bytes(content)
    refuse(path, words)


def test_missing_files(tmp_path):
    refuse(tmp_path / "x.weights", "does not exist", error=FileError)
    path = write(tmp_path / "x.weights", small())
    with pytest.raises(FileError, match=r"There is no cfg file .*y.cfg"):
        read_darknet(path, tmp_path / "y.cfg")


@pytest.fixture(scope="module")
def gen_wts():
    path = Path(__file__).parents[2] / "tools" / "gen_wts.py"
    spec = importlib.util.spec_from_file_location("gen_wts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_knows_the_zoos_networks(gen_wts):
    assert gen_wts.darknet_networks() == NETWORKS


def test_from_weights_to_boxes(tmp_path, monkeypatch, capsys, gen_wts):
    """gen_wts, the variant and the class count by the names, and what PyTorch makes of a picture."""
    monkeypatch.chdir(tmp_path)
    module = seed_weights(yolov4_tiny(num_classes=3), input_shape=(2, 3, 64, 64))
    write(Path("my.weights"), module)
    assert gen_wts.main(["my.weights"]) == 0
    said = capsys.readouterr()
    assert "from yolov4-tiny with 3 classes of my.weights; eps of 19 BatchNorms" in said.out
    x = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    with netdefs.yolov4.build_engine("weights/my.wts", input_shape=x.shape, target="cpu") as engine:
        got = engine.run({"input": x})
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value.numpy(), rtol=1e-3, atol=1e-4)


def test_what_the_cfg_has_of_its_own_counts(tmp_path, monkeypatch, capsys, gen_wts):
    """Another activation goes the way of the .wts.json into the network; other anchors must be given, and are told."""
    monkeypatch.chdir(tmp_path)
    other = [(20, 20), (40, 40), (60, 60)]
    module = Darknet("[mish] " + TINY, [Yolo(other, 32, 1.05), Yolo(other, 16, 1.05)], num_classes=3)
    write(Path("my.weights"), seed_weights(module, input_shape=(2, 3, 64, 64)))
    layers = with_heads(netdefs.yolov4.TINY, 3, [tuple(other)] * 2)
    mish = [replace(x, activation="mish") if isinstance(x, Conv) and x.batch_norm else x for x in layers]
    Path("my.cfg").write_text(text_of(mish))
    assert gen_wts.main(["my.weights", "--cfg", "my.cfg"]) == 0
    assert (
        "other anchors than yolov4-tiny, which must then be given: anchors=[[(20.0, 20.0)," in capsys.readouterr().err
    )
    assert set(json.loads(Path("weights/my.wts.json").read_text())["activation"].values()) == {"Mish"}
    x = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    with netdefs.yolov4.build_engine(
        "weights/my.wts", input_shape=x.shape, anchors=[other, other], target="cpu"
    ) as engine:
        got = engine.run({"input": x})
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value.numpy(), rtol=1e-3, atol=1e-4)


def test_with_a_cfg_the_file_can_have_any_name(tmp_path, monkeypatch, capsys, gen_wts):
    monkeypatch.chdir(tmp_path)
    Path("small.cfg").write_text(SMALL)
    write(Path("small.backup"), small())
    assert gen_wts.main(["small.backup", "--cfg", "small.cfg", "--dry-run"]) == 0
    assert "models.3.conv3.weight" in capsys.readouterr().out
    torch.save(small().state_dict(), "small.pt")
    assert gen_wts.main(["small.pt", "--cfg", "small.cfg"]) == 2
    assert "looks like a zip archive or a PyTorch checkpoint" in capsys.readouterr().err


def test_another_way_to_decode_is_told(tmp_path):
    """yolov4-tiny.cfg suggests it in a comment."""
    layers = with_heads(netdefs.yolov4.TINY, 80)
    new = [replace(x, new_coords=True, scale_xy=2.0) if isinstance(x, Detect) else x for x in layers]
    (tmp_path / "my.cfg").write_text(text_of(new))
    checkpoint = read_darknet(write(tmp_path / "my.weights", yolov4_tiny()), tmp_path / "my.cfg", NETWORKS)
    assert checkpoint.notes[1] == "The cfg decodes boxes otherwise than yolov4-tiny: only decode='raw' is right for it."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "x:y", "--cfg", "x.cfg"], "--cfg goes with a .weights file of darknet, not with --model"),
        (["x.weights", "--prefix", "model."], "are not for darknet's files: they hold no names"),
        (["x.weights", "--skip", "a*"], "are not for darknet's files: they hold no names"),
        (["x.backup", "--cfg", "x.cfg", "--unsafe-pickle"], "are not for darknet's files: they hold no names"),
    ],
)
def test_options_that_would_do_nothing(gen_wts, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        gen_wts.main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
