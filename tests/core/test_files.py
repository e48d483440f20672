"""Writing files: what a failure, a link, permissions and things that are no files come to."""

import os
import stat
from pathlib import Path

import pytest

from netdefs.core.errors import FileError
from netdefs.core.files import atomic_write


def write(path, content=b"new"):
    with atomic_write(path) as file:
        file.write(content)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_the_name_is_taken_at_the_end(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and listing(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old" and listing(tmp_path) == ["x"]


@pytest.mark.parametrize("before", [0o600, 0o644, 0o666, 0o400])
def test_permissions_stay(tmp_path, umask, before):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(before)
    with atomic_write(path) as file:
        (temporary,) = (each for each in tmp_path.iterdir() if each != path)
        assert mode(temporary) & ~before == 0, "nobody reads on the way what he must not read at the end"
        file.write(b"new")
    assert mode(path) == before and path.read_bytes() == b"new"


def test_a_new_file_has_the_usual_permissions(tmp_path, umask, monkeypatch):
    monkeypatch.setattr(os, "umask", None)  # other threads make files: it must not be changed, not even for a moment
    write(tmp_path / "x")
    monkeypatch.undo()
    assert mode(tmp_path / "x") == 0o640


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link, second = tmp_path / "far" / "target", tmp_path / "link", tmp_path / "second"
    if there:
        target.write_bytes(b"old")
    link.symlink_to("far/target")
    second.symlink_to(link)
    write(second)
    assert second.is_symlink() and link.is_symlink() and target.read_bytes() == b"new"
    assert listing(tmp_path) == ["far", "link", "second"] and listing(tmp_path / "far") == ["target"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    fifo, link, folder = tmp_path / "fifo", tmp_path / "link", tmp_path / "folder"
    os.mkfifo(fifo)
    link.symlink_to("/dev/null")
    folder.mkdir()
    device = Path("/dev/null")
    for path, why in ((device, "a device"), (fifo, "a device or a pipe"), (link, "a device"), (folder, "a folder")):
        with pytest.raises(FileError, match=f"Can't write {path}: it is {why}"):
            write(path)
    assert stat.S_ISFIFO(fifo.stat().st_mode) and stat.S_ISCHR(device.stat().st_mode)
    assert listing(tmp_path) == ["fifo", "folder", "link"]


def test_what_can_be_no_file(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    for name in ("loop", "a\0b", "a" * 300, "missing/x", "file/x"):
        with pytest.raises(FileError, match="Can't write"):
            write(tmp_path / name)
    assert listing(tmp_path) == ["file", "loop"]
