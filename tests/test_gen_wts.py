"""tools/gen_wts.py: what it writes, says and refuses."""

import errno
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.weights import weights_sha256
from tests.core.checkpoints import ACTIVATION, EPS, net

TOOL = Path(__file__).parents[1] / "tools" / "gen_wts.py"
STATE = net().state_dict()


@pytest.fixture(scope="module")
def gen_wts():
    """The tool's `main`."""
    spec = importlib.util.spec_from_file_location("gen_wts", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def refused(gen_wts, capsys, *arguments):
    """What the command says when it exits with 2 and leaves all files as they were."""
    before = {path: Path(path).read_bytes() for path in files()}
    capsys.readouterr()
    try:
        code = gen_wts([str(argument) for argument in arguments])
    except SystemExit as exit:
        code = exit.code
    captured = capsys.readouterr()
    assert code == 2 and captured.out == "" and "Traceback" not in captured.err
    assert {path: Path(path).read_bytes() for path in files()} == before
    return captured.err


def test_a_state_dict(gen_wts, capsys):
    torch.save({"state_dict": {f"module.{name}": value for name, value in STATE.items()}, "epoch": 3}, "small.pth")
    assert gen_wts(["small.pth"]) == 0
    assert files() == ["small.pth", "weights/small.wts", "weights/small.wts.json"]
    captured = capsys.readouterr()
    assert captured.out.startswith(f"weights/small.wts: {len(STATE)} tensors, ")
    assert "from a state_dict in 'state_dict' of small.pth" in captured.out
    arrays = netdefs.load_wts("weights/small.wts")
    assert list(arrays) == list(STATE)
    assert all(np.array_equal(arrays[name], value.numpy().reshape(-1)) for name, value in STATE.items())
    facts = json.loads(Path("weights/small.wts.json").read_text())
    assert facts == {
        "netdefs": netdefs.__version__,
        "source": "small.pth",
        "weights_sha256": weights_sha256(arrays),
        "shapes": {name: list(value.shape) for name, value in STATE.items()},
        "dtypes": {name: str(value.dtype).removeprefix("torch.") for name, value in STATE.items()},
        "eps": {},
        "activation": {},
    }
    weights = netdefs.Weights("weights/small.wts")
    assert weights.shape("conv1.weight") == (2, 2, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_whole_module_in_half_precision(gen_wts, capsys, dtype):
    module = net().to(dtype)
    torch.save({"model": module, "ema": None}, "x.pt")
    assert gen_wts(["x.pt", "-o", "out.wts"]) == 0
    facts = json.loads(Path("out.wts.json").read_text())
    assert facts["eps"] == EPS and facts["activation"] == ACTIVATION
    assert facts["dtypes"]["conv1.weight"] == str(dtype).removeprefix("torch.")
    assert "; eps of 5 BatchNorms" in capsys.readouterr().out
    weights = netdefs.Weights("out.wts")
    assert weights.eps("model.0.bn") == 1e-3
    assert np.array_equal(weights.take("conv1.weight", (2, 2, 1, 1)), module.conv1.weight.detach().float().numpy())


def test_a_live_model_with_a_checkpoint(gen_wts, capsys):
    Path("make.py").write_text(
        "from torch.nn import *\ndef make(): return Sequential(Linear(2, 2), BatchNorm1d(2, eps=0.5))"
    )
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    nn.init.ones_(module[0].weight)
    torch.save(module.state_dict(), "x.pt")
    assert gen_wts(["--model", "make.py:make", "--checkpoint", "x.pt", "-o", "out.wts"]) == 0
    weights = netdefs.Weights("out.wts")
    assert weights["0.weight"].tolist() == [1] * 4 and weights.eps("1") == 0.5
    assert json.loads(Path("out.wts.json").read_text())["source"] == "make.py:make with x.pt"
    assert gen_wts(["--model", "make.py:make", "--skip", "1.*"]) == 0
    assert sorted(netdefs.load_wts("weights/make.wts")) == ["0.bias", "0.weight"]
    assert "--key go" in refused(gen_wts, capsys, "--model", "make.py:make", "--key", "ema")


def test_prefix_skip_and_key(gen_wts, capsys):
    torch.save({"model": {"model.a": torch.ones(1), "model.b": torch.ones(1)}, "ema": {"c": torch.ones(1)}}, "x.pt")
    assert gen_wts(["x.pt", "--key", "model", "--prefix", "model.", "--skip", "b", "--skip", "z*"]) == 0
    assert "note: No name matches --skip z*." in capsys.readouterr().err
    assert list(netdefs.load_wts("weights/x.wts")) == ["a"]
    assert gen_wts(["x.pt", "-o", "ema.wts"]) == 0
    assert list(netdefs.load_wts("ema.wts")) == ["c"]
    assert "note: 'ema' is taken; the file also has model (--key takes another)." in capsys.readouterr().err
    assert "no name begins with 'net.'" in refused(gen_wts, capsys, "x.pt", "-o", "y.wts", "--prefix", "net.")


def test_dry_run_lists_all_and_writes_nothing(gen_wts, capsys):
    long = "a_module_with_a_long_name." * 5 + "weight"
    torch.save({"model": net(), long: 1}, "x.pt")
    torch.save({**STATE, long: torch.ones(2, 3, dtype=torch.float16)}, "x.pt")
    assert gen_wts(["x.pt", "--dry-run"]) == 0
    assert files() == ["x.pt"]
    out = capsys.readouterr().out
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:4]]
        for line in out.splitlines()
        if "│" in line
    }
    assert rows[long] == ["2x3", "float16"] and rows["norm.num_batches_tracked"] == ["scalar", "int64"]
    assert list(rows) == [*STATE, long]
    assert f"not written (dry run): {len(STATE) + 1} tensors" in out


