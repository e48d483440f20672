"""Comparing what an engine computes: chunks of marked layers, debug tensors, and what looking changes.

The engines are those of the CPU here, with ONNX Runtime's fusions; `gpu` marks what takes TensorRT's.
"""

import dataclasses

import numpy as np
import pytest

import netdefs
from netdefs.core.errors import CompareError, EngineError
from netdefs.core.trt import compute_capability
from netdefs.debug import deployed, measurement
from netdefs.debug.deployed import Observer
from tests.debug.nets import Net, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture
def built(monkeypatch):
    """The calls of `build`, and what they gave."""
    calls = []

    def spy(network, **options):
        engine = netdefs.build(network, **options)
        calls.append((options, engine))
        return engine

    monkeypatch.setattr(deployed, "build", spy)
    return calls


def test_the_rows_are_those_of_a_chained_comparison(module, built):
    net = network(module)
    report = netdefs.compare(net, module, picture(), target="cpu", mode="chained")
    usual = netdefs.compare(net, module, picture(), mode="chained")
    assert report.ok
    assert [row.name for row in report.rows] == [row.name for row in usual.rows]
    for row, other in zip(report.rows, usual.rows, strict=True):
        assert row.chained.relative < 1e-5
        assert row.shape == other.shape
    assert len(built) == 2  # the one that nobody looks into, and one that shows all
    assert set(built[1][0]["outputs"]) == {row.name for row in report.rows} - {"logits"}


@pytest.mark.parametrize("inputs", [1, 2])
def test_marked_layers_fit_into_memory_chunk_by_chunk(module, built, monkeypatch, inputs):
    monkeypatch.setattr(measurement, "BUDGET", 1 << 17)
    x = picture() if inputs == 1 else [picture(seed=i) for i in range(inputs)]
    report = netdefs.compare(network(module), module, x, target="cpu")
    assert report.ok
    chunks = [options["outputs"] for options, _ in built[1:]]
    assert len(chunks) > 3
    assert len(chunks) == report.observer.engines  # not built again for a second input
    marked = [name for chunk in chunks for name in chunk]
    assert sorted(marked) == sorted({row.name for row in report.rows} - {"logits"})
    for _, engine in built[1:]:
        sizes = [4 * np.prod(info.shape) for info in engine.outputs.values()]
        assert sum(sizes) <= 1 << 17 or len(sizes) <= 3
    for _, engine in built:
        with pytest.raises(EngineError, match="closed"):
            engine.run({"input": picture()})


def test_a_wrong_layer_is_found_and_the_report_says_what_looking_changed(module):
    report = netdefs.compare(network(module, fault="stride"), module, picture(), target="cpu")
    assert not report.ok
    assert report.mode == "chained"
    usual = netdefs.compare(network(module, fault="stride"), module, picture())
    assert report.first_bad.name in {row.name for row in usual.bad}
    assert any("Only chained: an engine can't be fed in its middle" in note for note in report.notes)
    assert report.observer.target == "cpu"
    assert report.observer.differences["logits"] < 1e-5
    assert report.observer.text in report.notes
    assert "observer" not in report.answers  # it does not matter
    assert report.to_dict()["observer"]["differences"] == report.observer.differences


def test_an_engine_that_computes_otherwise_when_it_is_looked_into(module, built, monkeypatch):
    """Its outputs are the undisturbed engine's, and the report says how far the layers can be trusted."""
    spy = deployed.build

    def disturbed(network, **options):
        engine = spy(network, **options)
        if options.get("outputs"):
            run = engine.run
            engine.run = lambda feeds: {k: v * (1 + 1e-2 * (k == "logits")) for k, v in run(feeds).items()}
        return engine

    monkeypatch.setattr(deployed, "build", disturbed)
    report = netdefs.compare(network(module), module, picture(), target="cpu")
    assert report.ok
    assert report.observer.matters
    assert report.observer.differences["logits"] == pytest.approx(1e-2, rel=1e-3)
    assert "changes logits by 0.01 (relative), more than the tolerance 0.0001" in report.answers["observer"]


class Listening:
    """An engine of the CPU that hands out debug tensors, as TensorRT's do: those in `fused` it does not have."""

    def __init__(self, engine, names, fused=()):
        self.engine, self.names, self.fused, self.released = engine, names, fused, 0
        self.target, self.run, self.close = engine.target, engine.run, engine.close

    def watch(self, feeds, sink):
        results = self.engine.run(feeds, outputs=[n for n in self.names if n not in self.fused] if self.names else "*")
        for name in reversed(results):  # in any order
            if name not in self.engine.outputs and name not in self.fused:
                sink(name, results[name])
        sink("(internal name)", np.zeros(3))
        return {name: results[name] for name in self.engine.outputs}

    def release(self):
        self.released += 1


