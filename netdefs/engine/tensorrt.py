"""Compiles a network definition into a plan, with whichever TensorRT the definition came from."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.errors import EngineError
from netdefs.engine.base import BFLOAT16, Profile, TensorInfo
from netdefs.engine.progress import monitor

# TensorRT DataType -> the names of numpy and PyTorch, for the types that inputs and outputs may have.
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": BFLOAT16,
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}


FP8_FROM = 8.9  # the compute capability


def tensor_info(name: str, shape: Any, dtype: Any) -> TensorInfo:
    """A tensor of TensorRT's as engines describe it.

    Raises:
        EngineError: its type can't leave the network.
    """
    known = DTYPES.get(dtype.name)
    if known is None:
        raise EngineError(f"The tensor {name!r} is {dtype.name}, which an engine can't hand over. Cast it to float32.")
    sizes = tuple(int(size) for size in shape)
    return TensorInfo(sizes, BFLOAT16 if known == BFLOAT16 else np.dtype(known))


def definition_inputs(definition: Any) -> dict[str, TensorInfo]:
    """The inputs of a network definition."""
    tensors = (definition.get_input(i) for i in range(definition.num_inputs))
    return {tensor.name: tensor_info(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors}


def definition_outputs(definition: Any) -> dict[str, TensorInfo]:
    """The marked outputs of a network definition."""
    tensors = (definition.get_output(i) for i in range(definition.num_outputs))
    return {tensor.name: tensor_info(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors}


def build_plan(
    definition: Any,
    *,
    profile: Profile,
    precision: str,
    compute_capabilities: Sequence[str] | None = None,
    optimization_level: int | None = None,
    workspace: int | None = None,
    progress: bool = False,
) -> bytes:
    """Compiles a network.

    Args:
        definition: an INetworkDefinition, its outputs marked.
        profile: the (min, opt, max) shapes of its dynamic inputs.
        precision: "tf32" lets the GPU round the factors of float32 products; any other keeps float32 exact.
        compute_capabilities: what `check_capabilities` gave (TensorRT-RTX only); None for its default.
        optimization_level: 0 to 5: more takes longer to build and may run faster.
        workspace: the most scratch memory, in bytes, that a layer may use.
        progress: show progress bars.

    Returns:
        The plan. It runs with this very version of TensorRT only.

    Raises:
        EngineError: an option is wrong, or TensorRT refuses the network; its own words are in the message.
        KeyboardInterrupt: Ctrl-C cancelled the build.
    """
    trt = tensorrt.module_of(definition)
    builder = definition.builder
    if not definition.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED):
        raise EngineError(
            "This network is not strongly typed: its precision would be TensorRT's choice. Make it with "
            "builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))."
        )
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if precision != "tf32":  # it is on by default
        config.clear_flag(trt.BuilderFlag.TF32)
    if optimization_level is not None:
        if optimization_level not in range(6):
            raise EngineError(f"optimization_level={optimization_level!r}: it goes from 0 to 5.")
        config.builder_optimization_level = optimization_level
    if workspace is not None:
        if not isinstance(workspace, int) or workspace < 1:
            raise EngineError(f"workspace={workspace!r}: it must be a positive number of bytes.")
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if compute_capabilities is not None:
        _set_capabilities(trt, config, compute_capabilities)
    if profile:
        _add_profile(builder, config, profile)

    log = tensorrt.logger_of(trt)
    log.take()  # what was logged before is not about this build
    name = definition.name or "the network"
    try:
        with monitor(trt, name, visible=progress) as progress_monitor:
            config.progress_monitor = progress_monitor
            plan = builder.build_serialized_network(definition, config)
    finally:
        complaints = log.take()
    if plan is None:
        said = complaints or "(nothing here: it went to the logger that its Builder was made with)"
        raise EngineError(
            f"{trt.__name__} {trt.__version__} could not build {name}. It says:\n{said}\n"
            "They name the layer. netdefs.build(network, target='cpu') runs the same definition without this compiler."
        )
    return bytes(plan)


def capabilities_of(trt: ModuleType) -> list[str]:
    """What TensorRT-RTX can compile for, as "8.6", in rising order; empty for full TensorRT."""
    members = getattr(trt, "ComputeCapability", None)
    digits = [name[2:] for name in members.__members__ if name[:2] == "SM" and name[2:].isdigit()] if members else []
    return [f"{each[:-1]}.{each[-1]}" for each in sorted(digits, key=int)]


def check_capabilities(trt: ModuleType, wanted: str | Sequence[str]) -> list[str]:
    """The compute capabilities to compile for, each once.

    Raises:
        EngineError: TensorRT-RTX does not know one.
    """
    wanted = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
    valid = capabilities_of(trt)
    if not wanted:
        raise EngineError(f"compute_capabilities is empty. Choose from {', '.join(valid)}, or leave it out.")
    for each in wanted:
        if each not in valid:
            hint = " Hopper (9.0) and B200 (10.0) need full TensorRT." if each in ("9.0", "10.0") else ""
            raise EngineError(
                f"TensorRT-RTX {trt.__version__} can't compile for compute capability {each!r}: it takes "
                f"{', '.join(valid)}, as strings.{hint}"
            )
    return wanted


def needs_fp8(definition: Any) -> bool:
    """Whether a layer of a network definition quantizes to fp8."""
    trt = tensorrt.module_of(definition)
    layers = (definition.get_layer(i) for i in range(definition.num_layers))
    return any(layer.type.name == "QUANTIZE" and layer.get_output(0).dtype == trt.fp8 for layer in layers)


def check_fp8(trt: ModuleType, wanted: Sequence[str] | None, name: str) -> list[str] | None:
    """The compute capabilities to compile a network with fp8 for: those that were asked for, or all that have it.

    Raises:
        EngineError: one that was asked for, or the GPU that is there, has none.
    """
    for each in wanted or ():
        if float(each) < FP8_FROM:
            raise EngineError(
                f"{name} has layers in fp8, which GPUs can from compute capability {FP8_FROM} on, but not {each}. "
                "Leave that out, or define the network with precision='int8'."
            )
    if wanted is not None:
        return list(wanted)
    return [each for each in capabilities_of(trt) if float(each) >= FP8_FROM] or None


def _set_capabilities(trt: ModuleType, config: Any, capabilities: Sequence[str]) -> None:
    config.num_compute_capabilities = len(capabilities)
    for i, each in enumerate(capabilities):
        member = getattr(trt.ComputeCapability, f"SM{each.replace('.', '')}")
        if not config.set_compute_capability(member, i):
            raise EngineError(f"TensorRT-RTX refuses the compute capability {each}: {tensorrt.logger_of(trt).take()}")


def _add_profile(builder: Any, config: Any, profile: Profile) -> None:
    shapes = builder.create_optimization_profile()
    for name, (low, opt, high) in profile.items():
        try:
            shapes.set_shape(name, low, opt, high)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"TensorRT refuses the profile of input {name!r}: {error}") from error
    if config.add_optimization_profile(shapes) < 0:
        raise EngineError(f"TensorRT refuses the optimization profile {profile}.")
