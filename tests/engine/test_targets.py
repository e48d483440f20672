import numpy as np
import pytest

import netdefs
from netdefs.core import trt
from netdefs.core.errors import EngineError, NetworkError, WeightsError
from netdefs.core.network import Network
from tests.engine import raw


def set_gpu(monkeypatch, capability):
    monkeypatch.setattr(trt, "compute_capability", lambda: capability)


@pytest.mark.parametrize(
    ("capability", "target"), [(None, "cpu"), ("8.9", "tensorrt_rtx"), ("9.0", "cpu"), ("7.0", "cpu")]
)
def test_auto_is_tensorrt_where_a_gpu_is_that_it_supports(monkeypatch, capability, target):
    set_gpu(monkeypatch, capability)
    assert netdefs.build(raw.conv_scale_relu()).target == target


def test_an_unknown_target():
    with pytest.raises(EngineError, match="'gpu'\\. Choose from auto, cpu, tensorrt, tensorrt_rtx"):
        netdefs.build(raw.conv_scale_relu(), target="gpu")


def test_a_network_of_the_other_package():
    with pytest.raises(EngineError) as caught:
        netdefs.build(raw.conv_scale_relu(), target="tensorrt")
    message = str(caught.value)
    assert "defined with tensorrt_rtx" in message
    assert "build_engine(..., target='tensorrt')" in message
    assert "NETDEFS_TENSORRT=tensorrt" in message


@pytest.mark.parametrize(
    ("target", "option", "words"),
    [
        ("cpu", "workspace", "'workspace' is one of the target tensorrt and tensorrt_rtx; this is the target cpu"),
        (
            "cpu",
            "thread",
            "'thread' is unknown; this is the target cpu, whose options are profile, threads. Near: threads",
        ),
        ("auto", "compute_capabilities", "is one of the target tensorrt_rtx; this is the target cpu"),
        ("tensorrt_rtx", "threads", "is one of the target cpu; this is the target tensorrt_rtx"),
        ("tensorrt_rtx", "verbose", "'verbose' is unknown"),
    ],
)
def test_options_of_another_target(monkeypatch, target, option, words):
    set_gpu(monkeypatch, None)
    with pytest.raises(EngineError) as caught:
        netdefs.build(raw.conv_scale_relu(), target=target, **{option: 1})
    assert words in str(caught.value)


@pytest.mark.parametrize("thing", ["resnet50", None, np.zeros(3)])
def test_what_is_no_network(thing):
    with pytest.raises(EngineError, match="build takes a netdefs Network or an INetworkDefinition, not"):
        netdefs.build(thing)


@pytest.mark.parametrize("target", ["cpu", "tensorrt_rtx"])
def test_a_network_without_outputs(target):
    trt, definition = raw.empty()
    definition.add_identity(definition.add_input("x", trt.float32, (1,)))
    with pytest.raises(EngineError, match="has no output: call mark_output"):
        netdefs.build(definition, target=target)
    with pytest.raises(NetworkError, match="has no output"):
        netdefs.build(Network({}), target=target)


@pytest.mark.parametrize("target", ["cpu", "tensorrt_rtx"])
def test_weights_are_checked_before_anything_is_built(target):
    net = Network({"conv.weight": np.ones((4, 3, 1, 1), np.float32)})
    y = net.conv(net.input("x", (1, 3, 8, 8)), "conv", 4, kernel=1)
    net.definition.mark_output(y)
    with pytest.raises(WeightsError, match=r"conv\.bias"):
        netdefs.build(net, target=target)


@pytest.mark.parametrize("target", ["cpu", "tensorrt_rtx"])
def test_what_the_network_says_of_itself_comes_along(target):
    net = Network({}, "mine", "fp16")
    net.finish(net.output(net.relu(net.input("x", ((1, 2, 4), 3)), "relu"), "out"))
    net.info["task"] = "classification"
    with netdefs.build(net, target=target) as engine:
        assert engine.info["task"] == "classification"
        assert engine.info["precision"] == "fp16"
        assert engine.profile == {"x": ((1, 3), (2, 3), (4, 3))}
        engine.info["task"] = "another"
        assert net.info["task"] == "classification"


@pytest.mark.parametrize("target", ["cpu", "tensorrt_rtx"])
def test_info_is_the_same_before_and_after_saving(tmp_path, target):
    net = Network({})
    net.finish(net.output(net.relu(net.input("x", (1, 3)), "relu"), "out"))
    net.info["mean"] = (0.5, 0.25)
    engine = netdefs.build(net, target=target)
    net.info["folded"]["conv"] = "bn"  # too late
    engine.info["labels"] = ["cat", "dog"]
    engine.save(tmp_path / "net.engine")
    assert engine.info["mean"] == [0.5, 0.25]
    assert engine.info["folded"] == {}
    assert netdefs.load_engine(tmp_path / "net.engine").info == engine.info


@pytest.mark.parametrize("target", ["cpu", "tensorrt_rtx"])
def test_info_that_json_cannot_hold(target):
    net = Network({})
    net.finish(net.output(net.relu(net.input("x", (1, 3)), "relu"), "out"))
    net.info["mean"] = np.zeros(3)
    with pytest.raises(EngineError, match="can't be saved as JSON"):
        netdefs.build(net, target=target)