def test_nan_and_infinity_are_reported_and_written(gen_wts, capsys):
    nan, inf = float("nan"), float("inf")
    torch.save({"a": torch.tensor([nan, 1, inf, -inf]), "b": torch.tensor([nan]).half(), "c": torch.ones(1)}, "x.pt")
    assert gen_wts(["x.pt", "-o", "x.wts"]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert warnings == ["warning: a holds 1 NaN and 2 infinite values", "warning: b holds 1 NaN and 0 infinite values"]
    assert np.isnan(netdefs.load_wts("x.wts")["a"][0])


@pytest.mark.parametrize("there", ["out.wts", "out.wts.json"])
def test_nothing_is_replaced_without_force(gen_wts, capsys, there):
    torch.save(STATE, "x.pt")
    Path(there).write_text("before")
    assert f"{there} already exists. Give another name, or --force" in refused(gen_wts, capsys, "x.pt", "-o", "out.wts")
    assert gen_wts(["x.pt", "-o", "out.wts", "--force"]) == 0
    assert len(netdefs.Weights("out.wts")) == len(STATE)


def test_bad_input(gen_wts, capsys):
    Path("page.pth").write_text("<!doctype html>")
    assert "page.pth can't be read as a checkpoint: it looks like a web page" in refused(gen_wts, capsys, "page.pth")
    assert "gone.pth does not exist" in refused(gen_wts, capsys, "gone.pth")
    assert "does not name a model" in refused(gen_wts, capsys, "--model", "resnet50")
    assert "one of the two" in refused(gen_wts, capsys)
    assert "one of the two" in refused(gen_wts, capsys, "x.pt", "--model", "timm:resnet18")
    assert "--checkpoint goes with --model" in refused(gen_wts, capsys, "x.pt", "--checkpoint", "y.pt")
    torch.save(STATE, "x.pt")
    assert "out.bin must end in .wts" in refused(gen_wts, capsys, "x.pt", "-o", "out.bin")
    assert "No such file or directory" in refused(gen_wts, capsys, "x.pt", "-o", "missing/out.wts")
    torch.save({"big": torch.tensor([1e300], dtype=torch.float64)}, "x.pt")
    assert "'big' holds 1e+300, which is too large for float32" in refused(gen_wts, capsys, "x.pt", "-o", "x.wts")
    torch.save({"a name": torch.ones(1)}, "x.pt")
    assert "The name 'a name' can't be written" in refused(gen_wts, capsys, "x.pt", "-o", "x.wts")


class Touch:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_code_runs_only_when_asked_for(gen_wts, capsys):
    torch.save({"state_dict": {"w": torch.ones(1)}, "extra": Touch()}, "x.pt")
    assert gen_wts(["x.pt", "-o", "safe.wts"]) == 0 and not Path("ran").exists()
    assert gen_wts(["x.pt", "-o", "unsafe.wts", "--unsafe-pickle"]) == 0 and Path("ran").exists()
    assert "warning: --unsafe-pickle runs whatever code x.pt holds" in capsys.readouterr().err
    assert Path("safe.wts").read_bytes() == Path("unsafe.wts").read_bytes()


@pytest.mark.parametrize("failing", ["out.wts", "out.wts.json"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_no_half_pair(gen_wts, capsys, monkeypatch, failing, existing):
    torch.save(STATE, "x.pt")
    if existing:
        for name in ("out.wts", "out.wts.json"):
            Path(name).write_text("before")
    make = os.open

    def full(path, flags, *mode):
        handle = make(path, flags, *mode)
        if re.fullmatch(rf"\.{failing}\.\w+\.tmp", Path(path).name):
            os.dup2(make("/dev/full", os.O_WRONLY), handle)
        return handle

    monkeypatch.setattr(os, "open", full)
    assert "No space left on device" in refused(gen_wts, capsys, "x.pt", "-o", "out.wts", "--force")


def test_no_permission(gen_wts, capsys, monkeypatch):
    torch.save(STATE, "x.pt")

    def refuse(*arguments, **keywords):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert "Can't write out.wts.json: Permission denied" in refused(gen_wts, capsys, "x.pt", "-o", "out.wts")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        assert "Can't make the folder weights: Permission denied" in refused(gen_wts, capsys, "x.pt")


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)


def test_as_a_command():
    torch.save({"model": STATE}, "x.pt")
    done = run("x.pt")
    assert (done.returncode, done.stderr) == (0, "") and "weights/x.wts: " in done.stdout
    assert len(netdefs.Weights("weights/x.wts")) == len(STATE)
    Path("bad.pt").write_bytes(pickle.dumps(Touch()))
    done = run("bad.pt")
    assert (done.returncode, done.stdout) == (2, "") and not Path("ran").exists()
    assert (
        done.stderr.count("\n") == 1
        and "gen_wts.py: bad.pt can't be read as a checkpoint: no state_dict" in done.stderr
    )
    done = run("--help")
    assert done.returncode == 0 and "python tools/gen_wts.py yolov8n.pt -o weights/yolov8n.wts" in done.stdout


def test_a_reader_that_has_had_enough():
    torch.save({f"layer{i}.weight": torch.ones(1) for i in range(5000)}, "x.pt")
    command = subprocess.Popen(
        [sys.executable, TOOL, "x.pt", "--dry-run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    command.stdout.readline()
    command.stdout.close()
    assert (command.stderr.read(), command.wait()) == ("", 0)
    command.stderr.close()


def test_an_output_that_is_full():
    torch.save(STATE, "x.pt")
    for arguments in (["--dry-run"], ["-o", "x.wts"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, TOOL, "x.pt", *arguments], stdout=full, stderr=subprocess.PIPE, text=True
            )
        said = "gen_wts.py: Can't write to the standard output: No space left on device.\n"
        assert (done.returncode, done.stderr) == (2, said)
    assert len(netdefs.Weights("x.wts")) == len(STATE), "what was asked for is complete all the same"


def test_ctrl_c_leaves_the_old_pair(gen_wts, capsys, monkeypatch):
    torch.save(STATE, "x.pt")
    assert gen_wts(["x.pt", "-o", "out.wts"]) == 0
    before = {path: Path(path).read_bytes() for path in files()}
    capsys.readouterr()

    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    assert gen_wts(["x.pt", "-o", "out.wts", "--force"]) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "gen_wts.py: interrupted\n")
    assert {path: Path(path).read_bytes() for path in files()} == before
