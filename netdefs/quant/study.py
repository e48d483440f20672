"""`study`: a network is calibrated, quantized and measured, and what to keep in higher precision is searched for."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netdefs.core.errors import CalibrationError
from netdefs.core.network import Network
from netdefs.core.precision import Precision
from netdefs.core.weights import Weights
from netdefs.engine.targets import build
from netdefs.engine.tensorrt import definition_inputs
from netdefs.quant.bias import correct_bias
from netdefs.quant.calibrate import LEAST, record
from netdefs.quant.calibration import Calibration
from netdefs.quant.cost import Cost, Noise, measure
from netdefs.quant.equalize import equalize
from netdefs.quant.feeds import Feed, Pictures, Takes
from netdefs.quant.halves import Trouble, troubles
from netdefs.quant.methods import METHOD, PERCENTILE, check_method
from netdefs.quant.mixture import Mixture
from netdefs.quant.pairing import Paired, pair
from netdefs.quant.search import Metric, Proposal, number, search

# define(precision, calibration, weights) -> Network; None for what is not needed, or as it is by default.
Asked = str | Mapping[str, str]  # a precision, or patterns and precisions
Define = Callable[[Asked, Calibration | None, Weights | None], Network]


@dataclasses.dataclass(frozen=True)
class Options:
    """What `study` is to do.

    Attributes:
        precision: "int8", "fp8", "fp16", "bf16", or a mapping as `define_network` takes it.
        method, percentile, least: as `calibrate` has them.
        equalize, correct_bias: whether to change the weights so.
        target: the least signal to noise of the outputs in dB that is to be reached; None for no search.
        metric: gets an engine, and says how good it is; more is better. Then `max_drop` counts, and not `target`.
        max_drop: by how much the metric may be less than in float32.
        keep: the precision of the layers that are kept; by default fp16, and fp32 in a network of half precision.
        measure_on: how many pictures the costs are measured on, and the target is to be reached on.
        outputs: names or globs of the outputs that count; by default all. Rows sorted by score, which rounding swaps,
            are no measure.
        search_on: how many of these the layers' shares of the noise are measured on.
        progress: show progress bars on the error output, if that is a terminal.
    """

    precision: Asked = "int8"
    method: str = METHOD
    percentile: float = PERCENTILE
    least: int = LEAST
    equalize: bool = False
    correct_bias: bool = False
    target: float | None = None
    metric: Metric | None = None
    max_drop: float | None = None
    keep: str | None = None
    outputs: str | Sequence[str] = "*"
    measure_on: int = 16
    search_on: int = 4
    progress: bool = True

    @property
    def base(self) -> str:
        """The precision of most layers."""
        return self.precision if isinstance(self.precision, str) else self.precision.get("*", "fp32")

    @property
    def calibrates(self) -> bool:
        """Whether the precision needs ranges."""
        return Precision(self.precision).quantizes

    def check(self) -> None:
        """Raises CalibrationError if an option makes no sense."""
        check_method(self.method, self.percentile)
        for asked in (self.precision, self.keep):
            if asked is not None:
                Precision(asked)
        if (self.metric is None) != (self.max_drop is None):
            raise CalibrationError("A metric and max_drop go together: how good, and how much less of it is allowed.")
        if self.metric is not None and self.target is not None:
            raise CalibrationError("Give a target in dB or a metric, not both.")
        for name, value in (("target", self.target), ("max_drop", self.max_drop)):
            if value is not None and not 0 <= value < math.inf:
                raise CalibrationError(f"{name}={value!r}: it is a number from 0 on.")
        for name, count in (("measure_on", self.measure_on), ("search_on", self.search_on)):
            if count < 1:
                raise CalibrationError(f"{name}={count}: at least one picture is needed.")
        if not self.calibrates and (self.equalize or self.correct_bias):
            raise CalibrationError(
                f"Equalisation and bias correction are for int8 and fp8, not for {self.precision!r}."
            )


@dataclasses.dataclass
class Study:
    """What was found out.

    Attributes:
        network: the name.
        calibration: None where the precision needs none.
        weights: those of the quantized network, if they were changed.
        costs: by step, "int8", "equalized", "biases corrected" ...: the last is that of the network as asked for.
        troubles: what fp16 can't hold.
        proposal: what to keep; None if no search was asked for.
        kept: the cost of the network that keeps it, unless that is all.
        precision: the argument for that network, or the one that was asked for.
        pictures: how many were seen.
    """

    network: str
    calibration: Calibration | None = None
    weights: Weights | None = None
    costs: dict[str, Cost] = dataclasses.field(default_factory=dict)
    troubles: list[Trouble] = dataclasses.field(default_factory=list)
    proposal: Proposal | None = None
    kept: Cost | None = None
    precision: Asked = "int8"
    pictures: int = 0

    @property
    def cost(self) -> Cost:
        """That of the network as it was asked for."""
        return list(self.costs.values())[-1]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it; infinite numbers are None."""

        def noise(each: Noise) -> dict[str, Any]:
            return {"name": each.name, "chained_db": _finite(each.chained), "alone_db": _finite(each.alone)}

        def cost(each: Cost) -> dict[str, Any]:
            return {
                "precision": each.precision,
                "pictures": each.pictures,
                "outputs": [noise(one) for one in each.outputs],
                "layers": [noise(one) for one in each.layers],
            }

        found = self.proposal
        return {
            "network": self.network,
            "pictures": self.pictures,
            "precision": self.precision if isinstance(self.precision, str) else dict(self.precision),
            "costs": {step: cost(each) for step, each in self.costs.items()},
            "troubles": [{**dataclasses.asdict(each), "text": str(each)} for each in self.troubles],
            "proposal": None
            if found is None
            else {
                "keep": found.keep,
                "score": _finite(found.score),
                "confirmed": _finite(found.confirmed),
                "target": found.target,
                "unit": found.unit,
                "sensitivity_db": {name: _finite(value) for name, value in found.sensitivity.items()},
                "curve": [
                    {"kept": p.kept, "expected_db": _finite(p.expected), "score": _finite(p.score)} for p in found.curve
                ],
                "kept_cost": None if self.kept is None else cost(self.kept),
            },
        }


