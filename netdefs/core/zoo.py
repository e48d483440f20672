"""What every module of the zoo offers, made once: `define_network` and `build_engine` around its `define`."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from netdefs.core.errors import NetdefsError, NetworkError, WeightsError
from netdefs.core.network import Dimension, Network
from netdefs.core.preprocess import Preprocess
from netdefs.core.scope import near
from netdefs.core.weights import Weights


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

    Args:
        module: the module's `__name__`.
        define: its `define(net, x, variant, **config)`.
        variants: its `VARIANTS`.
        input_shape: the default (1, C, H, W).
        preprocess: what it wants done to a picture.
        task: what its output means, for the command line: "classification".
    """

    def __init__(
        self,
        module: str,
        define: Callable[..., Any],
        variants: Mapping[str, Any],
        *,
        input_shape: tuple[int, int, int, int],
        preprocess: Preprocess,
        task: str,
    ) -> None:
        self.name = module.rpartition(".")[2]
        self.define = define
        self.variants = variants
        self.input_shape = input_shape
        self.preprocess = preprocess
        self.task = task

    def define_network(
        self,
        weights: Any = None,
        variant: str | None = None,
        *,
        input_shape: Sequence[Dimension] | None = None,
        precision: str = "fp32",
        fold_bn: bool = False,
        package: str | None = None,
        **config: Any,
    ) -> Network:
        """The finished, unbuilt network, its outputs marked.

        Args:
            weights: what `netdefs.Weights` takes; by default what `find_weights` finds.
            variant: one of `VARIANTS`; by default the first.
            input_shape: (N, C, H, W); any size may be a (min, opt, max) triple. By default the variant's.
            precision: "fp32", "tf32", "fp16" or "bf16".
            fold_bn: fold batch norms into convolutions.
            package: "tensorrt" or "tensorrt_rtx"; by default what suits this machine.
            config: what `define` takes, such as num_classes.

        Raises:
            WeightsError: the weights are not there, or don't fit; every key is named.
            NetworkError: TensorRT refuses a layer, as it does when the input shape does not suit the network.
        """
        variant = variant or next(iter(self.variants))
        config_of(self.variants, variant)
        source = find_weights(variant) if weights is None else weights
        shape = tuple(self.input_shape if input_shape is None else input_shape)
        if len(shape) != len(self.input_shape):
            raise NetworkError(f"input_shape={shape}: {variant} takes 4 dimensions, such as {self.input_shape}.")
        net = Network(source, variant, precision, fold_bn=fold_bn, package=package)
        x = net.input("input", shape)
        outputs = self.define(net, x, variant, **config)
        try:
            net.finish(outputs)
        except WeightsError as error:
            raise WeightsError(f"{error}{self._explain(net.weights, variant, shape, config)}") from None
        net.info.update(
            model=self.name,
            variant=variant,
            task=self.task,
            preprocess=dataclasses.asdict(self.preprocess),
            weights=net.weights.source,
            weights_sha256=net.weights.sha256,
        )
        return net

    def build_engine(
        self,
        weights: Any = None,
        variant: str | None = None,
        *,
        input_shape: Sequence[Dimension] | None = None,
        precision: str = "fp32",
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

    def _explain(self, weights: Weights, variant: str, shape: tuple[Dimension, ...], config: Mapping[str, Any]) -> str:
        """Which variant, or which arguments, the weights would have fitted; empty if none."""
        candidates = [variant] if config else []
        candidates += [other for other in self.variants if other != variant]
        for candidate in candidates:
            try:
                net = Network(weights, candidate)
                self.define(net, net.input("input", shape), candidate)
            except NetdefsError:
                continue
            if not net.weights.problems():
                without = f" without {', '.join(f'{key}={value!r}' for key, value in config.items())}" if config else ""
                return f"\nThese are weights of variant={candidate!r}: they fit it{without}."
        return ""


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
