"""`calibrate`: a network, or a PyTorch module, runs on pictures, and the ranges of its tensors are measured."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from netdefs.core.errors import CalibrationError
from netdefs.core.optional import require
from netdefs.core.weights import Weights
from netdefs.engine import Engine
from netdefs.engine.tensorrt import definition_inputs
from netdefs.quant.calibration import Calibration
from netdefs.quant.feeds import Feed, Pictures, Takes, count_of
from netdefs.quant.methods import METHOD, PERCENTILE, check_method
from netdefs.quant.module import Module, chosen
from netdefs.quant.recording import Recording
from netdefs.quant.walk import Walk

LEAST = 8


def calibrate(
    network: Any,
    pictures: Pictures,
    method: str = METHOD,
    *,
    percentile: float = PERCENTILE,
    tensors: str | Sequence[str] | None = None,
    like: Any = None,
    least: int = LEAST,
    progress: bool = True,
) -> Calibration:
    """Measures the ranges of a network's tensors on pictures.

        calibration = netdefs.quant.calibrate(netdefs.resnet.define_network(variant="resnet50"), "photos")
        calibration.save("resnet50.json")

    Args:
        network: a float32 `Network`, a raw `INetworkDefinition` or a CPU engine, which ONNX Runtime runs; or a
            torch.nn.Module, whose modules' outputs are measured under the modules' names.
        pictures: a folder, a picture, a video or a list of them, preprocessed as the network declares; an array whose
            first axis is the pictures; or an iterable of (H, W, 3) uint8 pictures, of arrays of the only input, or of
            mappings from inputs to arrays. It is gone through once; nothing of it is kept.
        method: "entropy", "percentile", "mse" or "max": how much of the range is kept.
        percentile: for "percentile", the share of the values in percent.
        tensors: names or globs of those to measure; by default all that an int8 network needs, or, where the network
            does not say which these are, all.
        like: for a module, the `Network` that the calibration is for: how it wants pictures, its inputs and its name.
        least: how many pictures there must be.
        progress: show a progress bar on the error output, if that is a terminal.

    Raises:
        CalibrationError: there is no such method; a tensor is NaN or infinite; the network is not float32.
        InputError: there are no pictures or too few, one can't be read, or has one value everywhere, or all are equal.
        NetworkError: no tensor matches.
    """
    check_method(method, percentile)  # before the work
    recording = record(network, pictures, tensors=tensors, like=like, least=least, progress=progress)
    return recording.calibration(method, percentile)


def record(
    network: Any,
    pictures: Pictures,
    *,
    tensors: str | Sequence[str] | None = None,
    like: Any = None,
    least: int = LEAST,
    progress: bool = True,
) -> Recording:
    """What `calibrate` measures, from which `Recording.calibration` makes calibrations by any method.

    Args and Raises: as `calibrate`.
    """
    patterns = None if tensors is None else [tensors] if isinstance(tensors, str) else list(tensors)
    side: _Network | Module
    if hasattr(network, "state_dict"):
        side = Module(network, like, patterns)
    elif like is not None:
        raise CalibrationError("like= is for a torch module: a network knows itself how it wants pictures.")
    else:
        side = _Network(network, patterns)
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not (progress and console.is_terminal))
    with bar:
        task = bar.add_task("calibrating", total=count_of(pictures))
        for feed in side.feeds(pictures):
            for name, values in side.values(feed):
                side.recording.add(name, values, feed.name)
            if not side.recording.inputs:
                side.recording.inputs = {name: array.shape for name, array in feed.arrays.items()}
            side.recording.pictures += feed.count
            bar.advance(task, feed.count)
    side.recording.check_count(least)
    return side.recording


class _Network:
    """A network that ONNX Runtime runs."""

    def __init__(self, network: Any, patterns: list[str] | None) -> None:
        if isinstance(network, Engine):
            model = getattr(network, "model", None)
            if model is None:
                raise CalibrationError(f"A {network.target} plan shows no layers. Calibrate the network that it is of.")
        else:
            from netdefs.export import to_onnx

            definition = getattr(network, "definition", network)
            if not hasattr(definition, "num_layers"):
                raise CalibrationError(
                    f"calibrate takes a Network, an INetworkDefinition, a CPU engine or a torch.nn.Module, not "
                    f"{type(network).__name__}."
                )
            model = to_onnx(network)
        info = getattr(network, "info", {})
        if info.get("precision", "fp32") not in ("fp32", "tf32"):
            raise CalibrationError(
                f"This network is {info['precision']} already: define it with precision='fp32' to calibrate it."
            )
        weights = getattr(network, "weights", None)
        known = weights.sha256 if isinstance(weights, Weights) else info.get("weights_sha256")
        name = info.get("variant") or getattr(network, "name", "")
        self.recording = Recording(str(name), known, preprocess=info.get("preprocess"))
        inputs = network.inputs if isinstance(network, Engine) else definition_inputs(definition)
        self._takes = Takes(inputs, getattr(network, "profile", {}), info.get("preprocess"))
        self._walk = Walk(model, chosen(_floats(model), list(getattr(network, "activations", ())), patterns))

    def feeds(self, pictures: Pictures) -> Iterator[Feed]:
        return self._takes.feeds(pictures)

    def values(self, feed: Feed) -> Iterator[tuple[str, np.ndarray]]:
        return self._walk.run(feed.arrays)


def _floats(model: Any) -> list[str]:
    """The float32 tensors of a network that depend on its inputs, these among them, in the order of its execution."""
    onnx = require("onnx", "cpu")
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    constants = {tensor.name for tensor in model.graph.initializer}
    found = [value.name for value in model.graph.input if value.name not in constants]
    moving = set(found)
    for node in model.graph.node:
        if moving.intersection(node.input):
            moving.update(node.output)
            found += [name for name in node.output if name]
    return [name for name in found if kinds.get(name) == onnx.TensorProto.FLOAT]
