"""The files that hold checkpoints: every way a tensor can be stored, and files that are something else."""

import io
import pickle
import types
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from netdefs.core.checkpoint import read_checkpoint
from netdefs.core.errors import CheckpointError
from tests.core.checkpoints import STATE, both_formats, same, save


class Marked(torch.Tensor):
    pass


def tensors():
    """Every way a tensor can lie in its storage, and every type."""
    base = torch.arange(60.0)
    found = {
        "whole": base,
        "offset": base[7:13],
        "transposed": base[:12].view(3, 4).t(),
        "strided": base[1::7],
        "both": base[5:45].view(4, 10)[1::2, ::3],
        "expanded": torch.tensor([1.0, 2.0])[:, None].expand(2, 3),
        "scalar": torch.tensor(3.5),
        "scalar in a storage": base[9],
        "empty": torch.zeros(0, 3),
        "channels last": torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "parameter": nn.Parameter(base[:4]),
        "not finite": torch.tensor([float("nan"), float("inf"), -float("inf")]),
        "bool": torch.tensor([True, False, True]),
    }
    kinds = ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")
    return found | {kind: torch.tensor([0, 1, 100]).to(getattr(torch, kind)) for kind in kinds}


@both_formats
def test_tensors_lie_anywhere_in_their_storage(tmp_path, zipped):
    path = save(tmp_path / "x.pt", tensors(), zipped)
    same(read_checkpoint(path).state_dict, torch.load(path))


def test_young_types_and_subclasses(tmp_path):
    marked = torch.arange(3.0).as_subclass(Marked)
    marked.note = "kept by torch, of no interest here"
    buffer = nn.Buffer(torch.ones(2))
    path = save(
        tmp_path / "x.pt", {"u16": torch.tensor([1, 65535], dtype=torch.uint16), "marked": marked, "buffer": buffer}
    )
    found = read_checkpoint(path).state_dict
    assert (
        found["u16"].tolist() == [1, 65535]
        and found["marked"].tolist() == [0, 1, 2]
        and found["buffer"].tolist() == [1, 1]
    )


def test_shared_tensors_stay_equal(tmp_path):
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    found = read_checkpoint(save(tmp_path / "x.pt", module.state_dict())).state_dict
    assert np.array_equal(found["0.weight"], found["1.weight"]) and len(found) == 4


def repack(path, change):
    """Rewrites the records of a zip checkpoint: `change` maps name and content to content, or to None to drop it."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def test_big_endian(tmp_path):
    path = save(
        tmp_path / "x.pt",
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1, 2]), "c": torch.tensor([1.0]).bfloat16()},
    )
    sizes = iter((4, 8, 2))

    def swap(name, content):
        if name.endswith("byteorder"):
            return b"big"
        if "/data/" not in name:
            return content
        return np.frombuffer(content, np.uint8).reshape(-1, next(sizes))[:, ::-1].tobytes()

    repack(path, swap)
    same(read_checkpoint(path).state_dict, torch.load(path))


def test_archives_without_byteorder_checksums_or_folder(tmp_path):
    path = save(tmp_path / "x.pt", STATE)
    repack(path, lambda name, content: None if "byteorder" in name else content)
    same(read_checkpoint(path).state_dict, STATE)
    torch.serialization.set_crc32_options(False)
    try:
        save(path, STATE)
    finally:
        torch.serialization.set_crc32_options(True)
    same(read_checkpoint(path).state_dict, STATE)
    save(path, STATE)
    with zipfile.ZipFile(path) as archive:
        records = {name.removeprefix("x/"): archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    same(read_checkpoint(path).state_dict, STATE)


def old_file(thing, storages, persistent_id):
    """A file of PyTorch's older format, made by hand."""
    file = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(head, file, protocol=2)

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return persistent_id(obj)

    Pickler(file, protocol=2).dump(thing)
    pickle.dump(list(storages), file, protocol=2)
    for values in storages.values():
        file.write(len(values).to_bytes(8, "little") + values.tobytes())
    return file.getvalue()


class Rebuilt:
    """Pickles as a tensor of the storage `view` of PyTorch's oldest releases."""

    def __init__(self, view, offset, shape, stride):
        self.arguments = (view, offset, shape, stride)

    def __reduce__(self):
        return torch._utils._rebuild_tensor, self.arguments


class View:
    def __init__(self, metadata):
        self.metadata = metadata


def test_views_of_storages_in_the_oldest_files(tmp_path):
    path = tmp_path / "x.pth"
    storages = {"7": np.arange(10, dtype=np.float32)}
    thing = {"all": Rebuilt(View(None), 2, (2, 2), (3, 1)), "part": Rebuilt(View(("8", 4, 5)), 1, (3,), (1,))}

    def persistent_id(obj):
        return ("storage", torch.FloatStorage, "7", "cpu", 10, obj.metadata) if isinstance(obj, View) else None

    path.write_bytes(old_file(thing, storages, persistent_id))
    found = read_checkpoint(path).state_dict
    assert found["all"].tolist() == [[2, 3], [5, 6]] and found["part"].tolist() == [5, 6, 7]


ARRAYS = {
    "f4": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(10)[::3],
    "big-endian": np.arange(3, dtype=">f4"),
    "half": np.ones(2, np.float16),
    "bool": np.array([True, False]),
    "scalar": np.array(3.0),
    "empty": np.zeros((0, 2)),
}


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_numpy_arrays(tmp_path, protocol):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"params": ARRAYS, "accuracy": np.float32(0.9)}, protocol=protocol))
    found = read_checkpoint(path)
    assert list(found.state_dict) == list(ARRAYS)
    for name, array in found.state_dict.items():
        assert np.array_equal(array, ARRAYS[name]) and array.shape == ARRAYS[name].shape and array.dtype.isnative, name
    assert found.dtypes["half"] == "float16" and found.dtypes["big-endian"] == "float32"


