"""`netdefs draw`."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import netdefs
from netdefs.commands.options import (
    add_command,
    define,
    model_of,
    network_options,
    refuse_network_options,
    write_options,
)
from netdefs.commands.show import console, print_json
from netdefs.core.errors import InputError
from netdefs.core.files import check_output, exists
from netdefs.core.network import Dimension, Network
from netdefs.core.zoo import find_weights


def add(commands: Any) -> None:
    """Declares the command."""
    added = add_command(
        commands,
        "draw",
        command,
        "Draw a network: every layer with its parameters, every line with its dimensions.",
        "netdefs draw resnet50 --module torchvision:resnet50 --depth 2 -o resnet50.html",
    )
    added.add_argument(
        "variant", metavar="network", nargs="?", help="a variant, an .onnx file or a CPU engine file; or only --module"
    )
    added.add_argument(
        "--module", help="side by side: timm:NAME, torchvision:NAME, package.module:function, file.py:function"
    )
    added.add_argument(
        "--depth", type=int, metavar="N", help="blocks that lie deeper are closed; by default what suits"
    )
    network_options(added)
    write_options(added, ("-o", "--output"), ".html (blocks open and close), .svg, .png or .dot; default NETWORK.html")


def command(arguments: argparse.Namespace) -> int:
    """Defines or reads what is asked for, and draws it."""
    from netdefs.draw import draw
    from netdefs.draw.drawing import check_target

    if arguments.variant is None and arguments.module is None:
        raise InputError("Name a network to draw, or a --module, or both. See `netdefs list` for variants.")
    name = arguments.variant or arguments.module.rpartition(":")[2]
    output = Path(arguments.output or f"{Path(name).stem}.html")
    check_target(output, arguments.depth)
    check_output(output, arguments.force)
    network = _network(arguments) if arguments.variant else None
    module, inputs = None, None
    if arguments.module:
        from netdefs.core.source import load_module  # torch comes with it

        module = load_module(arguments.module, pretrained=False)
        inputs = _inputs(arguments, network)
    shown, beside = (module, None) if network is None else (network, module)
    draw(shown, output, beside=beside, inputs=inputs, depth=arguments.depth)
    if arguments.json:
        print_json({"drawing": str(output), "bytes": output.stat().st_size})
    else:
        console.print(f"[bold]{output}[/bold]: {output.stat().st_size / 1e6:.2f} MB.", soft_wrap=True)
    return 0


def _network(arguments: argparse.Namespace) -> Any:
    """The network, or for a file that `netdefs build` wrote the engine."""
    path = Path(arguments.variant)
    if path.suffix == ".onnx":
        refuse_network_options(arguments, allowed="input_shape")
        return netdefs.from_onnx(path, input_shape=arguments.input_shape)
    if not exists(path):
        return define(arguments) if arguments.weights or _has_weights(path.name) else _without_weights(arguments)
    refuse_network_options(arguments)
    engine = netdefs.load_engine(path)
    if engine.target != "cpu":
        raise InputError(
            f"{path} is a {engine.target} plan, which holds no layers. Name the variant it was built from."
        )
    return engine


def _has_weights(variant: str) -> bool:
    try:
        find_weights(variant)
    except netdefs.NetdefsError:
        return False
    return True


def _without_weights(arguments: argparse.Namespace) -> Network:
    """The variant with zeros for weights: a drawing shows none of their values."""
    model = model_of(arguments.variant)
    config = dict(arguments.config or [])
    model.check_arguments(config)
    if arguments.num_classes is not None:
        config["num_classes"] = arguments.num_classes
    net = Network(name=arguments.variant)
    shape = model.input_shape[arguments.variant]
    model.define(net, net.input("input", shape), arguments.variant, **config)
    zeros = {key: np.zeros(size, np.float32) for key, size in net.weights.taken.items()}
    arguments.weights = zeros
    if not arguments.json:
        console.print(f"{arguments.variant} has no weights here; a drawing needs none.", style="dim")
    return define(arguments)


def _inputs(arguments: argparse.Namespace, network: Any) -> Any:
    """What the module is called with: zeros of the network's input shapes."""
    if network is None:
        if arguments.input_shape is None:
            raise InputError("A module alone needs the shape that it is called with: --input-shape 1x3x224x224.")
        return np.zeros([_usual(size) for size in arguments.input_shape], np.float32)
    inputs = network.inputs if hasattr(network, "inputs") else None
    if inputs is None:
        from netdefs.engine.tensorrt import definition_inputs

        inputs = definition_inputs(network.definition)
    found = []
    for name, (shape, dtype) in inputs.items():
        usual = network.profile[name][1] if name in network.profile else shape
        if any(size < 0 for size in usual):
            raise InputError(f"Input {name!r} is {tuple(shape)}, of open sizes: give them with --input-shape.")
        if getattr(network, "info", {}).get("preprocess", {}).get("place") == "in_network":
            usual, dtype = (usual[0], usual[3], usual[1], usual[2]), np.float32  # the module takes what is normalized
        found.append(np.zeros(usual, dtype))
    return tuple(found)


def _usual(size: Dimension) -> int:
    return size if isinstance(size, int) else size[1]
