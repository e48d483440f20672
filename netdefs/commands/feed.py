"""What --image, --input and --random say to feed a network."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.errors import InputError


def feeds(
    arguments: argparse.Namespace, inputs: Mapping[str, Any], profile: Mapping[str, Any], info: Mapping[str, Any]
) -> tuple[Any, Any]:
    """What `compare` takes as `inputs` and `module_inputs`: pictures, arrays or noise, loaded one after another.

    Raises:
        InputError: the network has several inputs, a file can't be read, or the network takes no pictures.
    """
    from netdefs.debug.inputs import Several
    from netdefs.debug.noise import random_feed

    in_network = info.get("preprocess", {}).get("place") == "in_network"
    if in_network and not arguments.image:
        raise InputError(
            f"{arguments.variant} takes pictures and normalizes them itself, and the PyTorch module takes what is "
            "normalized already: give --image, which is prepared for both. Or compare a network that is defined "
            "without --preprocess in_network."
        )
    if arguments.image:
        name, sizes = only_input(inputs, profile)
        groups = _groups(_files(arguments.image), sizes[0], profile.get(name))
        labels = [" and ".join(Path(path).name for path in group) for group in groups]
        ours = Several(labels, lambda i: {name: _pictures(groups[i], info, sizes)})
        host = {**info, "preprocess": {**recipe_of(info), "place": "host"}}
        theirs = Several(labels, lambda i: _pictures(groups[i], host, sizes, in_network)) if in_network else None
        return (ours, theirs) if len(groups) > 1 else (ours[0], theirs[0] if theirs is not None else None)
    if arguments.input:
        name, _ = only_input(inputs, profile)
        arrays = Several([Path(p).name for p in arguments.input], lambda i: {name: load_npy(arguments.input[i])})
        return arrays if len(arrays) > 1 else arrays[0], None
    # Two networks can be compared on any input; noise of order 1 is what a normalized picture looks like to them.
    count = arguments.random or 1
    noise = Several([f"random {i}" for i in range(count)], lambda i: random_feed(inputs, profile, i))
    return noise if count > 1 else noise[0], None


def _files(paths: Sequence[str]) -> list[Path]:
    """The pictures that are named, and those of folders."""
    from netdefs.vision.source import picture_files

    return picture_files(paths)


def _groups(files: Sequence[Path], batch: int, ranges: Any) -> list[Sequence[Path]]:
    """As many pictures at a time as the network takes: one, if it takes any number."""
    size = int(ranges[0][0]) if ranges is not None and ranges[0][0] != ranges[2][0] else batch
    if len(files) % size:
        raise InputError(
            f"--image gives {len(files)} pictures, and the network takes {size} at a time: give a multiple of that."
        )
    return [files[i : i + size] for i in range(0, len(files), size)]


def _pictures(files: Sequence[Path], info: Mapping[str, Any], sizes: Sequence[int], moved: bool = False) -> np.ndarray:
    from netdefs.vision.image import preprocess, read_image, size_of

    recipe = recipe_of(info)
    size = size_of(sizes, {"place": "in_network"} if moved else recipe)
    return np.concatenate([preprocess(read_image(path), recipe, size) for path in files])


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
