"""`netdefs run`."""

import argparse
import itertools
from pathlib import Path
from typing import Any

from rich.table import Table

import netdefs
from netdefs.commands.feed import load_npy, only_input
from netdefs.commands.options import add_command, count, feed_options, write_options
from netdefs.commands.pictures import run_on_pictures
from netdefs.commands.show import console, dims, number, print_json, statistics
from netdefs.core.errors import InputError
from netdefs.core.files import check_output, exists, refuse_existing, save_npz

FOR_PICTURES = ("draw", "box", "flip", "labels", "threshold", "iou", "top")


def add(commands: Any) -> None:
    """Declares the command."""
    run = add_command(
        commands,
        "run",
        command,
        "Run an engine on pictures or an array.",
        "netdefs run hrnet_pose_w32.engine --image photo.jpg --box 40 20 200 400 --draw out.jpg",
    )
    run.add_argument("engine", help="a file that `netdefs build` or Engine.save wrote")
    feed_options(run)
    run.add_argument("--draw", metavar="PATH", help="draw what is found: a picture, a video, or a folder for several")
    run.add_argument(
        "--box",
        type=float,
        nargs=4,
        action="append",
        metavar=("X1", "Y1", "X2", "Y2"),
        help="where a person is, for models that look at one at a time; may be repeated",
    )
    run.add_argument(
        "--flip", action="store_true", default=None, help="run on the mirrored picture too, and average (pose)"
    )
    run.add_argument("--threshold", type=float, help="show things with a score above this (detectors, text, points)")
    run.add_argument("--iou", type=float, help="how far boxes of one class may overlap (detectors)")
    run.add_argument("--top", type=count, help="how many classes to show (classifiers; default 5)")
    run.add_argument("--labels", help="a text file with a class name on each line")
    write_options(run, ("-o", "--output"), "write the outputs to this .npz")


def command(arguments: argparse.Namespace) -> int:
    """Runs, and prints what came out."""
    if arguments.output:
        check_output(arguments.output, arguments.force)
    if arguments.draw and not (exists(arguments.draw) and Path(arguments.draw).is_dir()):
        refuse_existing(arguments.draw, arguments.force)
    if not exists(arguments.engine) and arguments.engine in itertools.chain(*netdefs.models().values()):
        raise InputError(
            f"{arguments.engine} is a variant, and no file: make an engine of it with `netdefs build "
            f"{arguments.engine}` first."
        )
    with netdefs.load_engine(arguments.engine) as engine:
        if arguments.image:
            run_on_pictures(arguments, engine)
            return 0
        for option in FOR_PICTURES:
            if getattr(arguments, option) is not None:
                raise InputError(f"--{option} is for pictures: it goes with --image.")
        if not arguments.input:
            raise InputError("Give the engine something to run on: --image PICTURE or --input FILE.npy.")
        name, _ = only_input(engine.inputs, engine.profile)
        outputs = engine.run({name: load_npy(arguments.input)})
    if arguments.output:
        save_npz(arguments.output, outputs)
    numbers = {name: statistics(array) for name, array in outputs.items()}
    if arguments.json:
        print_json({"outputs": numbers})
        return 0
    table = Table("output", "shape", "min", "max", "mean")
    for name, of_output in numbers.items():
        table.add_row(name, dims(of_output["shape"]), *(number(of_output[key]) for key in ("min", "max", "mean")))
    console.print(table)
    return 0
