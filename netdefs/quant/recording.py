"""What is seen of a network's tensors on pictures, and the calibrations that this makes."""

import dataclasses
import json
from typing import Any

import numpy as np

from netdefs.core.errors import CalibrationError, InputError
from netdefs.quant.calibration import Calibration, Measured
from netdefs.quant.histogram import Histogram
from netdefs.quant.methods import METHOD, PERCENTILE, amax_of, check_method, excess

LISTED = 3
COSTLY = 3.0  # dB: a method that gives a tensor so much more noise than keeping all of it is reported


@dataclasses.dataclass
class Recording:
    """The histograms of a network's tensors. From one recording, calibrations by every method can be made.

    Attributes:
        network: the network's name.
        weights_sha256: the hash of its weights, where it is known.
        inputs: input -> its shape.
        preprocess: what was done to a picture before.
        histograms: by tensor, in the network's order.
        pictures: how many were seen.
        origin: tensor -> the picture with the value of the largest magnitude.
    """

    network: str
    weights_sha256: str | None
    inputs: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    preprocess: dict[str, Any] | None = None
    histograms: dict[str, Histogram] = dataclasses.field(default_factory=dict)
    pictures: int = 0
    origin: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, tensor: str, values: np.ndarray, picture: str) -> None:
        """Counts the values of a tensor.

        Raises:
            CalibrationError: one is NaN or infinite.
        """
        if not values.size:
            return
        histogram = self.histograms.setdefault(tensor, Histogram())
        before = histogram.amax
        try:
            histogram.add(values)
        except ValueError:
            wrong = ~np.isfinite(values)
            at = np.unravel_index(int(np.argmax(wrong)), values.shape)
            raise CalibrationError(
                f"{tensor!r} holds {values[at]:g} at {tuple(map(int, at))} on {picture} ({int(wrong.sum())} of its "
                f"{values.size} values are NaN or infinite), so there is no range for it. Its float values must be "
                "finite: netdefs.compare finds the layer that is wrong."
            ) from None
        if histogram.amax > before:
            self.origin[tensor] = picture

    def calibration(self, method: str = METHOD, percentile: float = PERCENTILE) -> Calibration:
        """The calibration by a method.

        Raises:
            CalibrationError: there is no such method, or the percentile is none.
        """
        check_method(method, percentile)
        amax = {name: amax_of(each, method, percentile) for name, each in self.histograms.items()}
        zero = [name for name, histogram in self.histograms.items() if histogram.amax == 0]
        notes = []
        if zero:
            notes.append(f"Always 0 on these pictures, and given the range 1: {_listed(zero)}.")
        costs = {name: excess(each, amax[name]) for name, each in self.histograms.items() if amax[name]}
        cut = sorted((name for name, cost in costs.items() if cost > COSTLY), key=costs.__getitem__, reverse=True)
        if cut:
            said = [f"{n} ({amax[n]:.3g} of {self.histograms[n].amax:.3g}, {costs[n]:.0f} dB more noise)" for n in cut]
            notes.append(f"{method} cuts off what costs more than it gains; mse or max would not: {_listed(said)}.")
        return Calibration(
            network=self.network,
            weights_sha256=self.weights_sha256,
            method=method,
            percentile=percentile if method == "percentile" else None,
            amax={name: value or 1.0 for name, value in amax.items()},
            pictures=self.pictures,
            inputs=dict(self.inputs),
            preprocess=json.loads(json.dumps(self.preprocess)),  # as it will be once it was saved and loaded
            measured={
                name: Measured(each.low, each.high, each.zeros / each.total, each.digest, self.origin.get(name, ""))
                for name, each in self.histograms.items()
            },
            notes=notes,
        )

    def check_count(self, least: int) -> None:
        """Raises InputError if fewer than `least` pictures were seen."""
        if self.pictures < least:
            raise InputError(
                f"{self.pictures} picture{'s' * (self.pictures != 1)} can't say what ranges the tensors have: at least "
                f"{least} are needed, and some hundred are better. least={self.pictures} takes them all the same."
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