def test_arrays_pickled_by_python_2(tmp_path):
    """Their bytes are text to Python 3."""
    raw = np.array([1.0, -2.0]).tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02f8K\0K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}U\x01a" + array + b"(K\x01K\x02\x85" + dtype + b"\x89U\x10" + raw + b"tbs.")
    assert read_checkpoint(path).state_dict["a"].tolist() == [1, -2]


@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_pickles_of_torch_tensors(tmp_path, protocol):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(STATE, protocol=protocol))
    same(read_checkpoint(path).state_dict, STATE)


def test_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    kept = {name: tensor.detach().contiguous().clone() for name, tensor in tensors().items()}
    safetensors.torch.save_file(kept, path)
    found = read_checkpoint(path)
    same({name: found.state_dict[name] for name in kept}, kept)
    assert found.dtypes["bfloat16"] == "bfloat16" and found.wrapping == "a state_dict"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"model\.safetensors .*not a sound safetensors file"):
        read_checkpoint(path)


UNSUPPORTED = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "complex": lambda: torch.zeros(2, dtype=torch.complex64),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "fp8": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "meta": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:.*quantized tensor:UserWarning")
@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_tensors_that_are_not_read_are_named(tmp_path, kind):
    path = save(tmp_path / "x.pt", {"good": torch.ones(2), "layer.bad": UNSUPPORTED[kind]()})
    with pytest.raises(CheckpointError, match=r"layer\.bad can't be read: .*not supported.*--skip layer\.bad"):
        read_checkpoint(path)
    assert list(read_checkpoint(path, skip=["*.bad"]).state_dict) == ["good"]


def test_numpy_objects_are_refused(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"bad": np.array([print], dtype=object)}))
    with pytest.raises(CheckpointError, match="bad can't be read: numpy arrays of type O8 are not supported"):
        read_checkpoint(path)


def torchscript(path):
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(str(path))


def in_zip(**records):
    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in records.items():
                archive.writestr(name.replace("_pkl", ".pkl"), content)

    return write


def saved(thing):
    return lambda path: torch.save(thing, path)


def content(data):
    return lambda path: path.write_bytes(data)


NOT_CHECKPOINTS = {
    "empty": (content(b""), "it is empty"),
    "text": (content(b"hello, I am not a checkpoint\n"), "it looks like text"),
    "page": (content(b"\n<!DOCTYPE html>\n<html><head>"), "a web page: the download link led to a page"),
    "lfs": (content(b"version https://git-lfs.github.com/spec/v1\n"), "a git-LFS pointer: .*git lfs pull"),
    "png": (content(b"\x89PNG\r\n\x1a\n"), "a PNG image"),
    "jpeg": (content(b"\xff\xd8\xff\xe0\0\x10JFIF"), "a JPEG image"),
    "gzip": (content(b"\x1f\x8b\x08\0"), "a gzip archive"),
    "tar": (content(bytes(257) + b"ustar" + bytes(300)), "a tar archive"),
    "zeros": (content(bytes(4096)), "a file of zeros"),
    "noise": (content(bytes(range(255, 0, -1))), "a binary file of an unknown kind"),
    "cut zip": (content(b"PK\x03\x04" + bytes(100)), "a zip archive that is cut short"),
    "cut pickle": (content(pickle.dumps(list(range(100)))[:-20]), "begins as a checkpoint, but .*get it again"),
    "other zip": (in_zip(readme="hello"), "not PyTorch's: there is no data.pkl in it, but readme"),
    "packed zip": (in_zip(data_pkl=pickle.dumps({})), "compressed"),
    "torchscript": (
        torchscript,
        r"a TorchScript archive.*torch\.jit\.load\(FILE, map_location='cpu'\)\.state_dict\(\)",
    ),
    "no state_dict": (
        saved({"epoch": 3, "names": ["cat"], "lr": 0.1}),
        r"no state_dict is found in it. It holds epoch \(int\), names \(list of 1\), lr \(float\)",
    ),
    "a tensor": (saved(torch.ones(2, 3)), r"no state_dict is found in it. It holds a float32 \(2, 3\)"),
    "an object": (saved(types.SimpleNamespace(a=1)), "It holds a types.SimpleNamespace"),
    "a list of tensors": (saved([torch.ones(2)]), "no state_dict is found"),
    "only an optimizer": (
        saved({"optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}}),
        "no state_dict is found",
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", NOT_CHECKPOINTS)
def test_what_is_no_checkpoint(tmp_path, kind):
    path = tmp_path / "x.pth"
    write, message = NOT_CHECKPOINTS[kind]
    write(path)
    with pytest.raises(CheckpointError, match=rf"x\.pth can't be read as a checkpoint: .*{message}"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "name, message", [("yolov3.weights", "a Darknet file"), ("x.wts", "a .wts already"), ("x.onnx", "ONNX")]
)
def test_other_formats_by_name(tmp_path, name, message):
    (tmp_path / name).write_bytes(bytes(20))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / name)


def test_a_damaged_record_is_found(tmp_path):
    path = save(tmp_path / "x.pt", {"w": torch.arange(1000.0)})
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(10, 20, dtype=np.float32).tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x/data/0 in its archive is damaged \(Bad CRC-32"):
        read_checkpoint(path)


def test_a_missing_record_is_named(tmp_path):
    path = save(tmp_path / "x.pt", {"w": torch.arange(10.0)})
    repack(path, lambda name, content: None if name.endswith("data/0") else content)
    with pytest.raises(CheckpointError, match="its archive lacks x/data/0"):
        read_checkpoint(path)
