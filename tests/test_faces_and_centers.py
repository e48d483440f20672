"""RetinaFace and CenterNet: the variants without upstream's values, and boxes, on the host and in the network."""

import dataclasses
import functools

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional as F

import netdefs
from examples import match_faces
from examples.seeded import seed_weights
from netdefs.core.errors import InputError, NetworkError
from netdefs.core.priors import priors
from netdefs.vision import predict
from tests.reference import MODELS, constant, shapes_of
from tests.vision import plain

VARIANTS = {"retinaface_r50": netdefs.retinaface, "centernet_dla34": netdefs.centernet}
SMALL = (1, 3, 64, 96)
DEAD = ("base.level3.project", "base.level4.project")  # of which upstream throws away what they give


@functools.cache
def seeded(name):
    return seed_weights(MODELS[name](), input_shape=(2, *SMALL[1:]))


def pictures(shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def expected(name, x):
    with torch.no_grad():
        return {key: value.numpy() for key, value in seeded(name)(torch.from_numpy(x)).items()}


def assert_same(got, wanted, tolerance):
    assert list(got) == list(wanted)
    for key in wanted:
        assert got[key].shape == wanted[key].shape
        assert np.linalg.norm(got[key] - wanted[key]) < tolerance * np.linalg.norm(wanted[key]), key


@pytest.mark.parametrize("name", VARIANTS)
def test_any_batch_and_size(name):
    shape = ((1, 1, 2), 3, (32, 64, 256), (32, 96, 256))
    build = functools.partial(VARIANTS[name].build_engine, seeded(name).state_dict(), name, target="cpu")
    odd = (2, 3, 75, 50) if name == "retinaface_r50" else (2, 3, 96, 32)  # sizes that pyramids round up
    with build(input_shape=shape) as engine:
        for size in (SMALL, odd):
            x = pictures(size)
            assert_same(engine.run({"input": x}), expected(name, x), 5e-5)
    with build(input_shape=SMALL, fold_bn=True, precision="fp16") as engine:
        assert_same(engine.run({"input": pictures(SMALL)}), expected(name, pictures(SMALL)), 0.03)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_module_has_a_layer(name):
    module, x = seeded(name), torch.from_numpy(pictures(SMALL))
    network = VARIANTS[name].define_network(module.state_dict(), name, input_shape=SMALL)
    report = netdefs.compare(network, module, x)
    assert report.ok and report.weights.status == "identical", report.verdict
    left = {item.name: item.reason for item in report.unmatched if item.side == "module"}
    usual = ("more than once", "several values", "a list of modules")
    unexpected = {
        key: why for key, why in left.items() if not key.startswith(DEAD) and not any(each in why for each in usual)
    }
    assert not unexpected


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in VARIANTS),
        ("centernet_dla34", {"decode": "in_network"}),
        ("retinaface_r50", {"decode": "decoded"}),
    ],
)
def test_rtx_compiles(name, options):
    shape, weights = ((1, 2, 4), *SMALL[1:]), constant(shapes_of(name))
    with VARIANTS[name].build_engine(
        weights, name, input_shape=shape, precision="fp16", target="tensorrt_rtx", **options
    ) as engine:
        assert all(sizes[0] == -1 and dtype == np.float32 for sizes, dtype in engine.outputs.values())


