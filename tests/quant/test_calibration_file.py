"""Calibrations as files: ours, TensorRT's caches, and what is neither."""

import json
import struct

import numpy as np
import pytest

import netdefs
from netdefs import NetdefsError
from netdefs.quant import Calibration, Recording


@pytest.fixture
def calibration():
    recording = Recording("lenet5", "ab" * 32, {"input": (4, 1, 32, 32)}, {"color": "GRAY", "mean": (0.1,)}, pictures=4)
    rng = np.random.default_rng(0)
    for name in ("input", "conv1.relu", "fc1.relu"):
        recording.add(name, rng.standard_normal(100).astype(np.float32), "a.png")
    recording.add("dead", np.zeros(5, np.float32), "a.png")
    return recording.calibration("mse")


class Owner:
    """What `check` asks of a network."""

    def __init__(self, name="lenet5", sha256="ab" * 32, activations=("input", "conv1.relu")):
        self.name, self.activations = name, dict.fromkeys(activations, "conv")
        self.weights = type("Weights", (), {"sha256": sha256, "source": "lenet5.wts"})()


def test_saved_and_loaded(calibration, tmp_path):
    calibration.save(tmp_path / "c.json")
    assert netdefs.Calibration.load(tmp_path / "c.json") == calibration
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["tensors"]["input"]["picture"] == "a.png"
    assert content["tensors"]["dead"]["zeros"] == 1
    lines = (tmp_path / "c.json").read_text().splitlines()
    assert sum('"amax"' in line for line in lines) == len(calibration.amax)  # a line each


def test_a_tensor_that_is_always_zero_has_a_range_and_is_named(calibration):
    assert calibration.amax["dead"] == 1
    assert "dead" in calibration.notes[0]


def test_scale(calibration):
    assert calibration.scale("input") == np.float32(calibration.amax["input"] / 127)
    with pytest.raises(NetdefsError, match="Near: input"):
        calibration.scale("inputs")


def test_check_accepts_its_own_network(calibration):
    calibration.check(Owner())


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (Owner(name="resnet50"), "a calibration of lenet5, the network is resnet50"),
        (
            Owner(sha256="cd" * 32),
            "other weights .hash abababababab. than those of this one .hash cdcdcdcdcdcd, lenet5",
        ),
        (Owner(activations=["x"]), "No tensor of lenet5 is in this calibration: the network has x"),
    ],
)
def test_check_refuses_another(calibration, owner, said):
    with pytest.raises(NetdefsError, match=said):
        calibration.check(owner)


CACHE = """TRT-7202-EntropyCalibration2
data: 3c008912
conv1: 3c60dd38
(Unnamed Layer* 4) [Fully Connected]_output: 3d65992f
"""


def test_a_cache_of_tensorrt_is_read(tmp_path):
    (tmp_path / "int8.cache").write_text(CACHE)
    found = Calibration.load(tmp_path / "int8.cache")
    assert found.scale("data") == struct.unpack("!f", bytes.fromhex("3c008912"))[0]
    assert list(found.amax)[2] == "(Unnamed Layer* 4) [Fully Connected]_output"
    assert (found.method, found.network, found.weights_sha256) == ("entropy", "", None)
    found.check(Owner(activations=["data"]))
    with pytest.raises(NetdefsError, match="No tensor of lenet5"):
        found.check(Owner())


def test_a_cache_is_written_as_it_was_read(tmp_path):
    (tmp_path / "in.cache").write_text(CACHE)
    Calibration.load(tmp_path / "in.cache").save_cache(tmp_path / "out.cache", tensorrt=7202)
    assert (tmp_path / "out.cache").read_text() == CACHE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CACHE + "data: 3c008912\n", "line 5: the tensor 'data' is there twice"),
        (CACHE + "pool: 3c00891\nfoo\n", "line 6: 'foo' is no"),
        (CACHE + "pool: 00000000\n", "line 5: the scale of 'pool' is 0"),
        (CACHE + "pool: ffc00000\n", "line 5: the scale of 'pool' is nan"),
        ("TRT-7202-EntropyCalibration2\n", "holds no scale"),
        ("hello", "neither a calibration that netdefs wrote nor a TensorRT calibration cache"),
        ("[1]", "its format is None"),
        ('{"format": "netdefs calibration 9"}', "its format is 'netdefs calibration 9'"),
        ('{"format": "netdefs calibration 1"}', "is damaged"),
    ],
)
def test_damaged_files(tmp_path, text, said):
    (tmp_path / "c").write_text(text)
    with pytest.raises(NetdefsError, match=said):
        Calibration.load(tmp_path / "c")


@pytest.mark.parametrize("amax", [0, -1, float("inf"), float("nan"), None, "x"])
def test_damaged_numbers(calibration, tmp_path, amax):
    calibration.save(tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    content["tensors"]["input"]["amax"] = amax
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(NetdefsError, match="is damaged"):
        Calibration.load(tmp_path / "c.json")


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(NetdefsError, match="No such file"):
        Calibration.load(tmp_path / "none.json")
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetdefsError, match="it is no text"):
        Calibration.load(tmp_path / "c.json")
