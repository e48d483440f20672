"""Turns a PyTorch checkpoint into a .wts for netdefs: python tools/gen_wts.py CHECKPOINT -o weights/x.wts."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from netdefs import yolov2, yolov3, yolov4
from netdefs.core.checkpoint import Checkpoint, read_checkpoint, read_module
from netdefs.core.convert import not_finite, sidecar_path, write_weights
from netdefs.core.errors import FileError, NetdefsError
from netdefs.core.files import refuse_existing
from netdefs.core.source import load_module
from netdefs.core.yolo.darknet_layers import Layer
from netdefs.core.yolo.darknet_weights import read_darknet

EXAMPLES = """\
examples:
  python tools/gen_wts.py resnet50.pth                          writes weights/resnet50.wts
  python tools/gen_wts.py yolov8n.pt -o weights/yolov8n.wts     a pickled whole module; no code of it is run
  python tools/gen_wts.py hrnet_seg.pth --prefix model. --skip 'loss.*'
  python tools/gen_wts.py yolov4-tiny.weights                   darknet's format; its layers are in the zoo
  python tools/gen_wts.py yolov4-obj.weights --cfg yolov4-obj.cfg
  python tools/gen_wts.py resnet50.pth --dry-run                lists the tensors, writes nothing
  python tools/gen_wts.py --model timm:hrnet_w18_small_v2
  python tools/gen_wts.py --model my_net.py:make --checkpoint my_net.pth -o weights/my_net.wts

