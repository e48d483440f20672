"""What benchmarks/precision.py measures of all networks with upstream's values, of the small ones."""

import json

import numpy as np
import pytest

import netdefs
from benchmarks import precision
from netdefs import NetdefsError
from netdefs.quant import Options, study
from tests import golden


@pytest.mark.parametrize("name", ["lenet5", "deepsort_reid"])
def test_every_precision_of_the_zoo(name):
    found = precision.measure(name, 4)
    assert 0 < found["fp16"] <= precision.LIMITS[name]
    assert found["fp16"] < found["bf16"] <= 16 * precision.LIMITS[name]
    assert precision.reached(found) >= precision.TARGET
    assert not found["keep"]
    assert found["plan"]["fp16"] < found["plan"]["fp32"]
    if name == "deepsort_reid":  # of LeNet-5, most is kernels' code
        assert max(found["plan"]["int8"], found["plan"]["fp8"]) < 0.35 * found["plan"]["fp32"]


@pytest.mark.parametrize("name", ["resnet50", "inception_v3"])
def test_large_classifiers_take_a_third(name):
    """Every tensor has another scale, as it has in a calibration: RTX's kernels must not depend on it."""
    g = golden.load(name, precision.DATA)
    define = precision.definition(name, g.state_dict, g.input.shape)
    net = define()
    ranges = {tensor: 1 + i / 8 for i, tensor in enumerate(net.activations)}
    small = define(precision="int8", calibration=ranges)
    assert {"fc", "fc.matmul"} & small.info["quantized"].keys()
    assert precision.plan(small) < 0.31 * precision.plan(net)


def test_a_network_that_int8_ruins_keeps_what_it_takes():
    """RetinaFace's weights here make a hundred times of every rounding; on small pictures, for time's sake."""
    g = golden.load("retinaface_mnet025", precision.DATA)
    define = precision.definition("retinaface_mnet025", g.state_dict, (1, 3, 64, 64))
    low, high = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in g.meta["input_range"])
    x = np.concatenate([golden.picture((1, 3, 64, 64), i) * (high - low) + low for i in range(16)]).astype(np.float32)

    def make(asked, calibration, changed):
        options = {"calibration": calibration} if asked != "fp32" else {}
        return define(precision=asked, **options)

    found = study(make, x, Options(target=20, outputs=["boxes", "land*"], search_on=1, progress=False))
    assert found.cost.sqnr < 20 <= found.kept.sqnr == found.proposal.confirmed
    assert [each.name for each in found.kept.outputs] == ["boxes", "landmarks"]
    assert 0 < len(found.proposal.keep) < len(found.cost.layers)
    feeds = [{"input": x[i : i + 1]} for i in range(16)]
    results = []
    for asked in ("fp32", found.precision):
        with netdefs.build(make(asked, found.calibration, None), target="cpu") as engine:
            results.append([np.concatenate([engine.run(each)[key].ravel() for each in feeds]) for key in BOXES])
    for one, other in zip(*results, strict=True):
        assert 20 * np.log10(np.linalg.norm(one) / np.linalg.norm(other - one)) > 19.5


BOXES = ("boxes", "landmarks")


def test_an_output_that_is_not_there():
    g = golden.load("lenet5", precision.DATA)
    define = precision.definition("lenet5", g.state_dict, g.input.shape)
    with pytest.raises(NetdefsError, match=r"'logit'.*Near: logits"):
        study(
            lambda asked, calibration, _: define(precision=asked, calibration=calibration),
            precision.pictures(g),
            Options(outputs="logit"),
        )


def test_what_was_measured_is_in_the_docs():
    """The table is that of the last measurement, and has all networks with upstream's values."""
    known = json.loads(precision.MEASURED.read_text())
    assert sorted(known) == precision.NAMES == sorted(precision.LIMITS)
    assert all(found["fp16"] <= precision.LIMITS[name] for name, found in known.items())
    assert precision.table(known) in precision.PAGE.read_text(encoding="utf-8")
