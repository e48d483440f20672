"""`nms="in_network"`: the same boxes as netdefs.vision finds on the host, of crowds and of networks."""

from pathlib import Path

import numpy as np
import pytest

import netdefs
from netdefs.core.errors import EngineError, InputError, NetworkError
from netdefs.core.yolo.suppression import ULTRALYTICS, YOLOV5, Suppression, suppress
from netdefs.vision import predict
from netdefs.vision.boxes import detect
from netdefs.vision.nms import class_nms
from tests import golden
from tests.test_yolo_ultralytics import weights, zoo
from tests.vision.detectors import CLASSES, crowd, outputs_of, run

DATA = Path(__file__).parent / "data"
EYE = np.eye(2, 3)


def network(count: int, how: Suppression, batch=1, more: int = 0, package: str | None = None) -> netdefs.Network:
    """`suppress` alone."""
    net = netdefs.Network(name="suppression", package=package)
    sizes = {"boxes": 4, "scores": CLASSES, "more": more}
    inputs = [net.input(name, (batch, count, size)) for name, size in sizes.items() if size]
    net.finish(net.output(suppress(net / "nms", inputs[0], inputs[1], inputs[2:], how), "dets"))
    return net


def crowds(seeds, count: int) -> dict[str, np.ndarray]:
    boxes, scores = zip(*[crowd(seed, count)[:2] for seed in seeds], strict=True)
    return {"boxes": np.stack(boxes).astype(np.float32), "scores": np.stack(scores).astype(np.float32)}


def on_the_host(boxes: np.ndarray, scores: np.ndarray, how: Suppression) -> np.ndarray:
    """Rows as `suppress` gives them, by way of what the host does to the same boxes."""
    half = boxes[:, 2:] / 2
    edges, labels = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1), scores.argmax(1)
    best = scores.max(1)
    kept = np.flatnonzero(best > np.float32(how.score_threshold))
    stay = kept[class_nms(edges[kept], best[kept], labels[kept], how.iou_threshold, how.max_det, offset=7680.0)]
    rows = np.zeros((min(how.max_det, len(boxes)), 6), np.float32)
    rows[: len(stay)] = np.column_stack([edges[stay], best[stay], labels[stay]])
    return rows


@pytest.mark.parametrize(
    "how",
    [ULTRALYTICS, YOLOV5, Suppression(0.6, 0.3, 300), Suppression(0.0, 0.5, 20), Suppression(0.3, 1.0, 1000)],
    ids=str,
)
def test_crowds_bit_for_bit(how):
    """Batches of several sizes: each item as if it were alone, the last one without any box above the threshold."""
    feeds = crowds((0, 1, 2), 600)
    feeds["scores"][2] *= how.score_threshold / 2
    feeds["boxes"][:, ::7, 2] *= -1  # no box at all
    feeds["boxes"][:, ::9, 3] *= -1
    with netdefs.build(network(600, how, (1, 3, 4)), target="cpu") as engine:
        got = engine.run(feeds)["dets"]
        alone = engine.run({name: value[1:2] for name, value in feeds.items()})["dets"]
    assert got.shape == (3, min(how.max_det, 600), 6)
    for i in range(3):
        np.testing.assert_array_equal(got[i], on_the_host(feeds["boxes"][i], feeds["scores"][i], how))
    np.testing.assert_array_equal(alone[0], got[1])
    assert (got[:2, 11, 4] > how.score_threshold).all() and not got[2].any()


def test_what_belongs_to_a_box_comes_along():
    how = Suppression(0.25, 0.5, 150)
    feeds = crowds((3,), 200) | {"more": np.random.default_rng(0).standard_normal((1, 200, 7), np.float32)}
    feeds["more"][0, :, 0] = np.arange(200)
    with netdefs.build(network(200, how, more=7), target="cpu") as engine:
        got = engine.run(feeds)["dets"][0]
    rows = got[got[:, 4] > 0]
    index = rows[:, 6].astype(int)
    assert 10 < len(rows) < 150 and not got[len(rows) :].any()
    np.testing.assert_array_equal(rows[:, 6:], feeds["more"][0, index])
    np.testing.assert_array_equal(rows[:, 4], feeds["scores"][0, index].max(1))


