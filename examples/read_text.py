"""Reads a number that OpenCV has drawn, by a CRNN whose last layer alone is fitted here, in seconds.

python examples/read_text.py 2026112

All other weights are random and stay so. That is enough for digits of one font at one distance, and for nothing else.
To read pictures, take a trained checkpoint: netdefs.crnn.build_engine("weights/crnn.wts") and `predict`, as in `main`.
"""

import argparse
import itertools
import sys

import cv2
import numpy as np

import netdefs
from netdefs.vision import predict, preprocess

DIGITS = "0123456789"
SHAPE = (1, 1, 32, 128)
STEPS = SHAPE[3] // 4 + 1
LONGEST, LEFT, PITCH = 7, 8, 16  # digits in a line; pixels to the first one, and from one to the next: four steps
LINES = 100  # drawn to fit the last layer
CALM = 1e-4  # how small its weights are kept, as a part of what they are multiplied with
SHARPNESS = 10  # of the logits


def main(arguments: list[str] | None = None) -> int:
    """Draws a number, reads it and prints what was read; 0 if it is the number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", help=f"up to {LONGEST} digits")
    number = parser.parse_args(arguments).number
    if not 1 <= len(number) <= LONGEST or not set(number) <= set(DIGITS):
        parser.error(f"{number!r} is not 1 to {LONGEST} of the digits {DIGITS}")
    weights = fitted(random_weights(np.random.default_rng(0)), np.random.default_rng(1))
    with netdefs.crnn.build_engine(weights, alphabet=DIGITS, input_shape=SHAPE, target="cpu") as engine:
        line = predict(engine, draw(number)).instances[0]
    print(f"{line.text} ({line.score:.0%})")
    return 0 if line.text == number else 1


def draw(number: str) -> np.ndarray:
    """A line of digits, black on white: (32, 128, 3) uint8."""
    image = np.full((*SHAPE[2:], 3), 255, np.uint8)
    for i, digit in enumerate(number):
        cv2.putText(image, digit, (LEFT + PITCH * i, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.65, (0, 0, 0), 2, cv2.LINE_AA)
    return image


def random_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """All of a CRNN's weights, drawn so that values keep their size from layer to layer."""
    channels, classes = (1, *netdefs.crnn.CHANNELS), len(DIGITS) + 1
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        shapes[f"cnn.conv{i}.weight"] = (after, before, *((2, 2) if i == 6 else (3, 3)))
    for i, (before, after) in enumerate(((512, 256), (256, classes))):
        for end in ("l0", "l0_reverse"):
            shapes |= {f"rnn.{i}.rnn.weight_ih_{end}": (1024, before), f"rnn.{i}.rnn.weight_hh_{end}": (1024, 256)}
        shapes[f"rnn.{i}.embedding.weight"] = (after, 512)
    weights = {}
    for key, shape in shapes.items():
        deviation = (0.5 if "_hh_" in key else 1) * (2 / np.prod(shape[1:])) ** 0.5
        weights[key] = rng.normal(0, deviation, shape).astype(np.float32)
        weights[key.replace("weight", "bias")] = np.zeros(shape[0], np.float32)
    for i in netdefs.crnn.NORMED:
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            weights[f"cnn.batchnorm{i}.{part}"] = np.full(channels[i + 1], value, np.float32)
    return weights


def fitted(weights: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The weights with another last layer: least squares, from what the LSTM before it says of drawn lines."""
    features, classes = np.ones((LINES, STEPS, 512 + 1)), np.zeros((LINES, STEPS), int)
    with netdefs.crnn.build_engine(weights, input_shape=SHAPE, target="cpu") as engine:
        for line in range(LINES):
            digits = rng.integers(0, 10, rng.integers(1, LONGEST + 1))
            classes[line, (LEFT + 6 + PITCH * np.arange(len(digits))) // 4] = digits + 1  # a digit is 13 pixels wide
            x = preprocess(draw("".join(map(str, digits))), engine.info["preprocess"], SHAPE[2:])
            features[line, :, :-1] = engine.run({"input": x}, outputs=["rnn.1.rnn"])["rnn.1.rnn"][:, 0]
    a, b = features.reshape(-1, 513), np.eye(len(DIGITS) + 1)[classes.ravel()]
    solution = SHARPNESS * np.linalg.solve(a.T @ a + CALM * (a**2).sum() / 513 * np.eye(513), a.T @ b).T
    last = {"rnn.1.embedding.weight": solution[:, :-1], "rnn.1.embedding.bias": solution[:, -1]}
    return weights | {key: value.astype(np.float32) for key, value in last.items()}


if __name__ == "__main__":
    sys.exit(main())
