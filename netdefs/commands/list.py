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
        by_size: dict[str, list[str]] = {}
        for variant in variants:
            by_size.setdefault(dims(getattr(netdefs, name).model.input_shape[variant]), []).append(variant)
        for i, (size, of_size) in enumerate(by_size.items()):
            table.add_row("" if i else f"netdefs.{name}", ", ".join(of_size), size)
    console.print(table)
    return 0