def test_priors_are_upstreams():
    """Row by row, two sizes to each cell, in parts of the picture."""
    height, width = 70, 100
    rows = []
    for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for i in range(-(-height // stride)):
            for j in range(-(-width // stride)):
                for size in sizes:
                    rows.append(((j + 0.5) * stride / width, (i + 0.5) * stride / height, size / width, size / height))
    np.testing.assert_allclose(priors(height, width) / (width, height, width, height), rows, rtol=1e-6)


def plain_faces(outputs, size, threshold, iou):
    """Upstream's decoding, with loops: score, box, landmarks in pixels of the input, best first."""
    height, width = size
    known = priors(height, width) / (width, height, width, height)
    found = []
    for prior, box, classes, points in zip(
        known, *(outputs[name][0] for name in ("boxes", "classes", "landmarks")), strict=True
    ):
        if classes[1] > threshold:
            x, y = prior[:2] + box[:2] * 0.1 * prior[2:]
            w, h = prior[2:] * np.exp(box[2:] * 0.2)
            edges = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * (width, height, width, height)
            marks = [(prior[:2] + points[i : i + 2] * 0.1 * prior[2:]) * (width, height) for i in range(0, 10, 2)]
            found.append((classes[1], edges, np.array(marks)))
    boxes = np.array([edges for _, edges, _ in found], np.float32)
    return [found[i] for i in plain.nms(boxes, [score for score, *_ in found], iou)]


def photo(height, width):
    return np.ascontiguousarray(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)[:height, :width])


@pytest.mark.parametrize(
    "options",
    [{}, {"decode": "decoded"}, {"decode": "decoded", "nms": "in_network", "score_threshold": 0.5}],
    ids=["raw", "decoded", "nms"],
)
def test_faces(options):
    """The network's picture is the whole photograph, pixel by pixel, so that nothing but decoding is looked at."""
    size, image = (160, 192), photo(160, 192)
    module = seed_weights(MODELS["retinaface_mnet025"](), input_shape=(2, 3, *size))
    build = functools.partial(netdefs.retinaface.build_engine, module.state_dict(), "retinaface_mnet025", target="cpu")
    with build(input_shape=(1, 3, *size), **options) as engine:
        found = predict(engine, image, threshold=0.5, **({} if "nms" in options else {"iou": 0.4}))
    x = torch.from_numpy((image.astype(np.float32) - (104, 117, 123)).transpose(2, 0, 1)[None].astype(np.float32))
    with torch.no_grad():
        outputs = {name: value.numpy() for name, value in module(x).items()}
    wanted = plain_faces(outputs, size, 0.5, 0.4)
    assert len(found.instances) == len(wanted) > 3
    for instance, (score, edges, marks) in zip(found.instances, wanted, strict=True):
        assert instance.score == pytest.approx(score, abs=1e-4)
        np.testing.assert_allclose(instance.box, edges.clip(0, (192, 160, 192, 160)), atol=0.02)
        np.testing.assert_allclose(instance.keypoints[:, :2], marks.clip(0, (192, 160)), atol=0.02)
    assert found.draw(image).shape == image.shape
    assert found.names.subject == "face"


def plain_centers(outputs):
    """Upstream's ctdet_decode: x1, y1, x2, y2 at the input's size, score, class; best first."""
    hm, wh, reg = (torch.from_numpy(outputs[name]) for name in ("hm", "wh", "reg"))
    heat = hm.sigmoid()
    heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
    scores, index = heat.flatten(1).topk(100)
    cells = heat.shape[2] * heat.shape[3]
    label, cell = index // cells, index % cells
    row, column = cell // heat.shape[3], cell % heat.shape[3]
    dx, dy = (reg.flatten(2)[:, i].gather(1, cell) for i in (0, 1))
    w, h = (wh.flatten(2)[:, i].gather(1, cell) for i in (0, 1))
    x, y = column + dx, row + dy
    edges = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 2) * 4
    return torch.cat([edges, scores[..., None], label[..., None].float()], 2)[0].numpy()


@pytest.mark.parametrize("decode", ["raw", "in_network"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["", "dynamic"])
def test_objects(decode, dynamic):
    size, image = (160, 192), photo(160, 192)
    module = seed_weights(MODELS["centernet_res18"](num_classes=80), input_shape=(2, 3, *size))
    shape = ((1, 1, 2), 3, (32, 160, 256), (32, 192, 256)) if dynamic else (1, 3, *size)
    build = functools.partial(netdefs.centernet.build_engine, module.state_dict(), "centernet_res18", target="cpu")
    x = netdefs.vision.preprocess(image, dataclasses.asdict(netdefs.centernet.PREPROCESS), size)
    with torch.no_grad():
        wanted = plain_centers({name: value.numpy() for name, value in module(torch.from_numpy(x)).items()})
    threshold = float(wanted[40:42, 4].mean())
    with build(input_shape=shape, decode=decode) as engine:
        found = predict(engine, image, threshold=threshold)
    wanted = wanted[wanted[:, 4] > threshold]
    assert len(found.instances) == len(wanted) == 41
    boxes = np.array([each.box for each in found.instances])
    np.testing.assert_allclose(boxes, wanted[:, :4].clip(0, (192, 160, 192, 160)), atol=0.02)
    assert [each.label for each in found.instances] == wanted[:, 5].tolist()
    assert found.name_of(0) == "person"
    with build(input_shape=shape, decode=decode) as engine, pytest.raises(InputError, match="no iou to choose"):
        predict(engine, image, iou=0.5)


def test_what_can_not_be():
    faces, objects = constant(shapes_of("retinaface_mnet025")), constant(shapes_of("centernet_res18"))
    with pytest.raises(NetworkError, match="decode='both': it is one of 'raw', 'decoded'"):
        netdefs.retinaface.define_network(faces, decode="both")
    with pytest.raises(NetworkError, match="does not go with decode='raw'"):
        netdefs.retinaface.define_network(faces, nms="in_network")
    with pytest.raises(NetworkError, match="decode='decoded' needs a fixed size along axis 2"):
        netdefs.retinaface.define_network(faces, decode="decoded", input_shape=(1, 3, (64, 64, 128), 64))
    with pytest.raises(NetworkError, match="decode='decoded': it is one of 'raw', 'in_network'"):
        netdefs.centernet.define_network(objects, decode="decoded")
    with pytest.raises(NetworkError, match="a multiple of 32, such as 480 or 512, not 500"):
        netdefs.centernet.define_network(objects, input_shape=(1, 3, 500, 512))
    with netdefs.retinaface.build_engine(faces, input_shape=(1, 3, 64, 64), target="cpu") as engine:
        engine.info["decode"]["method"] = "boxes"
        with pytest.raises(InputError, match="no output 'pred'; there are: boxes, classes, landmarks"):
            predict(engine, photo(64, 64))


def test_the_example_matches_faces(tmp_path, capsys):
    """Under made-up weights anything is a face; the same picture is the same face, a mirrored one is not."""
    image = photo(160, 192)
    for name, picture in (("first.png", image), ("second.png", image), ("third.png", image[:, ::-1])):
        assert cv2.imwrite(str(tmp_path / name), picture)
    finder = seed_weights(MODELS["retinaface_mnet025"](), input_shape=(2, 3, 160, 192))
    describer = seed_weights(MODELS["iresnet18"](), input_shape=(2, 3, 112, 112))
    build = functools.partial(netdefs.retinaface.build_engine, finder.state_dict(), input_shape=(1, 3, 160, 192))
    with build(target="cpu") as engine, netdefs.arcface.build_engine(describer.state_dict(), target="cpu") as other:
        engine.save(tmp_path / "faces.engine")
        other.save(tmp_path / "arcface.engine")
    engines = ["--finder", str(tmp_path / "faces.engine"), "--describer", str(tmp_path / "arcface.engine")]
    assert match_faces.main([str(tmp_path / "first.png"), str(tmp_path / "second.png"), *engines]) == 0
    assert "The same face: a distance of 0.000" in capsys.readouterr().out
    arguments = [str(tmp_path / "first.png"), str(tmp_path / "third.png"), "--threshold", "0.0001", *engines]
    assert match_faces.main(arguments) == 1
    assert "Another face" in capsys.readouterr().out
