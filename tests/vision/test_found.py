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


def test_the_hand_is_neither_off_nor_put_off_by_a_mirror():
    """Heat maps of keypoints that are known, in OpenPose's coordinates: pixel i is the middle of 8 i ... 8 i + 7."""
    truth = np.random.default_rng(0).uniform(60, 300, (21, 2))
    middles = 8 * np.arange(46) + 3.5
    maps = [np.exp(-((middles - x) ** 2 + (middles[:, None] - y) ** 2) / 98) for x, y in truth]
    maps = np.array([*maps, np.zeros((46, 46))], np.float32)[None]
    crop = Crop(np.eye(2, 3), (368, 368), (368, 368), None)
    how = {"method": "heatmap", "names": "hand21"}
    for outputs in ({"heatmap_22": maps}, {"heatmap_22": maps, "heatmap_22/flipped": maps[..., ::-1]}):
        (hand,) = decode(outputs, [crop], how).instances
        assert np.abs((hand.keypoints[:, :2] - truth).mean(0)).max() < 1
        assert np.abs(hand.keypoints[:, :2] - truth).max() <= 4.5


@pytest.mark.parametrize("form", ["stages", "aggregated", "peaks"])
def test_people_with_fewer_keypoints(scene, form):
    """CrowdPose's have 14: upstream then takes the numbers below 14 of COCO's order."""
    _, forms = scene
    some = {}
    for name, value in forms[form].items():
        kept = [*range(14), *range(17, 31)] if value.shape[1] == 34 else range(14)
        some[name] = value[:, list(kept)]
    found, complete = decode(some, [CROP], HOW), decode(forms[form], [CROP], HOW)
    assert found.names is None and found.instances[0].keypoints.shape == (14, 3)
    assert len(found.instances) == len(complete.instances)
    all_points = np.array([each.keypoints[:14] for each in complete.instances])
    for each in found.instances:
        assert np.abs(all_points - each.keypoints).max((1, 2)).min() < 1e-3
    if form == "stages":
        with pytest.raises(InputError, match="change places in a mirror is not known"):
            decode({**some, **{f"{name}/flipped": value for name, value in some.items()}}, [CROP], HOW)


def test_names_for_what_has_no_classes():
    maps = {"heatmaps": np.ones((1, 17, 4, 4), np.float32)}
    with pytest.raises(InputError, match=r"Names are for classes, .*'heatmap', have none"):
        decode(maps, [CROP], {"method": "heatmap", "names": "coco17"}, ["a", "b"])
