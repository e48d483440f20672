"""Writing tensors to a .safetensors one by one: the header, which comes first, is known only at the end."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError, FileError
from netdefs.core.files import atomic_write

METADATA = "netdefs.capture"  # the key that our metadata are under
FORMAT = 1  # of the metadata: what `capture` writes, and `Recording` reads
KINDS = {
    "float64": "F64",
    "float32": "F32",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
HEADER = 100_000_000  # bytes: the library takes no larger one


class Writer:
    """Collects tensors in a temporary file beside `path`; `finish` makes that file of them.

    Values that are there already, under whatever name and shape, are not written again.

    Args:
        path: the file to write.

    Raises:
        FileError: its folder can't be written to, or the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._path = Path(path)
        except TypeError as error:
            raise FileError(f"{path!r} is no name of a file.") from error
        self._known: dict[bytes, str] = {}
        self._header: dict[str, Any] = {}
        self._size = 0

    def __enter__(self) -> "Writer":
        if self._path.is_dir():
            raise FileError(f"Can't write {self._path}: it is a folder.")
        with self._errors():
            self._values = tempfile.TemporaryFile(dir=self._path.resolve().parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._values.close()

    def add(self, name: str, array: np.ndarray) -> list[Any]:
        """Writes a tensor, and returns where it is: the name of one with its values, and its shape."""
        array = np.ascontiguousarray(array)
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        kind = KINDS.get(array.dtype.name)
        if kind is None:
            raise CompareError(f"{name} has the type {array.dtype}, which a capture can't hold.")
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8).data
        digest = hashlib.blake2b(data, digest_size=16, person=kind.encode()).digest()
        if digest not in self._known:
            self._known[digest] = name
            with self._errors():
                self._values.write(data)
            end = self._size + array.nbytes
            self._header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [self._size, end]}
            self._size = end
        return [self._known[digest], list(array.shape)]

    def finish(self, metadata: dict[str, Any]) -> None:
        """Writes the file.

        Raises:
            CompareError: there are more tensors than such a file can list.
            FileError: it can't be written.
        """
        text = json.dumps(metadata, separators=(",", ":"))
        header = json.dumps({"__metadata__": {METADATA: text}, **self._header}, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        if len(header) > HEADER:
            raise CompareError("There are too many values for one file: capture fewer inputs, or some layers=.")
        with atomic_write(self._path) as file:
            file.write(len(header).to_bytes(8, "little") + header)
            with self._errors():
                self._values.seek(0)
            shutil.copyfileobj(self._values, file, 1 << 20)

    @contextlib.contextmanager
    def _errors(self) -> Any:
        try:
            yield
        except OSError as error:
            raise FileError(f"Can't write {self._path}: {error.strerror or error}.") from error
