"""`netdefs quantize`."""

import argparse
import json
from pathlib import Path
from typing import Any

from netdefs.commands.options import add_command, count, define, network_options, write_options
from netdefs.commands.show import console, print_json
from netdefs.core.errors import InputError
from netdefs.core.files import atomic_write, check_output
from netdefs.core.network import Network
from netdefs.core.weights import Weights
from netdefs.core.zoo import find_weights


def add(commands: Any) -> None:
    """Declares the command."""
    quantize = add_command(
        commands,
        "quantize",
        command,
        "Calibrate a network on pictures, and measure what int8, fp8 or half precision costs.",
        "netdefs quantize resnet50 --images photos --target-sqnr 20 -o resnet50.calib.json",
    )
    quantize.add_argument("variant", help="see `netdefs list`")
    quantize.add_argument("--images", nargs="+", required=True, metavar="PATH", help="folders, pictures or videos")
    network_options(quantize, usual="int8")
    group = quantize.add_argument_group("calibration")
    group.add_argument("--method", default="mse", help="entropy, percentile, mse (default) or max")
    group.add_argument("--percentile", type=float, default=99.99, help="for --method percentile (default 99.99)")
    group.add_argument(
        "--least", type=count, default=8, metavar="N", help="how many pictures there must be (default 8)"
    )
    group.add_argument("--equalize", action="store_true", help="cross-layer equalisation first: changes the weights")
    group.add_argument("--correct-bias", action="store_true", help="then bias correction: changes the weights")
    group = quantize.add_argument_group("search for layers to keep")
    group.add_argument("--target-sqnr", type=float, metavar="DB", help="signal to noise that the outputs are to reach")
    group.add_argument("--metric", metavar="MODULE:FUNCTION", help="gets an engine, gives a number: more is better")
    group.add_argument("--max-drop", type=float, metavar="X", help="by how much the metric may be less than in float32")
    group.add_argument(
        "--outputs", nargs="+", default=["*"], metavar="NAME", help="names or globs of those that count (default: all)"
    )
    group.add_argument(
        "--keep", metavar="PRECISION", help="of the layers that are kept (default fp16, for half precision fp32)"
    )
    group.add_argument(
        "--measure-on", type=count, default=16, metavar="N", help="pictures of the cost and the target (default 16)"
    )
    group.add_argument("--search-on", type=count, default=4, metavar="N", help="pictures to rank layers on (default 4)")
    quantize.add_argument("--full", action="store_true", help="show all layers")
    quantize.add_argument(
        "--report", metavar="FILE", help="write all of it to this .html or .json, or the curve to .svg"
    )
    quantize.add_argument("--write-precision", metavar="FILE", help="write what --precision of `netdefs build` takes")
    quantize.add_argument("--write-weights", metavar="FILE", help="write the changed weights to this .wts")
    write_options(quantize, ("-o", "--output"), "write the calibration to this .json")


def command(arguments: argparse.Namespace) -> int:
    """Calibrates, measures, searches, and writes what it is asked to."""
    from netdefs.core.source import load_function
    from netdefs.quant import Calibration, Options, study
    from netdefs.quant.chart import check_suffix, write_curve, write_page
    from netdefs.quant.view import print_study

    changes = arguments.equalize or arguments.correct_bias
    if arguments.write_weights and not changes:
        raise InputError("--write-weights goes with --equalize or --correct-bias: without them no weight changes.")
    if changes and arguments.output and not arguments.write_weights:
        raise InputError("The calibration is for the changed weights: give --write-weights FILE.wts to have them too.")
    suffix = check_suffix(arguments.report) if arguments.report else ""
    for flag, given in (("--write-precision", arguments.write_precision), ("A curve as .svg", suffix == ".svg")):
        if given and arguments.target_sqnr is None and not arguments.metric:
            raise InputError(f"{flag} goes with --target-sqnr or --metric: without them nothing is searched for.")
    for path in (arguments.output, arguments.report, arguments.write_precision, arguments.write_weights):
        if path:
            check_output(path, arguments.force)
    source = Weights(arguments.weights or find_weights(arguments.variant))

    def make(precision: Any, calibration: Calibration | None, weights: Weights | None) -> Network:
        changed = argparse.Namespace(**vars(arguments))
        changed.precision, changed.calibration, changed.weights = precision, calibration, weights or source
        return define(changed)

    options = Options(
        precision=arguments.precision or "int8",
        method=arguments.method,
        percentile=arguments.percentile,
        least=arguments.least,
        equalize=arguments.equalize,
        correct_bias=arguments.correct_bias,
        target=arguments.target_sqnr,
        metric=load_function(arguments.metric) if arguments.metric else None,
        max_drop=arguments.max_drop,
        keep=arguments.keep,
        outputs=arguments.outputs,
        measure_on=arguments.measure_on,
        search_on=arguments.search_on,
        progress=not arguments.json,
    )
    if arguments.output and not options.calibrates:
        raise InputError(f"{options.base} needs no calibration, so there is none for {arguments.output}.")
    calibration = None
    if arguments.calibration:
        if options.equalize or not options.calibrates:
            why = "other weights need another one" if options.equalize else f"{options.base} needs none"
            raise InputError(f"--calibration {arguments.calibration} can't be used: {why}.")
        calibration = Calibration.load(arguments.calibration)
    found = study(make, list(arguments.images), options, calibration)
    if found.calibration is not None and arguments.output:
        found.calibration.save(arguments.output)
    if arguments.write_weights and found.weights is not None:
        save_weights(found.weights, arguments.write_weights)
    if arguments.write_precision:
        chosen = {"*": found.precision} if isinstance(found.precision, str) else dict(found.precision)
        write_text(arguments.write_precision, json.dumps(chosen, indent=2) + "\n")
    if suffix == ".json":
        write_text(arguments.report, json.dumps(found.to_dict(), indent=2) + "\n")
    elif suffix:
        (write_curve if suffix == ".svg" else write_page)(found, arguments.report)
    if arguments.json:
        print_json(found.to_dict())
        return 0
    print_study(found, console, arguments.full)
    if arguments.output and found.calibration is not None:
        notes = "".join(f" {note}" for note in found.calibration.notes)
        console.print(
            f"[bold]{arguments.output}[/bold]: {len(found.calibration.amax)} ranges by {options.method}, "
            f"{found.pictures} pictures.{notes}",
            soft_wrap=True,
        )
    return 0


def save_weights(weights: Weights, path: str) -> None:
    """Writes weights as .wts, and beside it what is known of them."""
    from netdefs.core.weights import weights_sha256
    from netdefs.core.wts import save_wts

    arrays = {key: weights[key] for key in weights}
    save_wts(path, arrays)
    if "shapes" in weights.metadata:
        known = {key: value for key, value in weights.metadata.items() if key != "flat"}
        known["weights_sha256"] = weights_sha256(arrays)
        write_text(f"{path}.json", json.dumps(known, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file, once it is complete."""
    with atomic_write(path) as file:
        file.write(text.encode())
