"""Int8: how fast on the CPU engine and how far from float32, method by method; and how long calibrating takes.

python benchmarks/quant.py [--rounds 20] [--pictures 16]
"""

import argparse
import functools
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, show
from examples.hrnet_torch import hrnet_w18_small_v2
from examples.seeded import pictures, seed_weights
from netdefs.core.network import Network
from netdefs.engine.tensorrt import definition_inputs
from netdefs.quant import record
from netdefs.quant.cost import measure
from netdefs.quant.feeds import Takes
from netdefs.quant.methods import METHODS
from netdefs.quant.pairing import pair
from tests.reference.resnet import resnet50

NETWORKS = {"resnet50": (resnet50, netdefs.resnet), "hrnet_w18_small_v2": (hrnet_w18_small_v2, netdefs.hrnet)}


def main() -> None:
    """Prints three tables for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=16)
    arguments = parser.parse_args()
    for name, (make, zoo) in NETWORKS.items():
        define = functools.partial(zoo.define_network, seed_weights(make()).state_dict(), name)
        benchmark(name, define, arguments.rounds, arguments.pictures)


def benchmark(name: str, define: functools.partial[Network], rounds: int, count: int) -> None:
    """Calibrates a network, measures it, and runs it in turns with float32."""
    network = define()
    x = pictures((count, 3, 224, 224), seed=1).numpy()
    started = time.perf_counter()
    recording = record(network, x, progress=False)
    seconds = {"recording": time.perf_counter() - started}
    feeds = list(Takes(definition_inputs(network.definition), {}).feeds(x))
    table = Table("method", "ranges from histograms", "SQNR of logits", "worst layer alone", title=f"{name}, int8")
    found = {}
    for method in METHODS:
        started = time.perf_counter()
        found[method] = recording.calibration(method)
        seconds[method] = time.perf_counter() - started
        cost = measure(pair(network, define(precision="int8", calibration=found[method])), feeds)
        worst = min(cost.layers, key=lambda each: each.alone or 0.0)
        table.add_row(method, f"{seconds[method]:.2f} s", f"{cost.sqnr:.1f} dB", f"{worst.alone:.1f} dB, {worst.name}")
    Console().print(table)
    tensors = len(recording.histograms)
    Console().print(f"{count} pictures, {tensors} tensors: recorded in {seconds['recording']:.1f} s")
    low = define(precision="int8", calibration=found["mse"])
    sizes = {}
    engines = {}
    for kind, each in (("float32", network), ("int8", low)):
        engines[kind] = netdefs.build(each, target="cpu")
        sizes[kind] = sum(tensor.ByteSize() for tensor in netdefs.to_onnx(each).graph.initializer)
    one = {"input": np.ascontiguousarray(x[:1])}
    functions = {kind: functools.partial(engine.run, one) for kind, engine in engines.items()}
    for function in functions.values():
        function()
    show(f"{name}, CPU engine, batch 1", in_turns(functions, rounds), baseline="float32")
    Console().print(f"weights: int8 has {sizes['int8'] / sizes['float32']:.2f} times the bytes of float32")


if __name__ == "__main__":
    main()
