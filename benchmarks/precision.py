"""Every network with upstream's values, in each precision: how far from float32, what int8 must keep, how large a plan.

python benchmarks/precision.py                # measures those that precision.json lacks, and prints the table
python benchmarks/precision.py yolo11n ...    # measures these, again
python benchmarks/precision.py --write        # also puts the table into docs/precision.md

Weights and inputs are those of tests/data. int8 is calibrated on 16 pictures such as those inputs are: made up, with
the same range of values. A plan is compiled for compute capability 8.9, which takes no GPU.
"""

import argparse
import datetime
import functools
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from netdefs.core.files import atomic_write
from netdefs.core.network import Network
from netdefs.engine.plan import PlanEngine
from netdefs.quant import Options, study
from netdefs.quant.view import decibel
from tests import golden

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
MEASURED = Path(__file__).parent / "precision.json"
PAGE = ROOT / "docs" / "precision.md"
BEGIN, END = "<!-- benchmarks/precision.py writes from here -->", "<!-- to here -->"
NAMES = sorted(path.stem for path in DATA.glob("*.npz"))
TARGET = 20.0  # dB
PICTURES = 16
FP8 = "8.9"  # the first compute capability that has it
RANKED = "dets"  # rows by score: rounding swaps those that are next to equal
# Relative errors of the upstream networks themselves, cast to half precision; the limit is twice that.
LIMITS = {
    "centernet_res18": 0.008,
    "centernet_resdcn18": 0.008,
    "deepsort_reid": 0.004,
    "fastpose_res50": 0.022,
    "higherhrnet_w32": 0.012,
    "hrnet_pose_w32": 0.008,
    "hrnet_seg_w48": 0.01,
    "hrnet_w18_small_v2": 0.004,
    "inception_v3": 0.004,
    "iresnet50": 0.006,
    "lenet5": 0.002,
    "openpose_body": 0.006,
    "resnet50": 0.002,
    "retinaface_mnet025": 0.12,
    "yolo11n": 0.04,
    "yolo26n": 0.04,
    "yolov2": 0.022,
    "yolov3": 0.042,
    "yolov4": 0.11,
    "yolov5n": 0.046,
    "yolov8n": 0.04,
    "yolox_s": 0.06,
}
HEAD = """\
| network | layers | fp16 (limit) | bf16 | int8 | kept for 20 dB | then | plan in MB: fp32, fp16, int8, fp8 |
|---|--:|--:|--:|--:|--:|--:|--:|"""


def main() -> None:
    """Measures, prints and writes; exits with 1 if fp16 is beyond its limit or int8 is below 20 dB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--measure-on", type=int, default=4, metavar="N", help="of the 16 pictures (default 4)")
    parser.add_argument("--no-search", action="store_true", help="do not look for what to keep: it takes long")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in NAMES]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(NAMES)}")
    known = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    lacking = [name for name in NAMES if name not in known or not (options.no_search or "keep" in known[name])]
    for name in options.networks or lacking:
        started = time.perf_counter()
        known[name] = measure(name, options.measure_on, not options.no_search)
        known[name]["date"] = datetime.date.today().isoformat()
        with atomic_write(MEASURED) as file:
            file.write((json.dumps({key: known[key] for key in sorted(known)}, indent=1) + "\n").encode())
        print(f"{row(name, known[name])} {time.perf_counter() - started:.0f} s", flush=True)
    text = table(known)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, behind = rest.partition(END)
        with atomic_write(PAGE) as file:
            file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{behind}".encode())
    sys.exit(not all(each["fp16"] <= LIMITS[name] and reached(each) >= TARGET for name, each in known.items()))


def definition(name: str, weights: Mapping[str, Any], shape: tuple[int, ...]) -> functools.partial[Network]:
    """What defines a network of the zoo, but for its precision."""
    family = next(module for module, variants in netdefs.models().items() if name in variants)
    return functools.partial(getattr(netdefs, family).define_network, weights, name, input_shape=shape)


def pictures(g: golden.Golden) -> np.ndarray:
    """(16, C, H, W) float32: made as the stored input is, by other seeds."""
    _, *size = g.meta["input_shape"]
    low, high = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in g.meta["input_range"])
    made = [golden.picture((1, *size), 100 + i) * (high - low) + low for i in range(PICTURES)]
    return np.concatenate(made).astype(np.float32)


def measure(name: str, count: int, search: bool = True) -> dict[str, Any]:
    """All that the table says of a network.

    Args:
        name: the network's.
        count: how many pictures int8 is measured on.
        search: whether to look for what to keep, if int8 misses the target.
    """
    g = golden.load(name, DATA)
    define = definition(name, g.state_dict, g.input.shape)
    found: dict[str, Any] = {"plan": {"fp32": plan(define())}}
    for precision in ("fp16", "bf16"):
        network = define(precision=precision)
        with netdefs.build(network, target="cpu") as engine:
            outputs = engine.run({"input": g.input})
        error = max(g.check(key, outputs[key]) for key in g.outputs if key != RANKED)
        found[precision] = float(f"{error:.1e}")
        found["plan"][precision] = plan(network)

    def make(precision: Any, calibration: Any, changed: Any) -> Network:
        assert changed is None
        return define(precision=precision, calibration=calibration)

    counted = [key for key in g.outputs if key != RANKED]
    options = Options(target=TARGET if search else None, outputs=counted, measure_on=count, search_on=1, progress=False)
    costs = study(make, pictures(g), options)
    found["layers"] = len(costs.cost.layers)
    found["int8"] = decibel(costs.cost.sqnr)
    found["by output"] = {each.name: decibel(each.chained) for each in costs.cost.outputs}
    if costs.cost.sqnr >= TARGET:
        found["keep"] = []
    elif costs.proposal is not None:
        found["keep"] = costs.proposal.keep
        found["kept"] = decibel(costs.kept.sqnr) if costs.kept is not None else ""
    for precision in ("int8", "fp8"):
        network = define(precision=precision, calibration=costs.calibration)
        found["plan"][precision] = plan(network)
    return found


def plan(network: Network) -> float:
    """The size of a network's plan in MB."""
    with netdefs.build(network, target="tensorrt_rtx", compute_capabilities=(FP8,), progress=False) as engine:
        assert isinstance(engine, PlanEngine)
        return round(len(engine.plan) / 1e6, 1)


def reached(found: Mapping[str, Any]) -> float:
    """The int8 network's signal to noise in dB, with what is kept; infinite if that is all."""
    text = found["kept"] if found.get("keep") else found["int8"]
    return float(text.partition(" ")[0]) if text else math.inf


def row(name: str, found: Mapping[str, Any]) -> str:
    """A network's line in the table."""
    sizes = ", ".join(f"{found['plan'][kind]:g}" for kind in ("fp32", "fp16", "int8", "fp8"))
    if "keep" not in found:
        kept = "not looked for |"
    elif found["keep"]:
        kept = f"{len(found['keep'])} | {found['kept'] or 'nothing is int8'}"
    else:
        kept = "none |"
    errors = f"{found['fp16']:.1e} ({LIMITS[name]:g}) | {found['bf16']:.1e}"
    return f"| {name} | {found['layers']} | {errors} | {found['int8']} | {kept} | {sizes} |"


def table(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The table in Markdown."""
    return "\n".join([HEAD, *(row(name, known[name]) for name in sorted(known))])


if __name__ == "__main__":
    main()
