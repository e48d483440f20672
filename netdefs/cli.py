"""The `netdefs` command: list, build, run, diff, onnx.

Exit codes: 0 all is well; 1 `diff` found a layer out of tolerance; 2 something was asked for that can't be done.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import netdefs
from netdefs.core.errors import InputError, NetdefsError
from netdefs.core.files import atomic_write, exists, refuse_existing
from netdefs.core.network import PRECISIONS, Dimension, Network
from netdefs.core.scope import near
from netdefs.core.zoo import Model

OK, DIFFERENT, BAD, INTERRUPTED = 0, 1, 2, 130
NETWORK_OPTIONS = ("weights", "precision", "input_shape", "num_classes", "fold_bn")
console = Console()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code = int(arguments.command(arguments))
        sys.stdout.flush()
        return code
    except NetdefsError as error:
        print(f"netdefs {arguments.name}: {error}", file=sys.stderr)
        return BAD
    except KeyboardInterrupt:
        print(f"netdefs {arguments.name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # writing to standard output: files have errors of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes it once more at the end
        if isinstance(error, BrokenPipeError):  # `netdefs ... | head`
            return OK
        print(f"netdefs {arguments.name}: can't write to standard output: {error.strerror}", file=sys.stderr)
        return BAD


def list_command(arguments: argparse.Namespace) -> int:
    """`netdefs list`."""
    if arguments.json:
        _print_json(netdefs.models())
        return OK
    table = Table("module", "variants", "input")
    for name, variants in netdefs.models().items():
        table.add_row(f"netdefs.{name}", ", ".join(variants), _dims(_model(getattr(netdefs, name)).input_shape))
    console.print(table)
    return OK


def build_command(arguments: argparse.Namespace) -> int:
    """`netdefs build`."""
    output = Path(arguments.output or f"{arguments.variant}.engine")
    refuse_existing(output, arguments.force)
    refuse_existing(f"{output}.json", arguments.force)  # a plan's sidecar
    options: dict[str, Any] = {}
    if arguments.compute_capability:
        options["compute_capabilities"] = tuple(arguments.compute_capability)
    started = time.perf_counter()
    package = arguments.target if arguments.target.startswith("tensorrt") else None
    network = _define(arguments, package)
    defined = time.perf_counter()
    if package and not arguments.json:
        options["progress"] = console.is_terminal
    with netdefs.build(network, outputs=arguments.mark, target=arguments.target, **options) as engine:
        built = time.perf_counter()
        engine.save(output)
        found = {
            "engine": str(output),
            "bytes": output.stat().st_size,
            "target": engine.target,
            "precision": network.precision,
            "layers": network.definition.num_layers,
            "define_seconds": round(defined - started, 3),
            "build_seconds": round(built - defined, 3),
            "inputs": _infos(engine.inputs),
            "outputs": _infos(engine.outputs),
        }
    if arguments.json:
        _print_json(found)
        return OK
    console.print(
        f"[bold]{output}[/bold]: {arguments.variant} for {engine.target}, {network.precision}, "
        f"{found['layers']} layers, {found['bytes'] / 1e6:.1f} MB; "
        f"defined in {defined - started:.2f} s, built in {built - defined:.2f} s.",
        soft_wrap=True,
    )
    return OK


def run_command(arguments: argparse.Namespace) -> int:
    """`netdefs run`."""
    if arguments.output:
        refuse_existing(arguments.output, arguments.force)
    with netdefs.load_engine(arguments.engine) as engine:
        outputs = engine.run(_feeds(arguments, engine.inputs, engine.profile, engine.info))
        info = engine.info
    if arguments.output:
        with atomic_write(arguments.output) as file:
            np.savez(file, allow_pickle=False, **outputs)
    top = _top(outputs, arguments.top, arguments.labels) if info.get("task") == "classification" else []
    if arguments.json:
        _print_json({"outputs": {name: _statistics(a) for name, a in outputs.items()}, "top": top})
        return OK
    table = Table("output", "shape", "min", "max", "mean")
    for name, array in outputs.items():
        numbers = _statistics(array)
        table.add_row(name, _dims(array.shape), *(_number(numbers[key]) for key in ("min", "max", "mean")))
    console.print(table)
    for i, best in enumerate(top):
        table = Table("class", "probability", title=f"Picture {i + 1} of {len(top)}" if len(top) > 1 else None)
        for row in best:
            table.add_row(str(row["label"]), _number(row["probability"]))
        console.print(table)
    return OK


def diff_command(arguments: argparse.Namespace) -> int:
    """`netdefs diff`."""
    from netdefs.core.source import load_module  # torch comes with it
    from netdefs.engine.tensorrt import definition_inputs

    if arguments.report:
        refuse_existing(arguments.report, arguments.force)
    module = load_module(arguments.module, arguments.checkpoint)
    if exists(arguments.variant):
        _refuse_network_options(arguments)
        compared: Any = netdefs.load_engine(arguments.variant)
        inputs = compared.inputs
    else:
        compared = _define(arguments)
        inputs = definition_inputs(compared.definition)
    report = netdefs.compare(
        compared,
        module,
        _feeds(arguments, inputs, compared.profile, compared.info),
        layers=arguments.layers,
        mode=arguments.mode,
        tolerance=arguments.tolerance,
    )
    if arguments.report:
        report.to_json(arguments.report)
    if arguments.json:
        _print_json(report.to_dict())
    else:
        report.print_to(console, full=arguments.full)
    return OK if report.ok else DIFFERENT


def onnx_command(arguments: argparse.Namespace) -> int:
    """`netdefs onnx`."""
    output = Path(arguments.output or f"{Path(arguments.variant).stem}.onnx")
    refuse_existing(output, arguments.force)
    if arguments.from_onnx:
        _refuse_network_options(arguments, allowed="input_shape")
        parsed = netdefs.from_onnx(arguments.variant, input_shape=arguments.input_shape)
        netdefs.to_onnx(parsed, output, outputs=arguments.mark)
    elif exists(arguments.variant):
        _refuse_network_options(arguments)
        with netdefs.load_engine(arguments.variant) as engine:
            if engine.target != "cpu":
                raise InputError(
                    f"{arguments.variant} is a {engine.target} plan, which holds no layers. Name a variant."
                )
            if arguments.mark:
                raise InputError("--mark needs a variant: the outputs of a built engine are fixed.")
            engine.save(output)
    else:
        netdefs.to_onnx(_define(arguments), output, outputs=arguments.mark)
    size = output.stat().st_size
    if arguments.json:
        _print_json({"onnx": str(output), "bytes": size})
    else:
        console.print(f"[bold]{output}[/bold]: {size / 1e6:.1f} MB. Look at it with Netron.")
    return OK


def _define(arguments: argparse.Namespace, package: str | None = None) -> Network:
    """The network that the options of `build`, `diff` and `onnx` describe."""
    given = {name: getattr(arguments, name) for name in NETWORK_OPTIONS}
    config = {name: value for name, value in given.items() if value is not None}
    return _model_of(arguments.variant).define_network(variant=arguments.variant, package=package, **config)


def _refuse_network_options(arguments: argparse.Namespace, allowed: str = "") -> None:
    """A file is finished: options that describe a network to define would do nothing, so they are refused."""
    for name in NETWORK_OPTIONS:
        if getattr(arguments, name) is not None and name != allowed:
            raise InputError(f"--{name.replace('_', '-')} is for defining a variant; {arguments.variant} is a file.")


def _model(module: ModuleType) -> Model:
    return module.model


def _model_of(variant: str) -> Model:
    zoo = netdefs.models()
    for name, variants in zoo.items():
        if variant in variants:
            return _model(getattr(netdefs, name))
    known = [variant for variants in zoo.values() for variant in variants]
    raise InputError(f"{variant!r} is neither a file nor a variant.{near(variant, known)} See `netdefs list`.")


def _feeds(
    arguments: argparse.Namespace, inputs: dict[str, Any], profile: Mapping[str, Any], info: dict[str, Any]
) -> dict[str, np.ndarray]:
    """What --image, --input or neither says to feed the network's only input; dynamic sizes are the profile's opt."""
    if len(inputs) != 1:
        raise InputError(
            f"This network has {len(inputs)} inputs; the command line feeds one. Use Engine.run in Python."
        )
    (name, (shape, _)), *_ = inputs.items()
    usual = profile[name][1] if name in profile else [1 if axis == 0 else 224 for axis in range(len(shape))]
    sizes = [size if size > 0 else int(usual[axis]) for axis, size in enumerate(shape)]
    if arguments.image:
        from netdefs.vision import preprocess, read_image

        if "preprocess" not in info:
            raise InputError(
                "This engine does not say how it wants pictures; give --input FILE.npy instead of --image."
            )
        height, width = sizes[2:]
        batch = [preprocess(read_image(path), info["preprocess"], (height, width)) for path in arguments.image]
        return {name: np.concatenate(batch)}
    if arguments.input:
        return {name: _load_npy(arguments.input)}
    if not hasattr(arguments, "module"):
        raise InputError("Give the engine something to run on: --image PICTURE or --input FILE.npy.")
    # Two networks can be compared on any input; noise of order 1 is what a normalized picture looks like to them.
    return {name: np.random.default_rng(0).standard_normal(sizes, dtype=np.float32)}


def _load_npy(path: str) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not an array that numpy.save wrote ({error}).") from error


def _top(outputs: dict[str, np.ndarray], count: int, labels_file: str | None) -> list[list[dict[str, Any]]]:
    """The most probable classes of each picture, from the outputs `prob` or `logits`."""
    labels = _read_labels(labels_file) if labels_file is not None else None
    if "prob" in outputs:
        probabilities = outputs["prob"]
    else:
        exponentials = np.exp(outputs["logits"] - outputs["logits"].max(1, keepdims=True))
        probabilities = exponentials / exponentials.sum(1, keepdims=True)
    if labels is not None and len(labels) != probabilities.shape[1]:
        raise InputError(f"{labels_file} has {len(labels)} lines, and the network {probabilities.shape[1]} classes.")
    return [
        [
            {"label": int(i) if labels is None else labels[i], "probability": _finite(row[i])}
            for i in np.argsort(-row)[:count]
        ]
        for row in probabilities
    ]


def _read_labels(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Can't read class names from {path}: {error}.") from error


def _statistics(array: np.ndarray) -> dict[str, Any]:
    numbers: dict[str, float | None] = {}
    for key in ("min", "max", "mean"):
        numbers[key] = _finite(getattr(array, key)())
    return {"shape": list(array.shape), "dtype": str(array.dtype), **numbers}


def _finite(number: Any) -> float | None:
    return float(number) if math.isfinite(number) else None  # JSON has no NaN


def _number(number: float | None) -> str:
    return "not finite" if number is None else f"{number:.5g}"


def _print_json(found: Any) -> None:
    print(json.dumps(found, indent=2, allow_nan=False))


def _infos(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: {"shape": list(shape), "dtype": str(dtype)} for name, (shape, dtype) in tensors.items()}


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _shape(text: str) -> tuple[Dimension, ...]:
    """1x3x224x224, where a size may be MIN:OPT:MAX."""
    sizes: list[Dimension] = []
    for part in text.split("x"):
        numbers = [int(number) for number in part.split(":")]
        if len(numbers) not in (1, 3):
            raise ValueError
        sizes.append(numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2]))
    return tuple(sizes)


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


# argparse puts these into its messages.
_shape.__name__ = "shape"
_count.__name__ = "positive number"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netdefs", description="PyTorch networks in TensorRT, proven layer by layer.")
    parser.add_argument("--version", action="version", version=f"netdefs {netdefs.__version__}")
    commands = parser.add_subparsers(title="commands", required=True)

    def add(name: str, command: Any, summary: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command, name=name)
        added.add_argument("--json", action="store_true", help="print JSON instead of tables")
        return added

    def network_options(to: argparse.ArgumentParser) -> None:
        to.add_argument("-w", "--weights", help="a .wts or .safetensors file; by default weights/VARIANT.wts")
        to.add_argument("--precision", choices=list(PRECISIONS), help="default fp32")
        to.add_argument("--input-shape", type=_shape, help="such as 1x3x224x224; a dynamic size is MIN:OPT:MAX")
        to.add_argument("--num-classes", type=int, help="by default read off the weights")
        to.add_argument("--fold-bn", action="store_true", default=None, help="fold batch norms into convolutions")

    def feed_options(to: argparse.ArgumentParser) -> None:
        group = to.add_mutually_exclusive_group()
        group.add_argument("--image", nargs="+", help="picture files, preprocessed as the model declares")
        group.add_argument("--input", help="an array from numpy.save, fed as it is")

    def write_options(to: argparse.ArgumentParser, flag: Sequence[str], text: str) -> None:
        to.add_argument(*flag, help=text)
        to.add_argument("--force", action="store_true", help="replace a file that exists")

    add("list", list_command, "List the networks.", "netdefs list")

    build = add(
        "build",
        build_command,
        "Build an engine from a variant and its weights.",
        "netdefs build resnet50 --weights weights/resnet50.wts --target cpu -o resnet50.engine",
    )
    build.add_argument("variant", help="see `netdefs list`")
    build.add_argument("--target", default="auto", choices=("auto", "cpu", "tensorrt", "tensorrt_rtx"))
    build.add_argument("--mark", action="append", default=[], metavar="PATTERN", help="further layers to give out")
    build.add_argument("--compute-capability", nargs="+", metavar="X.Y", help="GPUs to compile for (tensorrt_rtx)")
    network_options(build)
    write_options(build, ("-o", "--output"), "by default VARIANT.engine")

    run = add(
        "run", run_command, "Run an engine on a picture or an array.", "netdefs run resnet50.engine --image a.jpg"
    )
    run.add_argument("engine", help="a file that `netdefs build` or Engine.save wrote")
    feed_options(run)
    run.add_argument("--top", type=_count, default=5, help="how many classes to show (default 5)")
    run.add_argument("--labels", help="a text file with a class name on each line")
    write_options(run, ("-o", "--output"), "write the outputs to this .npz")

    diff = add(
        "diff",
        diff_command,
        "Compare every layer of a network or engine with PyTorch's.",
        "netdefs diff resnet50.engine timm:resnet50 --checkpoint resnet50.pth --image a.jpg",
    )
    diff.add_argument("variant", metavar="engine", help="an engine file, or a variant to define now")
    diff.add_argument("module", help="timm:NAME, torchvision:NAME, package.module:function or file.py:function")
    diff.add_argument("--checkpoint", help="weights to load into the PyTorch module")
    network_options(diff)
    feed_options(diff)
    diff.add_argument("--layers", default="*", help="a glob: only these (default *)")
    diff.add_argument("--mode", default="both", choices=("both", "chained", "isolated"))
    diff.add_argument("--tolerance", type=float, help="relative error; by default what the precision allows")
    diff.add_argument("--full", action="store_true", help="show all layers")
    write_options(diff, ("--report",), "write the whole report to this .json")

    onnx = add("onnx", onnx_command, "Write a network as an ONNX model.", "netdefs onnx resnet50 -o resnet50.onnx")
    onnx.add_argument("variant", metavar="engine", help="a CPU engine file, or a variant to define now")
    onnx.add_argument(
        "--from-onnx", action="store_true", help="the file is any ONNX model: through NVIDIA's parser and back"
    )
    onnx.add_argument("--mark", action="append", default=[], metavar="PATTERN", help="further layers to give out")
    network_options(onnx)
    write_options(onnx, ("-o", "--output"), "by default VARIANT.onnx")
    return parser


if __name__ == "__main__":
    sys.exit(main())
