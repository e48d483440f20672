"""Comparing HRNet-W18-C-Small-v2 with PyTorch, layer by layer: time and memory against one forward pass of PyTorch.

python benchmarks/diff.py [--rounds 5]
"""

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, peak, show
from examples.hrnet_torch import hrnet_w18_small_v2
from examples.seeded import pictures, seed_weights


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    module = seed_weights(hrnet_w18_small_v2())
    x = pictures((1, 3, 224, 224))
    network = netdefs.hrnet.define_network(module.state_dict(), "hrnet_w18_small_v2")
    with torch.no_grad():
        module(x)
    before = peak()
    report = netdefs.compare(network, module, x)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return module(x)

    functions = {
        "torch, one forward pass": forward,
        "compare, chained": lambda: netdefs.compare(network, module, x, mode="chained"),
        "compare, isolated": lambda: netdefs.compare(network, module, x, mode="isolated"),
        "compare, both": lambda: netdefs.compare(network, module, x, mode="both"),
    }
    seconds = in_turns(functions, rounds)
    console = Console()
    console.print(report.verdict)
    show("HRNet-W18-C-Small-v2 against PyTorch, 224 x 224", seconds, baseline="torch, one forward pass")
    console.print(
        f"Peak memory of the process: {peak() / 1e6:.0f} MB, {before / 1e6:.0f} MB of it before anything was compared."
    )


if __name__ == "__main__":
    main()
