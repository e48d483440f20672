"""Darknet's .weights files: all values of a network in a row, without names or shapes, which the layers tell.

Upstream: https://github.com/AlexeyAB/darknet (public domain), src/parser.c: load_weights_upto.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from netdefs.core.checkpoint import Checkpoint
from netdefs.core.errors import CheckpointError, FileError
from netdefs.core.sniff import looks_like
from netdefs.core.yolo.darknet_cfg import read_cfg
from netdefs.core.yolo.darknet_layers import CLASSES, Conv, Layer, cfg_names, heads, input_channels, with_heads

EPS = 1e-5  # of every batch norm of darknet
MOST_CLASSES = 10_000


def read_darknet(
    path: str | os.PathLike[str],
    cfg: str | os.PathLike[str] | None = None,
    networks: Mapping[str, Sequence[Layer]] | None = None,
) -> Checkpoint:
    """The weights in a .weights file under the names of `netdefs.core.yolo.darknet_layers.cfg_names`.

    Args:
        path: the file.
        cfg: the .cfg of the network. Without it, the one of `networks` that has as many values as the file.
        networks: name -> layers, whose heads can have any number of classes.

    Raises:
        FileError: a file is missing or can't be read.
        CheckpointError: it is no .weights file, or holds more, fewer or other values than the layers ask for.
    """
    path, known = Path(path), networks or {}
    values = _values(path)
    fitting = _fitting(values.size, known)
    notes = [f"{path.name} has as many values as {_named(fitting)}."] if fitting else []
    if cfg is not None:
        layers, what = read_cfg(cfg), f"the layers of {Path(cfg).name}"
        if value_count(layers) != values.size:
            raise CheckpointError(_mismatch(path, values.size, Path(cfg), layers, known))
        notes += [note for name in fitting for note in _differences(layers, name, known[name])]
    else:
        if len(fitting) != 1:
            raise CheckpointError(_unknown(path, values.size, known, fitting))
        ((name, classes),) = fitting.items()
        layers, what = with_heads(known[name], classes), f"{name} with {classes} classes"
    state_dict, at = {}, 0
    for key, shape in _tensors(layers):
        size = math.prod(shape)
        state_dict[key] = values[at : at + size].reshape(shape)
        at += size
        if key.endswith(".running_var") and (state_dict[key] < 0).any():
            raise CheckpointError(
                f"{path} has as many values as {what}, but {key} would be negative: it is of another network, or "
                "damaged. Give the .cfg that it was trained with: --cfg FILE."
            )
    convs = zip(layers, cfg_names(layers), strict=True)
    normalized = [(layer, names) for layer, names in convs if isinstance(layer, Conv) and layer.batch_norm]
    told = {} if cfg is None else {conv: layer.activation for layer, (conv, *_) in normalized}
    return Checkpoint(
        state_dict=state_dict,
        dtypes=dict.fromkeys(state_dict, "float32"),
        eps={bn: EPS for _, (_, bn, *_) in normalized},
        activation={conv: CLASSES[activation] for conv, activation in told.items() if activation in CLASSES},
        source=path.name,
        wrapping=what,
        notes=tuple(notes),
    )


def _values(path: Path) -> np.ndarray:
    """All values behind the header."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist. Check the name, or download the weights first.") from error
    except OSError as error:
        raise FileError(f"Can't read {path}: {error.strerror}.") from error
    major, minor, revision = np.frombuffer(data[:12].ljust(12, b"\xff"), "<i4").tolist()
    if not all(0 <= number < 1000 for number in (major, minor, revision)):
        kind = looks_like(data[:512])
        what = f" It looks like {kind}." if kind else ""
        raise CheckpointError(f"{path} is no .weights file of darknet: it does not begin with a version.{what}")
    header = 20 if 10 * major + minor >= 2 else 16  # then comes the number of pictures seen, in 64 or 32 bits
    if len(data) < header or (len(data) - header) % 4:
        raise CheckpointError(
            f"{path} has {len(data):,} bytes, which is not {header} and 4 for each value: it is cut off, or damaged."
        )
    return np.frombuffer(data, "<f4", offset=header)


