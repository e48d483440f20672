"""What lower precision costs: the noise of every layer, alone and with its predecessors', and that of the outputs."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from netdefs.quant.feeds import Feed
from netdefs.quant.pairing import Paired, measuring
from netdefs.quant.walk import run, session_of


@dataclasses.dataclass(frozen=True)
class Noise:
    """A layer's or an output's noise over all pictures.

    Attributes:
        name: the tensor's.
        chained: signal to noise in dB of the network as it will run. -inf where values are not finite.
        alone: that of the layer fed with float values; None for what is only an output.
    """

    name: str
    chained: float
    alone: float | None


@dataclasses.dataclass(frozen=True)
class Cost:
    """The noise of a network in lower precision against itself in float32.

    Attributes:
        precision: "int8", "fp16" ...
        layers: those in lower precision, in execution order.
        outputs: the network's.
        pictures: how many it was measured on.
    """

    precision: str
    layers: list[Noise]
    outputs: list[Noise]
    pictures: int

    @property
    def sqnr(self) -> float:
        """The signal to noise of the worst output, in dB."""
        return min(output.chained for output in self.outputs)


def measure(paired: Paired, feeds: Iterable[Feed]) -> Cost:
    """Runs both networks on pictures.

    Args:
        paired: the networks.
        feeds: their inputs.
    """
    model = measuring(paired)
    session = session_of(model)
    names = [value.name for value in model.graph.output]
    sums = np.zeros(len(names))
    count = 0
    for feed in feeds:
        sums += np.array(run(session, names, feed.arrays), np.float64)
        count += feed.count
    found = dict(zip(names, sums.tolist(), strict=True))

    def noise(name: str) -> Noise:
        signal, alone = found[f"signal {name}"], found.get(f"alone {name}")
        chained = decibels(signal, found[f"chained {name}"])
        return Noise(name, chained, None if alone is None else decibels(signal, alone))

    return Cost(paired.precision, [noise(n) for n in paired.layers], [noise(n) for n in paired.outputs], count)


def decibels(signal: float, noise: float) -> float:
    """Signal to noise of two sums of squares; infinite without noise, -inf if one is not finite."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return -math.inf
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
