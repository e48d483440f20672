"""Files, folders and videos read and written, with pictures and videos that OpenCV made in a temporary folder."""

import cv2
import numpy as np
import pytest

from netdefs.core.errors import FileError, InputError
from netdefs.vision.source import Picture, Writer, count, pictures

FRAMES = [0, 60, 120, 180, 240]


def picture(path, value=7, shape=(12, 16, 3)):
    assert cv2.imwrite(str(path), np.full(shape, value, np.uint8))
    return path


def video(path, values=FRAMES, fps=12.5, size=(64, 48)):
    codec = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, fps, size)
    assert writer.isOpened()
    for value in values:
        writer.write(np.full((size[1], size[0], 3), value, np.uint8))
    writer.release()
    return path


def frames(path):
    """The mean gray level of each frame, and the frames per second, as OpenCV reads them."""
    reader, values = cv2.VideoCapture(str(path)), []
    while (frame := reader.read()[1]) is not None:
        values.append(frame.mean())
    return values, reader.get(cv2.CAP_PROP_FPS)


@pytest.fixture
def folder(tmp_path):
    """Three pictures, and what is none."""
    found = tmp_path / "in"
    (found / "more.png").mkdir(parents=True)
    for value, name in enumerate(["b.png", "C.PNG", "a.jpg"]):
        picture(found / name, value)
    (found / "notes.txt").write_text("no picture")
    picture(found / "more.png" / "d.png")
    return found


def test_a_file_and_a_folder(folder):
    found = list(pictures([folder / "b.png", folder]))
    assert [p.path.name for p in found] == ["b.png", "C.PNG", "a.jpg", "b.png"]
    assert [int(p.image[0, 0, 0]) for p in found] == [0, 1, 2, 0]
    assert all(p.image.shape == (12, 16, 3) and p.frame is None and p.name == str(p.path) for p in found)
    assert count([folder / "b.png", folder]) == 4
    assert [p.path.name for p in pictures(str(folder / "b.png"))] == ["b.png"] and count(folder) == 3


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_a_video(tmp_path, name):
    path = video(tmp_path / name)
    found = list(pictures([path]))
    assert [p.frame for p in found] == [0, 1, 2, 3, 4] and found[3].name == f"{path}, frame 3"
    np.testing.assert_allclose([p.image.mean() for p in found], FRAMES, atol=4)
    assert count([path, path]) == 10


def test_what_is_missing_is_said_before_anything_is_read(folder):
    for what in (pictures, count):
        with pytest.raises(InputError, match=r"There is no picture, video or folder .*nothing\.png"):
            what([folder, folder / "nothing.png"])
    with pytest.raises(InputError, match=r"There are no pictures in the folder .*empty: no \.bmp, \.jpeg"):
        (folder / "empty").mkdir()
        pictures([folder / "empty"])
    assert list(pictures([])) == [] and count([]) == 0


@pytest.mark.parametrize("content", [b"", b"no video" * 100])
def test_an_unreadable_video(tmp_path, content):
    (tmp_path / "bad.mp4").write_bytes(content)
    for read in (lambda: list(pictures([tmp_path / "bad.mp4"])), lambda: count([tmp_path / "bad.mp4"])):
        with pytest.raises(InputError, match=r"bad\.mp4 is not a video that OpenCV can read"):
            read()


def test_a_video_without_frames_and_without_a_length(tmp_path, monkeypatch):
    class Endless:
        def __init__(self, path): ...
        def isOpened(self):
            return True

        def get(self, what):
            return -1.0

        def read(self):
            return False, None

        def release(self): ...

    monkeypatch.setattr(cv2, "VideoCapture", Endless)
    (tmp_path / "a.mkv").write_bytes(b"x")
    assert count([tmp_path / "a.mkv"]) is None
    with pytest.raises(InputError, match=r"a\.mkv is a video without a frame"):
        list(pictures([tmp_path / "a.mkv"]))


def test_an_unreadable_picture(folder):
    with pytest.raises(InputError, match=r"notes\.txt is not a picture"):
        list(pictures([folder / "notes.txt"]))


def inverted(destination, paths):
    with Writer(destination, paths) as writer:
        return [writer.write(p, 255 - p.image) for p in pictures(paths)]


def test_one_picture_becomes_a_file(folder, tmp_path):
    out = tmp_path / "new" / "out.png"
    assert inverted(out, folder / "b.png") == [out]
    assert (cv2.imread(str(out)) == 255).all()
    assert inverted(out, [folder / "C.PNG"]) == [out]
    assert (cv2.imread(str(out)) == 254).all(), "what was there is replaced"


def test_a_folder_becomes_a_folder(folder, tmp_path):
    picture(folder / "e.webp")
    out = tmp_path / "out"
    assert inverted(out, [folder]) == [out / "C.PNG", out / "a.jpg", out / "b.png", out / "e.webp"]
    assert sorted(p.name for p in out.iterdir()) == ["C.PNG", "a.jpg", "b.png", "e.webp"]
    assert (cv2.imread(str(out / "b.png")) == 255).all() and (cv2.imread(str(folder / "b.png")) == 0).all()


