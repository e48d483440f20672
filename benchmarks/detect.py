"""From a picture to boxes with yolov8n on the CPU, stage by stage: netdefs, ONNX Runtime on torch's export, torch.

All three read and letterbox the same file and draw with netdefs' own `draw`. netdefs does the rest by netdefs.vision,
the others by what one would write in NumPy and OpenCV, with OpenCV's suppression. The scores of the synthetic weights
are moved so far that about 100 boxes pass the threshold, as in a street scene.

python benchmarks/detect.py [--rounds 20]
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage import data

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import machine
from benchmarks.run import torch_export
from netdefs.vision import Instance, draw, placement, preprocess, read_image
from netdefs.vision.boxes import FAMILIES, detect
from tests import golden
from tests.reference import MODELS

SIZE = 640
PASSING = 100  # boxes above the threshold
THRESHOLD, IOU, MOST = (FAMILIES["boxes"].threshold, FAMILIES["boxes"].iou, 300)
Stage = Callable[[Any], Any]
Stages = Mapping[str, Stage]


class Shifted(torch.nn.Module):
    """yolov8n whose class scores are moved, and its `pred` alone."""

    def __init__(self, network: torch.nn.Module, picture: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        with torch.no_grad():
            best = network(picture)["cls_logits"].amax(1).flatten().sort(descending=True).values
            limit = float(np.log(THRESHOLD / (1 - THRESHOLD)))
            for tower in network.model[-1].cv3:  # type: ignore[index,union-attr]
                tower[2].bias -= best[PASSING] - limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 84, A)."""
        return self.network(x)["pred"]


def letterbox(image: np.ndarray) -> tuple[np.ndarray, float, int, int]:
    """Upstream's: (640, 640, 3), and the scale and the borders at the left and at the top."""
    height, width = image.shape[:2]
    scale = min(SIZE / height, SIZE / width)
    inner = round(width * scale), round(height * scale)
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    across, down = (SIZE - inner[0]) / 2, (SIZE - inner[1]) / 2
    left, top = round(across - 0.1), round(down - 0.1)
    right, bottom = round(across + 0.1), round(down + 0.1)
    border = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return border, scale, left, top


def with_netdefs(engine: netdefs.Engine, path: str) -> Stages:
    """The stages by netdefs.vision."""
    recipe, how = engine.info["preprocess"], engine.info["decode"]
    state: dict[str, Any] = {}

    def read(_: Any) -> Any:
        state["image"] = read_image(path)

    def fit(_: Any) -> Any:
        state["placement"] = placement(state["image"].shape, recipe, (SIZE, SIZE))
        return preprocess(state["image"], recipe, (SIZE, SIZE))

    def find(outputs: Any) -> Any:
        one = {name: value[0] for name, value in outputs.items()}
        return detect(one, how, state["placement"], (SIZE, SIZE), state["image"].shape[:2])[0]

    return {
        "read": read,
        "letterbox": fit,
        "run": lambda x: engine.run({"input": x}),
        "decode, NMS": find,
        "draw": lambda found: (found, draw(state["image"], found, "coco80")),
    }


def by_hand(path: str, run: Stage) -> Stages:
    """The stages in NumPy and OpenCV, around something that runs the network on (1, 3, 640, 640)."""
    state: dict[str, Any] = {}

    def read(_: Any) -> Any:
        state["image"] = cv2.imread(path)

    def fit(_: Any) -> Any:
        image, *state["how"] = letterbox(state["image"])
        return np.ascontiguousarray(image[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32) / 255

    def find(pred: Any) -> Any:
        rows = pred[0].T
        labels = rows[:, 4:].argmax(1)
        scores = rows[np.arange(len(rows)), 4 + labels]
        kept = scores > THRESHOLD
        boxes, scores, labels = rows[kept, :4].astype(np.float64), scores[kept], labels[kept]
        boxes[:, :2] -= boxes[:, 2:] / 2
        stay = cv2.dnn.NMSBoxesBatched(boxes, scores, labels.astype(np.int32), THRESHOLD, IOU, top_k=MOST)
        scale, left, top = state["how"]
        boxes[:, 2:] += boxes[:, :2]
        boxes = ((boxes - [left, top, left, top]) / scale)[stay]
        sides = state["image"].shape[1::-1]
        boxes = boxes.clip(0, [*sides, *sides])
        return [Instance(float(scores[i]), int(labels[i]), box) for i, box in zip(stay, boxes, strict=True)]

    return {
        "read": read,
        "letterbox": fit,
        "run": run,
        "decode, NMS": find,
        "draw": lambda found: (found, draw(state["image"], found, "coco80")),
    }


def timed(stages: Stages) -> tuple[dict[str, float], Any]:
    """Milliseconds of each stage, and what the last one gave."""
    seconds, x = {}, None
    for name, stage in stages.items():
        started = time.perf_counter()
        x = stage(x)
        seconds[name] = (time.perf_counter() - started) * 1e3
    return seconds, x


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    folder = Path(__file__).parent.parent / "tests" / "data"
    network = MODELS["yolov8n"]().eval()
    state = golden.load("yolov8n", folder).state_dict
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        path = str(Path(temporary) / "photo.jpg")
        photo = cv2.resize(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR), (1920, 1080))
        cv2.imwrite(path, photo)
        x = np.ascontiguousarray(letterbox(read_image(path))[0][None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32)
        module = Shifted(network, torch.from_numpy(x / 255)).eval()
        session = torch_export(module, x)
        name = session.get_inputs()[0].name
        with netdefs.yolov8.build_engine(network.state_dict(), decode="decoded", target="cpu") as engine:
            ways = {
                "netdefs, CPU engine": with_netdefs(engine, path),
                "ONNX Runtime, torch's export": by_hand(path, lambda x: session.run(None, {name: x})[0]),
                "torch eager": by_hand(path, lambda x: module(torch.from_numpy(x)).numpy()),
            }
            found = {way: timed(stages)[1][0] for way, stages in ways.items()}
            turns: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, stages in ways.items():
                    turns[way].append(timed(stages)[0])
    console = Console()
    table = Table("ms, median", *ways, title="yolov8n, a JPEG of 1920x1080 to boxes drawn into it", caption=machine())
    for stage in next(iter(ways.values())):
        table.add_row(stage, *(f"{statistics.median(turn[stage] for turn in turns[way]):.1f}" for way in ways))
    whole = {way: [sum(turn.values()) for turn in turns[way]] for way in ways}
    table.add_row("all", *(f"{statistics.median(values):.1f}" for values in whole.values()))
    first = next(iter(ways))
    ratios = [
        statistics.median(own / other for own, other in zip(whole[first], whole[way], strict=True)) for way in ways
    ]
    table.add_row("netdefs' time against it", *(f"{ratio:.2f}" for ratio in ratios))
    table.add_row("boxes", *(str(len(found[way])) for way in ways))
    console.print(table)


if __name__ == "__main__":
    main()
