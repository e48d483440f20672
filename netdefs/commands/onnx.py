"""`netdefs onnx`."""

import argparse
from pathlib import Path
from typing import Any

import netdefs
from netdefs.commands.options import add_command, define, network_options, refuse_network_options, write_options
from netdefs.commands.show import console, print_json
from netdefs.core.errors import InputError
from netdefs.core.files import check_output, exists


def add(commands: Any) -> None:
    """Declares the command."""
    onnx = add_command(
        commands, "onnx", command, "Write a network as an ONNX model.", "netdefs onnx resnet50 -o resnet50.onnx"
    )
    onnx.add_argument("variant", metavar="engine", help="a CPU engine file, or a variant to define now")
    onnx.add_argument(
        "--from-onnx", action="store_true", help="the file is any ONNX model: through NVIDIA's parser and back"
    )
    onnx.add_argument("--mark", action="append", default=[], metavar="PATTERN", help="further layers to give out")
    network_options(onnx)
    write_options(onnx, ("-o", "--output"), "by default VARIANT.onnx")


def command(arguments: argparse.Namespace) -> int:
    """Writes the model."""
    output = Path(arguments.output or f"{Path(arguments.variant).stem}.onnx")
    check_output(output, arguments.force)
    if arguments.from_onnx:
        refuse_network_options(arguments, allowed="input_shape")
        parsed = netdefs.from_onnx(arguments.variant, input_shape=arguments.input_shape)
        netdefs.to_onnx(parsed, output, outputs=arguments.mark)
    elif exists(arguments.variant):
        refuse_network_options(arguments)
        with netdefs.load_engine(arguments.variant) as engine:
            if engine.target != "cpu":
                raise InputError(
                    f"{arguments.variant} is a {engine.target} plan, which holds no layers. Name a variant."
                )
            if arguments.mark:
                raise InputError("--mark needs a variant: the outputs of a built engine are fixed.")
            engine.save(output)
    else:
        netdefs.to_onnx(define(arguments), output, outputs=arguments.mark)
    size = output.stat().st_size
    if arguments.json:
        print_json({"onnx": str(output), "bytes": size})
    else:
        console.print(f"[bold]{output}[/bold]: {size / 1e6:.1f} MB. Look at it with Netron.")
    return 0
