"""The same people, whichever part of the decoding the network itself has done, and what is said of them."""

import json

import numpy as np
import pytest

import netdefs
from netdefs.core.errors import InputError
from netdefs.higherhrnet import aggregated
from netdefs.higherhrnet import peaks as find_peaks
from netdefs.vision.found import Crop, decode
from tests.vision.synthetic import crowd, mirror, stages

SIZE = (256, 320)
PLACEMENT = np.array([[0.5, 0, 10], [0, 0.5, -3.0]])
CROP = Crop(PLACEMENT, (520, 600), SIZE, None)
HOW = {"method": "grouping", "names": "coco17"}


@pytest.fixture(scope="module")
def scene():
    """A crowd, and HigherHRNet's outputs for it in the network's three forms."""
    rng = np.random.default_rng(5)
    people = crowd(rng, 7, SIZE)
    stage0, stage1 = (each[None] for each in stages(rng, people))
    forms = {"stages": {"stage0_heatmaps_and_tags": stage0, "stage1_heatmaps": stage1}}
    for form in ("aggregated", "peaks"):
        net = netdefs.Network(name=form)
        maps = aggregated(net / "aggregate", net.input("stage0", stage0.shape), net.input("stage1", stage1.shape))
        if form == "peaks":
            net.finish(find_peaks(net, *maps))
        else:
            net.finish([net.output(value, name) for name, value in zip(("heatmaps", "tags"), maps, strict=True)])
        with netdefs.build(net, target="cpu") as engine:
            forms[form] = engine.run({"stage0": stage0, "stage1": stage1})
    return people, forms


@pytest.mark.parametrize("form", ["stages", "aggregated", "peaks"])
def test_every_form_gives_the_same_people(scene, form):
    people, forms = scene
    found = decode(forms[form], [CROP], HOW)
    assert len(found.instances) == len(people.points)
    # A pixel of the input, i to i + 1, is two of the picture's, whose centres are at whole numbers.
    expected = ((people.points - 0.5) - PLACEMENT[:, 2]) / 0.5
    for instance in found.instances:
        distances = np.linalg.norm(expected - instance.keypoints[:, :2], axis=-1).max(1)
        assert distances.min() < 3.5, "within a pixel and a half of the input"
    again = decode(forms["stages"], [CROP], HOW)
    for one, other in zip(found.instances, again.instances, strict=True):
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-3)


def test_with_the_mirrored_picture(scene):
    people, forms = scene
    outputs = forms["stages"]
    mirrored = mirror(tuple(value[0] for value in outputs.values()))
    flipped = {f"{name}/flipped": value[None] for name, value in zip(outputs, mirrored, strict=True)}
    found = decode({**outputs, **flipped}, [CROP], HOW)
    plain = decode(outputs, [CROP], HOW)
    assert len(found.instances) == len(people.points)
    for one, other in zip(found.instances, plain.instances, strict=True):
        np.testing.assert_allclose(one.keypoints[:, :2], other.keypoints[:, :2], atol=2)
    for form in ("aggregated", "peaks"):
        with pytest.raises(InputError, match="mirrored picture can be averaged in only before"):
            decode({**forms[form], **{f"{name}/flipped": each for name, each in forms[form].items()}}, [CROP], HOW)


def test_people_as_json(scene):
    found = decode(scene[1]["stages"], [CROP], HOW)
    written = json.loads(json.dumps([instance.to_dict() for instance in found.instances]))
    assert len(written[0]["keypoints"]) == 17 and written[0]["score"] >= written[-1]["score"]
    image = np.zeros((520, 600, 3), np.uint8)
    assert (found.draw(image) != image).any()
