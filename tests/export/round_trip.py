"""The zoo through ONNX, NVIDIA's parser and ONNX again.

`python -m tests.export.round_trip [PATTERN]` does it with every variant at its usual size: both models' outputs are
compared, and RTX compiles what the parser made. It takes hours of CPU time and prints the table in docs/exporter.md.
"""

import filecmp
import fnmatch
import functools
import itertools
import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import netdefs
from netdefs.core.network import results_of, tensors_of
from tests.reference import MODELS, shapes_of

SMALL = (64, 128)  # height and width: enough for most networks, and not square
LARGER = {"arcface": (112, 112), "inception": (75, 128), "vit": (224, 224)}  # the sizes that these need
STEP = 31


def variants() -> list[tuple[str, str]]:
    """Every module of the zoo with each of its variants."""
    return [(module, variant) for module, names in netdefs.models().items() for variant in names]


def representatives() -> list[tuple[str, str]]:
    """Of variants whose names differ only in numbers and sizes (the n of yolov8n-seg, the s of yolox_s), the first."""
    found: dict[tuple[str, str], str] = {}
    for module, variant in variants():
        found.setdefault((module, re.sub(r"\d+[nsmlx]?|_[smlx]$", "#", variant)), variant)
    return [(module, variant) for (module, _), variant in found.items()]


def weights(variant: str) -> dict[str, np.ndarray]:
    """Weights of the shapes of the PyTorch reference that keep the signal alive."""
    assert variant in MODELS, f"{variant} has no PyTorch reference in tests/reference"
    shapes = shapes_of(variant)
    rng = np.random.default_rng(0)
    return {key: _weight(rng, key, shape) for key, shape in shapes.items()}


def _weight(rng: np.random.Generator, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random values. Every row starts STEP values further into the same ones: large networks' then cost no memory."""
    rows, rest = (*shape, 1)[0], math.prod(shape[1:])
    values = rng.standard_normal(rows * STEP + rest, dtype=np.float32)
    if key.endswith("running_var"):
        values = 1 + np.abs(values)
    elif len(shape) > 1:
        values *= np.float32((2 / rest) ** 0.5)
    else:
        values = values / 10 + np.float32(0.5 if key.endswith("weight") else 0)
    return np.lib.stride_tricks.sliding_window_view(values, rest)[::STEP][:rows].reshape(shape)


def define(module: str, variant: str, *, small: bool = True, **options: Any) -> netdefs.Network:
    """A network of the zoo under made-up weights, for small pictures unless `options` say otherwise."""
    zoo = getattr(netdefs, module)
    batch, channels, *size = zoo.model.input_shape[variant]
    if small:
        options.setdefault("input_shape", (batch, channels, *map(min, size, LARGER.get(module, SMALL))))
    return zoo.define_network(weights(variant), variant, **options)


class RoundTrip:
    """A network, its export, what the parser makes of that, and the export of what it made.

    Weights are in files of their own below `folder`: that takes a fraction of the time.
    """

    def __init__(self, network: netdefs.Network, folder: Path) -> None:
        self.network = network
        self.paths = (folder / "first.onnx", folder / "second.onnx")
        self.first = netdefs.to_onnx(network, self.paths[0], external_data=True)
        self.back = netdefs.from_onnx(self.paths[0])

    @functools.cached_property
    def second(self) -> onnx.ModelProto:
        return netdefs.to_onnx(self.back, self.paths[1], external_data=True)

    def lost(self) -> list[str]:
        """The tensors of the network that did not come back with their name, type and shape."""
        definition = self.network.definition
        inputs = [definition.get_input(i) for i in range(definition.num_inputs)]
        found = set(map(_described, tensors_of(self.back.definition)))
        return [what for what in map(_described, inputs + results_of(definition)) if what not in found]

    def same_model(self) -> bool:
        """True if both exports are the same nodes in the same order, with the same weights under whatever names."""
        both = itertools.zip_longest(_content(self.first), _content(self.second))
        return all(one == other for one, other in both) and filecmp.cmp(
            *(path.with_name(f"{path.name}.data") for path in self.paths), shallow=False
        )

    def difference(self) -> float:
        """By how much the outputs of both exports differ, at most, relative to an output's largest value."""
        shape = tuple(self.network.definition.get_input(0).shape)
        feeds = {"input": np.random.default_rng(1).standard_normal(shape, dtype=np.float32)}
        results = []
        assert self.second is not None  # it is written when first asked for
        for path in self.paths:
            with netdefs.load_engine(path) as engine:
                results.append(engine.run(feeds))
        expected, found = results
        assert list(found) == list(expected)
        largest = {name: float(np.abs(value).max()) for name, value in expected.items()}
        assert all(1e-3 < value < 1e6 for value in largest.values()), f"such weights show nothing: {largest}"
        return max(float(np.abs(found[name] - expected[name]).max()) / largest[name] for name in expected)

    def compile(self) -> None:
        """Builds a plan for RTX of what the parser made."""
        netdefs.build(self.back, target="tensorrt_rtx").close()


def _described(tensor: Any) -> str:
    return f"{tensor.name}: {tensor.dtype.name} {tuple(tensor.shape)}"


def _content(model: onnx.ModelProto) -> Iterator[Any]:
    """Inputs, outputs and nodes, with weights instead of their names: where they are in the file, if they are there."""
    held = {}
    for each in model.graph.initializer:
        place = [(entry.key, entry.value) for entry in each.external_data if entry.key != "location"]
        held[each.name] = (each.data_type, tuple(each.dims), each.raw_data, place)
    yield [(value.name, value.type.SerializeToString()) for value in (*model.graph.input, *model.graph.output)]
    for node in model.graph.node:
        attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
        yield node.op_type, node.name, list(node.output), attributes, [held.get(name, name) for name in node.input]


@dataclass
class Row:
    """What came of one variant."""

    module: str
    same_model: bool
    difference: float
    seconds: float  # to compile


def measure(module: str, variant: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        trip = RoundTrip(define(module, variant, small=False), Path(folder))
        lost = trip.lost()
        assert not lost, f"{variant} lost {lost}"
        started = time.perf_counter()
        trip.compile()
        seconds = time.perf_counter() - started
        return Row(module, trip.same_model(), trip.difference(), seconds)


def main(pattern: str = "*") -> None:
    rows = []
    for module, variant in variants():
        if fnmatch.fnmatchcase(variant, pattern):
            rows.append(measure(module, variant))
            print(variant, rows[-1], file=sys.stderr, flush=True)
    print("| module | variants | come back as the same model | outputs differ by at most | RTX compiles in |")
    print("|---|---|---|---|---|")
    for module, group in itertools.groupby(rows, key=lambda row: row.module):
        own = list(group)
        times = [row.seconds for row in own]
        print(
            f"| {module} | {len(own)} | {sum(row.same_model for row in own)} "
            f"| {max(row.difference for row in own):.1g} | {min(times):.1f} to {max(times):.1f} s |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
