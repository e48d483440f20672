"""`netdefs capture`."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

import netdefs
from netdefs.commands.feed import feeds
from netdefs.commands.options import add_command, count, feed_options, model_of, shape, write_options
from netdefs.commands.show import console, print_json
from netdefs.core.errors import InputError
from netdefs.core.files import check_output


def add(commands: Any) -> None:
    """Declares the command."""
    added = add_command(
        commands,
        "capture",
        command,
        "Write PyTorch's values to a file, for `netdefs diff` on a machine without PyTorch.",
        "netdefs capture timm:resnet50 --checkpoint resnet50.pth --like resnet50 --image a.jpg -o ref.safetensors",
    )
    added.add_argument("module", help="timm:NAME, torchvision:NAME, package.module:function or file.py:function")
    added.add_argument("--checkpoint", help="weights to load into the PyTorch module")
    added.add_argument("--prefix", default="", help="strip this from the checkpoint's names, as gen_wts does")
    added.add_argument("--skip", metavar="GLOB", action="append", default=[], help="leave these names out; repeatable")
    feed_options(added, several=True)
    added.add_argument("--like", metavar="VARIANT", help="prepare pictures, or size noise, as for this variant")
    added.add_argument("--input-shape", type=shape, help="such as 1x3x224x224: for --image and --random")
    added.add_argument("--layers", default="*", help="a glob: only the values of these (default *)")
    added.add_argument("--samples", type=count, metavar="N", help="N values of each tensor, not all: a small file")
    added.add_argument("--no-weights", action="store_true", help="leave the weights out: their hashes are kept")
    write_options(added, ("-o", "--output"), "the .safetensors to write", required=True)


def command(arguments: argparse.Namespace) -> int:
    """Runs the module and writes the file."""
    from netdefs.core.source import load_module  # torch comes with it

    check_output(arguments.output, arguments.force)
    if (arguments.prefix or arguments.skip) and not arguments.checkpoint:
        raise InputError("--prefix and --skip are about the names in a --checkpoint, and none is given.")
    inputs = _inputs(arguments)
    module = load_module(arguments.module, arguments.checkpoint, prefix=arguments.prefix, skip=arguments.skip)
    weights = False if arguments.no_weights else None
    netdefs.capture(
        module, inputs, arguments.output, layers=arguments.layers, samples=arguments.samples, weights=weights
    )
    size = Path(arguments.output).stat().st_size
    if arguments.json:
        print_json({"path": arguments.output, "bytes": size})
    else:
        console.print(f"{arguments.output}: {size / 1e6:.1f} MB")
    return 0


def _inputs(arguments: argparse.Namespace) -> Any:
    """What the module is given."""
    info: dict[str, Any] = {}
    sizes = arguments.input_shape
    if arguments.input and (sizes or arguments.like):
        raise InputError("--like and --input-shape are for --image and --random; --input is fed as it is.")
    if arguments.like:
        model = model_of(arguments.like)
        sizes = sizes or model.input_shape[arguments.like]
        info = {"preprocess": {**dataclasses.asdict(model.preprocess[arguments.like]), "place": "host"}}
    if arguments.image and not arguments.like:
        raise InputError(
            "--image needs --like VARIANT, which says how pictures are prepared. Or give --input FILE.npy."
        )
    if not arguments.input and sizes is None:
        raise InputError("Give an input: --input FILE.npy, --like VARIANT --image FILE, or --input-shape for noise.")
    if sizes is not None and not all(isinstance(size, int) for size in sizes):
        raise InputError("--input-shape is one shape here, such as 1x3x224x224: a capture is of what was run.")
    known = {"input": netdefs.engine.TensorInfo(tuple(sizes or ()), np.dtype(np.float32))}
    return feeds(arguments, known, {}, info)[0]
