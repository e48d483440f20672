"""What the benchmarks share: naming the machine, peak memory, timing in turns, tables."""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table


def machine() -> str:
    """The processor, its cores, and the Python that runs."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def peak() -> int:
    """The most memory that this process has had so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_turns(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call: one of each function per round, so that a noisy machine disturbs all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def show(title: str, seconds: dict[str, list[float]], baseline: str) -> None:
    """A table of medians, and of the ratio of each to the baseline: the median over rounds."""
    table = Table("", "median", "best", f"ratio to {baseline}", title=title, caption=machine())
    for name, values in seconds.items():
        ratio = statistics.median(value / base for value, base in zip(values, seconds[baseline], strict=True))
        table.add_row(name, f"{statistics.median(values):.4f} s", f"{min(values):.4f} s", f"{ratio:.2f}")
    Console().print(table)
