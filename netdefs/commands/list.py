"""`netdefs list`."""

import argparse
from typing import Any

from rich.table import Table

import netdefs
from netdefs.commands.options import add_command
from netdefs.commands.show import console, dims, print_json


def add(commands: Any) -> None:
    """Declares the command."""
    add_command(commands, "list", command, "List the networks.", "netdefs list")


def command(arguments: argparse.Namespace) -> int:
    """Prints the zoo."""
    if arguments.json:
        print_json(netdefs.models())
        return 0
    table = Table("module", "variants", "input")
    for name, variants in netdefs.models().items():
        shapes = dict.fromkeys(map(dims, getattr(netdefs, name).model.input_shape.values()))
        table.add_row(f"netdefs.{name}", ", ".join(variants), ", ".join(shapes))
    console.print(table)
    return 0
