"""Finds the lines of text in a picture and reads them: DBNet finds them, each is turned upright, CRNN reads it.

netdefs build dbnet_deformable_resnet18 --target cpu -o dbnet.engine
netdefs build crnn --target cpu -o crnn.engine
python examples/read_page.py page.jpg --finder dbnet.engine --reader crnn.engine --draw out.jpg
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np

import netdefs
from netdefs.vision import draw, predict, read_image, straighten


def main(arguments: list[str] | None = None) -> int:
    """Prints the lines from the top of the picture to its bottom; 0 if there are any, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--finder", type=Path, required=True, help="an engine of netdefs.dbnet")
    parser.add_argument("--reader", type=Path, required=True, help="an engine of netdefs.crnn")
    parser.add_argument("--threshold", type=float, help="how sure DBNet has to be; by default 0.7, as upstream")
    parser.add_argument("--draw", type=Path, help="write the picture with the lines to this file")
    given = parser.parse_args(arguments)
    image = read_image(given.picture)
    lines = []
    with netdefs.load_engine(given.finder) as finder, netdefs.load_engine(given.reader) as reader:
        for line in predict(finder, image, threshold=given.threshold).instances:
            text = predict(reader, straighten(image, line.corners)).instances[0].text
            corners = np.rint(np.asarray(line.corners)).astype(int)
            lines.append((corners[:, 1].min(), corners.tolist(), dataclasses.replace(line, text=text)))
    for _, corners, line in sorted(lines, key=lambda each: each[0]):
        print(f"{line.text!r:20} found {line.score:.0%} at {corners}")
    if given.draw:
        cv2.imwrite(str(given.draw), draw(image, [line for *_, line in lines]))
    return 0 if lines else 1


if __name__ == "__main__":
    sys.exit(main())
