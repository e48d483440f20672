"""Plans as files: saved, loaded, and what is wrong with them said before a GPU is asked."""

import json
import os

import numpy as np
import pytest

import netdefs
from netdefs.core import trt
from netdefs.core.errors import EngineError, FileError, InputError, MissingPackageError
from netdefs.core.network import Network
from netdefs.engine import loading, plan, sidecar
from netdefs.engine.gpu import Runner
from tests.engine import raw
from tests.engine.fakes import World

PROFILE = {"x": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}


@pytest.fixture(scope="module")
def engine():
    definition = raw.conv_scale_relu("float16", shape=(-1, 3, 8, 8))
    return netdefs.build(definition, target="tensorrt_rtx", profile=PROFILE, compute_capabilities=("8.6", "12.0"))


@pytest.fixture
def saved(engine, tmp_path):
    engine.save(tmp_path / "net.engine")
    return tmp_path / "net.engine"


def edit(path, **changes):
    """Changes entries of a sidecar."""
    file = sidecar.path_of(path)
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(path, error=EngineError):
    with pytest.raises(error) as caught:
        netdefs.load_engine(path)
    return str(caught.value)


def set_gpu(monkeypatch, capability):
    monkeypatch.setattr(trt, "compute_capability", lambda: capability)


# The sidecar.


def test_a_plan_comes_back_with_all_that_was_known_of_it(engine, saved):
    loaded = netdefs.load_engine(saved)
    for name in ("target", "inputs", "outputs", "profile", "info", "plan"):
        assert getattr(loaded, name) == getattr(engine, name), name
    assert [each.name for each in sorted(saved.parent.iterdir())] == ["net.engine", "net.engine.json"]
    assert saved.read_bytes() == engine.plan  # no header: any tool can load it


def test_what_the_sidecar_says(tmp_path):
    net = Network({"conv.weight": np.ones((8, 3, 3, 3), np.float32)}, "mine", "bf16")
    net.finish(net.output(net.conv(net.input("x", (1, 3, 8, 8)), "conv", 8, kernel=3, bias=False), "out"))
    net.info["weights_sha256"] = "f" * 64
    engine = netdefs.build(net, target="tensorrt_rtx", outputs="conv", compute_capabilities="8.9")
    engine.save(tmp_path / "mine.engine")
    data = json.loads((tmp_path / "mine.engine.json").read_text())
    assert data["format"] == 1
    assert data["netdefs"] == netdefs.__version__
    assert data["target"] == "tensorrt_rtx"
    assert data["tensorrt"] == net.trt.__version__
    assert data["compute_capabilities"] == ["8.9"]
    assert data["inputs"] == {"x": {"shape": [1, 3, 8, 8], "dtype": "float32"}}
    assert data["outputs"] == {
        "out": {"shape": [1, 8, 6, 6], "dtype": "float32"},
        "conv": {"shape": [1, 8, 6, 6], "dtype": "bfloat16"},
    }
    assert data["weights_sha256"] == "f" * 64
    assert data["info"]["precision"] == "bf16"
    assert data["plan_bytes"] == len(engine.plan)
    assert netdefs.load_engine(tmp_path / "mine.engine").outputs == engine.outputs


def test_the_default_gpus_are_not_made_up(tmp_path):
    netdefs.build(raw.conv_scale_relu(), target="tensorrt_rtx").save(tmp_path / "net.engine")
    assert json.loads((tmp_path / "net.engine.json").read_text())["compute_capabilities"] is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"format": "one"}', '{"format": 1, "plan_bytes": 3}'])
def test_a_sidecar_that_is_none(saved, text):
    sidecar.path_of(saved).write_text(text)
    message = refused(saved)
    assert "net.engine.json is not what netdefs writes beside a plan" in message
    assert "Build the engine again" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": {"x": {"shape": "8", "dtype": "flout"}}},
        {"outputs": {"out": {"shape": [1], "dtype": "float33"}}},
        {"outputs": []},
        {"profile": {"x": [[1, 3, 8, 8]]}},
        {"target": "cpu"},
        {"info": 3},
        {"compute_capabilities": 8.6},
        {"format": 0},
        {"outputs": {}},
        {"tensorrt": None},
        {"tensorrt": "1.x/7"},
        {"weights_sha256": "f" * 64},
    ],
)
def test_a_sidecar_with_a_damaged_entry(saved, changes):
    edit(saved, **changes)
    assert "is not what netdefs writes beside a plan" in refused(saved)


