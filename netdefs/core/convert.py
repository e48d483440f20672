"""From a checkpoint that was read to a .wts and the .json beside it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from netdefs.core.checkpoint import Checkpoint
from netdefs.core.dtypes import to_float32
from netdefs.core.files import atomic_write
from netdefs.core.version import __version__
from netdefs.core.weights import weights_sha256
from netdefs.core.wts import save_wts


def sidecar_path(path: Path) -> Path:
    """Where what a .wts can't hold is written: x.wts.json beside x.wts."""
    return path.with_name(path.name + ".json")


def write_weights(checkpoint: Checkpoint, path: Path, progress: Callable[[int], object] | None = None) -> None:
    """Writes a .wts and its .json, both or neither, replacing what is there.

    Args:
        checkpoint: what to write.
        path: the .wts.
        progress: called with the number of values just written, again and again.

    Raises:
        FileError: a file can't be written.
        WeightsError: a name or value can't be written as .wts.
    """
    arrays = {name: to_float32(array, name) for name, array in checkpoint.state_dict.items()}
    facts = {
        "netdefs": __version__,
        "source": checkpoint.source,
        "weights_sha256": weights_sha256(arrays),
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
        "dtypes": checkpoint.dtypes,
        "eps": checkpoint.eps,
        "activation": checkpoint.activation,
    }
    # The .json is complete, under a temporary name, before the .wts takes its place. Then only a renaming can fail.
    with atomic_write(sidecar_path(path)) as file:
        lines = ",\n ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in facts.items())
        file.write(("{" + lines + "}\n").encode())
        file.flush()
        save_wts(path, arrays, progress=progress)


def not_finite(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """How many NaN and how many infinite values each array holds, for those that hold any."""
    found = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            found[name] = (int(np.isnan(array).sum()), int(np.isinf(array).sum()))
    return found
