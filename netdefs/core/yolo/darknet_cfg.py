"""Darknet's cfg files: the layers of a network, and how to train it, of which only the layers are read.

Upstream: https://github.com/AlexeyAB/darknet (public domain), src/parser.c, whose defaults count here too.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from netdefs.core.errors import CheckpointError, FileError
from netdefs.core.yolo.darknet_layers import (
    Anchors,
    Conv,
    Detect,
    Layer,
    Pool,
    Reorg,
    Route,
    Shortcut,
    Upsample,
    absolute,
)


class Section:
    """A section of a cfg file: `[kind]` in line `line` and its options."""

    def __init__(self, kind: str, line: int, source: str) -> None:
        self.kind, self.line, self.source = kind, line, source
        self.options: dict[str, str] = {}

    def error(self, problem: str) -> CheckpointError:
        """What is wrong with this section, as an error to raise."""
        return CheckpointError(f"{self.source}, line {self.line}: [{self.kind}] {problem}.")

    def integer(self, name: str, default: int | None = None, least: int = 1) -> int:
        """An option that is a whole number; without a default it must be there."""
        text = self.options.get(name, "" if default is None else str(default))
        try:
            value = int(text)
        except ValueError:
            raise self.error(f"needs {name}=NUMBER, not {name}={text}") from None
        if value < least:
            raise self.error(f"has {name}={value}, which must be at least {least}")
        return value

    def numbers(self, name: str) -> list[float]:
        """An option that is a list of numbers."""
        try:
            found = [float(text) for text in self.options[name].rstrip(", ").split(",")]
        except (KeyError, ValueError):
            found = [math.nan]
        if not all(math.isfinite(value) for value in found):
            raise self.error(f"needs {name}=NUMBER, NUMBER ..., not {name}={self.options.get(name, '')}")
        return found

    def only(self, **usual: str) -> None:
        """Checks that the options which would make it another kind of layer have their usual values."""
        for name, value in usual.items():
            if self.options.get(name, value) != value:
                raise self.error(f"has {name}={self.options[name]}, and netdefs knows it with {name}={value} only")


def read_cfg(path: str | os.PathLike[str]) -> list[Layer]:
    """The layers of a cfg file.

    Raises:
        FileError: it is missing or can't be read.
        CheckpointError: it is no cfg file, or has a layer that netdefs does not know; the message has the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise FileError(f"There is no cfg file {path}.") from error
    except OSError as error:
        raise FileError(f"Can't read {path}: {error.strerror}.") from error
    return parse_cfg(text, str(path))


def parse_cfg(text: str, source: str) -> list[Layer]:
    """The layers in the text of a cfg file; `source` is what errors call it. Raises as `read_cfg`."""
    first, *sections = _sections(text, source)
    if first.kind not in ("net", "network"):
        raise first.error("comes first, where [net] must be: this is no cfg of a network")
    first.only(channels="3")
    layers: list[Layer] = []
    strides: list[int] = []  # of what each layer gives, in pixels of the input
    for section in sections:
        if section.kind not in READERS:
            known = ", ".join(f"[{kind}]" for kind in READERS)
            raise section.error(f"is a layer that netdefs does not know. It knows {known}")
        layer = READERS[section.kind](section, len(layers), strides)
        if isinstance(layer, Detect) and not (layers and isinstance(layers[-1], Conv)):
            raise section.error("has no [convolutional] right before it, which would be its head")
        before = strides[-1] if strides else 1
        if isinstance(layer, Conv | Pool | Reorg):
            before *= layer.stride
        elif isinstance(layer, Upsample):
            before //= layer.stride
        elif isinstance(layer, Route):
            before = strides[absolute(layer.layers[0], len(layers))]
        layers.append(layer)
        strides.append(before)
    if not any(isinstance(layer, Conv) for layer in layers):
        raise first.error("is followed by no [convolutional]: this is no cfg of a network")
    return layers


def _sections(text: str, source: str) -> list[Section]:
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].partition(";")[0].strip()
        name, equals, value = line.partition("=")
        if line.startswith("[") and line.endswith("]"):
            sections.append(Section(line[1:-1].strip(), number, source))
        elif equals and sections:
            sections[-1].options[name.strip()] = value.strip()
        elif line:
            raise CheckpointError(
                f"{source}, line {number}: {line[:60]!r} is neither a [section] nor an option of one, name=value. "
                "This is no cfg of a network."
            )
    if not sections:
        raise CheckpointError(f"{source} has no section, such as [net]: this is no cfg of a network.")
    return sections


