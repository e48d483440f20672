"""What half precision can't hold: values beyond 65504, and values so small that hardly a digit is left."""

import dataclasses
import math

import numpy as np

from netdefs.quant.histogram import Histogram
from netdefs.quant.recording import Recording

LARGEST = 65504.0
NORMAL = 2.0**-14  # the smallest magnitude that fp16 holds with all its 11 bits
STEP = 2.0**-24  # its steps below that


@dataclasses.dataclass(frozen=True)
class Trouble:
    """A tensor that fp16 can't hold well.

    Attributes:
        tensor: its name.
        kind: "overflow", or "range" if its values are too small.
        size: the largest magnitude, or for "range" the root mean square.
        picture: the one with the largest magnitude.
    """

    tensor: str
    kind: str
    size: float
    picture: str

    def __str__(self) -> str:
        if self.kind == "overflow":
            return f"{self.tensor} reaches {self.size:g} on {self.picture}; fp16 ends at {LARGEST:g}."
        bits = max(math.log2(self.size / STEP), 0)
        return f"{self.tensor} has values of {self.size:.1g}, of which fp16 keeps {bits:.0f} of 11 bits."


def troubles(recording: Recording) -> list[Trouble]:
    """The tensors of a recording that fp16 can't hold, in execution order."""
    found = []
    for name, histogram in recording.histograms.items():
        picture = recording.origin.get(name, "")
        if histogram.amax > LARGEST:
            found.append(Trouble(name, "overflow", histogram.amax, picture))
        elif 0 < (rms := root_mean_square(histogram)) < NORMAL:
            found.append(Trouble(name, "range", rms, picture))
    return found


def root_mean_square(histogram: Histogram) -> float:
    """Of a histogram's values, each counted as the middle of its bin."""
    middles = (np.arange(histogram.counts.size) + 0.5) * histogram.width
    counts = histogram.counts.astype(np.float64)
    counts[0] -= histogram.zeros
    return math.sqrt(float(np.sum(counts * middles**2)) / max(histogram.total, 1))
