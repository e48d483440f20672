import json
import os

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

import netdefs
from netdefs.core.errors import EngineError, ExportError, FileError, InputError, MissingPackageError
from netdefs.core.network import Network
from netdefs.engine import cpu, modelfile
from netdefs.engine.base import TensorInfo
from netdefs.export import save as export_save
from tests.engine import raw

FLOAT = np.dtype(np.float32)


def build(definition=None, **options):
    return netdefs.build(raw.conv_scale_relu() if definition is None else definition, target="cpu", **options)


def expected(x):
    """The layers of raw.conv_scale_relu by PyTorch, in float32."""
    weights = {name: torch.from_numpy(array) for name, array in raw.WEIGHTS.items()}
    conv = functional.conv2d(torch.from_numpy(x), weights["kernel"], weights["bias"], padding=1)
    bn = conv * weights["scale"][:, None, None] + weights["shift"][:, None, None]
    return {"conv": conv.numpy(), "bn": bn.numpy(), "relu": bn.relu().numpy(), "out": bn.relu().numpy()}


def image(*shape):
    return raw.coarse(shape or (1, 3, 8, 8), 9)


def test_it_computes_what_pytorch_does():
    engine = build()
    assert engine.target == "cpu"
    assert engine.inputs == {"x": TensorInfo((1, 3, 8, 8), FLOAT)}
    assert engine.outputs == {"out": TensorInfo((1, 8, 8, 8), FLOAT)}
    assert repr(engine) == "<cpu engine: x float32 (1, 3, 8, 8) -> out float32 (1, 8, 8, 8)>"
    x = image()
    results = engine.run({"x": x})
    assert list(results) == ["out"]
    np.testing.assert_array_equal(results["out"], expected(x)["out"])


def test_torch_tensors_and_strided_arrays_are_taken():
    x = image()
    strided = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    engine = build()
    for feed in (torch.from_numpy(x), strided):
        np.testing.assert_array_equal(engine.run({"x": feed})["out"], expected(x)["out"])


def test_two_inputs_and_two_outputs():
    a, b = raw.coarse((2, 3), 1), raw.coarse((2, 3), 2)
    results = build(raw.two_inputs()).run({"b": b, "a": a})
    np.testing.assert_array_equal(results["sum"], a + b)
    np.testing.assert_array_equal(results["product"], a * b)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 3, 5, 11)])
def test_dynamic_batch_height_and_width(shape):
    engine = build(raw.conv_scale_relu(shape=(-1, 3, -1, -1)))
    assert engine.inputs["x"].shape == (-1, 3, -1, -1)
    assert engine.outputs["out"].shape == (-1, 8, -1, -1)
    x = image(*shape)
    np.testing.assert_array_equal(engine.run({"x": x})["out"], expected(x)["out"])


def test_a_profile_bounds_the_sizes_here_too():
    profile = {"x": ((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))}
    engine = build(raw.conv_scale_relu(shape=(-1, 3, 8, 8)), profile=profile)
    assert engine.run({"x": image(2, 3, 8, 8)})["out"].shape == (2, 8, 8, 8)
    with pytest.raises(InputError, match=r"must be \(1\.\.2, 3, 8, 8\), and this is \(3, 3, 8, 8\)"):
        engine.run({"x": image(3, 3, 8, 8)})


def test_feeds_are_checked():
    with pytest.raises(InputError, match="must be float32, and this is float64"):
        build().run({"x": image().astype(np.float64)})


# Further outputs.


def test_any_layer_can_be_given_out_as_well():
    engine, x = build(), image()
    for name, array in engine.run({"x": x}, outputs=["relu", "c*"]).items():
        np.testing.assert_array_equal(array, expected(x)[name])
    assert list(engine.run({"x": x}, outputs="*")) == ["out", "conv", "bn", "relu"]
    assert list(engine.run({"x": x})) == ["out"]
    assert [value.name for value in engine.model.graph.output] == ["out"]


def test_asking_for_an_output_changes_nothing():
    x = image()
    assert list(build().run({"x": x}, outputs="out")) == ["out"]


def test_the_session_for_further_outputs_is_kept(monkeypatch):
    engine = build()
    made = []
    real = engine._make_session
    monkeypatch.setattr(engine, "_make_session", lambda model: made.append(1) or real(model))
    for outputs, sessions in (("conv", 1), (["conv"], 1), ("c*", 1), ("bn", 2), ((), 2), ("bn", 2)):
        engine.run({"x": image()}, outputs=outputs)
        assert len(made) == sessions, outputs


def test_no_layer_of_that_name():
    with pytest.raises(EngineError, match=r"No layer's output matches 'con'\. Near: conv"):
        build().run({"x": image()}, outputs=["bn", "con"])


def test_what_a_layer_holds_in_between_is_not_an_output():
    trt, definition = raw.empty()
    x = definition.add_input("x", trt.float32, (2, 3))
    softplus = definition.add_activation(x, trt.ActivationType.SOFTPLUS)  # takes several nodes in ONNX
    softplus.alpha, softplus.beta = 2.0, 3.0
    definition.mark_output(raw.named(definition.add_identity(raw.named(softplus, "softplus")), "out"))
    engine = build(definition)
    assert len(engine.model.graph.node) > 2
    assert list(engine.run({"x": image(2, 3)}, outputs="*")) == ["out", "softplus"]


def test_outputs_named_at_the_build_leave_the_network_as_it_was():
    definition = raw.conv_scale_relu()
    engine = build(definition, outputs="conv")
    assert list(engine.outputs) == ["out", "conv"]
    assert definition.num_outputs == 1
    with pytest.raises(ExportError, match="cnov"):
        build(definition, outputs=["cnov"])