def test_the_host_reads_such_detections_as_its_own():
    """The rows left over are no detections, whatever the threshold."""
    feeds = crowds((0,), 300)
    expected = run("boxes", outputs_of("boxes", feeds["boxes"][0], feeds["scores"][0]))
    with netdefs.build(network(300, ULTRALYTICS), target="cpu") as engine:
        dets = engine.run(feeds)["dets"][0]
    for options in ({}, {"threshold": 0.0}):
        assert [each.to_dict() for each in run("boxes", {"dets": dets}, **options)] == [
            each.to_dict() for each in expected
        ]
    high = run("boxes", {"dets": dets}, threshold=0.5, score_threshold=0.25)
    assert [each.score for each in high] == [each.score for each in expected if each.score > 0.5]
    low = Suppression(0.05, 0.7, 300)
    with netdefs.build(network(300, low), target="cpu") as engine:
        dets = engine.run(feeds)["dets"][0]
    assert len(run("boxes", {"dets": dets}, score_threshold=0.05)) == (dets[:, 4] > 0).sum() > len(expected)
    with pytest.raises(InputError, match=r"The threshold is 0\.1, and this network was .* score_threshold=0\.25"):
        run("boxes", {"dets": dets}, threshold=0.1, score_threshold=0.25)
    with pytest.raises(InputError, match="nms='in_network' takes iou_threshold there"):
        run("boxes", {"dets": dets}, iou=0.1)


CASES = ["yolov5n", "yolov5n-seg", "yolov5nu", "yolov8n", "yolov8n-seg", "yolov8n-pose", "yolo11n", "yolo12n"]


@pytest.mark.parametrize("name", [*CASES, "yolo26n"])
def test_networks_give_what_the_host_gives(name):
    """`dets` against the host's suppression of the same network's `pred`, masks and keypoints along with them."""
    size = (64, 96)
    branch = {"branch": "one2many"} if name == "yolo26n" else {}
    config = {"input_shape": (1, 3, *size), "nms": "in_network", "score_threshold": 0.02, "iou_threshold": 0.3}
    x = golden.picture((1, 3, *size), 1)
    with zoo(name).build_engine(weights(name), name, target="cpu", **config, **branch) as engine:
        outputs = {key: value[0] for key, value in engine.run({"input": x}).items()}
        info = engine.info["decode"]
    assert next(iter(outputs)) == "dets" and info["score_threshold"] == 0.02
    inside, classes = detect(outputs, info, EYE, size, size)
    del outputs["dets"]
    outside, expected = detect(outputs, info, EYE, size, size, threshold=0.02, iou=0.3)
    assert len(inside) > 1 and classes == expected
    assert [each.to_dict() for each in inside] == [each.to_dict() for each in outside]


def test_upstreams_weights():
    """yolov8n at its own size, by way of `predict`, decoded outputs alone."""
    g = golden.load("yolov8n", DATA)
    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    found = []
    for config in ({}, {"nms": "in_network", "score_threshold": 0.25}):
        with netdefs.yolov8.build_engine(g.state_dict, decode="decoded", target="cpu", **config) as engine:
            assert list(engine.outputs) == (["dets"] if config else ["pred"])
            found.append(predict(engine, photo))
    assert len(found[0].instances) > 20
    assert [each.to_dict() for each in found[0].instances] == [each.to_dict() for each in found[1].instances]
    assert found[1].outputs["dets"].shape == (1, 300, 6) and found[1].name_of(0) == "person"


def test_the_compiler_of_rtx_says_that_it_has_no_such_layer():
    with pytest.raises(EngineError, match=r"(?s)tensorrt_rtx .* could not build suppression.*target='cpu'") as caught:
        netdefs.build(network(20, ULTRALYTICS, package="tensorrt_rtx"), target="tensorrt_rtx")
    assert "nms.nms" in str(caught.value)


@pytest.mark.gpu
def test_tensorrt_on_a_gpu():
    pytest.importorskip("tensorrt")
    feeds = crowds((0, 1), 600)
    with netdefs.build(network(600, ULTRALYTICS, (1, 2, 4), package="tensorrt"), target="tensorrt") as engine:
        got = engine.run(feeds)["dets"]
    for i in range(2):
        np.testing.assert_array_equal(got[i], on_the_host(feeds["boxes"][i], feeds["scores"][i], ULTRALYTICS))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("yolov8n", {"nms": "plugin"}, "nms='plugin': it is one of 'host', 'in_network'"),
        ("yolov8n", {"score_threshold": 0.5}, "score_threshold=0.5: it is for nms='in_network'. On the host"),
        ("yolov5n", {"nms": "in_network", "iou_threshold": 45}, "iou_threshold=45: it can be 0 to 1"),
        ("yolov5n", {"nms": "in_network", "max_det": 5000}, "max_det=5000: it can be 1 to 3840"),
        ("yolo11n", {"nms": "in_network", "decode": "raw"}, "does not go with decode='raw'"),
        ("yolo11n-obb", {"nms": "in_network"}, "yolo11n-obb has no upright boxes, and those alone"),
        ("yolov5n-cls", {"nms": "in_network"}, "yolov5n-cls has no upright boxes"),
        ("yolo26n", {"nms": "in_network"}, "the head one2one needs no suppression.* branch='one2many'"),
    ],
)
def test_an_argument_that_cannot_be_is_an_error(name, config, message):
    with pytest.raises(NetworkError, match=message):
        zoo(name).define_network(weights(name), name, input_shape=(1, 3, 64, 64), **config)