def test_a_sidecar_that_is_not_text(saved):
    sidecar.path_of(saved).write_bytes(b"\xff\xfe\x00")
    assert "Can't read" in refused(saved, FileError)


def test_a_sidecar_of_the_future(saved):
    edit(saved, format=2, netdefs="9.0")
    message = refused(saved)
    assert f"has format 2, from netdefs 9.0. This netdefs, {netdefs.__version__}, reads format 1: update it" in message


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:-1] + b"?", lambda data: data + b"?"])
def test_another_plan_than_the_sidecars(saved, change):
    saved.write_bytes(change(saved.read_bytes()))
    message = refused(saved)
    assert "describes a plan of" in message
    assert "copy both once more, or build the engine again" in message


# Saving.


def fail_rename(monkeypatch, which):
    """Makes the n-th rename fail, as a full or vanished disk does."""
    real, count = os.replace, 0

    def replace(source, target):
        nonlocal count
        count += 1
        if count == which:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_a_failure_leaves_the_old_pair(saved, monkeypatch):
    before = saved.read_bytes(), sidecar.path_of(saved).read_bytes()
    other = netdefs.build(raw.two_inputs(), target="tensorrt_rtx")
    fail_rename(monkeypatch, 1)
    with pytest.raises(FileError, match="No space left on device"):
        other.save(saved)
    assert (saved.read_bytes(), sidecar.path_of(saved).read_bytes()) == before
    assert len(list(saved.parent.iterdir())) == 2
    netdefs.load_engine(saved)