def test_what_runs_meanwhile_changes_nothing(tmp_path, monkeypatch):
    """A run with further outputs makes a session of its own; an engine saved meanwhile is the engine, no more."""
    engine, x = build(), image()
    engine.info["note"] = "mine"
    before = engine.model.SerializeToString(deterministic=True)
    real = engine._make_session
    seen = []

    def make(model):
        engine.save(tmp_path / "net.onnx")
        seen.append(list(netdefs.load_engine(tmp_path / "net.onnx").outputs))
        seen.append(engine.model.SerializeToString(deterministic=True) == before)
        return real(model)

    monkeypatch.setattr(engine, "_make_session", make)
    assert list(engine.run({"x": x}, outputs="conv")) == ["out", "conv"]
    assert seen == [["out"], True]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_saving_keeps_all_of_the_model(tmp_path, dtype):
    engine = build(raw.conv_scale_relu(dtype))
    engine.save(tmp_path / "net.onnx")
    saved = onnx.load(tmp_path / "net.onnx")
    assert saved.metadata_props.pop().key == cpu.METADATA
    assert saved == engine.model


# Saving and loading.


@pytest.mark.parametrize("name", ["net.onnx", "net.engine", "net"])
def test_what_is_saved_loads(tmp_path, name):
    net = Network({}, "mine")
    net.finish(net.output(net.relu(net.input("x", ((1, 2, 4), 3)), "relu"), "out"))
    engine = netdefs.build(net, target="cpu")
    engine.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    loaded = netdefs.load_engine(tmp_path / name)
    assert loaded.target == "cpu"
    assert (loaded.inputs, loaded.outputs) == (engine.inputs, engine.outputs)
    assert (loaded.info, loaded.profile) == (engine.info, engine.profile)
    x = raw.coarse((3, 3), 1)
    np.testing.assert_array_equal(loaded.run({"x": x})["out"], np.maximum(x, 0))
    assert list(loaded.run({"x": x}, outputs="*")) == ["out", "relu"]


def test_the_file_is_an_ordinary_onnx_model(tmp_path):
    build().save(tmp_path / "net.engine")
    model = onnx.load(tmp_path / "net.engine")
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata[cpu.METADATA])["netdefs"] == netdefs.__version__


def test_saving_twice_keeps_one_entry_of_metadata(tmp_path):
    engine = build()
    engine.save(tmp_path / "a.onnx")
    engine.save(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_weights_that_one_file_cannot_hold_go_beside_it(tmp_path, monkeypatch):
    weights = {"conv.weight": raw.coarse((64, 64, 3, 3), 5)}
    net = Network(weights)
    net.finish(net.output(net.conv(net.input("x", (1, 64, 8, 8)), "conv", 64, kernel=3, bias=False), "out"))
    x = image(1, 64, 8, 8)
    expected = netdefs.build(net, target="cpu").run({"x": x})["out"]

    monkeypatch.setattr(export_save, "LARGEST_MESSAGE", 100_000)  # the kernel takes 147 kB
    engine = netdefs.build(net, target="cpu")
    np.testing.assert_array_equal(engine.run({"x": x})["out"], expected)
    engine.save(tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").stat().st_size < 10_000
    assert (tmp_path / "net.onnx.data").stat().st_size >= 64 * 64 * 9 * 4
    np.testing.assert_array_equal(netdefs.load_engine(tmp_path / "net.onnx").run({"x": x})["out"], expected)

    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(EngineError, match=r"are in another file, which can't be read.*belongs beside net\.onnx"):
        netdefs.load_engine(tmp_path / "net.onnx")


@pytest.mark.parametrize("place", ["missing/net.onnx", "."])
def test_where_nothing_can_be_written(tmp_path, place):
    with pytest.raises(FileError, match="Can't write"):
        build().save(tmp_path / place)


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left on device"):
        build().save(path)
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]
    assert path.read_bytes() == b"old"


# The session.


def test_a_model_that_does_not_load():
    model = build().model
    model.graph.node[0].op_type = "Convolve"
    with pytest.raises(EngineError, match="ONNX Runtime can't load the network 'conv_scale_relu'"):
        cpu.CpuEngine(model, {})


def test_a_run_that_fails():
    trt, definition = raw.empty()
    a = definition.add_input("a", trt.float32, (-1,))
    b = definition.add_input("b", trt.float32, (-1,))
    definition.mark_output(raw.named(definition.add_elementwise(a, b, trt.ElementWiseOperation.SUM), "sum"))
    with pytest.raises(EngineError, match="ONNX Runtime could not run the network"):
        build(definition).run({"a": image(3), "b": image(4)})


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5])
def test_wrong_threads(threads):
    with pytest.raises(EngineError, match="positive number of CPU threads"):
        build(threads=threads)


def test_threads_are_what_was_asked_for_or_what_this_process_may_use(monkeypatch):
    assert build(threads=1)._session.get_session_options().intra_op_num_threads == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert build()._session.get_session_options().intra_op_num_threads == 3
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert build()._session.get_session_options().intra_op_num_threads == 0


def test_closed_engines_say_so():
    with build() as engine:
        engine.run({"x": image()})
    with pytest.raises(EngineError, match="This engine is closed"):
        engine.run({"x": image()})


def test_the_model_is_serialized_once(monkeypatch):
    opened = []
    real = modelfile.source
    monkeypatch.setattr(modelfile, "source", lambda model: opened.append(1) or real(model))
    engine = build()
    engine.run({"x": image()})
    engine.run({"x": image()})
    assert len(opened) == 1


def test_a_missing_onnxruntime_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'netdefs\[cpu\]'"):
        build()
