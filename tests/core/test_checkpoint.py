"""Checkpoints in every wrapping, compared with what torch.load gives."""

import json
import subprocess
import sys
import types
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from torch import nn

from netdefs.core import module_tree
from netdefs.core.checkpoint import WRAPPINGS, read_checkpoint, read_module
from netdefs.core.errors import CheckpointError, FileError
from tests.core.checkpoints import ACTIVATION, EPS, STATE, Block, Net, both_formats, net, same, save

PREFIXED = OrderedDict((f"module.{name}", tensor) for name, tensor in STATE.items())


WRAPPED = {
    "bare": (STATE, "a state_dict"),
    "a plain dict": (dict(STATE), "a state_dict"),
    "ImageNet style": (
        {"epoch": 90, "arch": "net", "state_dict": PREFIXED, "best_acc1": np.float64(75.1), "optimizer": {"state": {}}},
        "a state_dict in 'state_dict'",
    ),
    "best accuracy is a tensor": ({"model": STATE, "best": torch.tensor(75.1)}, "a state_dict in 'model'"),
    "of an unknown name": ({"best": torch.tensor(75.1), "my_weights": STATE}, "a state_dict in 'my_weights'"),
    "wrapped twice": ({"model": {"state_dict": PREFIXED, "step": 3}}, "a state_dict in 'model.state_dict'"),
    "in a list": ([STATE, {"lr": 0.1}], "a state_dict in '0'"),
    "compiled, then DDP": ({f"module._orig_mod.{k}": v for k, v in STATE.items()}, "a state_dict"),
    "AveragedModel": ({"model_ema": {"n_averaged": torch.tensor(3), **PREFIXED}}, "a state_dict in 'model_ema'"),
    "defaultdict": ({"model": defaultdict(list, STATE)}, "a state_dict in 'model'"),
    **{name: ({name: STATE, "epoch": 3}, f"a state_dict in '{name}'") for name in WRAPPINGS},
}


@both_formats
@pytest.mark.parametrize("kind", WRAPPED)
def test_wrappings(tmp_path, kind, zipped):
    thing, wrapping = WRAPPED[kind]
    path = save(tmp_path / "x.pth", thing, zipped)
    found = read_checkpoint(path)
    same(found.state_dict, STATE)
    assert (found.wrapping, found.source, found.eps, found.activation) == (wrapping, "x.pth", {}, {})
    assert not any("--key" in note for note in found.notes)


@both_formats
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision(tmp_path, dtype, zipped):
    module = net().to(dtype)
    found = read_checkpoint(save(tmp_path / "x.pt", {"model": module.state_dict()}, zipped))
    same(found.state_dict, module.state_dict())
    assert found.dtypes["model.0.conv.weight"] == str(dtype).removeprefix("torch.")
    assert found.dtypes["model.0.bn.num_batches_tracked"] == "int64"


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """Saves an object that holds modules whose classes can't be imported when it is read."""

    def write(thing, zipped):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "a_repository", types.ModuleType("a_repository"))
            for cls in (Net, Block):
                patch.setattr(cls, "__module__", "a_repository")
                patch.setattr(sys.modules["a_repository"], cls.__name__, cls, raising=False)
            path = save(tmp_path / "x.pt", thing, zipped)
        with pytest.raises((ModuleNotFoundError, AttributeError)):
            torch.load(path, weights_only=False)
        return path

    return write


@both_formats
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_whole_modules_of_classes_that_are_gone(whole, zipped):
    module = net().half()
    found = read_checkpoint(whole({"epoch": -1, "model": module, "ema": None, "date": "today"}, zipped))
    same(found.state_dict, module.state_dict())
    assert found.wrapping == "a whole module (a_repository.Net) in 'model'"
    assert found.eps == EPS and found.activation == ACTIVATION


@both_formats
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_ema_counts_before_model_and_dataparallel_is_taken_off(whole, zipped):
    model, ema = net(), nn.DataParallel(net())
    with torch.no_grad():
        ema.module.conv1.weight.add_(1)
    found = read_checkpoint(whole({"model": model, "ema": ema}, zipped))
    same(found.state_dict, ema.module.state_dict())
    assert found.eps == EPS and found.activation == ACTIVATION
    assert found.wrapping == "a whole module (torch.nn.parallel.data_parallel.DataParallel) in 'ema'"
    assert found.notes == ("'ema' is taken; the file also has model (--key takes another).",)


def test_a_live_module_gives_the_same(tmp_path):
    module = net()
    live = read_module(module, "net")
    same(live.state_dict, module.state_dict())
    assert live.eps == EPS and live.activation == ACTIVATION and live.source == "net"
    stub = read_checkpoint(save(tmp_path / "x.pt", module))
    assert list(stub.state_dict) == list(live.state_dict) and (stub.eps, stub.activation) == (live.eps, live.activation)