def test_both_files_are_complete_before_either_takes_its_place(engine, tmp_path, monkeypatch):
    seen = []

    def replace(source, target):
        parts = {path.name.split(".tmp")[0].rsplit(".", 1)[0]: path.read_bytes() for path in tmp_path.iterdir()}
        seen.append(parts[".net.engine"] == engine.plan and json.loads(parts[".net.engine.json"])["format"] == 1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(FileError):
        engine.save(tmp_path / "net.engine")
    assert seen == [True]


def test_a_failure_between_the_two_is_noticed(saved, monkeypatch):
    other = netdefs.build(raw.two_inputs(), target="tensorrt_rtx")
    fail_rename(monkeypatch, 2)
    with pytest.raises(FileError):
        other.save(saved)
    assert "describes a plan of" in refused(saved)


@pytest.mark.parametrize("place", ["missing/net.engine", "."])
def test_where_nothing_can_be_written(engine, tmp_path, place):
    with pytest.raises(FileError, match="Can't write"):
        engine.save(tmp_path / place)
    assert list(tmp_path.iterdir()) == []


def test_a_cpu_engine_in_a_plans_place_takes_the_sidecar_away(saved):
    netdefs.build(raw.conv_scale_relu(), target="cpu").save(saved)
    assert [each.name for each in saved.parent.iterdir()] == ["net.engine"]
    assert netdefs.load_engine(saved).target == "cpu"


@pytest.mark.parametrize("text", ['{"mine": 1}', "[1]", "notes"])
def test_somebody_elses_json_stays(tmp_path, text):
    (tmp_path / "net.onnx.json").write_text(text)
    netdefs.build(raw.conv_scale_relu(), target="cpu").save(tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx.json").read_text() == text
    assert netdefs.load_engine(tmp_path / "net.onnx").target == "cpu"


@pytest.mark.parametrize("text", ['{"mine": 1}', "[1]", "notes", ""])
def test_a_plan_does_not_replace_somebody_elses_json(engine, tmp_path, text):
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(FileError, match=r"net\.json is not from netdefs.*Save the plan under another name"):
        engine.save(tmp_path / "net")
    assert [each.name for each in tmp_path.iterdir()] == ["net.json"]
    assert (tmp_path / "net.json").read_text() == text


def test_saving_over_a_plan_replaces_both(engine, saved):
    other = netdefs.build(raw.two_inputs(), target="tensorrt_rtx")
    other.save(saved)
    assert netdefs.load_engine(saved).inputs == other.inputs
    edit(saved, inputs={})  # a damaged one is replaced too
    engine.save(saved)
    assert netdefs.load_engine(saved).inputs == engine.inputs


# Running.


def run_refused(engine, error=EngineError):
    with pytest.raises(error) as caught:
        engine.run({"x": np.zeros((1, 3, 8, 8), np.float32)})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_a_gpu_one_sentence_says_so(monkeypatch, saved, engine):
    set_gpu(monkeypatch, None)
    assert run_refused(netdefs.load_engine(saved)) == (
        f"{saved} is a tensorrt_rtx plan, and no NVIDIA GPU answers on this machine."
    )
    assert run_refused(engine).startswith("The engine of conv_scale_relu is a tensorrt_rtx plan")


def test_feeds_are_checked_before_a_gpu_is_looked_for(engine):
    with pytest.raises(InputError, match=r"must be \(1\.\.4, 3, 8, 8\), and this is \(5, 3, 8, 8\)"):
        engine.run({"x": np.zeros((5, 3, 8, 8), np.float32)})


def test_a_plan_of_another_version_names_both(monkeypatch, saved):
    set_gpu(monkeypatch, "8.6")
    edit(saved, tensorrt="1.3.0.35")
    found = raw.empty()[0].__version__
    message = run_refused(netdefs.load_engine(saved))
    assert f"was made by tensorrt_rtx 1.3.0.35, and this is {found}: build it again" in message


def test_a_plan_for_other_gpus(monkeypatch, saved):
    set_gpu(monkeypatch, "8.9")
    message = run_refused(netdefs.load_engine(saved))
    assert "compiled for compute capability 8.6, 12.0, and this GPU has 8.9" in message


def test_a_plan_of_a_package_that_is_not_installed(monkeypatch, saved):
    import sys

    set_gpu(monkeypatch, "8.6")
    edit(saved, target="tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "pip install 'netdefs[tensorrt]'" in run_refused(netdefs.load_engine(saved), MissingPackageError)


def test_the_plan_goes_to_the_gpu_once_and_is_freed(monkeypatch, saved):
    set_gpu(monkeypatch, "8.6")
    made = []

    class Fake:
        def __init__(self, trt, data):
            made.append((trt.__name__, data))

        def run(self, feeds):
            return {"out": feeds["x"] + 1}

        def close(self):
            made.append("closed")

    monkeypatch.setattr(plan, "Runner", Fake)
    x = np.zeros((1, 3, 8, 8), np.float32)
    with netdefs.load_engine(saved) as engine:
        assert made == []
        for _ in range(2):
            np.testing.assert_array_equal(engine.run({"x": x})["out"], x + 1)
        assert made == [("tensorrt_rtx", saved.read_bytes())]
    assert made[1:] == ["closed"]
    with pytest.raises(EngineError, match="This engine is closed"):
        engine.run({"x": x})


# Plans without a sidecar.


def test_a_bare_plan_without_a_gpu(monkeypatch, saved):
    set_gpu(monkeypatch, None)
    sidecar.path_of(saved).unlink()
    message = refused(saved)
    assert "is a tensorrt_rtx plan without its sidecar net.engine.json" in message
    assert "Copy net.engine.json beside it, or build the engine again" in message


def test_a_bare_plan_on_a_gpu_is_asked_itself(monkeypatch, saved):
    set_gpu(monkeypatch, "8.6")
    sidecar.path_of(saved).unlink()
    world = World(x=((-1, 4), "float32"), out=((-1, 4), "float32"), ranges={"x": ((1, 4), (2, 4), (8, 4))})
    module = world.install(monkeypatch)
    monkeypatch.setattr(loading, "Runner", lambda trt, data: Runner(module, data))
    engine = netdefs.load_engine(saved)
    assert world.named("deserialize") == [(saved.read_bytes(),)]
    assert engine.inputs["x"].shape == (-1, 4)
    assert engine.profile == {"x": ((1, 4), (2, 4), (8, 4))}
    x = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(engine.run({"x": x})["out"], 2 * x)
    engine.save(saved)  # and from then on it has one
    assert netdefs.load_engine(saved).inputs == engine.inputs


def test_rtx_plans_are_told_by_their_first_bytes(saved):
    assert loading.MAGIC[saved.read_bytes()[:4]] == "tensorrt_rtx"
