"""Running a network on the CPU: netdefs' engine against torch and against ONNX Runtime on torch's own export.

python benchmarks/run.py [--rounds 30]
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, show
from examples.hrnet_torch import hrnet_w18_small_v2
from examples.seeded import seed_weights
from tests.reference.resnet import resnet50

NETWORKS = {"hrnet_w18_small_v2": (hrnet_w18_small_v2, netdefs.hrnet), "resnet50": (resnet50, netdefs.resnet)}


def torch_export(module: torch.nn.Module, x: np.ndarray) -> onnxruntime.InferenceSession:
    """ONNX Runtime, with its defaults, on what torch.onnx.export writes."""
    program = torch.onnx.export(module, (torch.from_numpy(x),), dynamo=True, verbose=False)
    assert program is not None
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def main() -> None:
    """Prints a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    for name, (make, zoo) in NETWORKS.items():
        module = seed_weights(make())
        session = torch_export(module, x)
        feed = {session.get_inputs()[0].name: x}
        with torch.no_grad(), zoo.build_engine(module.state_dict(), name, target="cpu") as engine:
            functions = {
                "netdefs, CPU engine": functools.partial(engine.run, {"input": x}),
                "ONNX Runtime, torch's export": functools.partial(session.run, None, feed),
                "torch eager": functools.partial(module, torch.from_numpy(x)),
            }
            for function in functions.values():
                function()
            show(f"{name}, batch 1", in_turns(functions, rounds), baseline="ONNX Runtime, torch's export")


if __name__ == "__main__":
    main()
