"""`netdefs scaffold`."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from netdefs.commands.options import add_command, assignment, write_options
from netdefs.commands.show import console, print_json
from netdefs.core.errors import InputError

UNCLEAN = 1  # exit code: the file is written, and something about it is wrong or lacks


def add(commands: Any) -> None:
    """Declares the command."""
    added = add_command(
        commands,
        "scaffold",
        command,
        "Write the first draft of a network's definition from any PyTorch module, and check it layer by layer.",
        "netdefs scaffold timm:resnext50_32x4d --input 1x3x224x224 -o resnext.py\n  "
        "netdefs scaffold mypackage.models:build_net --checkpoint net.pt --input images:2x3x480x640 -o mynet.py",
    )
    added.add_argument(
        "source",
        nargs="?",
        help="timm:NAME, torchvision:NAME, package.module:function or file.py:function; a class does as well",
    )
    added.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME:]SIZES[:TYPE]",
        help="what it is called with, such as 1x3x224x224 or tokens:1x16:int64; repeat it for several",
    )
    added.add_argument(
        "--arg",
        type=assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the function or class is called with; repeatable",
    )
    added.add_argument("--checkpoint", help="weights to load into it; without, weights are made up for the check")
    added.add_argument("--prefix", default="", help="strip this from the checkpoint's names, as gen_wts does")
    added.add_argument("--skip", metavar="GLOB", action="append", default=[], help="leave these names out; repeatable")
    added.add_argument(
        "--variant",
        type=_variant,
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="a variant of the same file, called NAME; repeatable",
    )
    added.add_argument("--partial", action="store_true", help="leave a marked gap where something can't be expressed")
    added.add_argument("--no-compile", action="store_true", help="don't compile it ahead of time")
    write_options(added, ("-o", "--output"), "the .py file to write", required=True)


def command(arguments: argparse.Namespace) -> int:
    """Writes the draft and prints the verdict; returns 1 if that is not clean."""
    from netdefs.scaffold.inputs import read_input
    from netdefs.scaffold.origin import open_origin  # torch comes with it
    from netdefs.scaffold.writing import check_target, variant_of, write

    sources = dict(arguments.variant)
    if len(sources) < len(arguments.variant):
        raise InputError("Two variants have the same name.")
    if arguments.source:
        if variant_of(arguments.source) in sources:
            raise InputError(f"{arguments.source} is the variant {variant_of(arguments.source)}, which is given twice.")
        sources = {variant_of(arguments.source): arguments.source, **sources}
    if not sources:
        raise InputError("Name a module: timm:NAME, torchvision:NAME, package.module:function or file.py:function.")
    if arguments.checkpoint and len(sources) > 1:
        raise InputError(f"--checkpoint is for one module, and {len(sources)} are given. A draft has no weights in it.")
    if (arguments.prefix or arguments.skip) and not arguments.checkpoint:
        raise InputError("--prefix and --skip are about the names in a --checkpoint, and none is given.")
    given = dict(arguments.arg)
    if len(given) < len(arguments.arg):
        raise InputError("--arg gives the same name twice.")
    inputs = [read_input(text) for text in arguments.input]
    check_target(Path(arguments.output), arguments.force)
    with _status(quiet=arguments.json) as say:
        origins = {}
        for variant, source in sources.items():
            say(f"Loading {source}")
            origins[variant] = open_origin(
                source,
                inputs,
                arguments=given,
                checkpoint=arguments.checkpoint,
                prefix=arguments.prefix,
                skip=arguments.skip,
            )
        verdict = write(
            origins,
            arguments.output,
            partial=arguments.partial,
            compiles=not arguments.no_compile,
            force=arguments.force,
            say=say,
        )
    if arguments.json:
        print_json(verdict.to_dict())
    else:
        console.print(verdict.text, soft_wrap=True, markup=False, highlight=False)
    return 0 if verdict.clean else UNCLEAN


@contextlib.contextmanager
def _status(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Shows on the error output, if that is a terminal, what is being done."""
    shown = Console(stderr=True, quiet=quiet)
    if not shown.is_terminal:
        yield lambda text: None
        return
    with shown.status("") as status:
        yield lambda text: status.update(f"{text} ...")


def _variant(text: str) -> tuple[str, str]:
    """NAME=SOURCE."""
    name, equals, source = text.partition("=")
    if not name or not equals or ":" not in source:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SOURCE, such as small=timm:resnet18.")
    return name, source
