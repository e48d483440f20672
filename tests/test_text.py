"""CRNN against its PyTorch reference, and pictures of lines in, text out."""

import functools

import cv2
import numpy as np
import pytest
import torch

import netdefs
from examples import read_text
from examples.seeded import seed_weights
from netdefs.core.errors import InputError, NetworkError
from netdefs.vision import predict
from tests.reference import MODELS, constant, shapes_of
from tests.vision.test_text import plain

WIDE = ((1, 2, 4), 1, 32, (32, 100, 200))


@functools.cache
def seeded():
    return seed_weights(MODELS["crnn"](), input_shape=(4, 1, 32, 100))


def expected(x):
    with torch.no_grad():
        return seeded()(torch.from_numpy(x)).numpy()


def assert_near(engine, shape, tolerance):
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    got, wanted = engine.run({"input": x})["logits"], expected(x)
    assert got.shape == wanted.shape == (shape[0], shape[3] // 4 + 1, 37)
    assert np.linalg.norm(got - wanted) < tolerance * np.linalg.norm(wanted)


def test_any_batch_and_width():
    build = functools.partial(netdefs.crnn.build_engine, seeded().state_dict(), target="cpu", input_shape=WIDE)
    with build() as engine:
        assert_near(engine, (2, 1, 32, 100), 1e-5)
        assert_near(engine, (3, 1, 32, 163), 1e-5)
    with build(fold_bn=True, precision="fp16") as engine:
        assert_near(engine, (1, 1, 32, 64), 0.01)


def test_every_module_has_a_layer():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 32, 100), dtype=np.float32))
    network = netdefs.crnn.define_network(seeded().state_dict(), input_shape=x.shape)
    report = netdefs.compare(network, seeded(), x)
    assert report.ok and report.weights.status == "identical", report.verdict
    assert not [item.name for item in report.unmatched if item.side == "module"]
    assert {"rnn.0.rnn", "rnn.1.rnn"} <= {row.name for row in report.rows}  # what nn.LSTM gives before its states


def test_a_wrong_lstm_is_found():
    weights = dict(seeded().state_dict())
    weights["rnn.1.rnn.weight_hh_l0_reverse"] = weights["rnn.1.rnn.weight_hh_l0_reverse"].flip(0)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 32, 100), dtype=np.float32))
    network = netdefs.crnn.define_network(weights, input_shape=x.shape)
    report = netdefs.compare(network, seeded(), x)
    assert not report.ok and report.first_bad.name == "rnn.1.rnn", report.verdict


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("shape", [(1, 1, 32, 100), WIDE], ids=["", "dynamic"])
def test_rtx_compiles(shape, precision):
    weights = constant(shapes_of("crnn"))
    with netdefs.crnn.build_engine(weights, input_shape=shape, precision=precision, target="tensorrt_rtx") as engine:
        assert engine.outputs["logits"].shape[2] == 37


def test_lines_in_boxes_become_text():
    """As upstream's demo: gray, resized to 100 x 32 whatever its proportions, -1 to 1; then greedy CTC."""
    image = np.full((120, 300, 3), 255, np.uint8)
    boxes = [(10, 10, 210, 60), (30, 60, 290, 110)]
    for (left, _, _, bottom), word in zip(boxes, ("netdefs", "text"), strict=True):
        cv2.putText(image, word, (left, bottom - 10), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (200, 40, 0), 3)
    with netdefs.crnn.build_engine(seeded().state_dict(), input_shape=WIDE, target="cpu") as engine:
        found = predict(engine, image, boxes=boxes)
    for (x1, y1, x2, y2), instance in zip(boxes, found.instances, strict=True):
        line = cv2.cvtColor(cv2.resize(image[y1:y2, x1:x2], (100, 32)), cv2.COLOR_BGR2GRAY)
        logits = expected((line.astype(np.float32)[None, None] / 255 - 0.5) / 0.5)[0]
        text, score = plain(logits, "0123456789abcdefghijklmnopqrstuvwxyz")
        assert instance.text == text == instance.to_dict()["text"]
        assert instance.score == pytest.approx(score, abs=1e-3)
        assert instance.box.tolist() == [x1, y1, x2, y2]
    assert found.draw(image).shape == image.shape


def test_what_can_not_be():
    weights = constant(shapes_of("crnn", num_classes=11))
    with pytest.raises(NetworkError, match="32 pixels in height, not 48"):
        netdefs.crnn.define_network(weights, input_shape=(1, 1, 48, 100))
    with pytest.raises(NetworkError, match=r"alphabet has 3 characters, and the network 11 classes.*takes 10"):
        netdefs.crnn.define_network(weights, alphabet="abc")
    with (
        netdefs.crnn.build_engine(weights, target="cpu") as engine,
        pytest.raises(InputError, match="define it with alphabet="),
    ):
        predict(engine, np.zeros((32, 100, 3), np.uint8))
    with netdefs.crnn.build_engine(weights, alphabet="0123456789", target="cpu") as engine:
        assert engine.info["decode"]["alphabet"] == "0123456789"
        with pytest.raises(InputError, match="Names are for classes"):
            predict(engine, np.zeros((32, 100, 3), np.uint8), class_names=["a"])


def test_the_example_reads_what_it_draws(capsys):
    number = "3070154"  # none of those that it is fitted to
    assert read_text.main([number]) == 0
    assert capsys.readouterr().out.startswith(number)
    with pytest.raises(SystemExit):
        read_text.main(["12a"])
    assert "'12a' is not 1 to 7 of the digits" in capsys.readouterr().err