def _tensors(layers: Sequence[Layer]) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor, in the order of the file."""
    found: list[tuple[str, tuple[int, ...]]] = []
    for layer, names, channels in zip(layers, cfg_names(layers), input_channels(layers), strict=True):
        if isinstance(layer, Conv) and layer.filters:
            conv, bn, *_ = names
            norm = [f"{bn}.{part}" for part in ("bias", "weight", "running_mean", "running_var")]
            found += [(key, (layer.filters,)) for key in (norm if layer.batch_norm else [f"{conv}.bias"])]
            found.append((f"{conv}.weight", (layer.filters, channels // layer.groups, layer.size, layer.size)))
    return found


def value_count(layers: Sequence[Layer]) -> int:
    """How many values a .weights file of these layers holds."""
    return sum(math.prod(shape) for _, shape in _tensors(layers))


def _classes(size: int, layers: Sequence[Layer]) -> int | None:
    """With how many classes the layers have `size` values, if there is such a number."""
    if not heads(layers):
        return None
    one, two = (value_count(with_heads(layers, classes)) for classes in (1, 2))
    more, rest = divmod(size - one, two - one)
    return more + 1 if rest == 0 and 0 <= more < MOST_CLASSES else None


def _fitting(size: int, networks: Mapping[str, Sequence[Layer]]) -> dict[str, int]:
    """The networks that have `size` values with some number of classes, and that number."""
    found = {name: _classes(size, layers) for name, layers in networks.items()}
    return {name: classes for name, classes in found.items() if classes is not None}


def _named(fitting: Mapping[str, int]) -> str:
    return " and ".join(f"{name} with {classes} classes" for name, classes in fitting.items())


def _differences(layers: Sequence[Layer], name: str, usual: Sequence[Layer]) -> list[str]:
    """What to tell of the heads of a cfg that are not those of the network it has as many values as."""
    pairs = list(zip([head for _, head in heads(layers)], [head for _, head in heads(usual)], strict=False))
    notes = []
    if any(mine.anchors != theirs.anchors for mine, theirs in pairs):
        anchors = [[(round(width, 4), round(height, 4)) for width, height in mine.anchors] for mine, _ in pairs]
        notes.append(f"The cfg has other anchors than {name}, which must then be given: anchors={anchors}.")
    if any(replace(mine, anchors=theirs.anchors) != theirs for mine, theirs in pairs):
        notes.append(f"The cfg decodes boxes otherwise than {name}: only decode='raw' is right for it.")
    return notes


def _unknown(path: Path, size: int, networks: Mapping[str, Sequence[Layer]], fitting: Mapping[str, int]) -> str:
    """What to say if no network, or more than one, has so many values."""
    if fitting:
        several = f"{path} holds {size:,} values, as many as {_named(fitting)}."
        return f"{several} Give the .cfg that it was trained with: --cfg FILE."
    known = ", ".join(f"{name} has {value_count(with_heads(layers, 80)):,}" for name, layers in networks.items())
    return (
        f"{path} holds {size:,} values, which is none of the networks that netdefs knows, with any number of classes. "
        f"With 80 classes {known}. Give the .cfg that it was trained with, --cfg FILE; or the file is not complete."
    )


def _mismatch(
    path: Path, size: int, cfg: Path, layers: Sequence[Layer], networks: Mapping[str, Sequence[Layer]]
) -> str:
    """What to say if the layers of a cfg have another number of values."""
    wanted = value_count(layers)
    off = f"{wanted - size:,} are missing" if wanted > size else f"{size - wanted:,} are left over"
    said = [f"{path} holds {size:,} values, and the layers of {cfg} ask for {wanted:,}: {off}."]
    part = next((i for i in range(1, len(layers)) if value_count(layers[:i]) == size), None)
    if part is not None:
        said.append(f"It holds the first {part} layers only, for a training to start from, and can't be run.")
    elif (classes := _classes(size, layers)) is not None:
        said.append(f"With {classes} classes they would fit: the cfg is that of another training.")
    elif fitting := _fitting(size, networks):
        said.append(f"It has as many as {_named(fitting)}: leave out --cfg, or give the one that belongs to it.")
    else:
        said.append("Either the file is not complete, or the cfg is that of another network.")
    return " ".join(said)
