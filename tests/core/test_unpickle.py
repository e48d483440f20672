"""Pickles made to do harm: nothing of them runs, nothing in this process changes, no memory is filled."""

import contextlib
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netdefs.core import inert, module_tree, unpickle
from netdefs.core.checkpoint import read_checkpoint
from netdefs.core.errors import CheckpointError, NetdefsError
from tests.core.checkpoints import both_formats, save

STATE = {"w": torch.ones(2)}
SHELL = "touch ran"  # in the working folder


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def short(text):
    """The opcode for a short text."""
    return b"U" + bytes([len(text)]) + text.encode()


COMMAND = short(SHELL)
MODULE_OS = b"cbuiltins\ngetattr\n(cos\npath\n" + short("os") + b"tR"
PARTIAL = b"cfunctools\npartial\n"
ATTACKS = {
    "GLOBAL, REDUCE": b"cos\nsystem\n(" + COMMAND + b"tR.",
    "INST": b"(" + COMMAND + b"ios\nsystem\n.",
    "OBJ": b"(cos\nsystem\n" + COMMAND + b"o.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + COMMAND + b"tR.",
    "a dotted name": b"\x80\x04\x8c\x04glob\x8c\x09os.system\x93(" + COMMAND + b"tR.",
    "NEWOBJ": b"\x80\x04" + PARTIAL + b"(cos\nsystem\n" + COMMAND + b"t\x81)R.",
    "NEWOBJ_EX": b"\x80\x04" + PARTIAL + b"(cos\nsystem\n" + COMMAND + b"t}\x92)R.",
    "BUILD": b"\x80\x04" + PARTIAL + b"(cbuiltins\nlen\nt\x81(cos\nsystem\n(" + COMMAND + b"t}Ntb)R.",
    "getattr": b"cbuiltins\ngetattr\n(" + MODULE_OS + short("system") + b"tR(" + COMMAND + b"tR.",
    "map": b"cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n(" + COMMAND + b"ltRtR.",
    "eval": pickle.dumps(Call(eval, "open('ran', 'w').close()"), 2),
    "exec": pickle.dumps(Call(exec, "open('ran', 'w').close()"), 4),
    "Popen": pickle.dumps(Call(subprocess.check_output, SHELL.split()), 4),
    "deep within": pickle.dumps({"state_dict": [({"x": Call(os.system, SHELL)},)]}, 5),
    "a key": pickle.dumps({Call(os.system, SHELL): 1}, 4),
    "torch's own": b"ctorch\nload\n(" + short("evil.pt") + b"tR.",
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in ATTACKS if kind != "torch's own"])
def test_the_attacks_are_real(kind, tmp_path):
    with contextlib.suppress(pickle.UnpicklingError):
        pickle.loads(ATTACKS[kind])
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["x.pkl", "x.pt", "old.pt"])
@pytest.mark.parametrize("kind", ATTACKS)
def test_nothing_runs(kind, name, tmp_path):
    torch.save(Call(os.system, SHELL), "evil.pt")
    path = tmp_path / name
    if name == "x.pt":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", ATTACKS[kind])
    elif name == "old.pt":
        heads = (0x1950A86A20F9469CFC6C, 1001, {})
        path.write_bytes(b"".join(pickle.dumps(head, 2) for head in heads) + ATTACKS[kind] + pickle.dumps([], 2))
    else:
        path.write_bytes(ATTACKS[kind])
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


@both_formats
def test_the_weights_beside_an_attack_are_read(tmp_path, zipped):
    thing = {"state_dict": STATE, "optimizer": Call(os.system, SHELL), Call(eval, "1/0"): [Call(exec, "1/0")]}
    path = save(tmp_path / "x.pt", thing, zipped)
    assert read_checkpoint(path).state_dict["w"].tolist() == [1, 1]
    assert not (tmp_path / "ran").exists()


