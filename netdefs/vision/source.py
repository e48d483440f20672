"""Pictures one after the other, from files, folders and videos, and back into them."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from netdefs.core.errors import FileError, InputError
from netdefs.core.files import atomic_write
from netdefs.core.optional import require
from netdefs.vision.image import check_image, read_image

PICTURES = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"])
VIDEOS = frozenset([".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"])
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # the videos that are written: these codecs come with every OpenCV
FPS = 25.0  # of a video that does not say it

Name = str | os.PathLike[str]
Paths = Name | Sequence[Name]


class Picture(NamedTuple):
    """One picture of a source.

    Attributes:
        name: for people: the file, and the frame of a video.
        image: (H, W, 3) uint8, BGR.
        path: the file it is from.
        frame: its number in a video, from 0; None in other files.
    """

    name: str
    image: np.ndarray
    path: Path
    frame: int | None = None


def pictures(paths: Paths, unreadable: list[str] | None = None) -> Iterator[Picture]:
    """The pictures of files, of folders and of videos, in this order; those of a folder sorted by name.

    Of a folder, files that have a picture's extension are taken, and no folders within it. That everything is there is
    checked at once; pictures are read when it is their turn.

    Args:
        paths: one, or several.
        unreadable: if given, damaged pictures of folders are left out, and why each can't be read is added here.

    Raises:
        InputError: a path is not there, a folder has no picture, or a file can't be read as picture or video.
    """
    given = _listed(paths)
    return _read(_files(given), given, unreadable)


def picture_files(paths: Paths) -> list[Path]:
    """The files of pictures: those that are named, and those of folders, sorted by name.

    Raises:
        InputError: a path is not there, a folder has no picture, or a file is a video.
    """
    files = _files(_listed(paths))
    video = next((path for path in files if _is_video(path)), None)
    if video is not None:
        raise InputError(f"{video} is a video; this takes pictures. Save the frames that matter.")
    return files


def count(paths: Paths) -> int | None:
    """How many pictures there are, for a progress bar; None if a video does not say it.

    Some videos say a number that is not quite right.

    Raises:
        InputError: a path is not there, a folder has no picture, or a video can't be read.
    """
    cv2 = require("cv2", "vision")
    total = 0
    for path in _files(_listed(paths)):
        frames = 1
        if _is_video(path):
            with _opened(path) as video:
                frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        if frames < 1:
            return None
        total += frames
    return total


class Writer:
    """Writes what was drawn: for one picture a file, for one video a video, for many or for a folder a folder.

        with Writer("out", ["photos", "clip.mp4"]) as writer:
            for picture in pictures(["photos", "clip.mp4"]):
                writer.write(picture, draw(picture.image, ...))

    In a folder the files have the names of their sources; a destination without an extension is one. Files that are
    there are replaced, but never a source. A video takes its name when its last frame was written; after an error, an
    unfinished one is removed. Its codec needs an even number of rows and columns, and leaves out the last odd one.

    Args:
        destination: the file or the folder; folders are made if they are not there.
        paths: what was given to `pictures`.

    Raises:
        InputError: the destination does not fit to the sources, would replace one, or two would get the same name.
        FileError: the folder can't be made.
    """

    def __init__(self, destination: Name, paths: Paths) -> None:
        given = _listed(paths)
        files = _files(given)
        if not files:
            raise InputError("There is nothing to draw onto: no picture, video or folder was given.")
        destination = Path(destination)
        if files == given and len(files) == 1 and destination.suffix and not destination.is_dir():
            self.targets = {files[0]: _file_target(files[0], destination)}
            folder = destination.parent
        else:
            self.targets = _folder_targets(files, destination)
            folder = destination
        sources = {path.resolve() for path in files}
        for target in self.targets.values():
            if target.resolve() in sources:
                raise InputError(f"{target} is what is drawn onto. Give another name, so that it is kept.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
        self._video: _Video | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.close(keep=kind is None)

    def write(self, picture: Picture, image: np.ndarray) -> Path:
        """Writes `image`, which was drawn onto `picture`; the frames of a video in their order.

        Args:
            picture: one of those that `pictures` gave.
            image: (H, W, 3) uint8, BGR; all frames of a video are of one size.

        Returns:
            The file it goes to.

        Raises:
            InputError: the picture is of none of the sources, or the array is no picture or not of the video's size.
            FileError: the file can't be written.
        """
        check_image(image)
        target = self.targets.get(picture.path)
        if target is None:
            raise InputError(f"{picture.name} is none of the sources that were given to this Writer.")
        if self._video is not None and self._video.target != target:
            video, self._video = self._video, None
            video.close()
        if picture.frame is None:
            _write_picture(target, image)
        else:
            self._video = self._video or _Video(picture.path, target, image)
            self._video.write(image)
        return target


class _Video:
    """A video that is being written, in a folder of its own until it is complete."""

    def __init__(self, source: Path, target: Path, image: np.ndarray) -> None:
        cv2 = require("cv2", "vision")
        self.target, self.shape = target, image.shape
        with _opened(source) as video:
            fps = video.get(cv2.CAP_PROP_FPS)
        try:
            self.folder = tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent)
        except OSError as error:
            raise FileError(f"Can't write {target}: {error.strerror or error}.") from error
        self.part = Path(self.folder.name) / f"video{target.suffix.lower()}"
        fourcc = cv2.VideoWriter_fourcc(*CODECS[self.part.suffix])
        size = image.shape[1], image.shape[0]
        self.writer = cv2.VideoWriter(str(self.part), fourcc, fps if 0 < fps < 1000 else FPS, size)
        if not self.writer.isOpened():
            self.close(keep=False)
            raise FileError(f"Can't write {target}: OpenCV can't make such a video of {size[0]}x{size[1]} pixels.")

    def write(self, image: np.ndarray) -> None:
        if image.shape != self.shape:  # OpenCV would leave it out without a word
            raise InputError(f"A frame of {image.shape} does not fit into a video of {self.shape}: {self.target}.")
        self.writer.write(image)

    def close(self, keep: bool = True) -> None:
        self.writer.release()
        with self.folder:
            if keep:
                with self.part.open("rb") as part, atomic_write(self.target) as file:
                    shutil.copyfileobj(part, file)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def _listed(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]


def _files(paths: list[Path]) -> list[Path]:
    """Files as they are, and the pictures of folders."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES and p.is_file())
            if not found:
                raise InputError(f"There are no pictures in the folder {path}: no {', '.join(sorted(PICTURES))}.")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"There is no picture, video or folder {path}.")
    return files


