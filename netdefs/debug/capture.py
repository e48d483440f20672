"""`capture`: what a comparison needs of PyTorch, written to a file on the machine that has the module.

It needs torch, numpy and safetensors, and neither TensorRT nor onnx. The file is an ordinary .safetensors: its tensors
are PyTorch's values, and its metadata say what they are. `netdefs.debug.recording` reads it.
"""

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError, FileError
from netdefs.core.optional import require
from netdefs.core.scope import near
from netdefs.core.version import __version__
from netdefs.debug.arguments import in_order, is_several, patterns_of
from netdefs.debug.reference import Reference
from netdefs.debug.samples import LEAST, MOST, sample
from netdefs.debug.scan import Scan
from netdefs.debug.stored import describe_modules, describe_weights
from netdefs.debug.writer import FORMAT, Writer

SUFFIX = ".safetensors"


def capture(
    module: Any,
    inputs: Any,
    path: str | os.PathLike[str],
    *,
    layers: str | Sequence[str] = "*",
    samples: int | None = None,
    weights: bool | None = None,
) -> None:
    """Runs a PyTorch module and writes what it computes to a file, which `compare` takes in place of the module.

    The module runs twice for each input, in eval mode and without gradients; nothing of it is changed. Memory does not
    grow with the number of layers; for a moment the disk holds the values twice.

    Args:
        module: a torch.nn.Module.
        inputs: an array or tensor, a tuple in the order of the module's arguments, or a dict by the network's input
            names: they go to the arguments of these names, or in this order if there are none. A list of these is
            several inputs.
        path: the .safetensors to write; one that exists is replaced, once all is there.
        layers: names or globs of the modules and functions whose values are kept. Returned values always are.
        samples: keep so many values of each tensor (with its extremes, mean and size, and the channels' means), not
            all: a few kilobytes a layer. Such a file serves for chained comparison alone.
        weights: whether the weights go into the file; by default they do unless `samples` is given. Without them the
            file has their hashes, which tell whether the network's are the same.

    Raises:
        CompareError: the module can't run on the inputs, or an argument makes no sense.
        FileError: the file has another ending, or can't be written.
    """
    patterns = patterns_of(layers, least=1)
    if Path(path).suffix.lower() != SUFFIX:
        raise FileError(f"{path}: a capture is a {SUFFIX}, by the ending of its name.")
    if samples is not None and (
        isinstance(samples, bool) or not isinstance(samples, int) or not LEAST <= samples <= MOST
    ):
        raise CompareError(f"samples={samples!r}: it is how many values of each tensor to keep, {LEAST} to {MOST}.")
    if weights not in (None, True, False):
        raise CompareError(f"weights={weights!r}: it is True, False or None.")
    several = is_several(inputs)
    given = list(inputs) if several else [inputs]
    if not given:
        raise CompareError("inputs is an empty list: give it at least one input.")
    labels = list(getattr(inputs, "labels", [""] * len(given)))  # `Several` has them
    about = Reference(module, [])  # it is not run
    with Writer(path) as writer:
        runs = [_run(writer, f"{i}/", module, one, patterns, samples) for i, one in enumerate(given)]
        keep = samples is None if weights is None else weights
        writer.finish(
            {
                "format": FORMAT,
                "netdefs": __version__,
                "torch": str(require("torch", "torch").__version__),
                "module": type(about.module).__name__,
                "dtype": about.dtype,
                "training": about.training,
                "samples": samples,
                "layers": patterns,
                "several": several,
                "weights": describe_weights(writer, about.state_dict(), keep),
                "modules": describe_modules(about.module) if keep else {},
                "runs": [{**run, "label": label} for run, label in zip(runs, labels, strict=True)],
            }
        )


def _run(
    writer: Writer, prefix: str, module: Any, inputs: Any, patterns: Sequence[str], samples: int | None
) -> dict[str, Any]:
    """Runs the module on one input, writes the values, and tells what they are."""
    arrays = _arrays(inputs, module)
    reference = Reference(module, list(arrays.values()))
    scan = reference.scan()
    places = {name: writer.add(f"{prefix}inputs/{name}", array) for name, array in arrays.items()}
    kept = _kept(scan, patterns)
    values: dict[str, Any] = {}
    given: dict[str, Any] = {}

    def sink(name: str, array: np.ndarray) -> None:
        if samples is None:
            values[name] = writer.add(f"{prefix}{name}", array)
            return
        found = sample(array, samples)
        means = writer.add(f"{prefix}{name} (channels)", found.channels) if found.channels.size else None
        part = writer.add(f"{prefix}{name}", found.values)
        values[name] = {"shape": list(found.shape), "values": part, "channels": means, **found.facts()}

    def arguments(name: str, tensors: list[np.ndarray]) -> None:
        given[name] = [writer.add(f"{prefix}{name} (given {i})", array) for i, array in enumerate(tensors)]

    returned = [label for label, seen in scan.returned.items() if not seen.reason]
    digest = reference.observe(kept if samples is None else (), [*kept, *returned], sink, arguments)
    notes = list(scan.notes)
    if digest != scan.digest:
        why = reference.randomness()
        notes.append(f"PyTorch's output was not the same twice on one input: {why}, and can't agree.")
    return {
        "inputs": places,
        "named": isinstance(inputs, Mapping),
        "arguments": [writer.add(f"{prefix}argument {i}", array) for i, array in enumerate(reference.taken())],
        "scan": scan.to_dict(),
        "notes": notes,
        "values": values,
        "given": given,
    }


def _kept(scan: Scan, patterns: Sequence[str]) -> list[str]:
    """The modules and operations whose values are written; what has several names, once."""
    names = [name for name in scan.order if not scan.seen(name).reason]
    for pattern in patterns:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise CompareError(f"layers={pattern!r} fits no module that returns a tensor.{near(pattern, names)}")
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return list(dict.fromkeys(n if n in scan.modules else scan.operations[n].same_as for n in chosen))


def _arrays(inputs: Any, module: Any) -> dict[str, np.ndarray]:
    """One input's arrays, by name, in the order of the module's arguments; those without a name are numbered."""
    if isinstance(inputs, Mapping):
        named = {str(name): inputs[name] for name in in_order(list(inputs), module)}
    else:
        named = {str(i): value for i, value in enumerate(inputs if isinstance(inputs, tuple) else (inputs,))}
    found = {}
    for name, value in named.items():
        value = value.detach().cpu() if hasattr(value, "detach") else value
        array = np.ascontiguousarray(value) if hasattr(value, "__array__") else None
        if array is None or array.dtype.kind not in "fiub":
            what = type(value).__name__ if array is None else f"array of {array.dtype}"
            raise CompareError(f"inputs holds a {what}: it takes arrays and tensors of numbers.")
        if array.dtype == np.float64:
            raise CompareError(
                f"inputs holds float64 {array.shape}, and networks take float32: pass .astype(np.float32) or .float()."
            )
        if not array.size:
            raise CompareError(f"inputs holds an array of the shape {array.shape}, which has no values.")
        found[name] = array
    return found
