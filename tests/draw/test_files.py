"""The files that are drawn, and the command."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import netdefs
from netdefs.cli import main
from netdefs.core.errors import FileError, InputError, MissingPackageError
from netdefs.draw import draw
from netdefs.draw.drawing import side_by_side
from tests.draw.nets import PICTURE, Small, of_zoo, small


@pytest.mark.parametrize("suffix", ["html", "svg", "dot"])
def test_the_same_network_gives_the_same_bytes(tmp_path, suffix):
    for name in ("one", "two"):
        draw(small(), tmp_path / f"{name}.{suffix}", beside=Small(), inputs=PICTURE)
    assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_the_picture_in_the_docs(tmp_path):
    draw(of_zoo("hrnet", "hrnet_w18_small"), tmp_path / "draw.svg", depth=0)
    kept = Path(__file__).parents[2] / "docs" / "draw.svg"
    again = "netdefs draw hrnet_w18_small --depth 0 -o docs/draw.svg --force"
    assert kept.read_bytes() == (tmp_path / "draw.svg").read_bytes(), f"docs/draw.svg is old. Draw it again: {again}"


def test_png(tmp_path):
    pytest.importorskip("resvg_py", reason="the extra 'draw' is not installed")
    pytest.importorskip("font_roboto", reason="the extra 'draw' is not installed")
    import cv2

    draw(small(), tmp_path / "net.png", depth=0)
    draw(small(), tmp_path / "again.png", depth=0)
    draw(small(), tmp_path / "net.svg", depth=0)
    assert (tmp_path / "net.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    picture = cv2.imread(str(tmp_path / "net.png"))
    size = ElementTree.parse(tmp_path / "net.svg").getroot().attrib
    assert picture.shape == (2 * int(size["height"]), 2 * int(size["width"]), 3)
    # Text is there, though the machine's own fonts are not used: many dark pixels beside what boxes and lines have.
    assert np.count_nonzero(picture.max(axis=2) < 80) > 3000


def test_dot(tmp_path):
    draw(small(), tmp_path / "net.dot", depth=1)
    text = (tmp_path / "net.dot").read_text()
    assert '"stem" -> "blocks.0.*" [label="1×8×8×8"]' in text
    assert 'subgraph "cluster_blocks.*"' in text and '"concat" [label="concat\\nConcat  fp32\\naxis 1"' in text
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed: its parser was not asked")
    plain = subprocess.run(["dot", "-Tplain", tmp_path / "net.dot"], capture_output=True, text=True, check=True).stdout
    assert sum(line.startswith("node ") for line in plain.splitlines()) == len(re.findall(r'^ +"[^"]+" \[', text, re.M))


def test_partners():
    left, right = side_by_side(small(), Small(), PICTURE)
    assert left["matched"] == "10 of 10 modules have a layer"
    partners = {node["id"]: node["partner"] for node in walk(left["root"])}
    assert partners["blocks.0.conv1"] == "blocks.0.conv1" and partners["blocks.1.*"] == "blocks.1.*"
    assert partners["blocks.0.conv1.relu"] == "blocks.0.relu"  # the ReLU that is given what conv1 returns
    assert partners["blocks.0"] == "blocks.0.*"
    assert partners["fc.*"] == partners["fc.matmul"] == "fc"
    assert partners["concat"] == "concat()" and partners["blocks.0.add"] == "blocks.0.add()"
    back = {node["id"]: node["partner"] for node in walk(right["root"])}
    assert back["blocks.1.*"] == "blocks.1.*"
    assert back["blocks.0.relu#2"] == "blocks.0" and back["fc"] == "fc.*"


def test_what_has_no_partner_stands_out(tmp_path):
    left, right = side_by_side(small(lacking=["relu"]), Small(), PICTURE)
    assert left["matched"] == "8 of 10 modules have a layer. Modules without: blocks.0.relu, blocks.1.relu"
    alone = [node["id"] for node in walk(right["root"]) if node["kind"] == "layer" and node["alone"]]
    assert alone == ["blocks.0.relu", "blocks.1.relu"]
    assert next(node["alone"] for node in walk(right["root"]) if node["id"] == "blocks.*") == "2 without partner"
    left, _ = side_by_side(small(), Small().blocks[0], np.zeros((1, 8, 8, 8), np.float32))
    assert "Layers with weights and no module: stem, blocks.0.conv1," in left["matched"]
    draw(small(lacking=["relu"]), tmp_path / "net.svg", beside=Small(), inputs=PICTURE, depth=2)
    assert (tmp_path / "net.svg").read_text().count('class="alone"') == 2


def walk(node):
    yield node
    for child in node.get("children", ()):
        yield from walk(child)


def test_wrong_use(tmp_path):
    with pytest.raises(InputError, match=r"net\.pdf: a drawing is \.html, \.svg, \.png, \.dot"):
        draw(small(), tmp_path / "net.pdf")
    for depth in (-1, 1.5, True):
        with pytest.raises(InputError, match="number of levels"):
            draw(small(), tmp_path / "net.svg", depth=depth)
    with pytest.raises(FileError, match="Can't write"):
        draw(small(), tmp_path / "no" / "net.svg")
    assert not any(tmp_path.iterdir())
    plan = type("Plan", (), {"target": "tensorrt_rtx"})()
    with pytest.raises(InputError, match="engine for tensorrt_rtx holds no layers"):
        draw(plan, tmp_path / "net.svg")


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingPackageError, match=r"netdefs\[draw\]"):
        draw(small(), tmp_path / "net.png")
    draw(small(), tmp_path / "net.svg")


MODULE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)

    def forward(self, x):
        return self.conv1(x).relu()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODULE)
    return tmp_path


def test_command(folder, capsys):
    assert main(["draw", "lenet5"]) == 0  # without weights
    assert "lenet5 has no weights here" in capsys.readouterr().out
    assert "<!DOCTYPE html>" in (folder / "lenet5.html").read_text()[:20]
    assert main(["draw", "lenet5", "--module", "net.py:Net", "-o", "both.svg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"drawing": "both.svg", "bytes": (folder / "both.svg").stat().st_size}
    assert main(["draw", "--module", "net.py:Net", "--input-shape", "1x1x32x32", "-o", "module.svg"]) == 0
    assert "1×6×28×28" in (folder / "module.svg").read_text()
    assert main(["draw", "lenet5", "--input-shape", "1:2:4x1x32x32", "--module", "net.py:Net", "-o", "open.svg"]) == 0
    assert "batch×6×28×28" in (folder / "open.svg").read_text()


def test_command_on_files(folder, capsys):
    with netdefs.build(small(), target="cpu") as engine:
        engine.save("small.engine")
    netdefs.to_onnx(small(), "small.onnx")
    for name in ("small.engine", "small.onnx"):
        assert main(["draw", name, "-o", f"{name}.svg", "--depth", "2"]) == 0
        assert ">conv1<" in (folder / f"{name}.svg").read_text()
    assert (folder / "small.onnx.svg").read_text() == (folder / "small.engine.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name a network to draw"),
        (["lenet5", "-o", "net.pdf"], ".html, .svg, .png, .dot"),
        (["lenet5", "--depth", "-1"], "depth=-1"),
        (["lenet5", "-o", "net.py"], "a drawing is"),
        (["lenet6"], "Near: lenet5"),
        (["--module", "net.py:Net"], "--input-shape"),
        (["--module", "net.py:Nat", "--input-shape", "1x1x32x32"], "no function or class is called 'Nat'"),
        (["net.onnx"], "There is no file net.onnx"),
        (["lenet5", "--module", "net.py:Net", "--config", "bogus=1"], "no argument 'bogus'"),
    ],
)
def test_command_refusals(folder, capsys, arguments, words):
    assert main(["draw", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_command_replaces_only_by_force(folder, capsys):
    (folder / "lenet5.svg").write_text("mine")
    assert main(["draw", "lenet5", "-o", "lenet5.svg"]) == 2
    assert (folder / "lenet5.svg").read_text() == "mine"
    assert main(["draw", "lenet5", "-o", "lenet5.svg", "--force"]) == 0
