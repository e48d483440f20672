"""The README's commands and programs, run one after the other as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from skimage import data

from examples.hrnet_torch import hrnet_w18_small_v2
from examples.seeded import seed_weights
from tests.reference import MODELS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder as the README assumes: the clone's tools and examples, a checkpoint and a photograph."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("tools", "examples"):
        (folder / name).symlink_to(ROOT / name)
    module = seed_weights(hrnet_w18_small_v2())
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in module.state_dict().items()}}, folder / "hrnet_w18_small_v2.pth"
    )
    pose = seed_weights(MODELS["hrnet_pose_w32"](), input_shape=(1, 3, 128, 96))
    torch.save(pose.state_dict(), folder / "pose_hrnet_w32_256x192.pth")
    photo = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(folder / "photo.jpg"), photo)
    (folder / "photos").mkdir()
    for i in range(16):
        cv2.imwrite(str(folder / "photos" / f"{i}.png"), photo[i % 4 * 64 :, i // 4 * 64 :][:320, :320])
    return folder


def test_commands_and_programs(desk):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(desk)}
    program = ""
    commands = 0
    for language, text in re.findall(r"```(console|python)\n(.*?)```", README, re.S):
        if language == "python":
            program += text
            continue
        for line in text.splitlines():
            assert line.startswith("$ "), line
            done = subprocess.run(line[2:], shell=True, cwd=desk, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            commands += 1
            if line.startswith("$ netdefs diff"):
                assert re.search(r"all \d+ layers agree", done.stdout), done.stdout
    assert commands >= 13
    assert cv2.imread(str(desk / "pose.jpg")).shape == cv2.imread(str(desk / "photo.jpg")).shape
    done = subprocess.run([sys.executable, "-c", program], cwd=desk, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (said := re.search(r"all \d+ layers agree", done.stdout)) and said[0] in README, done.stdout


def test_what_the_readme_names_exists():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    import netdefs

    for name, variants in netdefs.models().items():
        row = re.search(rf"\| `netdefs\.{name}` \| (.*) \|", README)
        assert row, f"{name} is not in the README's table"
        assert [variant for variant in variants if not named(variant, row[1])] == []


def named(variant: str, row: str) -> bool:
    """Whether a row of the table names a variant, or says it in short: "resnet18, 34", "yolov8n, s, ... with -seg"."""
    words = re.findall(r"[\w-]+", row)
    parts = re.fullmatch(r"(yolo(?:v5|v8|11|12|26))([nsmlx])(6?u?)(-\w+)?", variant)
    if parts is None:
        shortened = (variant.removeprefix(prefix) for prefix in ("resnet", "hrnet_", "efficientnet_"))
        return not {variant, *shortened}.isdisjoint(words)
    family, size, mark, task = parts.groups()
    if mark:
        return re.search(rf"\b{family}n{mark} to x{mark}(?!\w)", row) is not None
    sized = f"{family}{size}" in words or (f"{family}n" in words and size in words)
    return sized and (task is None or task in words)


def test_what_the_readme_lacks_is_noticed():
    row = "yolov5n, s, m; the same with -seg; yolov5n6 to x6"
    assert [named(name, row) for name in ("yolov5s", "yolov5m-seg", "yolov5l6")] == [True] * 3
    assert not any(named(name, row) for name in ("yolov5l", "yolov5s-cls", "yolov5nu", "yolov5n6u", "yolo11n"))
    assert named("resnet34", "resnet18, 34") and not named("resnet3", "resnet18, 34")
