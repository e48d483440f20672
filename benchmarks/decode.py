"""From a network's outputs to people, masks and boxes, on one core: the decoders of netdefs.vision.

python benchmarks/decode.py [--rounds 20]
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, machine
from netdefs.vision.boxes import detect
from netdefs.vision.fields import LIMBS, assemble
from netdefs.vision.grouping import aggregate, decode_grouping
from netdefs.vision.heatmap import decode_heatmaps
from netdefs.vision.masks import decode_mask
from tests.vision.synthetic import COCO_PAIRS, crowd, fields, heatmaps, mirror, stages

EYE = np.eye(2, 3)
Cases = dict[str, Callable[[], object]]


def grouping(rng: np.random.Generator) -> Cases:
    """HigherHRNet at 512 x 512: 30 people, of whose keypoints 15% are hidden and have to be looked for."""
    size = 512, 512
    people = crowd(rng, 30, size, tall=150, hidden=0.15, apart=12)
    once = stages(rng, people)
    twice = mirror(once)
    maps, both = aggregate(once, size), aggregate(once, size, twice, COCO_PAIRS)
    assert len(decode_grouping(*maps, EYE, size)) == len(decode_grouping(*both, EYE, size)) == 30
    return {
        "grouping 30 people at 512x512": lambda: decode_grouping(*maps, EYE, size),
        "  and the maps enlarged and averaged before": lambda: decode_grouping(*aggregate(once, size), EYE, size),
        "  with flip test": lambda: decode_grouping(*both, EYE, size),
        "  and the maps before": lambda: decode_grouping(*aggregate(once, size, twice, COCO_PAIRS), EYE, size),
    }


def assembly(rng: np.random.Generator) -> Cases:
    """OpenPose at 368 x 656: 10 people."""
    size, shape = (368, 656), (46, 82)
    people = crowd(rng, 10, size, tall=180, apart=40).openpose()
    heat = heatmaps(people, shape, sigma=0.9)
    heat = np.concatenate([heat, 1 - heat.max(0, keepdims=True)])
    vectors = fields(people, shape, LIMBS)
    assert len(assemble(heat, vectors, EYE, size)) == 10
    return {"part-affinity fields of 10 people at 368x656": lambda: assemble(heat, vectors, EYE, size)}


def others(rng: np.random.Generator) -> Cases:
    """Heat maps of crops, and a mask."""
    heat, crops = rng.random((32, 17, 64, 48), np.float32), np.tile(EYE, (32, 1, 1))
    logits, half = rng.standard_normal((19, 128, 256), np.float32), np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
    return {
        "heat maps of 32 crops, 17 of 64x48 each": lambda: decode_heatmaps(heat, crops, (256, 192)),
        "mask of 2048x1024 from 19 classes": lambda: decode_mask(logits, half, (512, 1024), (1024, 2048)),
    }


def detections(rng: np.random.Generator) -> Cases:
    """YOLOv8's 8400 boxes of 80 classes at 640 x 640: objects that ten to twenty boxes have found each."""
    size, shape, where = (640, 640), (1280, 1280), np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])

    def pred(objects: int, found: int, more: int) -> np.ndarray:
        which = np.resize(np.arange(objects), found)
        boxes = np.full((8400, 4), 30.0) + rng.normal(0, 2, (8400, 4))
        boxes[:, :2] = rng.uniform(0, 640, (8400, 2))
        boxes[:found, :2] = rng.uniform(0, 640, (objects, 2))[which] + rng.normal(0, 2, (found, 2))
        boxes[:found, 2:] = rng.uniform(20, 200, (objects, 2))[which] * rng.uniform(0.95, 1.05, (found, 2))
        scores = rng.random((8400, 80)) * 0.02
        scores[np.arange(found), which % 80] = rng.uniform(0.3, 0.9, found)
        return np.column_stack([boxes, scores, rng.standard_normal((8400, more))]).T.astype(np.float32)

    def case(method: str, threshold: float | None = None, **outputs: np.ndarray) -> Callable[[], object]:
        return lambda: detect(outputs, {"method": method}, where, size, shape, threshold)

    protos = rng.standard_normal((32, 160, 160), np.float32)
    usual = pred(10, 200, 0)
    assert len(detect({"pred": usual}, {"method": "boxes"}, where, size, shape)[0]) < 20
    return {
        "boxes of 10 objects, of 8400": case("boxes", pred=usual),
        "boxes of 100 objects, of 8400": case("boxes", pred=pred(100, 1000, 0)),
        "300 boxes, all 8400 above the threshold": case("boxes", 0.001, pred=usual),
        "boxes and masks of 10 objects in 1280x1280": case("masks", pred=pred(10, 200, 32), proto=protos),
        "boxes and masks of 100 objects in 1280x1280": case("masks", pred=pred(100, 1000, 32), proto=protos),
        "boxes and keypoints of 10 people": case("poses", pred=pred(10, 200, 51)),
        "rotated boxes of 100 objects": case("rotated_boxes", pred=pred(100, 1000, 1)),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    cases = grouping(rng) | assembly(rng) | others(rng) | detections(rng)
    for function in cases.values():
        function()
    table = Table("", "median", "best", title="Decoders, one core", caption=machine())
    for name, seconds in in_turns(cases, rounds).items():
        table.add_row(name, f"{statistics.median(seconds) * 1e3:.1f} ms", f"{min(seconds) * 1e3:.1f} ms")
    Console().print(table)


if __name__ == "__main__":
    main()
