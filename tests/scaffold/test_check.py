"""The check of a draft finds what is wrong with it: planted mistakes in a file that was clean."""

import re
import sys
from pathlib import Path

import pytest
import torch

from netdefs.scaffold.check import check
from netdefs.scaffold.inputs import Input
from netdefs.scaffold.origin import open_origin

INPUTS = [Input("", (1, 3, 32, 32))]
DRAFT = """
from netdefs.core.blocks import conv_bn_relu
from netdefs.core.preprocess import IMAGENET, Decode
from netdefs.core.zoo import Model

VARIANTS = {"small": {}}


def define(net, x, variant="small"):
    maps = []
    x = conv_bn_relu(net / "backbone" / "stem", x, "conv", "bn", 16, kernel=3, stride=2, relu="act")
    for name, width in (("c2", 16), ("c3", 24), ("c4", 32)):
        x = conv_bn_relu(net / "backbone" / "stages" / name, x, "conv", "bn", width, kernel=3, stride=2, relu="act")
        maps.append(net.conv(x, f"neck.lateral.{len(maps)}", 24, kernel=1))
    for i in (2, 1):
        up = net.upsample(maps[i], f"up{i}", 2)
        maps[i - 1] = net.add(maps[i - 1], up, f"sum{i}")
    outputs = {}
    for i, x in enumerate(maps):
        x = net.conv(x, f"neck.smooth.{i}", 24, kernel=3, padding=1)
        x = (net / "norm").call(i).group_norm(x, None, 4)
        outputs[f"out{i}"] = net.output(net.conv(net.silu(x, f"silu{i}"), f"heads.{i}", 5, kernel=1), f"out{i}")
    return outputs


model = Model(__name__, define, VARIANTS, input_shape=(1, 3, 32, 32), preprocess=IMAGENET, decode=Decode("unknown"))
define_network = model.define_network
"""


@pytest.fixture(scope="module")
def origin():
    return open_origin("tests.scaffold.models:panoptic_fpn", INPUTS)


def checked(tmp_path, origin, text, dynamic=(0, 2, 3), compiles=False):
    path = tmp_path / "draft.py"
    path.write_text(text)
    said = []
    verdict = check(
        path, {"small": origin.module}, origin.inputs, layers=20, dynamic=dynamic, compiles=compiles, say=said.append
    )
    return verdict, said


def test_a_clean_one(tmp_path, origin):
    verdict, said = checked(tmp_path, origin, DRAFT, compiles=True)
    (small,) = verdict.variants
    assert verdict.clean and small.error < 1e-5 and small.also == ["batch 3 of 64x96"]
    assert said[0] == "Defining small" and said[-1] == "Comparing small on batch 3 of 64x96"
    assert verdict.text.startswith(
        f"{verdict.path}: clean. {len(DRAFT.splitlines())} lines for 20 layers.\nsmall: all "
    )
    assert small.compiled or "tensorrt_rtx" not in sys.modules
    assert verdict.to_dict()["variants"][0]["compared"] == len(small.report.rows)


# What is replaced, by what, and what the verdict says.
MISTAKES = [
    ('relu="act")\n        maps', 'relu="act", eps=0.1)\n        maps', "First wrong layer: backbone.stages.c2.bn "),
    ("net.silu(x", "net.mish(x", "out0"),
    ("None, 4)", "None, 8)", "First wrong layer: heads.0 "),
    ('net.upsample(maps[i], f"up{i}", 2)', 'net.upsample(maps[i], f"up{i}", 2, mode="bilinear")', "neck.smooth"),
    ("for i, x in enumerate(maps)", "for i, x in enumerate(maps[:2])", "WeightsError: These weights don't fit small"),
    ("    outputs = {}", "    outputs = {}\n    boom()", r"line 19: NameError: name 'boom' is not defined"),
    (
        '"neck.smooth.{i}", 24, kernel=3, padding=1',
        '"neck.smooth.{i}", 24, kernel=3, padding=0',
        "refused the layer 'neck.smooth.2', added at draft, line 20",
    ),
    (
        "return outputs",
        'return {"out2": outputs["out2"], "out1": outputs["out1"]}',
        r"no output is PyTorch's module\(x\)\[0\]",
    ),
    ("def define(net", "def define(net net", "SyntaxError"),
]


@pytest.mark.parametrize(("old", "new", "says"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(tmp_path, origin, old, new, says):
    assert old in DRAFT
    verdict, _ = checked(tmp_path, origin, DRAFT.replace(old, new))
    assert not verdict.clean and "wrong in small" in verdict.text
    (problem,) = verdict.variants[0].problems
    assert re.search(says, problem), problem


def test_a_size_that_was_written_as_a_number(tmp_path, origin):
    text = DRAFT.replace("net.conv(net.silu", "net.conv(net.reshape(net.silu").replace(
        'f"silu{i}"), f"heads', 'f"silu{i}"), f"r{i}", (-1, 24, 8 >> i, 8 >> i)), f"heads'
    )
    verdict, _ = checked(tmp_path, origin, text)
    assert verdict.variants[0].problems[0].startswith("With batch 3 of 64x96: ")
    verdict, _ = checked(tmp_path, origin, text, dynamic=(0,))
    assert verdict.clean and verdict.variants[0].also == ["batch 3"]
    verdict, _ = checked(tmp_path, origin, text, dynamic=())
    assert verdict.clean and verdict.variants[0].also == []


def test_the_file_is_read_anew(tmp_path, origin):
    assert checked(tmp_path, origin, DRAFT, dynamic=())[0].clean
    assert not checked(tmp_path, origin, DRAFT.replace("net.silu(x", "net.relu(x"), dynamic=())[0].clean
    assert checked(tmp_path, origin, DRAFT, dynamic=())[0].clean
    assert "draft" not in sys.modules and not list(Path(tmp_path).glob("__pycache__"))


def test_the_module_is_left_as_it_was(tmp_path, origin):
    before = {key: value.clone() for key, value in origin.module.state_dict().items()}
    checked(tmp_path, origin, DRAFT)
    assert all(torch.equal(value, before[key]) for key, value in origin.module.state_dict().items())
    assert not origin.module.training
