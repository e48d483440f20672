"""`netdefs build`."""

import argparse
import time
from pathlib import Path
from typing import Any

import netdefs
from netdefs.commands.options import add_command, define, network_options, write_options
from netdefs.commands.show import console, infos, print_json
from netdefs.core.files import check_output


def add(commands: Any) -> None:
    """Declares the command."""
    build = add_command(
        commands,
        "build",
        command,
        "Build an engine from a variant and its weights.",
        "netdefs build resnet50 --weights weights/resnet50.wts --target cpu -o resnet50.engine",
    )
    build.add_argument("variant", help="see `netdefs list`")
    build.add_argument("--target", default="auto", choices=("auto", "cpu", "tensorrt", "tensorrt_rtx"))
    build.add_argument("--mark", action="append", default=[], metavar="PATTERN", help="further layers to give out")
    build.add_argument("--compute-capability", nargs="+", metavar="X.Y", help="GPUs to compile for (tensorrt_rtx)")
    network_options(build)
    write_options(build, ("-o", "--output"), "by default VARIANT.engine")


def command(arguments: argparse.Namespace) -> int:
    """Defines, builds and saves."""
    output = Path(arguments.output or f"{arguments.variant}.engine")
    check_output(output, arguments.force)
    check_output(f"{output}.json", arguments.force)  # a plan's sidecar
    options: dict[str, Any] = {}
    if arguments.compute_capability:
        options["compute_capabilities"] = tuple(arguments.compute_capability)
    started = time.perf_counter()
    package = arguments.target if arguments.target.startswith("tensorrt") else None
    network = define(arguments, package)
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
            "inputs": infos(engine.inputs),
            "outputs": infos(engine.outputs),
        }
    if arguments.json:
        print_json(found)
        return 0
    console.print(
        f"[bold]{output}[/bold]: {arguments.variant} for {engine.target}, {network.precision}, "
        f"{found['layers']} layers, {found['bytes'] / 1e6:.1f} MB; "
        f"defined in {defined - started:.2f} s, built in {built - defined:.2f} s.",
        soft_wrap=True,
    )
    return 0
