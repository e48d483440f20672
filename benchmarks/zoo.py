"""Every variant of the zoo: size, error against PyTorch, times to compile and run. Makes docs/models.md.

python benchmarks/zoo.py                # sizes of all; measures small networks that zoo.json lacks; docs/models.md
python benchmarks/zoo.py resnet50 ...   # measures these, again and of any size, and keeps the other rows
python benchmarks/zoo.py --check        # measures nothing; fails if docs/models.md is not what zoo.json says
"""

import argparse
import datetime
import functools
import json
import math
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

import netdefs
from netdefs.core.files import atomic_write
from netdefs.core.network import Network
from netdefs.core.zoo import Model

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, machine
from examples.seeded import pictures, seed_weights
from tests import golden
from tests.reference import MODELS, constant, shapes_of

ROOT = Path(__file__).parent.parent
MEASURED = Path(__file__).parent / "zoo.json"
PAGE = ROOT / "docs" / "models.md"
RANKED = "dets"  # rows by score: rounding swaps those that are next to equal, and the tests compare them as sets
LARGEST = 100e9  # operations of a network that is measured without being named
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # in a state_dict, but no parameters
HEAD = """\
| variant | parameters | GFLOPs | input | error | compile | CPU (torch) |
|---|--:|--:|---|--:|--:|--:|"""
INTRODUCTION = """\
# The zoo

Made by `python benchmarks/zoo.py`; the tests check that it is up to date. Of large networks, some were not measured.

- **GFLOPs** are 10^9 operations of convolutions, deconvolutions and matrix products, two for each multiply-add.
- **Error** is the largest relative L2 error of an output on the CPU engine, in float32. *upstream*: against values that
  the upstream implementation itself gave; else against our PyTorch reference, whose keys are upstream's.
- **Compile** is the time to compile for one GPU generation (8.6) with TensorRT-RTX on the machine below, without a GPU.
- **CPU** is the CPU engine's time for one picture, and in brackets torch's divided by it: above 1, ours is faster.
"""


