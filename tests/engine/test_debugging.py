"""Debug tensors: marked in a real build, and listened to on the pretend GPU. On a real one: test_on_gpu.py."""

import re
import types

import numpy as np
import pytest

import netdefs
from netdefs.core.dtypes import float32_to_bfloat16
from netdefs.core.errors import EngineError, InputError, NetworkError
from netdefs.engine import gpu, plan
from netdefs.engine.base import TensorInfo
from netdefs.engine.plan import PlanEngine
from netdefs.engine.sidecar import Sidecar
from tests.engine import raw
from tests.engine.fakes import World

X = np.float32([[1, 2, 3, 4]])


@pytest.fixture
def make(monkeypatch):
    def runner(**debug):
        world = World()
        world.debug = debug
        return world, gpu.Runner(world.install(monkeypatch), b"plan")

    return runner


def tripled(x):
    return 3 * x


def watched(runner):
    found = {}
    outputs = runner.watch({"x": X}, found.__setitem__)
    np.testing.assert_array_equal(outputs["out"], 2 * X)
    return found


@pytest.mark.parametrize("on_host", [False, True])
def test_values_are_copied_before_their_memory_is_used_again(make, on_host):
    _, runner = make(a=("float32", tripled, on_host), b=("int32", lambda x: x.astype(np.int32)[0], on_host))
    found = watched(runner)
    np.testing.assert_array_equal(found["a"], 3 * X)
    np.testing.assert_array_equal(found["b"], np.int32([1, 2, 3, 4]))
    assert found["b"].dtype == np.int32


def test_types(make):
    _, runner = make(
        half=("float16", lambda x: x.astype(np.float16), False),
        bf16=("bfloat16", lambda x: float32_to_bfloat16(x / 3), False),
        inner=("fp8", lambda x: x.astype(np.int8), False),  # no type that can leave the network
        empty=("float32", lambda x: x[:0], False),
    )
    found = watched(runner)
    assert list(found) == ["half", "bf16"]
    assert found["half"].dtype == np.float16
    np.testing.assert_allclose(found["bf16"], X / 3, rtol=1 / 256)


def test_watching_takes_a_context_without_cuda_graphs_and_leaves_the_usual_one(make):
    world, runner = make(a=("float32", tripled, False))
    watched(runner)
    assert world.named("context") == [(world.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE,), (None,)]
    world.calls.clear()
    np.testing.assert_array_equal(runner.run({"x": X})["out"], 2 * X)
    assert world.named("context") == []


def test_a_sink_that_fails_is_not_swallowed(make):
    _, runner = make(a=("float32", tripled, False), b=("float32", tripled, False))

    def sink(name, array):
        raise ValueError(f"no room for {name}")

    with pytest.raises(EngineError, match="A debug tensor could not be read: no room for a"):
        runner.watch({"x": X}, sink)
    np.testing.assert_array_equal(runner.run({"x": X})["out"], 2 * X)


def test_a_plan_without_debug_tensors_says_so(make):
    _, runner = make()
    with pytest.raises(EngineError, match=re.escape('build with debug=("layer1.*",) or unfused=True')):
        runner.watch({"x": X}, dict.__setitem__)
    world, runner = make(a=("float32", tripled, False))
    world.refuse.add("set_debug_listener")
    with pytest.raises(EngineError, match="does not hand out the debug tensors"):
        runner.watch({"x": X}, dict.__setitem__)


def test_an_old_tensorrt_says_so(make):
    _, runner = make(a=("float32", tripled, False))
    del runner._trt.IDebugListener
    with pytest.raises(EngineError, match=r"tensorrt_rtx \S+ has no debug tensors: mark layers as outputs"):
        runner.watch({"x": X}, dict.__setitem__)


def test_an_engine_is_watched_and_released(make, monkeypatch):
    world, runner = make(a=("float32", tripled, False))
    info = TensorInfo((1, 4), np.dtype(np.float32))
    content = Sidecar("tensorrt_rtx", world.trt.__version__, None, {"x": info}, {"out": info}, {}, {})
    loads = []
    again = types.SimpleNamespace(watch=lambda feeds, sink: loads.append("watched"), close=lambda: None)
    monkeypatch.setattr(PlanEngine, "_load", lambda self: again)
    engine = plan.PlanEngine(b"plan", content, "it", runner)
    found = {}
    engine.watch({"x": X}, found.__setitem__)
    np.testing.assert_array_equal(found["a"], 3 * X)
    with pytest.raises(InputError):
        engine.watch({"y": X}, found.__setitem__)
    engine.release()
    assert world.named("close stream") == [()]
    engine.watch({"x": X}, found.__setitem__)
    assert loads == ["watched"]


def test_debug_tensors_are_marked_for_the_build_only(monkeypatch):
    definition = raw.conv_scale_relu()
    trt = netdefs.core.trt.module_of(definition)
    tensors = {layer.get_output(0).name: layer.get_output(0) for layer in map(definition.get_layer, range(3))}
    seen = []
    real = trt.Builder.build_serialized_network

    def spy(self, network, config):
        seen.append([name for name, tensor in tensors.items() if network.is_debug_tensor(tensor)])
        return real(self, network, config)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", spy)
    plain = netdefs.build(definition, target="tensorrt_rtx")
    marked = netdefs.build(definition, target="tensorrt_rtx", debug=["conv", "b*"])
    assert seen == [[], ["conv", "bn"]]
    assert list(marked.outputs) == list(plain.outputs)
    assert marked.plan != plain.plan
    assert not any(definition.is_debug_tensor(tensor) for tensor in tensors.values())
    assert netdefs.build(definition, target="tensorrt_rtx").plan == plain.plan
    assert netdefs.build(definition, target="tensorrt_rtx", unfused=True).plan != plain.plan
    assert netdefs.build(definition, target="tensorrt_rtx").plan == plain.plan
    with pytest.raises(NetworkError, match="No layer's output matches 'cnov'"):
        netdefs.build(definition, target="tensorrt_rtx", debug="cnov")
    with pytest.raises(EngineError, match="The option 'debug' is one of the target tensorrt and tensorrt_rtx"):
        netdefs.build(definition, target="cpu", debug="conv")