def _conv(section: Section, number: int, strides: list[int]) -> Layer:
    section.only(dilation="1", xnor="0", binary="0", bin_output="0", antialiasing="0", deform="0")
    if "share_index" in section.options:
        raise section.error("shares the weights of another layer by share_index, which netdefs does not know")
    size = section.integer("size", 1)
    if size > 1 and section.options.get("pad", "0") == "0" and section.integer("padding", 0, least=0) != size // 2:
        raise section.error("has pad=0, and netdefs knows it with pad=1 only")
    return Conv(
        section.integer("filters", 1),
        size,
        section.integer("stride", 1),
        section.options.get("activation", "logistic"),
        section.integer("batch_normalize", 0, least=0) != 0,
        section.integer("groups", 1),
    )


def _pool(section: Section, number: int, strides: list[int]) -> Layer:
    section.only(maxpool_depth="0", antialiasing="0")
    stride = section.integer("stride", 1)
    size = section.integer("size", stride)
    section.only(padding=str(size - 1))
    return Pool(size, stride)


def _route(section: Section, number: int, strides: list[int]) -> Layer:
    layers = tuple(_earlier(section, value, number) for value in section.numbers("layers"))
    groups = section.integer("groups", 1)
    group = section.integer("group_id", 0, least=0)
    if group >= groups:
        raise section.error(f"has group_id={group}, and groups={groups} of them")
    if groups > 1 and len(layers) > 1:
        raise section.error("takes a group of several layers, and netdefs knows it with a single one only")
    return Route(layers, groups, group)


def _shortcut(section: Section, number: int, strides: list[int]) -> Layer:
    section.only(activation="linear", weights_type="none")
    sources = section.numbers("from")
    if len(sources) > 1:
        raise section.error("adds several layers, and netdefs knows it with a single one only")
    return Shortcut(_earlier(section, sources[0], number))


def _yolo(section: Section, number: int, strides: list[int]) -> Layer:
    anchors = _anchors(section)
    mask = section.numbers("mask") if "mask" in section.options else range(len(anchors))
    if not all(value == int(value) and 0 <= value < len(anchors) for value in mask):
        raise section.error(f"has mask={section.options['mask']}, and {len(anchors)} anchors, counted from 0")
    return Detect(
        tuple(anchors[int(value)] for value in mask),
        strides[-1] if strides else 1,
        section.numbers("scale_x_y")[0] if "scale_x_y" in section.options else 1.0,
        new_coords=section.integer("new_coords", 0, least=0) != 0,
    )


def _region(section: Section, number: int, strides: list[int]) -> Layer:
    section.only(coords="4", softmax="1")
    if "tree" in section.options:
        raise section.error("has a tree of classes, which netdefs does not know")
    stride = strides[-1] if strides else 1
    return Detect(tuple((stride * w, stride * h) for w, h in _anchors(section)), stride, softmax=True)


def _anchors(section: Section) -> Anchors:
    values = section.numbers("anchors")
    if len(values) % 2 or min(values) <= 0:
        raise section.error(f"has anchors={section.options['anchors']}, which are no pairs of width and height")
    return tuple(zip(values[::2], values[1::2], strict=True))


def _earlier(section: Section, value: float, number: int) -> int:
    """The number of a layer before layer `number`, as it is written."""
    if value != int(value) or not 0 <= absolute(int(value), number) < number:
        raise section.error(f"is layer {number} and refers to layer {value:g}, which does not come before it")
    return int(value)


READERS: Mapping[str, Callable[[Section, int, list[int]], Layer]] = {
    "convolutional": _conv,
    "conv": _conv,
    "maxpool": _pool,
    "max": _pool,
    "route": _route,
    "shortcut": _shortcut,
    "upsample": lambda section, number, strides: Upsample(section.integer("stride", 2)),
    "reorg": lambda section, number, strides: Reorg(section.integer("stride", 1)),
    "yolo": _yolo,
    "region": _region,
}
