"""Writing networks as ONNX files: time against writing their weights alone, and memory: python benchmarks/export.py.

HRNet-W48, and 1 GB of convolutions, as one file and with external data.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, machine, peak

CHANNELS = 512
NETWORKS = ("hrnet_w48", "convolutions")
ROUTES = ("one file", "external data")


def hrnet_w48() -> netdefs.Network:
    """HRNet-W48 with random weights."""
    bare = netdefs.Network({}, "hrnet_w48")
    netdefs.hrnet.define(bare, bare.input("input", (1, 3, 224, 224)), "hrnet_w48")
    rng = np.random.default_rng(0)
    weights = {key: rng.uniform(0.1, 1, shape).astype(np.float32) for key, shape in bare.weights.taken.items()}
    return netdefs.hrnet.define_network(weights, "hrnet_w48")


def convolutions() -> netdefs.Network:
    """1 GB of 3 x 3 convolutions, whose arrays are in memory once."""
    net = netdefs.Network({}, "convolutions")
    x = net.input("input", (1, CHANNELS, 8, 8))
    for i in range(round(1e9 / (4 * 9 * CHANNELS**2))):
        kernel = np.full((CHANNELS, CHANNELS, 3, 3), i, np.float32)
        layer = net.definition.add_convolution_nd(x, CHANNELS, (3, 3), net.convert(kernel, x.dtype, f"layer{i}"))
        layer.padding_nd = (1, 1)
        x = net.layer(layer, f"layer{i}", x)
    net.definition.mark_output(x)
    return net


def measure(which: str, route: str, folder: Path, rounds: int) -> dict[str, float]:
    """The size of the weights, the peak memory of this process, and the best times."""
    network = hrnet_w48() if which == "hrnet_w48" else convolutions()

    def fresh(name: str) -> Path:
        """A path that is not there: file systems take their time to replace a file."""
        for old in folder.glob(f"{name}*"):
            old.unlink()
        return folder / name

    def to_disk(name: str) -> None:
        """Waits until files are on the disk, and not only in the system's memory."""
        for path in folder.glob(f"{name}*"):
            with path.open("rb+") as file:
                os.fsync(file.fileno())

    def export() -> None:
        netdefs.to_onnx(network, fresh("network.onnx"), external_data=route == "external data")
        to_disk("network.onnx")

    export()
    memory = peak()
    weights = [array for array in network.keep if isinstance(array, np.ndarray)]

    def write() -> None:
        with fresh("weights").open("wb") as file:
            for array in weights:
                file.write(array.data)
        to_disk("weights")

    seconds = in_turns({"export": export, "write": write}, rounds)
    return {
        "weights": sum(array.nbytes for array in weights),
        "memory": memory,
        **{name: min(values) for name, values in seconds.items()},
    }


def in_a_process(*arguments: object) -> dict[str, float]:
    """What `measure` returns in a process of its own, whose memory tells of nothing else."""
    command = [sys.executable, __file__, "--measure", *(str(argument) for argument in arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def compare(rounds: int, where: Path | None) -> None:
    """Measures everything and prints the table."""
    console = Console()
    columns = ("network", "weights", "route", "export", "weights alone", "ratio", "peak memory")
    table = Table(*columns, title="Writing ONNX files", caption=machine())
    for which in NETWORKS:
        for route in ROUTES:
            with tempfile.TemporaryDirectory(dir=where) as folder, console.status(f"{which}, {route}"):
                found = in_a_process(which, route, folder, rounds)
            # HRNet's process made its weights before it exported them: its peak tells of that too.
            memory = f"{found['memory'] / found['weights']:.2f} x the weights" if which == "convolutions" else ""
            times = (f"{found['export']:.2f} s", f"{found['write']:.2f} s", f"{found['export'] / found['write']:.2f}")
            table.add_row(which, f"{found['weights'] / 1e6:.0f} MB", route, *times, memory)
    console.print(table)
    console.print(f"Best of {rounds}. Memory is that of the whole process, Python and TensorRT included.")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; /dev/shm leaves the disk's speed out of it")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        which, route, folder, rounds = options.measure
        print(json.dumps(measure(which, route, Path(folder), int(rounds))))
    else:
        compare(options.rounds, options.folder)


if __name__ == "__main__":
    main()