Beside x.wts it writes x.wts.json: shapes, types, a hash, and of whole modules the BatchNorm eps and the activations.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="gen_wts.py",
        description="Turn a PyTorch checkpoint (.pt, .pth, .safetensors), or darknet's .weights, into a .wts, without "
        "running code from it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("file", metavar="CHECKPOINT", nargs="?", type=Path, help="the checkpoint to read")
    made.add_argument("-o", "--output", type=Path, help="the .wts to write (default: weights/<checkpoint's name>.wts)")
    made.add_argument(
        "--model",
        metavar="SPEC",
        help="take the weights of a live model: timm:NAME, torchvision:NAME, package.module:function, file.py:function",
    )
    made.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="load this into --model first; all of it must fit"
    )
    made.add_argument(
        "--cfg", metavar="FILE", type=Path, help="the .cfg of a .weights file, if the zoo lacks the network"
    )
    made.add_argument("--key", help="which entry of the checkpoint to take, where it holds several networks")
    made.add_argument("--prefix", default="", help="strip this from the names that begin with it (model.)")
    made.add_argument("--skip", metavar="GLOB", action="append", default=[], help="leave these names out; repeatable")
    made.add_argument("--dry-run", action="store_true", help="list key, shape and type, and write nothing")
    made.add_argument("--force", action="store_true", help="replace the output if it exists")
    made.add_argument(
        "--unsafe-pickle",
        action="store_true",
        help="load with torch.load(weights_only=False), which RUNS CODE FROM THE FILE; only for files you trust",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    command = parser()
    options = command.parse_args(argv)
    if (options.file is None) == (options.model is None):
        command.error("give a CHECKPOINT or --model SPEC, one of the two")
    if options.checkpoint and not options.model:
        command.error("--checkpoint goes with --model; a checkpoint alone is named without it")
    if options.model and (options.unsafe_pickle or options.key):
        command.error("--unsafe-pickle and --key go with a CHECKPOINT, not with --model")
    if options.model and options.cfg:
        command.error("--cfg goes with a .weights file of darknet, not with --model")
    if is_darknet(options) and (options.unsafe_pickle or options.key or options.prefix or options.skip):
        command.error("--key, --prefix, --skip and --unsafe-pickle are not for darknet's files: they hold no names")
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        run(options, Output(highlight=False, markup=False), errors)
    except NetdefsError as error:
        errors.print(f"gen_wts.py: {error}")
        return 2
    except KeyboardInterrupt:
        errors.print("gen_wts.py: interrupted")
        return 130
    return 0


class Output(Console):
    """The standard output."""

    def on_broken_pipe(self) -> None:
        """Leaves it to `printing`; rich would end the program with exit code 1."""
        raise BrokenPipeError


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """A block that prints to the standard output, and that ends early if the reader, such as `head`, has had enough.

    Raises:
        FileError: the output can't be written, to a full disk for instance.
    """
    try:
        yield
    except OSError as error:
        # Python flushes once more as it exits, and would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise FileError(f"Can't write to the standard output: {error.strerror}.") from error


def run(options: argparse.Namespace, console: Console, errors: Console) -> None:
    """Reads, lists or writes, as asked; what the user should know goes to `errors`.

    Raises:
        NetdefsError: bad input, or a file that can't be written.
    """
    output = options.output or default_output(options)
    if not options.dry_run:
        if output.suffix != ".wts":
            raise FileError(f"The output {output} must end in .wts: netdefs tells files by their names.")
        refuse_existing(output, options.force)
        refuse_existing(sidecar_path(output), options.force)
    checkpoint = read(options, errors)
    for note in checkpoint.notes:
        errors.print(f"note: {note}")
    for name, (nans, infinities) in not_finite(checkpoint.state_dict).items():
        errors.print(f"warning: {name} holds {nans} NaN and {infinities} infinite values")
    if not options.dry_run:
        write(checkpoint, output, errors)
    total = sum(array.size for array in checkpoint.state_dict.values())
    summary = (
        f"{len(checkpoint.state_dict)} tensors, {total:,} values, from {checkpoint.wrapping} of {checkpoint.source}"
    )
    extras = f"; eps of {len(checkpoint.eps)} BatchNorms" if checkpoint.eps else ""
    with printing():
        if options.dry_run:
            show(checkpoint, console)
        console.print(f"{'not written (dry run)' if options.dry_run else output}: {summary}{extras}", soft_wrap=True)


def default_output(options: argparse.Namespace) -> Path:
    """weights/ and the name of the checkpoint, or of the model."""
    named = options.file or options.checkpoint
    return Path("weights") / f"{named.stem if named else options.model.rpartition(':')[2]}.wts"


def read(options: argparse.Namespace, errors: Console) -> Checkpoint:
    """The weights of the checkpoint or the model that the options name."""
    if options.model:
        module = load_module(options.model, options.checkpoint)
        source = f"{options.model} with {options.checkpoint.name}" if options.checkpoint else options.model
        return read_module(module, source, prefix=options.prefix, skip=options.skip)
    if is_darknet(options):
        return read_darknet(options.file, options.cfg, darknet_networks())
    if options.unsafe_pickle:
        errors.print(f"warning: --unsafe-pickle runs whatever code {options.file} holds")
    return read_checkpoint(
        options.file,
        key=options.key,
        prefix=options.prefix,
        skip=options.skip,
        unsafe_pickle=options.unsafe_pickle,
    )


def is_darknet(options: argparse.Namespace) -> bool:
    """Whether the file is one of darknet's: with a cfg it can have any name, such as yolov4-obj.backup."""
    return options.cfg is not None or (options.file is not None and options.file.suffix == ".weights")


def darknet_networks() -> dict[str, list[Layer]]:
    """The layers of the zoo's networks in darknet's form, by variant."""
    variants = {**yolov2.VARIANTS, **yolov3.VARIANTS, **yolov4.VARIANTS}
    darknets = {name: config for name, config in variants.items() if config.get("form") in (None, "darknet")}
    return {name: config["layers"] for name, config in darknets.items() if config["layers"]}


def show(checkpoint: Checkpoint, console: Console) -> None:
    """Prints key, shape and type of every tensor."""
    table = Table("key", "shape", "type")
    for name, array in checkpoint.state_dict.items():
        table.add_row(name, "x".join(map(str, array.shape)) or "scalar", checkpoint.dtypes[name])
    if not console.is_terminal:
        console.width = 4096  # a file or a pipe has room for every name
    console.print(table)


def write(checkpoint: Checkpoint, output: Path, errors: Console) -> None:
    """Writes the .wts and its .json, with a progress bar."""
    if output.parent.name == "weights":
        try:
            output.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise FileError(f"Can't make the folder {output.parent}: {error.strerror}.") from error
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(output.name, total=sum(array.size for array in checkpoint.state_dict.values()))
        write_weights(checkpoint, output, progress=lambda count: bar.advance(task, count))


if __name__ == "__main__":
    sys.exit(main())
