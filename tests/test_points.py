"""SuperPoint against its PyTorch reference, and two pictures of one thing in, pairs of points out."""

import functools

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional as F

import netdefs
from examples.seeded import seed_weights
from netdefs.cli import main
from netdefs.core.errors import InputError, NetworkError
from netdefs.vision import match_points, predict
from tests.reference import MODELS, constant, shapes_of

SMALL = (2, 1, 64, 96)
DYNAMIC = ((1, 2, 4), 1, (8, 64, 128), (8, 96, 128))


@functools.cache
def seeded():
    """Logits far enough apart for some pixels to be much likelier than others."""
    module = seed_weights(MODELS["superpoint"]())
    with torch.no_grad():
        module.convPb.weight.mul_(4)
    return module


def expected(x):
    with torch.no_grad():
        found = seeded()(torch.from_numpy(x))
    found["heatmap"] = F.pixel_shuffle(found["semi"].softmax(1)[:, :64], 8)
    return {key: value.numpy() for key, value in found.items()}


@pytest.mark.parametrize("decode", ["raw", "decoded"])
def test_any_batch_and_size(decode):
    build = functools.partial(netdefs.superpoint.build_engine, seeded().state_dict(), decode=decode, target="cpu")
    names = ["heatmap" if decode == "decoded" else "semi", "desc"]
    for precision, tolerance in (("fp32", 1e-5), ("fp16", 0.01)):
        with build(input_shape=DYNAMIC, precision=precision) as engine:
            for size in (SMALL, (1, 1, 104, 40)):
                x = np.random.default_rng(0).random(size, dtype=np.float32)
                got, wanted = engine.run({"input": x}), expected(x)
                assert list(got) == names
                for name in names:
                    assert got[name].shape == wanted[name].shape
                    assert np.linalg.norm(got[name] - wanted[name]) < tolerance * np.linalg.norm(wanted[name])


def test_every_module_has_a_layer():
    x = torch.from_numpy(np.random.default_rng(0).random(SMALL, dtype=np.float32))
    network = netdefs.superpoint.define_network(seeded().state_dict(), input_shape=SMALL)
    report = netdefs.compare(network, seeded(), x, tolerance=1e-4)
    assert report.ok and report.weights.status == "identical", report.verdict
    left = {item.name: item.reason for item in report.unmatched if item.side == "module"}
    assert left.keys() == {"pool", "relu"}  # each of them is called again and again


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("decode", ["raw", "decoded"])
def test_rtx_compiles(decode, precision):
    build = functools.partial(netdefs.superpoint.build_engine, constant(shapes_of("superpoint")), decode=decode)
    with build(input_shape=DYNAMIC, precision=precision, target="tensorrt_rtx") as engine:
        assert engine.outputs["desc"].shape == (-1, 256, -1, -1)


def photo(top, left, height=160, width=200):
    gray = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(gray[top : top + height, left : left + width])


@pytest.mark.parametrize("decode", ["raw", "decoded"])
def test_two_pictures_of_one_thing(decode):
    """One shows what the other does 16 pixels further right and 8 further down: the cells see the same, inside."""
    build = functools.partial(netdefs.superpoint.build_engine, seeded().state_dict(), decode=decode, target="cpu")
    with build(input_shape=(1, 1, 160, 200)) as engine:
        first, second = predict(engine, photo(40, 100)), predict(engine, photo(48, 116))
        fewer = predict(engine, photo(40, 100), threshold=0.2)
    heat = expected(cv2.cvtColor(photo(40, 100), cv2.COLOR_BGR2GRAY).astype(np.float32)[None, None] / 255)["heatmap"][
        0, 0
    ]
    x, y, score = first.points.keypoints.T
    np.testing.assert_allclose(score, heat[y.astype(int), x.astype(int)], atol=1e-4)
    assert (np.diff(score) <= 0).all() and len(first.points) > len(fewer.points) > 0
    pairs, distances = match_points(first.points, second.points)
    moved = first.points.keypoints[pairs[:, 0], :2] - second.points.keypoints[pairs[:, 1], :2]
    exact = (moved == (16, 8)).all(1)
    assert exact.sum() > 20 and exact[distances < 1e-3].mean() > 0.9
    assert (first.draw(photo(40, 100)) != photo(40, 100)).any()


def test_points_are_in_the_picture_whatever_its_size():
    """A picture of twice the size, each pixel four times: the network sees the same."""
    large = photo(40, 100).repeat(2, 0).repeat(2, 1)
    build = functools.partial(netdefs.superpoint.build_engine, seeded().state_dict(), target="cpu")
    with build(input_shape=(1, 1, 160, 200)) as engine:
        small, found = predict(engine, photo(40, 100)).points, predict(engine, large).points
    np.testing.assert_allclose(found.keypoints[:, :2], 2 * small.keypoints[:, :2] + 0.5, atol=1e-3)


def test_the_command_lists_points(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "photo.png"), photo(40, 100))
    with netdefs.superpoint.build_engine(seeded().state_dict(), input_shape=(1, 1, 160, 200), target="cpu") as engine:
        engine.save(tmp_path / "points.engine")
        count = len(predict(engine, photo(40, 100)).points)
    arguments = ["run", str(tmp_path / "points.engine"), "--image", str(tmp_path / "photo.png")]
    assert main([*arguments, "--draw", str(tmp_path / "out.png")]) == 0
    assert f"{count} points" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert '"points"' in (said := capsys.readouterr().out) and '"instances"' not in said


def test_what_can_not_be():
    weights = constant(shapes_of("superpoint"))
    with pytest.raises(NetworkError, match="decode='both': it is one of 'raw', 'decoded'"):
        netdefs.superpoint.define_network(weights, decode="both")
    with pytest.raises(NetworkError, match="a multiple of 8, such as 96 or 104, not 100"):
        netdefs.superpoint.define_network(weights, input_shape=(1, 1, 100, 104))
    with (
        netdefs.superpoint.build_engine(seeded().state_dict(), input_shape=(1, 1, 64, 64), target="cpu") as engine,
        pytest.raises(InputError, match="Names are for classes"),
    ):
        predict(engine, photo(0, 0, 64, 64), class_names=["a"])