@pytest.fixture
def listening(monkeypatch):
    made = []

    def build(network, *, target, debug=(), unfused=False):
        made.append(Listening(netdefs.build(network, target=target), debug, {"bn1", "layer1.0.bn1"} if unfused else ()))
        made[-1].options = {"debug": debug, "unfused": unfused}
        return made[-1]

    monkeypatch.setattr(deployed, "build", build)
    return made


def test_debug_tensors_show_all_layers_of_one_engine(module, listening, monkeypatch):
    monkeypatch.setattr(measurement, "BUDGET", 1 << 17)  # one run for each chunk, of the same engine
    net = network(module)
    report = netdefs.compare(net, module, picture(), target="cpu", observe="debug")
    assert report.ok
    usual = netdefs.compare(net, module, picture(), mode="chained")
    assert [row.name for row in report.rows] == [row.name for row in usual.rows]
    assert [sorted(made.options["debug"]) for made in listening] == [[], sorted(set(listening[1].names))]
    assert listening[1].released > 3
    assert report.observer.engines == 1
    assert report.observer.text.startswith("Making debug tensors of the layers (cpu, 1 engine) changes")


def test_unfused_layers_are_compared_and_the_others_are_said_to_be_fused(module, listening):
    report = netdefs.compare(network(module), module, picture(), target="cpu", observe="unfused")
    assert report.ok
    assert listening[1].options == {"debug": (), "unfused": True}
    assert {"bn1", "layer1.0.bn1"}.isdisjoint(row.name for row in report.rows)
    fused = [item.name for item in report.unmatched if item.reason == "is fused: no debug tensor has its name"]
    assert fused == ["bn1", "layer1.0.bn1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "cpu", "mode": "isolated"}, "mode='isolated': an engine can't be fed in its middle"),
        ({"target": "cpu", "start": "layer2"}, "start=: an engine can't be fed in its middle. Leave target out"),
        ({"target": "cpu", "observe": "debug"}, "an engine of the target 'cpu' has no debug tensors"),
        ({"observe": "unfused"}, "none is compiled: give a target, too, such as 'tensorrt'"),
        ({"target": "cpu", "observe": "all"}, "observe='all': it is one of outputs, debug, unfused"),
    ],
)
def test_wrong_use(module, options, words):
    with pytest.raises(CompareError) as caught:
        netdefs.compare(network(module), module, picture(), **options)
    assert words in str(caught.value)


def test_a_target_takes_a_network(module):
    engine = netdefs.build(network(module), target="cpu")
    with pytest.raises(CompareError, match="target='cpu' compiles a network, and this is an engine for 'cpu' already"):
        netdefs.compare(engine, module, picture(), target="cpu")
    with pytest.raises(EngineError, match="No target is called 'gpu'"):
        netdefs.compare(network(module), module, picture(), target="gpu")


def test_a_plan_without_a_gpu_says_so(module):
    if compute_capability() is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(EngineError, match="no NVIDIA GPU answers on this machine"):
        netdefs.compare(network(module), module, picture(), target="tensorrt_rtx")


def test_half_precision_on_a_target(module):
    report = netdefs.compare(network(module, precision="fp16"), module, picture(), target="cpu")
    assert report.ok
    assert report.observer.tolerance == report.tolerance.chained


def test_what_an_observer_says():
    observer = Observer("tensorrt", "outputs", 3, {"a": 0.0, "b": 0.0}, 1e-4)
    assert observer.text == (
        "Making outputs of the layers (tensorrt, 3 engines) changes no bit of the network's outputs."
    )
    observer = dataclasses.replace(observer, differences={"a": 1e-7, "b": 2e-6}, way="debug")
    assert observer.text.endswith("changes b by 2e-06 (relative): the last digits only.")
    assert not observer.matters
    for worst in (1e-2, float("inf"), float("nan")):
        assert dataclasses.replace(observer, differences={"a": worst}).matters


@pytest.mark.gpu
@pytest.mark.parametrize("observe", ["outputs", "debug", "unfused"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_on_a_gpu(module, observe, precision, monkeypatch):
    monkeypatch.setattr(measurement, "BUDGET", 1 << 17)
    net = network(module, precision=precision)
    target = netdefs.core.trt.module_of(net.definition).__name__
    try:
        report = netdefs.compare(net, module, picture(), target=target, observe=observe)
    except EngineError as error:
        if observe != "unfused" or "No debug tensor was handed out" not in str(error):
            raise
        pytest.skip("TensorRT fused everything")
    assert report.ok, report.verdict
    assert report.observer.differences["logits"] <= report.tolerance.chained
    assert "logits" in [row.name for row in report.rows]
    if observe == "unfused":
        assert report.observer.differences["logits"] == 0