def test_no_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("open('ran', 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "x.pkl").write_bytes(b"ctrap\nx\n.")
    with pytest.raises(CheckpointError, match="It holds a type"):
        read_checkpoint(tmp_path / "x.pkl")
    assert not (tmp_path / "ran").exists() and "trap" not in sys.modules


CHANGES = {
    "a stub's class": b"cevil\nThing\n",
    "torch's rebuilder": b"ctorch._utils\n_rebuild_tensor_v2\n",
    "a container": b"ccollections\nOrderedDict\n",
    "numpy's type": b"cnumpy\ndtype\n",
    "a container's object": b"ccollections\nOrderedDict\n)R",
    "an array": b"cnumpy.core.multiarray\n_reconstruct\n)R",
    "a type's object": b"cnumpy\ndtype\n(U\x02f4tR",
    "a dict": b"}",
    "a text": b"U\x01a",
}
STATES = {
    "attributes": b"}U\x01xK\x01s",
    "slots": b"(N}U\x01xK\x01st",
    "a class": b"(N}U\x09__class__cevil\nOther\nst",
    "a method": b"}U\x0c__setstate__cevil\nOther\nsb}U\x01xK\x01s",
    "defaults": b"(N}U\x0c__defaults__)st",
    "a name": b"(N}U\x08__name__U\x01xst",
}


def surroundings():
    """All that a pickle could get at and change for those that are read after it."""
    things = [*vars(inert).values(), *vars(unpickle).values(), *unpickle.FUNCTIONS.values()]
    things += [dict, list, np.ndarray, np.dtype]
    return {
        (repr(thing), name): repr(value)
        for thing in things
        if isinstance(thing, type) or callable(thing)
        for name, value in getattr(thing, "__dict__", {}).items()
    } | {repr(thing): repr((getattr(thing, "__defaults__", 0), getattr(thing, "__name__", 0))) for thing in things}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("target", CHANGES)
def test_nothing_that_lasts_is_changed(target, state, tmp_path):
    before = surroundings()
    (tmp_path / "x.pkl").write_bytes(CHANGES[target] + STATES[state] + b"b.")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x.pkl")
    assert surroundings() == before
    assert read_checkpoint(save(tmp_path / "x.pt", STATE)).state_dict["w"].tolist() == [1, 1]


def expanded(shape):
    return torch.ones(1).expand(shape)


def nested_bytes(depth):
    """Pickled storages that hold pickled storages, each read a hundred times."""
    inner = pickle.dumps(0, 2)
    for _ in range(depth):
        inner = b"\x80\x02ctorch.storage\n_load_from_bytes\nq\0B" + struct.pack("<I", len(inner)) + inner + b"q\x010"
        inner += b"(" + b"h\0h\x01\x85R" * 100 + b"l."
    return inner


def holding_itself():
    module = nn.Module()
    module._modules["again"] = module
    module.weight = nn.Parameter(torch.ones(1))
    return module


def doubling(depth):
    module = nn.Linear(1, 1)
    for _ in range(depth):
        module = nn.Sequential(module, module)
    return module


BOMBS = {
    "memo": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "memo in text": b"I1\np2000000000\n.",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "long bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "long frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "bytes of a number": b"cbuiltins\nbytes\n(J\xff\xff\xff\x7ftR.",
    "bytearray of a number": b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
    "an expanded tensor": lambda path: save(path, {"w": expanded((1 << 20, 1 << 20))}),
    "many expanded tensors": lambda path: save(path, {str(i): expanded((1 << 16, 1 << 10)) for i in range(64)}),
    "a shape that overflows": lambda path: save(path, {"w": torch.ones(1).expand(1 << 31, 1 << 31)}),
    "a module in itself": lambda path: save(path, holding_itself()),
    "doubling modules": lambda path: save(path, doubling(40)),
    "storages in storages": nested_bytes(4),
    "deep lists": b"(" * 200_000 + b"l" * 200_000 + b".",
    "a dict in itself": b"\x80\x02}q\0U\x05modelh\0sU\x03emah\0s.",
}


@pytest.fixture(scope="module")
def little_memory():
    """A process that may have 2 GB of memory and reads what it is told to."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from netdefs.core.checkpoint import read_checkpoint\n"
        "from netdefs.core.errors import CheckpointError\n"
        "for path in sys.stdin:\n"
        "    try: print('read', read_checkpoint(path.strip()).state_dict.keys(), flush=True)\n"
        "    except CheckpointError as error: print('refused', error, flush=True)\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True, env=environment) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused(kind, tmp_path, little_memory):
    path = tmp_path / "x.pt"
    bomb = BOMBS[kind]
    if isinstance(bomb, bytes):
        path.write_bytes(bomb)
    else:
        bomb(path)
    assert path.stat().st_size < 1_000_000
    little_memory.stdin.write(f"{path}\n")
    little_memory.stdin.flush()
    assert little_memory.stdout.readline().startswith(f"refused {path} can't be read as a checkpoint: ")


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(tmp_path / "x.pt")


def test_described_tensors_must_fit_their_storage(tmp_path):
    path = save(tmp_path / "x.pt", {"w": torch.arange(10.0)[2:8]})
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    pickled = records["x/data.pkl"]
    assert pickled.count(b"K\x02K\x06\x85") == 1, "offset and shape"
    for change in (b"K\x05K\x06\x85", b"K\x02K\x09\x85", b"K\xffK\x06\x85"):
        records["x/data.pkl"] = pickled.replace(b"K\x02K\x06\x85", change)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in records.items():
                archive.writestr(name, content)
        with pytest.raises(CheckpointError, match=r"w can't be read: it reaches to value \d+ of a storage that has 10"):
            read_checkpoint(path)
    path.write_bytes(data)
    assert read_checkpoint(path).state_dict["w"].tolist() == [2, 3, 4, 5, 6, 7]


def test_walking_stops_at_modules_without_end():
    with pytest.raises(CheckpointError, match="holds itself"):
        list(module_tree.walk(holding_itself()))


def samples():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.LeakyReLU(0.1))
    for zipped in (True, False):
        for thing in ({"ema": module, "epoch": 1}, {"state_dict": module.half().state_dict(), "best": np.float64(1)}):
            yield thing, zipped


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    found = [save(folder / f"{i}.pt", thing, zipped).read_bytes() for i, (thing, zipped) in enumerate(samples())]
    return [*found, pickle.dumps({"w": np.ones(3), "model": {"b": np.ones(2, np.float32)}}, 4)]


@settings(max_examples=300)
@given(st.data())
def test_a_changed_file_is_read_or_refused(files, data):
    content = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        kind = data.draw(st.sampled_from(["change", "insert", "delete", "cut"]))
        if kind == "change":
            content[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        elif kind == "delete":
            del content[at : at + 3]
        elif at:
            del content[at:]
    Path("changed.pt").write_bytes(content)
    with contextlib.suppress(NetdefsError):
        read_checkpoint("changed.pt")


opcodes = st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])
arguments = st.sampled_from(
    [b"\0", b"\1", b"\1a", b"\2", b"os\nsystem\n", b"torch.storage\n_load_from_bytes\n", b"1\n"]
)


@settings(max_examples=500)
@given(st.lists(st.one_of(opcodes, arguments), max_size=30).map(b"".join))
def test_any_opcodes_are_read_or_refused(content):
    Path("any.pkl").write_bytes(content + b".")
    with contextlib.suppress(NetdefsError):
        read_checkpoint("any.pkl")


def test_cut_off_anywhere(files, tmp_path):
    for content in files:
        for length in range(0, len(content), 7):
            (tmp_path / "cut.pt").write_bytes(content[:length])
            with pytest.raises(CheckpointError, match=r"cut\.pt can't be read as a checkpoint"):
                read_checkpoint(tmp_path / "cut.pt")
