"""Draws docs/diff.svg, the README's picture: what `netdefs diff` says of an HRNet with one wrong batch norm eps.

python docs/make_picture.py
"""

import sys
from pathlib import Path

import numpy as np
from rich.console import Console

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))  # the examples are no installed package
from examples.hrnet_torch import hrnet_w18_small_v2
from examples.seeded import seed_weights


def compared(details: bool = False) -> netdefs.Report:
    """The report of an HRNet with one wrong batch norm eps."""
    module = seed_weights(hrnet_w18_small_v2())
    weights = netdefs.Weights(module.state_dict())
    weights.metadata["eps"] = {"stage3.1.branches.1.0.bn2": 1e-3}
    network = netdefs.hrnet.define_network(weights, "hrnet_w18_small_v2")
    picture = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    return netdefs.compare(network, module, picture, details=details)


def main() -> None:
    """Compares, and saves what the terminal shows."""
    report = compared()
    console = Console(record=True, width=120)
    console.print("[bold]$ netdefs diff hrnet.engine examples/hrnet_torch.py:hrnet_w18_small_v2 --image photo.jpg")
    report.print_to(console)
    console.save_svg(str(Path(__file__).parent / "diff.svg"), title="netdefs diff")


if __name__ == "__main__":
    main()
