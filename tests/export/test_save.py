"""Models as files: what is in them, external data, failed writes, memory."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest

import netdefs.export.save
from netdefs.core.errors import ExportError, FileError
from netdefs.export import to_onnx
from tests.export.nets import Net, export, floats, run, trt


@pytest.fixture
def net():
    net = Net()
    layer = net.definition.add_convolution_nd(net.input("x", (-1, 3, 8, 8)), 4, (3, 3), floats(4, 3, 3, 3), floats(4))
    net.output(net.definition.add_activation(layer.get_output(0), trt.ActivationType.RELU))
    return net


def test_the_file_is_the_model(net, tmp_path):
    model = to_onnx(net.definition, tmp_path / "x.onnx")
    assert onnx.load(tmp_path / "x.onnx") == model == to_onnx(net.definition)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def external(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("limit", [False, True], ids=["asked for", "too large for one message"])
def test_external_data(tmp_path, monkeypatch, limit):
    net = Net()
    w = floats(64, 64, 3, 3)
    net.output(net.definition.add_convolution_nd(net.input("x", (1, 64, 8, 8)), 64, (3, 3), w, floats(64)))
    if limit:
        monkeypatch.setattr(netdefs.export.save, "LARGEST_MESSAGE", 1000)
    path = tmp_path / "x.onnx"
    model = to_onnx(net.definition, path, external_data=None if limit else True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.onnx", "x.onnx.data"]
    assert path.stat().st_size < 4000
    assert [each.name for each in model.graph.initializer if each.external_data] == ["y.weight"]
    onnx.checker.check_model(str(path), full_check=True)
    feeds = {"x": floats(1, 64, 8, 8)}
    assert (external(path).run(None, feeds)[0] == run(export(net), feeds)["y"]).all()
    assert (onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]) == w).all()


def test_one_file_can_not_hold_more_than_a_message(net, tmp_path, monkeypatch):
    monkeypatch.setattr(netdefs.export.save, "LARGEST_MESSAGE", 100)
    with pytest.raises(ExportError, match="do not fit into one file"):
        to_onnx(net.definition, tmp_path / "x.onnx", external_data=False)
    assert not list(tmp_path.iterdir())


def test_external_data_needs_a_path(net):
    with pytest.raises(ExportError, match="needs a path"):
        to_onnx(net.definition, external_data=True)


@pytest.mark.parametrize("external_data", [None, True])
def test_a_failed_write_leaves_what_was_there(net, tmp_path, monkeypatch, external_data):
    path = tmp_path / "x.onnx"
    to_onnx(net.definition, path, external_data=external_data)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        to_onnx(net.definition, path, external_data=external_data)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_folder_that_is_not_there(net, tmp_path):
    with pytest.raises(FileError, match="No such file"):
        to_onnx(net.definition, tmp_path / "nowhere" / "x.onnx")


# A process's own high-water mark: what getrusage tells begins with the memory of the process that started this one.
MEMORY = """
import sys
from pathlib import Path
import numpy as np
from tests.export.nets import Net
from netdefs.export import to_onnx

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

net = Net()
x = net.input("x", (1, 512, 8, 8))
weights = [np.full((512 if i < 14 else 4096, 512, 3, 3), i, np.float32) for i in range(15)]
for w in weights:
    layer = net.definition.add_convolution_nd(x, len(w), (3, 3), w)
    layer.padding_nd = (1, 1)
    x = layer.get_output(0)
net.definition.mark_output(x)
size = sum(w.nbytes for w in weights)
before = memory("VmRSS")
model = to_onnx(net.definition, sys.argv[1], external_data=sys.argv[2] == "True")
print((memory("VmHWM") - before) / size)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's account of the process")
@pytest.mark.parametrize(("external_data", "limit"), [("False", 1.15), ("True", 0.1)])
def test_weights_are_copied_once(tmp_path, external_data, limit):
    """The network's own arrays, 208 MB, are there before; the model adds one copy, external data none.

    The last array is a third of them: put into the model last, it would be there twice when all others are there too.
    """
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "x.onnx"), external_data]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert float(found.stdout) < limit
