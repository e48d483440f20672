"""What users of hand-written TensorRT detectors complain about most: each works here, or the error says what to do."""

import dataclasses
import functools

import cv2
import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import pictures, seed_weights
from netdefs.core.errors import NetworkError, WeightsError
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.yolo.darknet_boxes import SQUEEZE
from netdefs.core.yolo.ultralytics_zoo import LETTERBOX
from netdefs.vision import predict, predict_many
from tests.reference import MODELS
from tests.test_zoo import constant, shapes_of

# One network of each way to decode boxes.
FAMILIES = ["yolov3-tiny", "yolov4-tiny", "yolov5n", "yolox_nano", "yolov8n", "yolo11n", "yolo12n", "yolo26n"]
MODULES = {variant: module for module, variants in netdefs.models().items() for variant in variants}


def zoo(name):
    return getattr(netdefs, MODULES[name])


@functools.cache
def weights(name: str) -> dict[str, torch.Tensor]:
    found = seed_weights(MODELS[name](), input_shape=(2, 3, 96, 128)).state_dict()
    if name.startswith("yolox"):
        found["backbone.backbone.stem.conv.conv.weight"] /= 255  # its pictures have values of 0 to 255
    return found


def refused(name: str, arrays, **config) -> list[str]:
    """The lines of the error: what does not fit, why, and only then the keys."""
    with pytest.raises(WeightsError) as caught:
        zoo(name).define_network(arrays, name, **config)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"These weights don't fit {name}: ")
    return lines


# "It was trained on 3 classes, and the output is garbage": the class count is read off the weights.


@pytest.mark.parametrize("name", [*FAMILIES, "yolov5n-seg", "yolo26n-pose", "yolov8n-obb", "yolo11n-cls"])
def test_the_class_count_is_that_of_the_weights(name):
    arrays = constant(shapes_of(name, num_classes=3))
    counts = []
    for config in ({}, {"num_classes": 3}):
        network = zoo(name).define_network(arrays, name, **config)
        counts.append({output.name: tuple(output.shape) for output in outputs_of(network)})
    assert counts[0] == counts[1]
    lines = refused(name, arrays, num_classes=80)
    assert lines[1] == f"These are weights of variant={name!r}: they fit it without num_classes=80."
    assert any("which fits if the first dimension is" in line for line in lines)


def outputs_of(network):
    return [network.definition.get_output(i) for i in range(network.definition.num_outputs)]


# "I built s with the weights of n": the variant that would fit is named, before the keys.


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("yolov5s", "yolov5n"),
        ("yolov5l", "yolov5m"),
        ("yolox_tiny", "yolox_nano"),
        ("yolox_l", "yolox_x"),
        ("yolov8n", "yolov8x"),
        ("yolov8n-seg", "yolov8n"),
        ("yolo12s", "yolo12n"),
        ("yolo26s", "yolo26n"),
        ("yolov3-spp", "yolov3"),
        ("yolov4-wongkinyiu", "yolov4-darknet"),
    ],
)
def test_a_wrong_width_or_depth(name, asked):
    lines = refused(asked, constant(shapes_of(name)))
    assert lines[1] == f"These are weights of variant={name!r}: they fit it."
    assert len(lines) < 50


