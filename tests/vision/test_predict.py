"""From picture to what is in it, with networks whose answers are known: their outputs are averages of their input."""

import dataclasses

import cv2
import numpy as np
import pytest

import netdefs
from netdefs.core.errors import InputError
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.vision import predict, predict_many

SIZE = 64
COLORS = np.array([(0, 0, 255), (0, 255, 0), (255, 0, 0)])  # red, green, blue, as OpenCV orders channels


def engine(method, fit, output="heatmaps", batch=1, names="", size=SIZE, times=1):
    """Three channels in, the same at a quarter of the size out: where a color is brightest, its map is highest."""
    net = netdefs.Network(name="averages")
    x = net.avg_pool(net.input("input", (batch, 3, size, size)), "pool", kernel=4)
    net.finish(net.output(net.concat([x] * times, "repeated", dim=1), output))
    recipe = Preprocess("RGB", mean=(0, 0, 0), std=(1, 1, 1), fit=fit)
    net.info.update(preprocess=dataclasses.asdict(recipe), decode=dataclasses.asdict(Decode(method, names)))
    return netdefs.build(net, target="cpu")


def dotted(points, shape=(200, 300)):
    """A black picture with a red, a green and a blue dot."""
    image = np.zeros((*shape, 3), np.uint8)
    for (x, y), color in zip(points, COLORS.tolist(), strict=True):
        cv2.circle(image, (x, y), 9, color, cv2.FILLED)
    return image


FIRST = [(30, 40), (60, 80), (20, 150)]
SECOND = [(200, 50), (230, 120), (280, 160)]


@pytest.mark.parametrize("batch", [1, 3, (1, 2, 4)], ids=str)
def test_every_box_gets_its_own_keypoints(batch):
    image = dotted(FIRST) + dotted(SECOND)
    with engine("heatmap", "box", batch=batch) as running:
        found = predict(running, image, boxes=[(0, 0, 100, 200), (170, 20, 300, 180)])
    assert len(found.instances) == 2
    for instance, points in zip(found.instances, (FIRST, SECOND), strict=True):
        assert np.abs(instance.keypoints[:, :2] - points).max() < 7, "a pixel of the map is 12 of the picture's"
        assert (instance.keypoints[:, 2] > 0.5).all()
    np.testing.assert_array_equal(found.instances[1].box, (170, 20, 300, 180))


@pytest.mark.parametrize("batch", [1, 2, (1, 2, 4)], ids=str)
def test_pictures_come_back_in_order_whatever_the_batch(batch):
    pictures = [
        (dotted(FIRST), [(0, 0, 100, 200)]),
        (dotted(SECOND), []),
        (dotted(SECOND), [(170, 20, 300, 180)] * 3),
        (dotted(FIRST), None),
    ]
    with engine("heatmap", "box", batch=batch) as running:
        found = list(predict_many(running, iter(pictures)))
    assert [len(each.instances) for each in found] == [1, 0, 3, 1]
    assert np.abs(found[2].instances[2].keypoints[:, :2] - SECOND).max() < 7
    assert np.abs(found[3].instances[0].keypoints[:, :2] - FIRST).max() < 19, "a pixel of the map is 19 here"


def test_a_mirrored_picture_is_averaged_in():
    """The 18 maps are red, green, blue again and again; OpenPose's arms and legs change places with their like."""
    box = [(0, 0, 100, 200)]
    with engine("heatmap", "box", times=6, names="coco18") as running:
        plain = predict(running, dotted(FIRST), boxes=box)
        both = predict(running, dotted(FIRST), boxes=box, flip=True)
    assert {"heatmaps", "heatmaps/flipped"} == set(both.outputs)
    assert (both.outputs["heatmaps"] != both.outputs["heatmaps/flipped"]).any()
    assert np.abs(both.instances[0].keypoints - plain.instances[0].keypoints)[:14, :2].max() < 13
    with engine("heatmap", "box") as running, pytest.raises(InputError, match="change places in a mirror is not known"):
        predict(running, dotted(FIRST), boxes=box, flip=True)
    with engine("mask", "squeeze", "logits_stride4") as running, pytest.raises(InputError, match="mirrored"):
        predict(running, dotted(FIRST), flip=True)


def test_a_mask_has_the_class_of_every_pixel():
    image = np.zeros((90, 150, 3), np.uint8)
    for i, color in enumerate(COLORS):
        image[:, 50 * i : 50 * (i + 1)] = color
    with engine("mask", "squeeze", "logits_stride4") as running:
        found = predict(running, image)
    expected = np.repeat([0, 1, 2], 50)[None].repeat(90, 0)
    assert found.labels.shape == (90, 150)
    assert (found.labels != expected).mean() < 0.05 and (found.labels[:, [25, 75, 125]] == [0, 1, 2]).all()
    drawn = found.draw(image)
    assert drawn.shape == image.shape and (drawn != image).any()


def test_classes_by_name():
    image = np.full((50, 60, 3), COLORS[1], np.uint8)
    with engine("classes", "squeeze", "logits", size=4) as running:
        run = running.run
        running.run = lambda feeds: {name: value.reshape(-1, 3) for name, value in run(feeds).items()}
        found = predict(running, image, class_names=["red", "green", "blue"])
        assert found.name_of(int(found.probabilities.argmax())) == "green"
        assert found.probabilities.sum() == pytest.approx(1)
        assert (found.draw(image) != image).any()
        with pytest.raises(InputError, match="2 names, and the network has 3 classes"):
            predict(running, image, class_names=["red", "green"])


def test_names_of_other_classes_are_not_used():
    """A network trained on three classes of its own says 0, 1, 2; never the first three of Cityscapes."""
    with engine("mask", "squeeze", "logits_stride4", names="cityscapes") as running:
        assert predict(running, dotted(FIRST)).name_of(2) == "2"


def test_what_can_not_be():
    with engine("heatmap", "squeeze") as running:
        with pytest.raises(InputError, match="takes no boxes"):
            predict(running, dotted(FIRST), boxes=[(0, 0, 10, 10)])
        running.info["decode"]["method"] = "magic"
        with pytest.raises(InputError, match="no way 'magic' to decode outputs; there are: classes"):
            predict(running, dotted(FIRST))
        del running.info["decode"]
        with pytest.raises(InputError, match="does not say"):
            predict(running, dotted(FIRST))


@pytest.mark.parametrize(
    "image", ["photo.jpg", None, [[1, 2]], memoryview(b"123")], ids=lambda value: type(value).__name__
)
def test_what_is_no_picture_at_all(image):
    with engine("heatmap", "box") as running, pytest.raises(InputError, match=r"numpy array .*read_image"):
        predict(running, image)


@pytest.mark.parametrize("boxes", [(1, 2, 30, 40), np.arange(4), ["abcd"], [None], [{"x": 1}], 5], ids=repr)
def test_what_are_no_boxes(boxes):
    with engine("heatmap", "box") as running, pytest.raises(InputError, match=r"list of .x1, y1, x2, y2., even if"):
        predict(running, dotted(FIRST), boxes=boxes)


def test_what_is_no_engine_and_what_are_no_pairs():
    for wrong in ("pose.engine", None, netdefs.Network(name="not built")):
        with pytest.raises(InputError, match=f"engine, not a {type(wrong).__name__}: netdefs.load_engine"):
            predict(wrong, dotted(FIRST))
    with engine("heatmap", "box") as running, pytest.raises(InputError, match=r"pairs .image, boxes., .* a ndarray"):
        next(predict_many(running, [dotted(FIRST)]))
