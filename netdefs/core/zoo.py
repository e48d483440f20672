"""What every module of the zoo offers, made once: `define_network` and `build_engine` around its `define`."""

import dataclasses
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from netdefs.core.errors import NetdefsError, NetworkError, WeightsError
from netdefs.core.network import Dimension, Network
from netdefs.core.picture_input import picture_input
from netdefs.core.policy import kept_layers
from netdefs.core.precision import Precision
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import near
from netdefs.core.weights import Weights

PLACES = ("host", "in_network")
TYPES: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a word",
    type(None): "None",
}
T = TypeVar("T")
Shape = tuple[int, int, int, int]


def config_of(variants: Mapping[str, Any], variant: str) -> Any:
    """The configuration of a variant.

    Raises:
        NetdefsError: there is no such variant; the message lists them.
    """
    if variant not in variants:
        raise NetdefsError(
            f"There is no variant {variant!r}; there are {', '.join(variants)}.{near(variant, variants)}"
        )
    return variants[variant]


class Model:
    """`define_network` and `build_engine` of a zoo module.

    Of `input_shape`, `preprocess` and `decode`, each is one value for all variants or a dictionary by variant.

    Args:
        module: the module's `__name__`.
        define: its `define(net, x, variant, **config)`.
        variants: its `VARIANTS`.
        input_shape: the default (1, C, H, W).
        preprocess: what it wants done to a picture.
        decode: what its outputs mean.
        recognize: finds the variant that weights are of, if that can be told, among `variants`.
    """

    def __init__(
        self,
        module: str,
        define: Callable[..., Any],
        variants: Mapping[str, Any],
        *,
        input_shape: Shape | Mapping[str, Shape],
        preprocess: Preprocess | Mapping[str, Preprocess],
        decode: Decode | Mapping[str, Decode],
        recognize: Callable[[Weights, Mapping[str, Any]], str | None] | None = None,
    ) -> None:
        self.name = module.rpartition(".")[2]
        self.define = define
        self.variants = variants
        self.input_shape = _by_variant(input_shape, variants)
        self.preprocess = _by_variant(preprocess, variants)
        self.decode = _by_variant(decode, variants)
        self._recognize = recognize

    def define_network(
        self,
        weights: Any = None,
        variant: str | None = None,
        *,
        input_shape: Sequence[Dimension] | None = None,
        precision: str | Mapping[str, str] = "fp32",
        calibration: Any = None,
        fold_bn: bool = False,
        preprocess: str = "host",
        package: str | None = None,
        **config: Any,
    ) -> Network:
        """The finished, unbuilt network, its outputs marked.

        Args:
            weights: what `netdefs.Weights` takes; by default what `find_weights` finds.
            variant: one of `VARIANTS`; by default what the weights are of, if the module can tell, else the first.
            input_shape: (N, C, H, W); any size may be a (min, opt, max) triple. By default the variant's.
            precision: "fp32", "tf32", "fp16", "bf16", "int8" or "fp8"; or patterns over names of layers to these.
            calibration: for int8 and fp8: a `netdefs.Calibration`, the path of one, or tensor name -> clipping range.
            fold_bn: fold batch norms into convolutions.
            preprocess: "host", or "in_network": the input is then (N, H, W, 3) uint8, BGR as OpenCV reads it, and the
                order of colors and the normalization are layers. `input_shape` stays (N, C, H, W).
            package: "tensorrt" or "tensorrt_rtx"; by default what suits this machine.
            config: what `define` takes, such as num_classes.

        Raises:
            WeightsError: the weights are not there, or don't fit; every key is named.
            NetworkError: TensorRT refuses a layer, as it does when the input shape does not suit the network, or the
                network takes no such argument.
        """
        if variant is None and weights is not None and self._recognize is not None:
            weights = Weights(weights)
            variant = self._recognize(weights, self.variants)
        variant = variant or next(iter(self.variants))
        config_of(self.variants, variant)
        self.check_arguments(config)
        source = find_weights(variant) if weights is None else weights
        usual = self.input_shape[variant]
        shape = tuple(usual if input_shape is None else input_shape)
        if len(shape) != len(usual):
            raise NetworkError(f"input_shape={shape}: {variant} takes 4 dimensions, such as {usual}.")
        if preprocess not in PLACES:
            raise NetworkError(f"preprocess={preprocess!r}: it is one of {', '.join(PLACES)}.")
        if Precision(precision).quantizes:
            source = Weights(source)
            keep = kept_layers(*self._add(Network(source, variant, package=package), shape, preprocess, config))
        else:
            keep = []
        options = {"calibration": calibration, "keep": keep, "fold_bn": fold_bn, "package": package}
        net = Network(source, variant, precision, **options)
        _, outputs = self._add(net, shape, preprocess, config)
        try:
            net.finish(outputs)
        except WeightsError as error:
            first, _, keys = str(error).partition("\n")
            why = self._explain(net.weights, variant, shape, config)  # before the keys: there may be hundreds
            raise WeightsError("\n".join(filter(None, (first, why, keys)))) from None
        net.info.update(
            model=self.name,
            variant=variant,
            preprocess={
                **dataclasses.asdict(self.preprocess[variant]),
                **net.info.get("preprocess", {}),
                "place": preprocess,
            },
            decode={**dataclasses.asdict(self.decode[variant]), **net.info.get("decode", {})},
            weights=net.weights.source,
        )
        return net

    def build_engine(
        self,
        weights: Any = None,
        variant: str | None = None,
        *,
        input_shape: Sequence[Dimension] | None = None,
        precision: str | Mapping[str, str] = "fp32",
        outputs: str | Sequence[str] = (),
        target: str = "auto",
        **config: Any,
    ) -> Any:
        """The network as an engine: `define_network`, whose arguments it takes, then `netdefs.build`.

        Args:
            outputs: names or glob patterns of further layers to mark as outputs.
            target: "cpu", "tensorrt", "tensorrt_rtx" or "auto": TensorRT where a GPU is, else the CPU.

        Returns:
            A `netdefs.Engine`.
        """
        import netdefs  # the facade, when called: the definition layer itself needs no engine

        package = target if target in ("tensorrt", "tensorrt_rtx") else None
        network = self.define_network(
            weights, variant, input_shape=input_shape, precision=precision, package=package, **config
        )
        return netdefs.build(network, outputs=outputs, target=target)

    @property
    def arguments(self) -> list[str]:
        """What `define` takes besides the network, its input and the variant, such as num_classes."""
        return list(inspect.signature(self.define).parameters)[3:]

    def check_arguments(self, config: Mapping[str, Any]) -> None:
        """Refuses what `define` does not take: "false" for a bool would count as true, or fail somewhere inside."""
        for name, value in config.items():
            if name not in self.arguments:
                raise NetworkError(
                    f"netdefs.{self.name} has no argument {name!r}; it has {', '.join(self.arguments)}."
                    f"{near(name, self.arguments)}"
                )
            kind = inspect.signature(self.define).parameters[name].annotation
            kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            fits = type(value) in kinds or (whole and (int in kinds or float in kinds))
            fits = fits or (isinstance(value, np.floating) and float in kinds)
            if not fits and all(each in TYPES for each in kinds):  # what is a list the network checks itself
                raise NetworkError(f"{name}={value!r}: it must be {' or '.join(TYPES[each] for each in kinds)}.")

    def _add(
        self, net: Network, shape: Sequence[Dimension], preprocess: str, config: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """Adds the input and the variant that a network is called after; gives its definition and what it returns."""
        if preprocess == "in_network":
            x = picture_input(net, "input", shape, self.preprocess[net.name])
        else:
            x = net.input("input", shape)
        return net.definition, self.define(net, x, net.name, **config)

    def _explain(self, weights: Weights, variant: str, shape: tuple[Dimension, ...], config: Mapping[str, Any]) -> str:
        """Which variant, or which arguments, the weights would have fitted; empty if none."""
        candidates: list[Any] = [variant] if config else []
        if self._recognize is None:
            candidates += [other for other in self.variants if other != variant]
        elif (found := self._recognize(weights, self.variants)) not in (None, variant):
            candidates.append(found)  # there may be too many variants to try them all
        for candidate in candidates:
            if self._fits(weights, candidate, shape):
                without = f" without {', '.join(f'{key}={value!r}' for key, value in config.items())}" if config else ""
                return f"These are weights of variant={candidate!r}: they fit it{without}."
        import netdefs  # the facade, as in build_engine

        for name in netdefs.models():
            other: Model = getattr(netdefs, name).model
            found = next(iter(other.variants)) if len(other.variants) == 1 else None
            if other._recognize is not None:
                found = other._recognize(weights, other.variants)
            if other is not self and found is not None and other._fits(weights, found, other.input_shape[found]):
                return f"These are weights of another network, netdefs.{name}, variant={found!r}."
        return ""

    def _fits(self, weights: Weights, variant: str, shape: Sequence[Dimension]) -> bool:
        """Whether a variant takes exactly these weights."""
        try:
            net = Network(weights, variant)
            self.define(net, net.input("input", shape), variant)
        except NetdefsError:
            return False
        return not net.weights.problems()


def _by_variant(value: T | Mapping[str, T], variants: Mapping[str, Any]) -> Mapping[str, T]:
    return value if isinstance(value, Mapping) else dict.fromkeys(variants, value)


def find_weights(variant: str) -> Path:
    """weights/<variant>.wts below the current folder, else <variant>.wts in $NETDEFS_WEIGHTS.

    Raises:
        WeightsError: neither is there; the message has the command that makes it.
    """
    folders = [Path("weights")]
    if os.environ.get("NETDEFS_WEIGHTS"):
        folders.append(Path(os.environ["NETDEFS_WEIGHTS"]))
    for folder in folders:
        path = folder / f"{variant}.wts"
        if path.exists():
            return path
    places = " and ".join(str(folder / f"{variant}.wts") for folder in folders)
    raise WeightsError(
        f"No weights for {variant}: looked for {places}. Make them from a PyTorch checkpoint:\n"
        f"  python tools/gen_wts.py CHECKPOINT -o weights/{variant}.wts"
    )
