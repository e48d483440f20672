"""Do two pictures show the same face? RetinaFace finds it, five landmarks turn it upright, ArcFace describes it.

netdefs build retinaface_mnet025 --target cpu -o faces.engine
netdefs build iresnet50 --target cpu -o arcface.engine
python examples/match_faces.py first.jpg second.jpg --finder faces.engine --describer arcface.engine
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import netdefs
from netdefs.vision import align_face, cosine_distances, predict, read_image


def main(arguments: list[str] | None = None) -> int:
    """Prints how far apart the surest faces of two pictures are; 0 if that is near enough, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs=2, type=Path)
    parser.add_argument("--finder", type=Path, required=True, help="an engine of netdefs.retinaface")
    parser.add_argument("--describer", type=Path, required=True, help="an engine of netdefs.arcface")
    parser.add_argument("--threshold", type=float, default=0.65, help="how far apart pictures of one person may be")
    given = parser.parse_args(arguments)
    with netdefs.load_engine(given.finder) as finder, netdefs.load_engine(given.describer) as describer:
        first, second = (describe(path, finder, describer) for path in given.pictures)
    distance = float(cosine_distances([first], [second])[0, 0])
    same = distance <= given.threshold
    print(f"{'The same' if same else 'Another'} face: a distance of {distance:.3f}; {given.threshold:g} is allowed.")
    return 0 if same else 1


def describe(path: Path, finder: Any, describer: Any) -> np.ndarray:
    """The embedding of the surest face in a picture: (512,).

    Raises:
        SystemExit: there is none.
    """
    image = read_image(path)
    faces = predict(finder, image).instances
    if not faces:
        raise SystemExit(f"There is no face in {path}.")
    embedding = predict(describer, align_face(image, faces[0].keypoints)).instances[0].embedding
    assert embedding is not None  # ArcFace describes what it is shown
    return embedding


if __name__ == "__main__":
    sys.exit(main())
