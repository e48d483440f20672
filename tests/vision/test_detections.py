"""Detections by way of `decode`, `predict` and the command, and what the zoo's detectors say about themselves."""

import json
import types

import cv2
import numpy as np
import pytest

import netdefs
from examples.seeded import seed_weights
from netdefs.cli import main
from netdefs.core.errors import InputError
from netdefs.vision import predict
from netdefs.vision.boxes import FAMILIES
from netdefs.vision.found import METHODS, Crop, decode
from netdefs.vision.image import placement
from netdefs.vision.names import TABLES
from tests.reference import MODELS
from tests.vision.detectors import LETTERBOX, SHAPE, SIZE, crowd, outputs_of, run


def test_names_only_where_the_count_fits():
    crop = Crop(placement(SHAPE, LETTERBOX, SIZE), SHAPE, SIZE, None)
    boxes, scores, _ = crowd(0, 30)
    six = {name: array[None] for name, array in outputs_of("boxes", boxes, scores).items()}
    eighty = {"pred": np.pad(six["pred"], ((0, 0), (0, 74), (0, 0)))}
    how = {"method": "boxes", "names": "coco80"}
    assert decode(six, [crop], how).names is None
    assert decode(eighty, [crop], how).name_of(5) == "bus"
    assert decode(six, [crop], how, list("abcdef")).name_of(5) == "f"
    with pytest.raises(InputError, match="There are 2 names, and the network has 6 classes"):
        decode(six, [crop], how, ["a", "b"])
    dets = {"dets": np.array([[[10, 20, 30, 40, 0.9, 3]]], np.float32)}
    assert decode(dets, [crop], how).names is None, "how many classes there are is not known"
    assert decode(dets, [crop], {**how, "num_classes": 80}).name_of(3) == "motorcycle"
    assert decode(dets, [crop], how, list("abcd")).name_of(3) == "d"
    with pytest.raises(InputError, match="There are 3 names, and the network has 4 classes"):
        decode(dets, [crop], how, list("abc"))


def test_a_skeleton_only_where_the_count_fits():
    crop = Crop(placement(SHAPE, LETTERBOX, SIZE), SHAPE, SIZE, None)
    outputs = {"pred": np.full((1, 4 + 1 + 6, 1), 0.9, np.float32)}
    found = decode(outputs, [crop], {"method": "poses", "names": "coco17", "kpt_shape": (2, 3)})
    assert len(found.instances) == 1 and found.names is None
    assert found.draw(np.zeros((*SHAPE, 3), np.uint8)).any()


def test_thresholds_are_for_detectors():
    crop = Crop(placement(SHAPE, LETTERBOX, SIZE), SHAPE, SIZE, None)
    with pytest.raises(InputError, match="A threshold and an iou are for detectors"):
        decode({"prob": np.ones((1, 3))}, [crop], {"method": "classes", "names": ""}, threshold=0.1)
    with pytest.raises(InputError, match=r"there are: classes, .*boxes_tianxiaomo"):
        decode({}, [crop], {"method": "guess", "names": ""})


def test_predict_passes_thresholds_on_and_each_picture_gets_its_own_boxes():
    outputs = [outputs_of("boxes", *crowd(seed, 60))["pred"] for seed in (0, 1)]
    engine = types.SimpleNamespace(
        info={"preprocess": LETTERBOX, "decode": {"method": "boxes", "names": "coco80"}},
        inputs={"input": types.SimpleNamespace(shape=(1, 3, *SIZE))},
        profile={},
        run=lambda feeds: {"pred": outputs[int(feeds["input"][0, 0, 160, 200] > 0.5)][None]},
    )
    for which, image in enumerate([np.zeros((*SHAPE, 3), np.uint8), np.full((*SHAPE, 3), 255, np.uint8)]):
        for options in ({}, {"threshold": 0.6}, {"iou": 0.1}):
            found = predict(engine, image, **options).instances
            expected = run("boxes", {"pred": outputs[which]}, **options)
            assert [each.to_dict() for each in found] == [each.to_dict() for each in expected]
    assert len(predict(engine, image, threshold=0.6).instances) < len(predict(engine, image).instances)


def test_every_model_of_the_zoo_names_a_method_and_names_that_there_are():
    for module in netdefs.models():
        for variant, how in getattr(netdefs, module).model.decode.items():
            assert how.method in {*METHODS, *FAMILIES}, variant
            assert not how.names or how.names in TABLES, variant


def test_a_definition_tells_what_its_detections_are_made_of():
    """`dets` of a pose network with three classes and five keypoints of two values, from the engine to the person."""
    name, shape = "yolo26n-pose", (1, 3, 64, 96)
    network = seed_weights(MODELS[name](num_classes=3, kpt_shape=(5, 2)), input_shape=shape)
    build = netdefs.yolo26.build_engine
    options = {"input_shape": shape, "kpt_shape": (5, 2), "decode": "decoded", "target": "cpu"}
    with build(network.state_dict(), name, **options) as engine:
        assert engine.info["decode"] == {
            "method": "poses",
            "names": "coco17",
            "num_classes": 3,
            "kpt_shape": [5, 2],
        }
        found = predict(engine, np.zeros((90, 140, 3), np.uint8), threshold=0.0, class_names=["a", "b", "c"])
    assert found.instances and all(each.keypoints.shape == (5, 3) for each in found.instances)
    with pytest.raises(InputError, match="There are 2 names, and the network has 3 classes"):
        decode(found.outputs, [Crop(np.eye(2, 3), (64, 96), (64, 96), None)], engine.info["decode"], ["a", "b"])


def test_the_command_takes_thresholds(tmp_path, capsys):
    shape = (1, 3, 64, 96)
    engine, picture, array = (str(tmp_path / name) for name in ("yolov5n.engine", "photo.png", "array.npy"))
    network = seed_weights(MODELS["yolov5n"](), input_shape=shape)
    with netdefs.yolov5.build_engine(network.state_dict(), "yolov5n", input_shape=shape, target="cpu") as built:
        built.save(engine)
    cv2.imwrite(picture, np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    np.save(array, np.zeros(shape, np.float32))

    def instances(*options):
        assert main(["run", engine, "--image", picture, "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)["pictures"][0]["instances"]

    some, fewer = instances("--threshold", "0.1"), instances("--threshold", "0.1", "--iou", "0")
    assert len(some) > len(fewer) > 0 and all(each in some for each in fewer)
    assert instances("--threshold", "1") == []
    assert main(["run", engine, "--image", picture, "--threshold", "2"]) != 0
    assert "The threshold is 2.0; it can be 0 to 1" in capsys.readouterr().err
    assert main(["run", engine, "--input", array, "--threshold", "0"]) != 0
    assert "--threshold is for pictures: it goes with --image" in capsys.readouterr().err
