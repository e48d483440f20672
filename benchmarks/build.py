"""From a PyTorch state_dict to a TensorRT-RTX plan: netdefs' definition against the ONNX route.

    python benchmarks/build.py [--rounds 3]

The ONNX route is torch.onnx.export, NVIDIA's parser, and the same compilation.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

import netdefs
from netdefs.core import trt as tensorrt

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import in_turns, show
from examples.hrnet_torch import hrnet_w18_small_v2
from examples.seeded import seed_weights


def compile_plan(builder: Any, definition: Any) -> bytes:
    """The plan of a definition, with TensorRT's defaults; the same for both routes."""
    plan = builder.build_serialized_network(definition, builder.create_builder_config())
    assert plan is not None
    return bytes(plan)


def by_hand(module: torch.nn.Module) -> bytes:
    """state_dict -> netdefs -> plan."""
    network = netdefs.hrnet.define_network(module.state_dict(), "hrnet_w18_small_v2", package="tensorrt_rtx")
    return compile_plan(network.builder, network.definition)


def through_onnx(module: torch.nn.Module) -> bytes:
    """Module -> torch.onnx.export -> OnnxParser -> plan."""
    program = torch.onnx.export(module, (torch.zeros(1, 3, 224, 224),), dynamo=True, verbose=False)
    assert program is not None
    trt = tensorrt.load("tensorrt_rtx")
    logger = tensorrt.logger_of(trt).bridge
    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    assert parser.parse(program.model_proto.SerializeToString())
    return compile_plan(builder, definition)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    module = seed_weights(hrnet_w18_small_v2())
    functions = {"netdefs": lambda: by_hand(module), "ONNX route": lambda: through_onnx(module)}
    for function in functions.values():
        function()  # imports and first calls are not what is compared
    show("HRNet-W18-C-Small-v2: define + compile", in_turns(functions, rounds), baseline="netdefs")


if __name__ == "__main__":
    main()