def test_one_picture_goes_into_a_folder_that_is_there_or_has_no_extension(folder, tmp_path):
    (tmp_path / "v1.0").mkdir()
    for out in (tmp_path / "v1.0", tmp_path / "new"):
        assert inverted(out, [folder / "a.jpg"]) == [out / "a.jpg"]
    (tmp_path / "photo").write_bytes((folder / "b.png").read_bytes())
    assert inverted(tmp_path / "new", [tmp_path / "photo"]) == [tmp_path / "new" / "photo.png"]


@pytest.mark.parametrize(("name", "out"), [("clip.mp4", "out.avi"), ("clip.avi", "out.MP4")])
def test_a_video_becomes_a_video(tmp_path, name, out):
    path = video(tmp_path / name)
    assert inverted(tmp_path / out, path) == [tmp_path / out] * 5
    values, fps = frames(tmp_path / out)
    assert fps == 12.5
    np.testing.assert_allclose(values, [255 - value for value in FRAMES], atol=5)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, out]), "nothing else is left"


def test_videos_and_pictures_become_a_folder(folder, tmp_path):
    paths = [video(tmp_path / "one.mp4", fps=5), folder / "b.png", video(tmp_path / "two.mov", [255, 0], fps=30)]
    out = tmp_path / "out"
    inverted(out, paths)
    assert sorted(p.name for p in out.iterdir()) == ["b.png", "one.mp4", "two.mp4"]
    assert len(frames(out / "one.mp4")[0]) == 5 and frames(out / "one.mp4")[1] == 5
    np.testing.assert_allclose(frames(out / "two.mp4")[0], [0, 255], atol=4)
    assert frames(out / "two.mp4")[1] == 30


def test_a_video_that_breaks_off_leaves_what_was_there(tmp_path):
    path = video(tmp_path / "clip.mp4")
    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "out.mp4", path) as writer:
        writer.write(next(pictures(path)), np.zeros((48, 64, 3), np.uint8))
        raise KeyboardInterrupt
    assert (tmp_path / "out.mp4").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


def test_frames_of_another_size_are_not_dropped_silently(tmp_path):
    path = video(tmp_path / "clip.mp4")
    with pytest.raises(InputError, match=r"A frame of \(48, 62, 3\) does not fit into a video of \(48, 64, 3\)"):  # noqa: SIM117
        with Writer(tmp_path / "out.mp4", path) as writer:
            for i, frame in enumerate(pictures(path)):
                writer.write(frame, frame.image[:, 2 * i :])
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_that_can_not_be_made(tmp_path):
    path = video(tmp_path / "clip.mp4")
    with pytest.raises(FileError, match=r"out\.mp4: OpenCV can't make such a video of 1x1 pixels"):  # noqa: SIM117
        with Writer(tmp_path / "out.mp4", path) as writer:
            writer.write(next(pictures(path)), np.zeros((1, 1, 3), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("destination", "sources", "message"),
    [
        (
            "out.mp4",
            ["in/b.png"],
            r"b\.png can go to a file with the extension \.bmp, .* or into a folder, not to .*mp4",
        ),
        ("out.png", ["clip.mp4"], r"clip\.mp4 can go to a file with the extension \.avi, \.mp4 or into a folder"),
        ("out.gif", ["in/b.png"], r"b\.png can go to a file with the extension"),
        ("out.png", ["in"], r"Many pictures are drawn into a folder, and .*out\.png is none"),
        ("out.png", ["in/b.png", "in/a.jpg"], r"Many pictures are drawn into a folder"),
        ("clip.mp4", ["in"], r"Many pictures are drawn into a folder"),
        ("in", ["in/b.png"], r"b\.png is what is drawn onto\. Give another name"),
        ("in/../in/b.png", ["in/b.png"], r"b\.png is what is drawn onto"),
        ("clip.mp4", ["clip.mp4"], r"clip\.mp4 is what is drawn onto"),
        ("out", ["in/b.png", "in/../in/b.png"], r"b\.png and .*b\.png would both be drawn to .*out/b\.png"),
        ("out", ["clip.mov", "clip.mp4"], r"clip\.mov and .*clip\.mp4 would both be drawn to .*clip\.mp4"),
        ("out", [], r"There is nothing to draw onto"),
        ("out", ["gone.png"], r"There is no picture, video or folder .*gone\.png"),
    ],
)
def test_what_can_not_be_written(folder, tmp_path, destination, sources, message):
    for name in ("clip.mp4", "clip.mov"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=message):
        Writer(tmp_path / destination, [tmp_path / source for source in sources])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_can_not_be_made(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Can't make the folder"):
        Writer(tmp_path / "file" / "out", [folder])


def test_what_is_no_source_or_no_picture(folder, tmp_path):
    with Writer(tmp_path / "out", [folder]) as writer:
        image = np.zeros((4, 4, 3), np.uint8)
        with pytest.raises(InputError, match=r"x\.png is none of the sources"):
            writer.write(Picture("x.png", image, tmp_path / "x.png"), image)
        with pytest.raises(InputError, match=r"\(height, width, 3\) of uint8"):
            writer.write(next(pictures(folder)), image[:, :, 0])
