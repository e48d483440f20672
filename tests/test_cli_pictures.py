"""`netdefs run --image`: a segmentation network on pictures, folders and videos."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file
from skimage import data

from examples.seeded import seed_weights
from netdefs.cli import main
from tests.reference import MODELS
from tests.test_cli import fails


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """An engine, a photograph, a folder of three and a video of five frames."""
    folder = tmp_path_factory.mktemp("desk")
    module = seed_weights(MODELS["hrnet_seg_w18_small_v1"](), input_shape=(1, 3, 64, 64))
    weights = {key: value.numpy() for key, value in module.state_dict().items() if value.ndim}
    save_file(weights, folder / "seg.safetensors")
    variant = ["build", "hrnet_seg_w18_small_v1", "--weights", str(folder / "seg.safetensors"), "--target", "cpu"]
    shape = ["--input-shape", "1:2:4x3x64x96"]
    assert main([*variant, *shape, "-o", str(folder / "seg.engine")]) == 0
    assert main([*variant, *shape, "--preprocess", "in_network", "-o", str(folder / "bytes.engine")]) == 0
    photo = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(folder / "photo.png"), photo)
    (folder / "photos").mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / "photos" / f"{i}.png"), photo[64 * i : 64 * i + 128])
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (128, 96))
    for i in range(5):
        video.write(photo[16 * i : 16 * i + 96, :128])
    video.release()
    return folder


@pytest.fixture
def here(desk, tmp_path, monkeypatch, capsys):
    """The folder to write to is the current one."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    return desk


def run(capsys, *arguments):
    assert main(["run", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_mask_over_a_photograph(here, capsys):
    arguments = here / "seg.engine", "--image", here / "photo.png"
    said = run(capsys, *arguments, "--draw", "out.png")
    assert "share of the picture" in said and "Drawn: out.png" in said
    drawn, photo = cv2.imread("out.png"), cv2.imread(str(here / "photo.png"))
    assert drawn.shape == photo.shape and (drawn != photo).mean() > 0.5
    (picture,) = json.loads(run(capsys, *arguments, "--json"))["pictures"]
    assert sum(each["share"] for each in picture["shares"]) == pytest.approx(1, abs=0.01)
    fails(capsys, ["run", *map(str, arguments), "--draw", "out.png"], "out.png already exists", "--force")
    fails(capsys, ["run", *map(str, arguments), "--flip"], "mirrored picture, not mask")
    fails(capsys, ["run", *map(str, arguments), "--box", "0", "0", "9", "9"], "takes no boxes")
    fails(capsys, ["run", *map(str, arguments), "--top", "3"], "--top is for classifiers", "'mask'")


def test_normalizing_in_the_network_gives_the_same_mask(here, capsys):
    shares = []
    for engine in ("seg.engine", "bytes.engine"):
        said = json.loads(run(capsys, here / engine, "--image", here / "photo.png", "--json"))
        shares.append({each["label"]: each["share"] for each in said["pictures"][0]["shares"]})
    assert shares[0] == pytest.approx(shares[1], abs=1e-3)


def test_a_folder_and_a_video(here, capsys):
    sources = here / "photos", here / "clip.avi"
    said = run(capsys, here / "seg.engine", "--image", *sources, "--draw", "drawn", "-o", "out.npz")
    assert "frame 4" in said and "3.png" in said
    names = ["0.png", "1.png", "2.png", "3.png", "clip.avi"]
    assert sorted(path.name for path in Path("drawn").iterdir()) == names
    video = cv2.VideoCapture("drawn/clip.avi")
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    with np.load("out.npz") as outputs:
        assert outputs["logits_stride4"].shape == (9, 19, 16, 24)


def test_a_damaged_picture_does_not_end_a_folder(here, capsys):
    shutil.copytree(here / "photos", "photos")
    Path("photos/1.png").write_bytes(b"nothing of the kind")
    assert main(["run", str(here / "seg.engine"), "--image", "photos", "--draw", "drawn", "--json"]) == 2
    said = capsys.readouterr()
    assert "1 of 4 pictures are left out. photos/1.png is not a picture" in said.err
    names = ["photos/0.png", "photos/2.png", "photos/3.png"]
    assert [each["picture"] for each in json.loads(said.out)["pictures"]] == names
    fails(
        capsys, ["run", str(here / "seg.engine"), "--image", "photos/0.png", "photos/1.png"], "1.png is not a picture"
    )


def test_a_folder_that_is_there_is_drawn_into(here, capsys):
    Path("drawn").mkdir()
    Path("drawn/mine.txt").write_text("kept")
    arguments = here / "seg.engine", "--image", here / "photos", "--draw", "drawn"
    run(capsys, *arguments)
    assert len(list(Path("drawn").iterdir())) == 5
    fails(capsys, ["run", *map(str, arguments)], "0.png already exists", "--force")
    run(capsys, *arguments, "--force")
    assert Path("drawn/mine.txt").read_text() == "kept"


def test_options_without_pictures(here, capsys):
    np.save("x.npy", np.zeros((1, 3, 64, 96), np.float32))
    base = ["run", str(here / "seg.engine"), "--input", "x.npy"]
    fails(capsys, [*base, "--draw", "out.png"], "--draw is for pictures")
    fails(capsys, [*base, "--labels", "names.txt"], "--labels is for pictures")
    assert "logits_stride4" in run(capsys, *base[1:])
