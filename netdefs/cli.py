"""The `netdefs` command: list, build, run, diff, capture, onnx, draw, quantize, scaffold.

Exit codes: 0 all is well; 1 `diff` found a layer out of tolerance, or a draft of `scaffold`'s is not clean; 2 something
was asked for that can't be done.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import netdefs
from netdefs.commands import build, capture, diff, draw, list, onnx, quantize, run, scaffold
from netdefs.core.errors import NetdefsError

OK, BAD, INTERRUPTED = 0, 2, 130
COMMANDS = (list, build, run, diff, capture, onnx, draw, quantize, scaffold)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code = int(arguments.command(arguments))
        sys.stdout.flush()
        return code
    except NetdefsError as error:
        print(f"netdefs {arguments.name}: {error}", file=sys.stderr)
        return BAD
    except KeyboardInterrupt:
        print(f"netdefs {arguments.name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # writing to standard output: files have errors of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes it once more at the end
        if isinstance(error, BrokenPipeError):  # `netdefs ... | head`
            return OK
        print(f"netdefs {arguments.name}: can't write to standard output: {error.strerror}", file=sys.stderr)
        return BAD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="netdefs", description="PyTorch networks in TensorRT, proven layer by layer.")
    parser.add_argument("--version", action="version", version=f"netdefs {netdefs.__version__}")
    commands = parser.add_subparsers(title="commands", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