def test_a_width_that_no_variant_has():
    """A yaml file of one's own: there is nothing to name but what the layers expect and the file holds."""
    narrow = {
        key: (*(max(size // 2, 1) for size in shape[:1]), *shape[1:]) for key, shape in shapes_of("yolov8n").items()
    }
    lines = refused("yolov8n", constant(narrow))
    assert lines[1].startswith("of another size, ")
    assert "model.0.conv.weight: the network has (16, 3, 3, 3), the file (8, 3, 3, 3)" in lines[2]


# "Missing keys": all of them in one message, with the nearest names there are.


@pytest.mark.parametrize("name", FAMILIES)
def test_missing_keys(name):
    arrays = constant(shapes_of(name))
    gone = [key for key in arrays if key.endswith(".weight")][3:5]
    for key in gone:
        arrays[f"{key}s"] = arrays.pop(key)
    text = "\n".join(refused(name, arrays))
    for key in gone:
        assert f"{key} (the file has {key}s)" in text
    assert "missing, 2 of" in text and "not used by the network, 2 keys" in text


def test_a_prefix_too_many():
    arrays = {f"module.{key}": value for key, value in constant(shapes_of("yolov5n")).items()}
    assert "strip it with gen_wts.py --prefix module." in "\n".join(refused("yolov5n", arrays))


# "Weights of another version": the network that they are of is named.


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("yolov5n", "yolov8n"),
        ("yolov5nu", "yolov8n"),
        ("yolov8n", "yolov5n"),
        ("yolov8n", "yolo11n"),
        ("yolo11n", "yolo26n"),
        ("yolo12n", "yolo11n"),
        ("yolov3-ultralytics", "yolov5s"),
        ("yolov4-tiny", "yolov3-tiny"),
        ("yolox_s", "yolov5s"),
        ("yolov2", "yolov3"),
    ],
)
def test_a_checkpoint_of_another_version(name, asked):
    lines = refused(asked, constant(shapes_of(name)))
    assert lines[1] == f"These are weights of another network, netdefs.{MODULES[name]}, variant={name!r}."


# "Another input size", "a batch over 1", "a dynamic batch".


@pytest.mark.parametrize(
    ("name", "batch"), [*((name, (1, 2, 4)) for name in FAMILIES), ("yolov5n", 2), ("yolo26n", 2)], ids=str
)
def test_each_picture_of_a_batch_is_found_as_if_it_were_alone(name, batch):
    """At a size of one's own, not square; three photographs of other sizes, so that a batch of two is not full."""
    shape = (3, 96, 160)
    photos = [(pictures((1, 3, 90 + 40 * i, 200 - 30 * i), seed=i)[0] * 60 + 120).clip(0, 255) for i in range(3)]
    photos = [photo.permute(1, 2, 0).numpy().astype(np.uint8) for photo in photos]
    build = functools.partial(zoo(name).build_engine, weights(name), name, decode="decoded", target="cpu")
    options = {} if name == "yolo26n" else {"iou": 0.9}
    with build(input_shape=(1, *shape)) as engine:
        alone = [predict(engine, photo, threshold=0.05, **options) for photo in photos]
    with build(input_shape=(batch, *shape)) as engine:
        together = list(predict_many(engine, [(photo, None) for photo in photos], threshold=0.05, **options))
    assert len({each.instances[0].score for each in alone}) == 3, "the pictures must not be alike"
    for got, expected in zip(together, alone, strict=True):
        for output, values in expected.outputs.items():
            if output != "dets":  # whose last rows are of next to equal scores
                np.testing.assert_allclose(got.outputs[output], values, rtol=1e-4, atol=1e-4 * np.abs(values).max())
        surest = [[(each.label, *each.box) for each in found.instances[:3]] for found in (got, expected)]
        np.testing.assert_allclose(*surest, atol=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_size_that_does_not_fit_names_those_that_do(name):
    with pytest.raises(NetworkError, match="a width that is a multiple of 32, such as 608 or 640, not 620"):
        zoo(name).define_network({}, name, input_shape=(1, 3, 640, 620))


# "Boxes are shifted": a red rectangle is found where it was drawn.


def rectangle_finder(fit: Preprocess, height: int, width: int):
    """A network that finds the one rectangle in which red is bright and blue is not: as YOLOv8's `pred`, to a pixel."""
    net = netdefs.Network(name="rectangle finder")
    trt, definition = net.trt, net.definition
    x = net.input("input", (1, 3, height, width))
    channels = net.split(x, "channel", 1, dim=1)
    red, _, blue = channels if fit.color == "RGB" else channels[::-1]
    value = 0.5 / fit.std[0]
    inside = net.gt(net.sub(red, blue, "redness"), value, "inside")
    rows, columns = np.indices((1, 1, height, width), np.float32)[2:]
    sides = []
    for name, where in (("x", columns), ("y", rows)):
        low = net.where(inside, net.constant(where, f"{name}.low"), 1e4, f"{name}.first")
        high = net.where(inside, net.constant(where + 1, f"{name}.high"), -1e4, f"{name}.last")
        for side, operation in ((low, trt.ReduceOperation.MIN), (high, trt.ReduceOperation.MAX)):
            layer = definition.add_reduce(side, operation, 0b1100, False)
            sides.append(net.layer(layer, f"{name}.{operation.name}", side))
    left, right, top, bottom = sides
    score = net.mul(left, 0.0, "zero")
    parts = [
        net.mul(net.add(left, right, "x.sum"), 0.5, "cx"),
        net.mul(net.add(top, bottom, "y.sum"), 0.5, "cy"),
        net.sub(right, left, "w"),
        net.sub(bottom, top, "h"),
        net.add(score, 0.9, "score"),
    ]
    net.finish(net.output(net.reshape(net.concat(parts, "pred.flat", dim=1), "column", (1, 5, 1)), "pred"))
    net.info.update(preprocess=dataclasses.asdict(fit), decode=dataclasses.asdict(Decode("boxes")))
    return netdefs.build(net, target="cpu")


YOLOX = netdefs.yolox.model.preprocess["yolox_s"]


@pytest.mark.parametrize("fit", [LETTERBOX, YOLOX, SQUEEZE], ids=lambda fit: fit.fit)
@pytest.mark.parametrize(
    ("shape", "size"),
    [((480, 640), (160, 160)), ((640, 333), (160, 160)), ((101, 77), (96, 160)), ((1000, 150), (160, 96))],
)
def test_a_rectangle_is_found_where_it_was_drawn(fit, shape, size):
    """Photographs higher than wide, wider than high, smaller and larger than the input."""
    height, width = shape
    photo = np.full((*shape, 3), 90, np.uint8)
    drawn = np.array([width // 5, height // 2, width * 3 // 4, height * 7 // 8])
    photo[drawn[1] : drawn[3], drawn[0] : drawn[2]] = (20, 20, 250)
    with rectangle_finder(fit, *size) as engine:
        (found,) = predict(engine, photo).instances
    pixel = np.array([width / size[1], height / size[0]])  # of the input, in the picture
    pixel = pixel if fit.fit == "squeeze" else np.full(2, pixel.max())
    assert (np.abs(found.box - drawn) <= 0.75 * np.tile(np.maximum(pixel, 1), 2)).all(), (found.box, drawn)


def test_the_rectangle_that_is_drawn_lies_around_it(tmp_path):
    """`netdefs run --draw`, from file to file."""
    photo = np.full((300, 480, 3), 90, np.uint8)
    photo[120:200, 100:330] = (20, 20, 250)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    with rectangle_finder(LETTERBOX, 160, 160) as engine:
        engine.save(tmp_path / "finder.engine")
    from netdefs.cli import main

    command = ["run", str(tmp_path / "finder.engine"), "--image", str(tmp_path / "photo.png")]
    assert main([*command, "--draw", str(tmp_path / "out.png")]) == 0
    changed = (cv2.imread(str(tmp_path / "out.png")) != photo).any(2)
    assert changed[114:126, 150:300].any(0).all() and changed[194:206, 150:300].any(0).all()
    assert changed[140:180, 94:106].any(1).all() and changed[140:180, 324:336].any(1).all()
    assert not changed[140:180, 120:310].any(), "a box is drawn around the thing, not over it"