def main() -> int:
    """Measures, writes the page, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="measure these")
    parser.add_argument("--check", action="store_true", help="exit with 1 if docs/models.md is out of date")
    arguments = parser.parse_args()
    known = {v: getattr(netdefs, name).model for name, variants in netdefs.models().items() for v in variants}
    found = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    if arguments.check:
        if found.keys() == known.keys() and PAGE.read_text() == page(found):
            return 0
        print(f"{PAGE} is out of date: run python benchmarks/zoo.py")
        return 1
    if unknown := [variant for variant in arguments.variants if variant not in known]:
        parser.error(f"the zoo has no {', '.join(unknown)}; docs/models.md lists its variants")
    torch.set_num_threads(1)
    # The page has a row for each: one that zoo.json lacks gets its size, also when others are asked for.
    wanted = [v for v in known if v in arguments.variants or v not in found] if arguments.variants else list(known)
    for variant in track(wanted):
        model, old = known[variant], found.get(variant, {})
        facts = facts_of(model, variant)
        lacking = "error" not in old and facts["operations"] <= LARGEST
        asked = variant in arguments.variants if arguments.variants else lacking
        found[variant] = {**old, **facts, **(measure(model, variant) if asked else {})}
        with atomic_write(MEASURED) as file:
            file.write((json.dumps({name: found[name] for name in known if name in found}, indent=1) + "\n").encode())
    with atomic_write(PAGE) as file:
        file.write(page(found).encode())
    return 0


def facts_of(model: Model, variant: str) -> dict[str, Any]:
    """What the definition says: input, parameters, operations."""
    network = model.define_network(constant(shapes_of(variant)), variant)
    taken = network.weights.taken
    parameters = sum(math.prod(shape) for key, shape in taken.items() if not key.endswith(STATISTICS))
    shape = list(model.input_shape[variant])
    return {"input": shape, "parameters": parameters, "operations": operations(network)}


def measure(model: Model, variant: str) -> dict[str, Any]:
    """What the table says of a variant and takes time to find out."""
    shape = model.input_shape[variant]
    data = [path.stem for path in (ROOT / "tests" / "data").glob(f"{variant}.npz")]
    module = MODELS[variant]().eval()
    if data:
        g = golden.load(data[0], ROOT / "tests" / "data")
        module.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in g.state_dict.items()})
        shape, x = g.input.shape, g.input  # may be of another size than the variant's usual one
    else:
        seed_weights(module, input_shape=(2, *shape[1:]))
        # Such as its batch norms were measured on. Noise is so far from it that PyTorch's own EfficientNet-B6 is 4e-3
        # away from float64's then, and 1e-6 with this.
        x = pictures(shape, seed=1).numpy()
    network = model.define_network(module.state_dict(), variant, input_shape=shape)
    with torch.no_grad(), netdefs.build(network, target="cpu", threads=1) as engine:
        outputs = engine.run({"input": x})
        if data:
            error = max(g.check(name, outputs[name]) for name in g.outputs if name != RANKED)
        else:
            error = relative(outputs, module(torch.from_numpy(x)))
        functions = {
            "engine": functools.partial(engine.run, {"input": x}),
            "torch": functools.partial(module, torch.from_numpy(x)),
        }
        functions["torch"]()
        seconds = in_turns(functions, rounds=3)
    started = time.perf_counter()
    netdefs.build(network, target="tensorrt_rtx", compute_capabilities=("8.6",), progress=False).close()
    software = f"torch {torch.__version__}, both on one thread, TensorRT-RTX {network.trt.__version__}"
    return {
        "error": float(f"{error:.1e}"),
        "upstream": bool(data),
        "compile_seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": float(f"{statistics.median(seconds['engine']):.2g}"),
        "torch_ratio": round(statistics.median(np.divide(seconds["torch"], seconds["engine"])), 2),
        "date": datetime.date.today().isoformat(),
        "machine": f"{machine()}, {software}",
    }


def relative(outputs: dict[str, np.ndarray], expected: Any) -> float:
    """The largest relative error of the outputs against what the PyTorch module gave: a tensor or a dictionary."""
    named = expected if isinstance(expected, dict) else dict.fromkeys(outputs, expected)
    pairs = [(outputs[name], named[name].numpy()) for name in outputs if name != RANKED]
    return max(float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted)) for got, wanted in pairs)


def page(found: dict[str, Any]) -> str:
    """docs/models.md."""
    lines = [INTRODUCTION]
    for name in netdefs.models():
        zoo = getattr(netdefs, name)
        upstream = re.search(r"\bUpstream\b.+?(?=\n\n)", zoo.__doc__, re.S)
        assert upstream, f"netdefs.{name} does not name its upstream"
        lines += [f"## netdefs.{name}", "", " ".join(upstream[0].split()), "", HEAD]
        lines += [row(variant, found[variant]) for variant in zoo.VARIANTS]
        lines.append("")
    machines = dict.fromkeys(f"- {each['date']}: {each['machine']}" for each in found.values() if "date" in each)
    return "\n".join([*lines, "Measured on", "", *machines]) + "\n"


def row(variant: str, found: dict[str, Any]) -> str:
    """One line of the table: what follows from the definition, and what was measured."""
    size = "x".join(map(str, found["input"][1:]))
    facts = f"| {variant} | {found['parameters']:,} | {found['operations'] / 1e9:.2f} | {size} |"
    if "error" not in found:
        return f"{facts} | | |"
    times = f"{found['compile_seconds']} s | {1e3 * found['cpu_seconds']:.3g} ms ({found['torch_ratio']})"
    return f"{facts} {found['error']:.1e}{' *upstream*' if found['upstream'] else ''} | {times} |"


def operations(network: Network) -> int:
    """Additions and multiplications of a network's convolutions, deconvolutions and matrix products."""
    total, steps = 0, 1
    repeated: set[str] = set()  # tensors that a loop computes in each of its steps
    for i in range(network.definition.num_layers):
        layer = network.definition.get_layer(i)
        inputs, kind = [layer.get_input(k) for k in range(layer.num_inputs)], layer.type.name
        if kind == "ITERATOR":
            steps = inputs[0].shape[0]  # our loops go through an input's first axis
        inside = kind in ("ITERATOR", "RECURRENCE") or any(x is not None and x.name in repeated for x in inputs)
        if inside and kind != "LOOP_OUTPUT":
            repeated.update(layer.get_output(k).name for k in range(layer.num_outputs))
        if kind in ("CONVOLUTION", "DECONVOLUTION"):
            layer.__class__ = getattr(network.trt, f"I{kind.capitalize()}Layer")
            # Each value of one side meets the kernel's values for every channel of its group on the other side.
            many, others = (
                (layer.get_output(0), inputs[0]) if kind == "CONVOLUTION" else (inputs[0], layer.get_output(0))
            )
            each = int(np.prod(layer.kernel_size_nd)) * others.shape[1] // layer.num_groups
            total += 2 * int(np.prod(many.shape)) * each
        elif kind == "MATRIX_MULTIPLY":
            layer.__class__ = network.trt.IMatrixMultiplyLayer
            inner = inputs[0].shape[-2 if layer.op0 == network.trt.MatrixOperation.TRANSPOSE else -1]
            total += 2 * int(np.prod(layer.get_output(0).shape)) * inner * (steps if inside else 1)
    return total


if __name__ == "__main__":
    sys.exit(main())
