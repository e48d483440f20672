"""`Calibration`: the range of every tensor that int8 and fp8 steps are spread over, and what it was measured on."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.errors import CalibrationError, FileError
from netdefs.core.files import atomic_write
from netdefs.core.quantize import scale_of
from netdefs.core.scope import near
from netdefs.quant import cache

FORMAT = "netdefs calibration 1"
ABOUT = "amax is the largest magnitude that is kept. int8: scale = amax / 127; fp8: scale = amax / 448."
LISTED = 5


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was seen of a tensor.

    Attributes:
        low, high: its smallest and its largest value.
        zeros: the share of its values that are exactly 0.
        histogram: a short hash of its histogram.
        picture: the picture with the value of the largest magnitude.
    """

    low: float
    high: float
    zeros: float
    histogram: str
    picture: str


@dataclasses.dataclass
class Calibration:
    """The ranges of a network's tensors, and what they hold for.

    Attributes:
        network: the network's name, a variant's; "" if it is not known.
        weights_sha256: the hash of its weights; None if it is not known.
        method: "entropy", "percentile", "mse" or "max"; or another tool's word.
        amax: tensor -> the magnitude that the largest int8 or fp8 number stands for.
        percentile: what the method "percentile" kept.
        pictures: how many it was measured on.
        inputs: input -> its shape then.
        preprocess: what was done to a picture before.
        measured: by tensor; empty if it was read from a cache.
        notes: what the reader should know.
    """

    network: str
    weights_sha256: str | None
    method: str
    amax: dict[str, float]
    percentile: float | None = None
    pictures: int = 0
    inputs: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    preprocess: dict[str, Any] | None = None
    measured: dict[str, Measured] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def scale(self, tensor: str) -> float:
        """The int8 scale of a tensor.

        Raises:
            CalibrationError: it has none.
        """
        if tensor not in self.amax:
            raise CalibrationError(f"The calibration has no tensor {tensor!r}.{near(tensor, self.amax)}")
        return float(scale_of(np.float64(self.amax[tensor]), "int8"))

    def check(self, network: Any) -> None:
        """Refuses a network that this calibration is not of.

        Args:
            network: a `netdefs.Network`; what is not known on either side is not asked.

        Raises:
            CalibrationError: it is another network, it has other weights, or none of the tensors are its own.
        """
        name, again = str(network.name), "Calibrate it: netdefs quantize VARIANT --weights W --images DIR."
        if self.network and name != self.network:
            raise CalibrationError(f"This is a calibration of {self.network}, the network is {name}. {again}")
        if self.weights_sha256 is not None and network.weights.sha256 != self.weights_sha256:
            raise CalibrationError(
                f"This calibration of {self.network or 'a network'} was made with other weights (hash "
                f"{self.weights_sha256[:12]}) than those of this one (hash {network.weights.sha256[:12]}, "
                f"{network.weights.source}). {again}"
            )
        wanted = list(getattr(network, "activations", ()))
        if wanted and not any(tensor in self.amax for tensor in wanted):
            raise CalibrationError(
                f"No tensor of {name} is in this calibration: the network has {', '.join(wanted[:LISTED])} ..., the "
                f"calibration {', '.join(list(self.amax)[:LISTED])} .... {again}"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON, a line for every tensor.

        Raises:
            FileError: the file can't be written. What was there is then unchanged.
        """
        head = {
            "format": FORMAT,
            "about": ABOUT,
            "network": self.network,
            "weights_sha256": self.weights_sha256,
            "method": self.method,
            "percentile": self.percentile,
            "pictures": self.pictures,
            "inputs": {name: list(shape) for name, shape in self.inputs.items()},
            "preprocess": self.preprocess,
            "notes": self.notes,
        }
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
        rows = []
        for name, amax in self.amax.items():
            row = {"amax": amax, **(dataclasses.asdict(self.measured[name]) if name in self.measured else {})}
            rows.append(f"    {json.dumps(name)}: {json.dumps(row)}")
        text = "\n".join(["{", *lines, '  "tensors": {', ",\n".join(rows), "  }", "}", ""])
        with atomic_write(path) as file:
            file.write(text.encode())

    def save_cache(self, path: str | os.PathLike[str], tensorrt: int) -> None:
        """Writes it as the calibration cache of a TensorRT that still has calibrators, up to 10.

        Args:
            path: the file.
            tensorrt: the version in the cache's first line, such as 8601; TensorRT refuses a cache of another one.

        Raises:
            FileError: the file can't be written.
        """
        with atomic_write(path) as file:
            file.write(cache.write(self.amax, self.method, tensorrt).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Reads what `save` wrote, or a calibration cache of TensorRT's or tensorrtx's.

        A cache does not say which network and weights it is of, and its names are those of the network that TensorRT
        was given: they count where they are the same.

        Raises:
            FileError: the file can't be read.
            CalibrationError: it is neither, or damaged.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CalibrationError(f"{path} is no calibration: it is no text ({error.reason}).") from error
        except (OSError, ValueError) as error:
            raise FileError(f"Can't read {path}: {getattr(error, 'strerror', None) or error}.") from error
        if cache.is_cache(text):
            calibrator, amax = cache.read(text, str(path))
            note = f"Read from {Path(path).name}, a cache of TensorRT's {calibrator}: whose it is, is not known."
            return cls("", None, cache.METHODS.get(calibrator, calibrator), amax, notes=[note])
        try:
            found = json.loads(text)
        except ValueError as error:
            raise CalibrationError(
                f"{path} is neither a calibration that netdefs wrote nor a TensorRT calibration cache ({error})."
            ) from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            said = found.get("format") if isinstance(found, dict) else None
            raise CalibrationError(f"{path} is no {FORMAT!r}: its format is {said!r}.")
        try:
            return _from_json(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CalibrationError(f"{path} is damaged ({error!r}). Calibrate again.") from error


def _from_json(found: Mapping[str, Any]) -> Calibration:
    fields = [field.name for field in dataclasses.fields(Measured)]
    tensors = found["tensors"]
    amax = {str(name): float(row["amax"]) for name, row in tensors.items()}
    for name, value in amax.items():
        if not 0 < value < math.inf:
            raise ValueError(f"the amax of {name} is {value:g}")
    return Calibration(
        network=str(found["network"]),
        weights_sha256=None if found["weights_sha256"] is None else str(found["weights_sha256"]),
        method=str(found["method"]),
        amax=amax,
        percentile=found["percentile"],
        pictures=int(found["pictures"]),
        inputs={str(name): tuple(map(int, shape)) for name, shape in found["inputs"].items()},
        preprocess=found["preprocess"],
        measured={
            name: Measured(*(row[key] for key in fields)) for name, row in tensors.items() if set(fields) <= row.keys()
        },
        notes=[str(note) for note in found["notes"]],
    )
