"""Reading and writing .wts against code that handles one value at a time: python benchmarks/wts.py --million 25."""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import machine, peak

# A convolution, its BatchNorm and the counter of that: what most networks are made of.
PATTERN = {"conv.weight": 512 * 512 * 9, **{f"bn.{name}": 512 for name in ("weight", "bias", "mean", "var")}, "bn.n": 1}
WAYS = ("plain", "netdefs")


def network(parameters: int) -> dict[str, np.ndarray]:
    """Named arrays of `parameters` values in all, the same each time."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    left = parameters
    while left:
        for name, size in PATTERN.items():
            if left:
                arrays[f"layer{len(arrays)}.{name}"] = (0.05 * rng.standard_normal(min(size, left))).astype(np.float32)
                left -= min(size, left)
    return arrays


def plain_write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a .wts as tensorrtx's exporters do."""
    with path.open("w") as file:
        file.write(f"{len(arrays)}\n")
        for name, array in arrays.items():
            values = array.reshape(-1)
            file.write(f"{name} {len(values)}")
            for value in values:
                file.write(" ")
                file.write(struct.pack(">f", float(value)).hex())
            file.write("\n")


def plain_read(path: Path) -> dict[str, np.ndarray]:
    """Reads a .wts as one would without thinking of speed."""
    arrays = {}
    with path.open() as file:
        for _ in range(int(file.readline())):
            name, _count, *tokens = file.readline().split()
            values = [struct.unpack(">f", bytes.fromhex(token))[0] for token in tokens]
            arrays[name] = np.array(values, np.float32)
    return arrays


def measure(way: str, job: str, path: Path, parameters: int, repeat: int) -> dict[str, float]:
    """The best time of some runs, and the memory that they needed beyond what there was before."""
    arrays = network(parameters) if job == "write" else {}
    run: Callable[[], object] = {
        "plain write": lambda: plain_write(path, arrays),
        "netdefs write": lambda: netdefs.save_wts(path, arrays),
        "plain read": lambda: plain_read(path),
        "netdefs read": lambda: netdefs.load_wts(path),
    }[f"{way} {job}"]
    before, seconds = peak(), []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "memory": peak() - before}


def in_a_process(*arguments: object) -> dict[str, float]:
    """What `measure` returns in a process of its own, whose memory tells of nothing else."""
    command = [sys.executable, __file__, "--measure", *(str(argument) for argument in arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def compare(parameters: int, repeat: int, where: Path | None) -> None:
    """Measures everything and prints the table."""
    console = Console()
    with tempfile.TemporaryDirectory(dir=where) as folder:
        files = {way: Path(folder) / f"{way}.wts" for way in WAYS}
        found = {}
        for job in ("write", "read"):
            for way in WAYS:
                with console.status(f"{job}, {way}"):
                    found[way, job] = in_a_process(way, job, files[way], parameters, repeat)
        same = files["plain"].read_bytes() == files["netdefs"].read_bytes()
        size = files["netdefs"].stat().st_size
    table = Table("", "value by value", "netdefs", "ratio", title=f".wts of {parameters:,} values, {size / 1e6:.0f} MB")
    for job in ("write", "read"):
        seconds = [found[way, job]["seconds"] for way in WAYS]
        table.add_row(f"{job}, s", *(f"{value:.3f}" for value in seconds), f"{seconds[0] / seconds[1]:.1f} x faster")
    shares = [found[way, "read"]["memory"] / size for way in WAYS]
    table.add_row(
        "read, memory", *(f"{share:.2f} x the file" for share in shares), f"{shares[0] / shares[1]:.1f} x less"
    )
    console.print(table)
    console.print(
        f"The two files are {'identical' if same else 'DIFFERENT'}. Best of {repeat}; each way in a process of its own."
    )
    console.print(machine())


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", type=float, default=25, help="parameters of the network, in millions (25)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the best counts (3)")
    parser.add_argument("--folder", type=Path, help="where to write; /dev/shm leaves the disk's speed out of it")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, job, path, parameters, repeat = options.measure
        print(json.dumps(measure(way, job, Path(path), int(parameters), int(repeat))))
    else:
        compare(int(options.million * 1e6), options.repeat, options.folder)


if __name__ == "__main__":
    main()
