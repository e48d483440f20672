"""Comparing an HRNet with PyTorch, layer by layer: time against running both networks once, and memory.

python benchmarks/diff.py [--rounds 5] [hrnet_w18_small_v2 hrnet_w48 ...]

Two things are "both networks once": a forward pass of PyTorch's module and a run of the CPU engine, with what comes
before that run (exporting the network and making a session, as a chained comparison must), or without it. Every network
and mode is a process of its own, whose peak memory is its own.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, machine, peak
from examples.seeded import pictures, seed_weights
from tests.reference import MODELS

NETWORKS = ("hrnet_w18_small_v2", "hrnet_w48")
ZOO = {"hrnet_pose": (256, 192), "hrnet_seg": (512, 1024), "hrnet": (224, 224)}  # by the start of a name: its input
MODES = ("chained", "isolated", "both")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One network in one mode; times are medians of seconds.

    Attributes:
        layers: rows of the report.
        first: the first comparison of a process: packages are imported in it.
        compare: a later one.
        both: a forward pass of PyTorch and a run of an engine that is there already, a tuple of the two.
        made: exporting the network, making a session and running it for the first time.
        ratio, ratio_made: of `compare` to both networks once, without what comes before a run and with it; the median
            over rounds.
        before, after: bytes: the most memory before anything was compared, and after the first comparison.
    """

    layers: int
    first: float
    compare: float
    both: tuple[float, float]
    made: float
    ratio: float
    ratio_made: float
    before: int
    after: int


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mode", choices=MODES, help="only this")
    parser.add_argument("--weights", help=argparse.SUPPRESS)  # of one network, in a process of its own
    arguments = parser.parse_args()
    if arguments.weights:
        print(json.dumps(dataclasses.asdict(measured(arguments))))
        return
    table = Table("", "rows", "first", "compare", "PyTorch", "engine", "making it", "ratio", "ratio, made", "peak")
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pth"
            module = seed_weights(MODELS[name](), input_shape=(2, 3, *_size(name)))
            torch.save(module.state_dict(), weights)
            del module
            for mode in [arguments.mode] if arguments.mode else MODES:
                found = _alone(name, mode, arguments.rounds, weights)
                numbers = (found.first, found.compare, *found.both, found.made)
                table.add_row(
                    f"{name}, {mode}",
                    str(found.layers),
                    *(f"{seconds:.2f} s" for seconds in numbers),
                    f"{found.ratio:.1f}",
                    f"{found.ratio_made:.1f}",
                    f"{found.after / 1e9:.2f} GB ({found.before / 1e9:.2f})",
                )
    table.title = "compare against running both networks once"
    table.caption = f"{machine()}; {torch.get_num_threads()} threads of PyTorch"
    Console(width=140).print(table)


def _alone(name: str, mode: str, rounds: int, weights: Path) -> Measured:
    """One network in one mode, in a fresh process."""
    options = ["--mode", mode, "--rounds", str(rounds), "--weights", str(weights)]
    done = subprocess.run([sys.executable, __file__, name, *options], check=True, stdout=subprocess.PIPE, text=True)
    content: dict[str, Any] = json.loads(done.stdout)
    return Measured(**{**content, "both": tuple(content["both"])})


def measured(arguments: argparse.Namespace) -> Measured:
    """Measures in this process."""
    (name,) = arguments.networks
    with torch.device("meta"):
        module = MODELS[name]()
    module.load_state_dict(torch.load(arguments.weights), assign=True)
    module.eval()
    x = pictures((1, 3, *_size(name)))
    zoo = getattr(netdefs, next(model for model in ZOO if name.startswith(model)))
    network = zoo.define_network(module.state_dict(), name, input_shape=tuple(x.shape))

    def forward() -> Any:
        with torch.no_grad():
            return module(x)

    def compare() -> Any:
        return netdefs.compare(network, module, x, mode=arguments.mode)

    forward()
    before = peak()
    reports: list[netdefs.Report] = []
    first = in_turns({"first": lambda: reports.append(compare())}, 1)
    after = peak()
    engine = netdefs.build(network, target="cpu")
    functions = {
        "torch": forward,
        "compare": compare,
        "engine": lambda: engine.run({"input": x}),
        "made": lambda: netdefs.build(network, target="cpu").run({"input": x}),
    }
    functions["engine"]()
    seconds = in_turns(functions, arguments.rounds)
    rounds = list(zip(*(seconds[key] for key in functions), strict=True))
    if not reports[0].ok:
        raise SystemExit(reports[0].verdict)
    return Measured(
        layers=len(reports[0].rows),
        first=first["first"][0],
        compare=statistics.median(seconds["compare"]),
        both=(statistics.median(seconds["torch"]), statistics.median(seconds["engine"])),
        made=statistics.median(seconds["made"]),
        ratio=statistics.median(c / (t + e) for t, c, e, _ in rounds),
        ratio_made=statistics.median(c / (t + m) for t, c, _, m in rounds),
        before=before,
        after=after,
    )


def _size(name: str) -> tuple[int, int]:
    return next(size for model, size in ZOO.items() if name.startswith(model))


if __name__ == "__main__":
    main()
