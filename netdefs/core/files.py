"""Writing files so that a failure leaves what was there before."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

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


def check_output(path: str | os.PathLike[str], force: bool = False) -> None:
    """Raises FileError before any work is done if `path` exists, unless `force`, or if its folder does not."""
    refuse_existing(path, force)
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileError(f"Can't write {path}: there is no folder {folder}. Make it first.")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` only when the block has ended without an error.

    It is written beside `path` under a temporary name; after an error that is removed and `path` is untouched. A file
    that is replaced leaves its permissions to the new one; of a symbolic link, the file that it points to is replaced.

    Raises:
        FileError: the folder does not exist or can't be written to, the disk is full, or `path` is a folder or device.
    """
    target, mode = _target(Path(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # Windows has the last one
    try:
        handle = os.open(temporary, flags, 0o666 if mode is None else mode)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            if mode is not None:
                temporary.chmod(mode)  # the umask may have taken from it
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise FileError(f"Can't write {path}: {error.strerror or error}.") from error


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as numpy.savez does, but only once all is written, and under exactly this name.

    Raises:
        FileError: as `atomic_write`.
    """
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **dict(arrays))


def _target(path: Path) -> tuple[Path, int | None]:
    """The file that `path` stands for, links followed, and its permissions; None for those if there is no such file.

    Raises:
        FileError: it is something that a file must not replace, or can't be a path.
    """
    try:
        found = path.stat().st_mode
    except FileNotFoundError:  # a link to nothing is one to the file that is to be made
        return path.resolve() if path.is_symlink() else path, None
    except (OSError, ValueError) as error:
        raise FileError(f"Can't write {path}: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(found):
        raise FileError(f"Can't write {path}: it is a folder.")
    if not stat.S_ISREG(found):
        raise FileError(f"Can't write {path}: it is a device or a pipe, and what is written must be a file.")
    return path.resolve() if path.is_symlink() else path, found & 0o777
