"""From the checkpoints that people have to boxes drawn into a photograph, by the commands that they would type."""

import dataclasses
import importlib.util
import json
import re
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

import netdefs
from examples.seeded import pictures, seed_weights
from netdefs.cli import main
from netdefs.core.yolo.ultralytics_zoo import LETTERBOX
from netdefs.vision import placement, preprocess, read_image
from netdefs.vision.boxes import detect
from tests import golden
from tests.reference import MODELS
from tests.test_yolo_ultralytics import error, same_rows

DATA = Path(__file__).parent / "data"
SIZE = (384, 640)


@pytest.fixture(scope="module")
def gen_wts():
    """The tool's `main`."""
    spec = importlib.util.spec_from_file_location("gen_wts", Path(__file__).parents[1] / "tools" / "gen_wts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a photograph that is wider than high."""
    monkeypatch.chdir(tmp_path)
    photo = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)[:320]
    assert cv2.imwrite("photo.jpg", photo)
    return tmp_path


def as_ultralytics(monkeypatch, network: torch.nn.Module, path: str) -> None:
    """Saves what its trainer saves: whole modules of classes that can't be imported here, half precision, and more."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ultralytics", types.ModuleType("ultralytics"))
        for cls in {type(module) for module in network.modules()}:
            if not cls.__module__.startswith("torch."):
                patch.setattr(cls, "__module__", "ultralytics")
                patch.setattr(sys.modules["ultralytics"], cls.__qualname__, cls, raising=False)
        more = {"epoch": -1, "model": network.half(), "ema": None, "train_args": {"imgsz": 640}, "date": "2026-11-21"}
        torch.save(more, path)
    with pytest.raises(ModuleNotFoundError):
        torch.load(path, weights_only=False)


def boxes_in(photo: np.ndarray, pred: np.ndarray, threshold: float) -> list[dict]:
    """What is in the photograph, given what a network said about it."""
    recipe = dataclasses.asdict(LETTERBOX)
    matrix = placement(photo.shape, recipe, SIZE)
    found, _ = detect({"pred": pred}, {"method": "boxes"}, matrix, SIZE, photo.shape[:2], threshold)
    return [each.to_dict() for each in found]


def test_from_ultralytics_checkpoint_to_boxes_on_a_photograph(gen_wts, here, monkeypatch, capsys):
    g = golden.load("yolov8n", DATA)
    network = MODELS["yolov8n"]().eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in g.state_dict.items()})
    as_ultralytics(monkeypatch, network, "yolov8n.pt")

    assert gen_wts(["yolov8n.pt"]) == 0
    assert "a whole module (ultralytics." in capsys.readouterr().out
    facts = json.loads(Path("weights/yolov8n.wts.json").read_text())
    assert set(facts["eps"].values()) == {1e-3} and facts["activation"]["model.9.cv1.conv"] == "SiLU"
    shape = ["--input-shape", f"1x3x{SIZE[0]}x{SIZE[1]}"]
    assert main(["build", "yolov8n", *shape, "--target", "cpu", "-o", "yolov8n.engine"]) == 0
    run = ["run", "yolov8n.engine", "--image", "photo.jpg", "--threshold", "0.6"]
    assert main([*run, "--draw", "out.jpg"]) == 0
    capsys.readouterr()
    assert main([*run, "--json"]) == 0
    (picture,) = json.loads(capsys.readouterr().out)["pictures"]

    photo = read_image("photo.jpg")
    x = torch.from_numpy(preprocess(photo, dataclasses.asdict(LETTERBOX), SIZE))
    with torch.no_grad():
        expected = boxes_in(photo, network.float()(x)["pred"][0].numpy(), 0.6)
    assert 5 < len(expected) == len(picture["instances"])
    # As sets: many of these scores are next to equal.
    rows = [
        np.array([[100 * each["label"], 100 * each["score"], *each["box"]] for each in instances])
        for instances in (picture["instances"], expected)
    ]
    assert same_rows(*rows, 0.1)
    drawn = read_image("out.jpg")
    assert drawn.shape == photo.shape
    x1, y1, x2, y2 = (round(side) for side in expected[0]["box"])
    difference = np.abs(drawn.astype(int) - photo).max(2)
    assert difference[max(y1 - 3, 0) : y2 + 4, max(x1 - 3, 0) : x2 + 4].max() > 60, "the best box is drawn"


def test_commands_and_programs_of_the_page(gen_wts, here):
    """docs/detectors.md, as a reader would follow it."""
    torch.save({"model": seed_weights(MODELS["yolov8n"](), input_shape=(2, 3, 96, 128)).state_dict()}, "yolov8n.pt")
    helmets = seed_weights(MODELS["yolov8n"](num_classes=2), input_shape=(2, 3, 96, 128)).state_dict()
    with netdefs.yolov8.build_engine(helmets, input_shape=(1, 3, 320, 320), target="cpu") as engine:
        engine.save("helmets.engine")
    Path("helmets.txt").write_text("helmet\nhead\n")
    Path("site.jpg").write_bytes(Path("photo.jpg").read_bytes())
    page = (Path(__file__).parents[1] / "docs" / "detectors.md").read_text(encoding="utf-8")
    commands = {"python tools/gen_wts.py": gen_wts, "netdefs": main}
    program, ran = "", 0
    for language, text in re.findall(r"```(console|python)\n(.*?)```", page, re.S):
        program += text if language == "python" else ""
        for line in text.splitlines() if language == "console" else ():
            (command,) = (name for name in commands if line.startswith(f"$ {name} "))
            Path("out.jpg").unlink(missing_ok=True)
            assert commands[command](line.removeprefix(f"$ {command} ").split()) == 0, line
            ran += 1
    assert ran >= 5 and Path("yolov8n_nms.engine").exists()
    names: dict = {}
    exec(program, names)
    assert names["found"].instances and list(names["engine"].outputs) == ["dets"]


def as_tensorrtx(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """A .wts as its gen_wts.py scripts write it: two spaces, every value as %08x, counters as one float."""
    lines = [f"{len(state)}"]
    for key, value in state.items():
        digits = value.reshape(-1).float().numpy().astype(">f4").tobytes().hex()
        lines.append(f"{key} {value.numel()} " + "".join(f" {digits[i : i + 8]}" for i in range(0, len(digits), 8)))
    path.write_text("\n".join(lines) + "\n")
    return path


def of_tensorrtx(name: str, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What of a network's weights its scripts keep, and what they add."""
    state = dict(network.state_dict())
    if name.startswith("yolov5"):
        strides = torch.tensor([8.0, 16.0, 32.0])
        state["model.24.anchor_grid"] = state["model.24.anchors"] * strides[:, None, None]
        state["model.24.strides"] = strides
    return state


@pytest.mark.parametrize("name", ["yolov5n", "yolov5n-seg", "yolov8n", "yolo11n", "yolo26n"])
def test_weights_files_of_tensorrtx(tmp_path, name):
    """They hold no shapes, no eps and no activations; the module's own are right for upstream's checkpoints."""
    network = seed_weights(MODELS[name](), input_shape=(2, 3, 96, 128))
    state = of_tensorrtx(name, network)
    path = as_tensorrtx(tmp_path / "other.wts", state)
    assert "  " in path.read_text().split("\n", 2)[1]
    counters = {key: value for key, value in netdefs.load_wts(path).items() if key.endswith("num_batches_tracked")}
    assert len(counters) > 50 and all(value.shape == (1,) for value in counters.values())
    x = pictures((1, 3, 64, 96), seed=1)
    with torch.no_grad():
        expected = network(x)
    module = next(module for module, variants in netdefs.models().items() if name in variants)
    build = getattr(netdefs, module).build_engine
    with build(path, name, input_shape=(1, 3, 64, 96), target="cpu") as engine:
        got = engine.run({"input": x.numpy()})
    assert not {key: e for key in got if key != "dets" and (e := error(got[key], expected[key].numpy())) > 2e-5}
