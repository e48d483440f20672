"""What --image and --input say to feed a network."""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import InputError


def feeds(
    arguments: argparse.Namespace, inputs: Mapping[str, Any], profile: Mapping[str, Any], info: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The pictures of --image in one batch, the array of --input, or noise.

    Raises:
        InputError: the network has several inputs, a file can't be read, or the network takes no pictures.
    """
    name, sizes = only_input(inputs, profile)
    if arguments.image:
        from netdefs.vision.image import preprocess, read_image, size_of

        recipe = recipe_of(info)
        size = size_of(sizes, recipe)
        return {name: np.concatenate([preprocess(read_image(path), recipe, size) for path in arguments.image])}
    if arguments.input:
        return {name: load_npy(arguments.input)}
    # Two networks can be compared on any input; noise of order 1 is what a normalized picture looks like to them.
    return {name: np.random.default_rng(0).standard_normal(sizes, dtype=np.float32)}


def only_input(inputs: Mapping[str, Any], profile: Mapping[str, Any]) -> tuple[str, list[int]]:
    """The name and the sizes of a network's only input; dynamic sizes are the profile's opt."""
    if len(inputs) != 1:
        raise InputError(
            f"This network has {len(inputs)} inputs; the command line feeds one. Use Engine.run in Python."
        )
    (name, (shape, _)), *_ = inputs.items()
    usual = profile[name][1] if name in profile else [1 if axis == 0 else 224 for axis in range(len(shape))]
    return name, [size if size > 0 else int(usual[axis]) for axis, size in enumerate(shape)]


def recipe_of(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a network wants pictures."""
    if "preprocess" not in info:
        raise InputError("This engine does not say how it wants pictures; give --input FILE.npy instead of --image.")
    recipe: Mapping[str, Any] = info["preprocess"]
    return recipe


def load_npy(path: str) -> np.ndarray:
    """An array that numpy.save wrote."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not an array that numpy.save wrote ({error}).") from error
