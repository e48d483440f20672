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
from netdefs.core.files import exists, refuse_existing

DIFFERENT = 1  # exit code: a layer is out of tolerance


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
    diff.add_argument("module", help="timm:NAME, torchvision:NAME, package.module:function or file.py:function")
    diff.add_argument("--checkpoint", help="weights to load into the PyTorch module")
    diff.add_argument("--prefix", default="", help="strip this from the checkpoint's names, as gen_wts does")
    diff.add_argument("--skip", metavar="GLOB", action="append", default=[], help="leave these names out; repeatable")
    network_options(diff)
    feed_options(diff)
    diff.add_argument("--layers", default="*", help="a glob: only these (default *)")
    diff.add_argument("--mode", default="both", choices=("both", "chained", "isolated"))
    diff.add_argument("--tolerance", type=float, help="relative error; by default what the precision allows")
    diff.add_argument("--full", action="store_true", help="show all layers")
    write_options(diff, ("--report",), "write the whole report to this .json")


def command(arguments: argparse.Namespace) -> int:
    """Compares and prints the report; returns 1 if a layer is out of tolerance."""
    from netdefs.core.source import load_module  # torch comes with it
    from netdefs.engine.tensorrt import definition_inputs

    if arguments.report:
        refuse_existing(arguments.report, arguments.force)
    if (arguments.prefix or arguments.skip) and not arguments.checkpoint:
        raise InputError("--prefix and --skip are about the names in a --checkpoint, and none is given.")
    module = load_module(arguments.module, arguments.checkpoint, prefix=arguments.prefix, skip=arguments.skip)
    if exists(arguments.variant):
        refuse_network_options(arguments)
        compared: Any = netdefs.load_engine(arguments.variant)
        inputs = compared.inputs
    else:
        compared = define(arguments)
        inputs = definition_inputs(compared.definition)
    if compared.info.get("preprocess", {}).get("place") == "in_network":
        raise InputError(
            f"{arguments.variant} takes pictures and normalizes them itself, and the PyTorch module takes what is "
            "normalized already. Compare a network that is defined without --preprocess in_network."
        )
    report = netdefs.compare(
        compared,
        module,
        feeds(arguments, inputs, compared.profile, compared.info),
        layers=arguments.layers,
        mode=arguments.mode,
        tolerance=arguments.tolerance,
    )
    if arguments.report:
        report.to_json(arguments.report)
    if arguments.json:
        print_json(report.to_dict())
    else:
        report.print_to(console, full=arguments.full)
    return 0 if report.ok else DIFFERENT
