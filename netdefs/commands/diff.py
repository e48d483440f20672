"""`netdefs diff`."""

import argparse
from typing import Any

import netdefs
from netdefs.commands.feed import feeds
from netdefs.commands.options import (
    add_command,
    define,
    feed_options,
    network_options,
    refuse_network_options,
    write_options,
)
from netdefs.commands.show import console, print_json
from netdefs.core.errors import InputError
from netdefs.core.files import check_output, exists

DIFFERENT = 1  # exit code: a layer is out of tolerance
CAPTURED = ".safetensors"  # what `netdefs capture` writes
FIRST = "first"  # --repro: of the first wrong layer


def add(commands: Any) -> None:
    """Declares the command."""
    diff = add_command(
        commands,
        "diff",
        command,
        "Compare every layer of a network or engine with PyTorch's.",
        "netdefs diff resnet50.engine timm:resnet50 --checkpoint resnet50.pth --image a.jpg",
    )
    diff.add_argument("variant", metavar="engine", help="an engine file, or a variant to define now")
    diff.add_argument(
        "module",
        help="timm:NAME, torchvision:NAME, package.module:function or file.py:function; "
        "or a .safetensors that `netdefs capture` wrote, which has the input in it",
    )
    diff.add_argument("--checkpoint", help="weights to load into the PyTorch module")
    diff.add_argument("--prefix", default="", help="strip this from the checkpoint's names, as gen_wts does")
    diff.add_argument("--skip", metavar="GLOB", action="append", default=[], help="leave these names out; repeatable")
    network_options(diff)
    feed_options(diff, several=True)
    diff.add_argument("--layers", default="*", help="a glob: only these (default *)")
    diff.add_argument(
        "--from", dest="start", metavar="LAYER", help="only what depends on this layer or block, included"
    )
    diff.add_argument("--to", dest="end", metavar="LAYER", help="only what this layer or block depends on, included")
    diff.add_argument("--mode", default="both", choices=("both", "chained", "isolated"))
    diff.add_argument("--tolerance", type=float, help="relative error; by default what the precision allows")
    diff.add_argument("--blocks", action="store_true", help="show blocks in place of layers")
    diff.add_argument("--full", action="store_true", help="show all layers")
    diff.add_argument(
        "--target",
        choices=("cpu", "tensorrt", "tensorrt_rtx"),
        help="compile the variant, and compare what the engine computes",
    )
    diff.add_argument(
        "--observe",
        default="outputs",
        choices=("outputs", "debug", "unfused"),
        help="how that engine's layers are seen: as marked outputs (default), as debug tensors, or those it leaves",
    )
    diff.add_argument("--yardstick", action="store_true", help="also run PyTorch in the network's precision")
    diff.add_argument(
        "--repro",
        metavar="LAYER",
        help=f"write a folder that shows this layer or block alone; {FIRST}: the first wrong",
    )
    diff.add_argument("--repro-to", metavar="FOLDER", help="where to (default repro-LAYER)")
    endings = "FILE ends with .html, .json, .csv, .onnx or .model-explorer.json"
    text = f"write the report, too; {endings}; repeatable"
    write_options(diff, ("--report",), text, action="append", default=[], metavar="FILE")


def command(arguments: argparse.Namespace) -> int:
    """Compares and prints the report; returns 1 if a layer is out of tolerance."""
    from netdefs.core.source import load_module  # torch comes with it
    from netdefs.debug.report import form_of
    from netdefs.debug.repro import check_folder
    from netdefs.engine.tensorrt import definition_inputs

    forms = {form_of(path) for path in arguments.report}
    for path in arguments.report:
        check_output(path, arguments.force)
    if arguments.repro_to and not arguments.repro:
        raise InputError("--repro-to says where to write what --repro LAYER cuts out, and no --repro is given.")
    if arguments.repro and (arguments.repro_to or arguments.repro != FIRST):
        check_folder(_repro_folder(arguments, arguments.repro), arguments.force)
    if (arguments.prefix or arguments.skip) and not arguments.checkpoint:
        raise InputError("--prefix and --skip are about the names in a --checkpoint, and none is given.")
    captured = arguments.module.endswith(CAPTURED)
    module: Any = arguments.module
    if captured:
        _refuse_input(arguments)
    else:
        module = load_module(arguments.module, arguments.checkpoint, prefix=arguments.prefix, skip=arguments.skip)
    if exists(arguments.variant):
        refuse_network_options(arguments)
        compared: Any = netdefs.load_engine(arguments.variant)
        inputs = compared.inputs
    else:
        compared = define(arguments, "tensorrt" if arguments.target == "tensorrt" else None)
        inputs = definition_inputs(compared.definition)
    given, module_given = (None, None) if captured else feeds(arguments, inputs, compared.profile, compared.info)
    report = netdefs.compare(
        compared,
        module,
        given,
        layers=arguments.layers,
        mode=arguments.mode,
        tolerance=arguments.tolerance,
        module_inputs=module_given,
        start=arguments.start,
        end=arguments.end,
        details=".html" in forms,
        target=arguments.target,
        observe=arguments.observe,
        yardstick=arguments.yardstick,
    )
    for path in arguments.report:
        report.save(path)
    if arguments.json:
        print_json(report.to_dict())
    else:
        report.print_to(console, full=arguments.full, blocks=arguments.blocks)
    _write_repro(report, arguments)
    return 0 if report.ok else DIFFERENT


def _refuse_input(arguments: argparse.Namespace) -> None:
    """A capture has the input and the weights in it."""
    for name in ("image", "input", "random", "checkpoint"):
        if getattr(arguments, name):
            raise InputError(
                f"--{name} is for a PyTorch module; {arguments.module} is a capture, with its input and weights in it."
            )


def _write_repro(report: netdefs.Report, arguments: argparse.Namespace) -> None:
    """Writes what --repro asks for; nothing, if that is the first wrong layer and there is none."""
    layer = arguments.repro
    if layer == FIRST:
        layer = report.first_bad.name if report.first_bad is not None else ""
    if not layer:
        return
    folder = report.repro(layer, _repro_folder(arguments, layer), force=arguments.force)
    if not arguments.json:
        console.print(f"{layer} alone: [bold]python {folder / 'repro.py'}[/bold]", soft_wrap=True)


def _repro_folder(arguments: argparse.Namespace, layer: str) -> str:
    return arguments.repro_to or f"repro-{layer.replace('/', '.')}"