def study(
    define: Define, pictures: Pictures, options: Options | None = None, calibration: Calibration | None = None
) -> Study:
    """Calibrates, quantizes and measures a network.

    Args:
        define: makes the network in a precision, with a calibration and with other weights; each may be None.
        pictures: as `calibrate` takes them; not an iterator, as they are gone through several times.
        options: what to do.
        calibration: one that is there already, to be measured.

    Raises:
        CalibrationError: an option makes no sense, or `pictures` can be gone through only once.
        NetdefsError: as `calibrate`, `pair` and `search`.
    """
    options = options or Options()
    options.check()
    if hasattr(pictures, "__next__"):
        raise CalibrationError("The pictures are needed more than once: give a list or a folder, not an iterator.")
    network = reference = define("fp32", None, None)
    found = Study(network.name, precision=options.precision)
    takes = Takes(definition_inputs(network.definition), network.profile, network.info.get("preprocess"))

    def feeds(count: int) -> list[Feed]:
        chosen: list[Feed] = []
        for feed in takes.feeds(pictures):
            chosen.append(feed)
            if sum(each.count for each in chosen) >= count:
                break
        return chosen

    def measured(calibration: Calibration | None, weights: Weights | None) -> tuple[Cost, Paired, Network]:
        low = define(options.precision, calibration, weights)
        paired = pair(reference, low, options.outputs)
        return measure(paired, feeds(options.measure_on)), paired, low

    def calibrated(of: Network) -> Calibration:
        recording = record(of, pictures, least=options.least, progress=options.progress)
        return recording.calibration(options.method, options.percentile)

    if options.calibrates:
        calibration = calibration or calibrated(network)
        found.pictures = calibration.pictures
    else:
        recording = record(network, pictures, tensors="*", least=options.least, progress=options.progress)
        found.pictures = recording.pictures
        if options.base == "fp16":
            found.troubles = troubles(recording)
        calibration = None
    found.costs[options.base], paired, low = measured(calibration, None)
    if options.equalize:
        found.weights = equalize(network)
        reference = define("fp32", None, found.weights)  # inside, its channels have other factors
        calibration = calibrated(reference)
        found.costs["equalized"], paired, low = measured(calibration, found.weights)
    if options.correct_bias:
        assert calibration is not None  # Options.check
        found.weights, calibration = correct_bias(reference, low, paired, feeds(options.measure_on), calibration)
        found.costs["biases corrected"], paired, low = measured(calibration, found.weights)
    found.calibration = calibration
    if options.target is None and options.metric is None:
        return found
    target = options.max_drop if options.metric is not None else options.target
    assert target is not None  # Options.check
    # A convolution and the batch norm that it took in go by the convolution's name.
    known = {norm: conv for conv, norm in low.info.get("folded", {}).items()}
    costs: dict[int, Cost] = {}

    def keeping(layers: list[str]) -> dict[str, str]:
        asked = {"*": options.precision} if isinstance(options.precision, str) else dict(options.precision)
        keep = options.keep or ("fp16" if options.calibrates else "fp32")
        return {**asked, **dict.fromkeys((known.get(name, name) for name in layers), keep)}

    def confirm(layers: list[str]) -> float:
        network = define(keeping(layers), calibration, found.weights) if layers else low
        if layers:
            costs[len(layers)] = measure(pair(reference, network, options.outputs), feeds(options.measure_on))
        if options.metric is None:
            return costs.get(len(layers), found.cost).sqnr
        with build(network, target="cpu") as engine:
            return number(options.metric, engine)

    with Mixture(paired, reference) as mixture:
        few = feeds(options.search_on)
        found.proposal = search(paired, mixture, few, target, confirm, options.metric, options.progress)
    if found.proposal.keep:
        found.precision = keeping(found.proposal.keep)
        found.kept = costs.get(len(found.proposal.keep))
    return found


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