def _read(files: list[Path], given: list[Path], unreadable: list[str] | None) -> Iterator[Picture]:
    for path in files:
        if not _is_video(path):
            try:
                image = read_image(path)
            except InputError as error:
                if unreadable is None or path in given:
                    raise
                unreadable.append(str(error))
                continue
            yield Picture(str(path), image, path)
            continue
        with _opened(path) as video:
            index = 0
            while (frame := video.read()[1]) is not None:
                yield Picture(f"{path}, frame {index}", frame, path, index)
                index += 1
        if not index:
            raise InputError(f"{path} is a video without a frame that OpenCV can read.")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    cv2 = require("cv2", "vision")
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise InputError(f"{path} is not a video that OpenCV can read: damaged, or in an unknown format.")
        yield video
    finally:
        video.release()


def _file_target(path: Path, destination: Path) -> Path:
    allowed = CODECS if _is_video(path) else PICTURES
    if destination.suffix.lower() not in allowed:
        raise InputError(
            f"What is drawn onto {path} can go to a file with the extension {', '.join(sorted(allowed))} or into a "
            f"folder, not to {destination}."
        )
    return destination


def _folder_targets(files: list[Path], destination: Path) -> dict[Path, Path]:
    if destination.is_file() or (destination.suffix.lower() in PICTURES | VIDEOS and not destination.is_dir()):
        raise InputError(f"Many pictures are drawn into a folder, and {destination} is none.")
    sources: dict[Path, Path] = {}
    for path in files:
        known, usual = (CODECS, ".mp4") if _is_video(path) else (PICTURES, ".png")
        target = destination / (path.name if path.suffix.lower() in known else path.stem + usual)
        if target in sources:
            raise InputError(f"{sources[target]} and {path} would both be drawn to {target}. Draw them one by one.")
        sources[target] = path
    return {source: target for target, source in sources.items()}


def _write_picture(target: Path, image: np.ndarray) -> None:
    cv2 = require("cv2", "vision")
    try:
        done, data = cv2.imencode(target.suffix, image)
    except cv2.error as error:
        raise FileError(f"Can't write {target}: {error.err or error}.") from error
    if not done:
        raise FileError(f"Can't write {target}: OpenCV can't make such a picture of {image.shape}.")
    with atomic_write(target) as file:
        file.write(data.tobytes())
