"""What several commands take, and what their options say."""

import argparse
import ast
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import netdefs
from netdefs.core.errors import InputError
from netdefs.core.network import Dimension, Network
from netdefs.core.precision import PRECISIONS
from netdefs.core.scope import near
from netdefs.core.zoo import PLACES, Model

NETWORK_OPTIONS = (
    "weights",
    "precision",
    "calibration",
    "input_shape",
    "num_classes",
    "fold_bn",
    "preprocess",
    "config",
)
WORDS = {"true": True, "false": False, "none": None}
Command = Callable[[argparse.Namespace], int]


def add_command(commands: Any, name: str, command: Command, summary: str, example: str) -> argparse.ArgumentParser:
    """Declares a command; options are added to what this returns."""
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(command=command, name=name)
    added.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return added


def network_options(to: argparse.ArgumentParser, usual: str = "fp32") -> None:
    """The options that describe a network to define: `define` reads them.

    Args:
        to: the command.
        usual: what its help says of the precision without --precision.
    """
    to.add_argument("-w", "--weights", help="a .wts or .safetensors file; by default weights/VARIANT.wts")
    to.add_argument(
        "--precision",
        type=precision,
        help=f"{', '.join(PRECISIONS)}, int8+fp16 ..., or a .json of patterns and precisions; default {usual}",
    )
    to.add_argument("--calibration", metavar="FILE", help="for int8 and fp8: what `netdefs quantize -o` wrote")
    to.add_argument("--input-shape", type=shape, help="such as 1x3x224x224; a dynamic size is MIN:OPT:MAX")
    to.add_argument("--num-classes", type=int, help="by default read off the weights")
    to.add_argument("--fold-bn", action="store_true", default=None, help="fold batch norms into convolutions")
    to.add_argument("--preprocess", choices=PLACES, help="in_network: uint8 (N, H, W, 3) in, normalized by layers")
    to.add_argument(
        "--config",
        type=assignment,
        action="append",
        metavar="NAME=VALUE",
        help="a further argument of the network, such as align_corners=True; a wrong one lists all",
    )


def feed_options(to: argparse.ArgumentParser, several: bool = False) -> None:
    """What to run on: pictures or an array; or, if `several`, arrays or noise one after another."""
    group = to.add_mutually_exclusive_group()
    group.add_argument("--image", nargs="+", help="picture files or folders, preprocessed as the model declares")
    if not several:
        group.add_argument("--input", help="an array from numpy.save, fed as it is")
        return
    group.add_argument("--input", nargs="+", metavar="FILE", help="arrays from numpy.save, fed as they are, one by one")
    group.add_argument("--random", type=count, metavar="N", help="N random inputs, the same every time (default: 1)")


def write_options(to: argparse.ArgumentParser, flag: Sequence[str], text: str, **options: Any) -> None:
    """The option for the file to write, and --force."""
    to.add_argument(*flag, help=text, **options)
    to.add_argument("--force", action="store_true", help="replace a file that exists")


def define(arguments: argparse.Namespace, package: str | None = None) -> Network:
    """The network that the network options describe."""
    given = {name: getattr(arguments, name) for name in NETWORK_OPTIONS}
    config = {name: value for name, value in given.items() if value is not None}
    model = model_of(arguments.variant)
    further = config.pop("config", [])
    for number, (name, _) in enumerate(further):
        if name in config or name in dict(further[:number]):
            raise InputError(f"{name} is given twice.")
    model.check_arguments(dict(further))  # first of all: what has an option of its own is not for --config
    return model.define_network(variant=arguments.variant, package=package, **config, **dict(further))


def refuse_network_options(arguments: argparse.Namespace, allowed: str = "") -> None:
    """A file is finished: options that describe a network to define would do nothing, so they are refused."""
    for name in NETWORK_OPTIONS:
        if getattr(arguments, name) is not None and name != allowed:
            raise InputError(f"--{name.replace('_', '-')} is for defining a variant; {arguments.variant} is a file.")


def model_of(variant: str) -> Model:
    """The model of the zoo that has this variant."""
    zoo = netdefs.models()
    for name, variants in zoo.items():
        if variant in variants:
            return getattr(netdefs, name).model
    known = [variant for variants in zoo.values() for variant in variants]
    raise InputError(f"{variant!r} is neither a file nor a variant.{near(variant, known)} See `netdefs list`.")


def shape(text: str) -> tuple[Dimension, ...]:
    """1x3x224x224, where a size may be MIN:OPT:MAX."""
    sizes: list[Dimension] = []
    for part in text.split("x"):
        numbers = [int(number) if number.isdecimal() else 0 for number in part.split(":")]
        if len(numbers) not in (1, 3) or 0 in numbers:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no shape: sizes joined by x, such as 1x3x224x224, a dynamic one MIN:OPT:MAX."
            )
        sizes.append(numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2]))
    return tuple(sizes)


def precision(text: str) -> str | dict[str, str]:
    """The name of a precision, or what a .json file has: an object of patterns and precisions."""
    if not text.endswith(".json"):
        return text
    try:
        found = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"can't read {text}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise argparse.ArgumentTypeError(f'{text} is no object of patterns and precisions, such as {{"*": "int8"}}.')
    return found


def count(text: str) -> int:
    """A positive number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number.")
    return int(text)


def assignment(text: str) -> tuple[str, Any]:
    """NAME=VALUE; what is no Python literal is a string, but true, false and none in any letters are no strings."""
    name, equals, value = text.partition("=")
    if not name.isidentifier() or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as align_corners=True.")
    if value.lower() in WORDS:
        return name, WORDS[value.lower()]
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