def test_unsafe_pickle_gives_the_same(tmp_path):
    path = save(tmp_path / "x.pt", {"ema": net(), "model": STATE})
    found, safe = read_checkpoint(path, unsafe_pickle=True), read_checkpoint(path)
    same(found.state_dict, STATE)
    assert (found.eps, found.activation, found.notes) == (safe.eps, safe.activation, safe.notes)
    assert found.dtypes == safe.dtypes and "in 'ema'" in found.wrapping
    path.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"x\.pt can't be read as a checkpoint: torch\.load says"):
        read_checkpoint(path, unsafe_pickle=True)


def test_activations_by_order_only_where_order_tells():
    tanh = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.Identity(), nn.BatchNorm2d(1), nn.GELU("tanh"), nn.Conv2d(1, 1, 1), nn.ELU()
    )
    assert module_tree.conv_activations(tanh) == {"0": "GELU(tanh)", "4": "ELU(1)"}
    pooled = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2), nn.ReLU())
    assert module_tree.conv_activations(pooled) == {}


def test_key_takes_another(tmp_path):
    path = save(tmp_path / "x.pt", {"model": STATE, "ema": {"w": torch.ones(1)}, "discriminator": {"d": torch.ones(2)}})
    assert list(read_checkpoint(path).state_dict) == ["w"]
    assert list(read_checkpoint(path, key="discriminator").state_dict) == ["d"]
    same(read_checkpoint(path, key="model").state_dict, STATE)
    with pytest.raises(
        CheckpointError, match=r"no state_dict or module 'generator'\. It has ema, model, discriminator"
    ):
        read_checkpoint(path, key="generator")


def test_of_unknown_names_the_largest(tmp_path):
    path = save(tmp_path / "x.pt", {"small": {"w": torch.ones(1)}, "large": STATE, "step": 1})
    found = read_checkpoint(path)
    same(found.state_dict, STATE)
    assert found.notes == ("'large' is taken; the file also has small (--key takes another).",)


def test_tensors_beside_a_state_dict_and_a_state_dict_with_something_beside(tmp_path):
    path = save(tmp_path / "x.pt", {"best": torch.ones(1), "history": torch.ones(3), "net": STATE})
    assert read_checkpoint(path).wrapping == "a state_dict in 'net'"
    save(path, {**STATE, "net": {"mean": torch.ones(3)}})
    found = read_checkpoint(path)
    same(found.state_dict, STATE)
    assert found.notes[0] == "The outermost dict is taken; the file also has net (--key takes another)."


def test_prefix_and_skip(tmp_path):
    names = ("model.conv.weight", "model.bn.weight", "loss.weight")
    path = save(tmp_path / "x.pt", {name: torch.ones(1) for name in names})
    assert list(read_checkpoint(path).state_dict) == list(names), "model. can be part of a name"
    for prefix in ("model.", "model"):
        found = read_checkpoint(path, prefix=prefix, skip=["loss.*", "none.*"])
        assert list(found.state_dict) == ["conv.weight", "bn.weight"]
        assert found.notes == ("No name matches --skip none.*.",)
    with pytest.raises(CheckpointError, match=r"no name begins with 'net\.'. The names are model\.conv\.weight, "):
        read_checkpoint(path, prefix="net.")
    with pytest.raises(CheckpointError, match="nothing of it is left"):
        read_checkpoint(path, skip=["*"])
    save(path, {"model.a": torch.ones(1), "a": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"the same without the prefix 'model\.'"):
        read_checkpoint(path, prefix="model.")


def test_prefix_goes_off_eps_and_activation_too(tmp_path):
    path = save(tmp_path / "x.pt", nn.DataParallel(net()))
    found = read_checkpoint(path, prefix="model.", skip=["stem*", "norm*", "1.*"])
    assert found.eps == {"0.bn": 1e-3, "2.bn": 1e-3} and found.activation == {"0.conv": "SiLU", "2.conv": "Identity"}


def test_other_entries_are_left_out_with_a_note(tmp_path):
    path = save(tmp_path / "x.pt", {**STATE, "version": 3, "meta": {"names": ["a"]}})
    found = read_checkpoint(path)
    same(found.state_dict, STATE)
    assert found.notes == ("Left out, being no tensors: version, meta.",)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileError, match=r"x\.pt does not exist"):
        read_checkpoint(tmp_path / "x.pt")
    with pytest.raises(FileError, match=r"Can't read .*: Is a directory"):
        read_checkpoint(tmp_path)


def test_torch_is_not_needed(tmp_path):
    """Reading imports neither torch nor what the file names."""
    path = save(tmp_path / "x.pt", {"ema": net(), "model": STATE})
    code = (
        "import sys, json; from netdefs.core.checkpoint import read_checkpoint; found = read_checkpoint(sys.argv[1]);"
        "print(json.dumps([found.eps, len(found.state_dict), 'torch' in sys.modules, 'models' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [EPS, len(STATE), False, False]
