"""Writing files so that a failure leaves what was there before."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from netdefs.core.errors import FileError


def exists(path: str | os.PathLike[str]) -> bool:
    """True if there is a file or folder `path`; FileError if that can't be a path at all."""
    try:
        return Path(path).exists()
    except (OSError, ValueError) as error:
        raise FileError(f"{path} can't be a file: {getattr(error, 'strerror', None) or error}.") from error


def refuse_existing(path: str | os.PathLike[str], force: bool = False) -> None:
    """Raises FileError if `path` exists, unless `force`."""
    if exists(path) and not force:
        raise FileError(f"{path} already exists. Give another name, or --force to replace it.")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` only when the block has ended without an error.

    It is written beside `path` under a temporary name; after an error that is removed and `path` is untouched.

    Raises:
        FileError: the folder does not exist or can't be written to, or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"Can't write {path}: it is a folder.")
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp makes the file private; give it the usual mode
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise FileError(f"Can't write {path}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
