"""The files that hold checkpoints: PyTorch's zip and older format, safetensors, plain pickles."""

import functools
import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import safetensors

from netdefs.core.errors import CheckpointError
from netdefs.core.inert import TYPES, Storage, Tensor
from netdefs.core.sniff import HEAD, is_safetensors, looks_like
from netdefs.core.unpickle import unpickle

MAGIC = 0x1950A86A20F9469CFC6C  # begins PyTorch's older format
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
OTHER_SIZES = {"ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt32Storage": 4}  # bytes; all others: 1
OTHERS = {
    ".weights": "a Darknet file. Load it into a PyTorch model, and save the state_dict of that",
    ".wts": "a .wts already",
    ".onnx": "an ONNX model. Use the PyTorch checkpoint that it was exported from",
}
SAFETENSORS = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "BOOL": "bool",
}


def read_object(file: BinaryIO, path: Path) -> Any:
    """What a checkpoint file holds, with tensors that are read on demand, as long as `file` is open.

    Raises:
        CheckpointError: the file is none of the formats, or is damaged; the message does not name it.
    """
    head = file.read(HEAD)
    file.seek(0)
    if path.suffix in OTHERS:
        raise CheckpointError(f"by its name it is {OTHERS[path.suffix]}")
    if head.startswith(b"PK"):
        return _read_zip(file)
    if path.suffix == ".safetensors" or is_safetensors(head):
        return _read_safetensors(file.read())
    try:
        return _read_pickles(file, nested=True)
    except CheckpointError as error:
        kind = looks_like(head)
        if not head:
            reason = "it is empty"
        elif head.startswith(b"\x80"):
            reason = f"it begins as a checkpoint, but {error}. It was cut short or damaged: get it again"
        else:
            reason = f"it looks like {kind or 'nothing known'}"
        raise CheckpointError(reason) from error


def _read_safetensors(data: bytes) -> dict[str, Tensor]:
    try:
        entries = safetensors.deserialize(data)
    except Exception as error:  # the package raises its own type for every fault
        raise CheckpointError(f"it is not a sound safetensors file ({error}): get it again") from error
    found = {}
    for name, entry in entries:
        shape = entry["shape"]
        stride = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
        dtype = SAFETENSORS.get(entry["dtype"], entry["dtype"])
        storage = Storage(dtype, functools.partial(np.frombuffer, entry["data"], np.uint8))
        found[name] = Tensor(storage, 0, shape, stride)
    return found


def _read_zip(file: BinaryIO) -> Any:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"it is a zip archive that is cut short or damaged ({error}): get it again") from error
    names = archive.namelist()
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    prefix = min(pickles, key=len).removesuffix("data.pkl") if pickles else ""
    if f"{prefix}constants.pkl" in names or any(name.startswith(f"{prefix}code/") for name in names):
        raise CheckpointError(
            "it is a TorchScript archive (torch.jit.save). Export its state_dict in Python: "
            "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), 'state_dict.pt')"
        )
    if not pickles:
        shown = ", ".join(names[:5]) or "nothing"
        raise CheckpointError(f"it is a zip archive, but not PyTorch's: there is no data.pkl in it, but {shown}")

    def read(name: str) -> bytearray:
        try:
            info = archive.getinfo(prefix + name)
        except KeyError:
            raise CheckpointError(f"its archive lacks {prefix + name}: get it again") from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                "its archive is compressed, as PyTorch's never are. Unpack it and pack it with zip -0"
            )
        if info.CRC == 0:
            del info.CRC  # written with torch.serialization.set_crc32_options(False): there is no checksum
        data = bytearray(info.file_size)
        try:
            with archive.open(info) as entry:
                if cast(io.BufferedIOBase, entry).readinto(data) != len(data):
                    raise zipfile.BadZipFile("it ends early")
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
            raise CheckpointError(f"{prefix + name} in its archive is damaged ({error}): get it again") from error
        return data

    swapped = f"{prefix}byteorder" in names and bytes(read("byteorder")).strip() == b"big"

    @functools.cache
    def read_storage(key: str, item_size: int) -> np.ndarray:
        data = np.frombuffer(read(f"data/{key}"), np.uint8)
        return np.ascontiguousarray(data.reshape(-1, item_size)[:, ::-1]).reshape(-1) if swapped else data

    def persistent_load(identifier: Any) -> Storage:
        _, kind, key, *_ = identifier
        dtype, item_size = _storage_type(kind)
        return Storage(dtype, functools.partial(read_storage, str(key), item_size))

    return unpickle(io.BytesIO(read("data.pkl")), persistent_load, {"torch.storage._load_from_bytes": _read_bytes})


def _storage_type(kind: Any) -> tuple[str, int]:
    """torch's name of the type of a storage's values, and the bytes of one."""
    name = kind.__name__
    if name in STORAGES:
        return STORAGES[name], np.dtype(TYPES[STORAGES[name]]).itemsize
    return name.removesuffix("Storage"), OTHER_SIZES.get(name, 1)


def _read_bytes(data: Any) -> Storage:
    """A storage that is held in a pickle as a file of PyTorch's older format."""
    found = _read_pickles(io.BytesIO(data), nested=False)
    if not isinstance(found, Storage):
        raise CheckpointError("it holds a file within a file that is no storage")
    return found


def _read_pickles(file: BinaryIO, nested: bool) -> Any:
    """A plain pickle, or PyTorch's older format: magic number, version, machine, object, storage keys, storages.

    Args:
        file: at its start.
        nested: whether pickles may hold further such files, as pickled (not torch.saved) tensors do.
    """
    extra = {"torch.storage._load_from_bytes": _read_bytes} if nested else {}
    first = unpickle(file, extra=extra)
    if first != MAGIC:
        return first
    version, _machine = unpickle(file), unpickle(file)
    if version != 1001:
        raise CheckpointError(f"its format is version {version!r}, not 1001")
    item_sizes: dict[str, int] = {}
    places: dict[str, tuple[int, int]] = {}

    @functools.cache
    def read_storage(key: str) -> np.ndarray:
        position, size = places[key]
        file.seek(position)
        return np.frombuffer(bytearray(file.read(size)), np.uint8)

    def persistent_load(identifier: Any) -> Any:
        tag, *rest = identifier
        if tag == "module":  # a class, with its source code
            return rest[0]
        kind, key, _location, _size, view = rest
        dtype, item_sizes[str(key)] = _storage_type(kind)
        whole = functools.partial(read_storage, str(key))
        if view is None:
            return Storage(dtype, whole)
        _key, start, size = view
        item_size = item_sizes[str(key)]
        return Storage(dtype, lambda: whole()[start * item_size : (start + size) * item_size])

    found = unpickle(file, persistent_load, extra)
    keys = unpickle(file)
    total = _size(file)
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8).ljust(8, b"\xff"))
        size = count * item_sizes.get(str(key), 0)
        places[str(key)] = (file.tell(), size)
        if not 0 <= size <= total - file.tell():
            raise CheckpointError("it ends before its last storage")
        file.seek(size, os.SEEK_CUR)
    if missing := item_sizes.keys() - places.keys():
        raise CheckpointError(f"it lacks storage {min(missing)}")
    return found


def _size(file: BinaryIO) -> int:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size
