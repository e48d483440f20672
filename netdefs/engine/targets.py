"""`build`: from a network to an engine, for the target that was asked for or that suits the machine."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from netdefs.core import marks
from netdefs.core import trt as tensorrt
from netdefs.core.errors import EngineError
from netdefs.core.network import results_of
from netdefs.core.scope import near
from netdefs.engine.base import Engine
from netdefs.engine.cpu import CpuEngine
from netdefs.engine.feeds import check_profile
from netdefs.engine.plan import PlanEngine
from netdefs.engine.sidecar import Sidecar
from netdefs.engine.tensorrt import (
    build_plan,
    capabilities_of,
    check_capabilities,
    check_fp8,
    definition_inputs,
    definition_outputs,
    needs_fp8,
)

TENSORRT_OPTIONS = ("debug", "optimization_level", "profile", "progress", "unfused", "workspace")
OPTIONS = {
    "cpu": ("profile", "threads"),
    "tensorrt": TENSORRT_OPTIONS,
    "tensorrt_rtx": ("compute_capabilities", *TENSORRT_OPTIONS),
}


def build(network: Any, *, outputs: str | Sequence[str] = (), target: str = "auto", **options: Any) -> Engine:
    """Makes an engine from a network. The network stays as it was.

    Args:
        network: a `netdefs.Network`, or a raw `INetworkDefinition`, its outputs marked.
        outputs: names or globs (`*` also matches dots) of further layers whose results the engine gives out.
        target: "cpu" (ONNX Runtime), "tensorrt", "tensorrt_rtx", or "auto": TensorRT where a GPU is that it supports,
            else the CPU.
        options:
            profile (all): input name -> (min, opt, max) shapes of dynamic inputs; by default the network's own.
            threads ("cpu"): how many CPU threads to use; by default all that this process may use.
            compute_capabilities ("tensorrt_rtx"): the GPUs to compile for, such as ("8.6", "12.0").
            debug ("tensorrt", "tensorrt_rtx"): names or globs of layers that become debug tensors, for
                `PlanEngine.watch`. As marked outputs they are not fused.
            unfused (likewise): True makes debug tensors of all that fusion leaves, and changes nothing else.
            optimization_level, workspace, progress (likewise): see docs/engines.md.

    Raises:
        EngineError: the target or an option is wrong, or the network can't be built.
        NetworkError: the network has no output, or no layer matches `outputs`.
        WeightsError: weights are missing, of another size, or left over.
    """
    definition = getattr(network, "definition", network)
    if not (hasattr(definition, "num_layers") and hasattr(definition, "builder")):
        raise EngineError(f"build takes a netdefs Network or an INetworkDefinition, not {type(network).__name__}.")
    trt = tensorrt.module_of(definition)
    target = _resolve(target, trt)
    _check_options(target, options)
    if hasattr(network, "check"):
        network.check()
    elif definition.num_outputs == 0:
        raise EngineError("The network has no output: call mark_output on what it should give.")
    patterns = [outputs] if isinstance(outputs, str) else list(outputs)
    info: Mapping[str, Any] = getattr(network, "info", {})
    profile = options.pop("profile", None) or getattr(network, "profile", {})
    if target == "cpu":
        from netdefs.export import to_onnx  # needs onnx, which a machine with a GPU may lack

        return CpuEngine(to_onnx(network, outputs=patterns), info, profile, **options)

    inputs = definition_inputs(definition)
    profile = check_profile(inputs, profile, required=True)
    capabilities = options.pop("compute_capabilities", None)
    if capabilities is not None:
        capabilities = options["compute_capabilities"] = check_capabilities(trt, capabilities)
    elif target == "tensorrt":  # it compiles for the GPU that is there
        capabilities = [gpu] if (gpu := tensorrt.compute_capability()) else None
    if needs_fp8(definition):
        capabilities = check_fp8(trt, capabilities, definition.name)
        if target == "tensorrt_rtx":
            options["compute_capabilities"] = capabilities
    precision = "tf32" if info.get("tf32") else info.get("precision", "fp32")
    debug, unfused = options.pop("debug", ()), options.pop("unfused", False)
    with (
        _marked(definition, patterns),
        _debugged(definition, [debug] if isinstance(debug, str) else debug),
        _all_unfused(definition, unfused),
    ):
        plan = build_plan(definition, profile=profile, precision=precision, **options)
        content = Sidecar(
            target=target,
            tensorrt=trt.__version__,
            compute_capabilities=capabilities,
            inputs=inputs,
            outputs=definition_outputs(definition),
            profile=profile,
            info=dict(info),
        )
    return PlanEngine(plan, content, f"The engine of {definition.name}")


def _resolve(target: str, trt: ModuleType) -> str:
    """The target that was asked for, checked; for "auto" the one that suits this machine."""
    if target == "auto":
        gpu = tensorrt.compute_capability()
        supported = capabilities_of(trt)
        return trt.__name__ if gpu is not None and (not supported or gpu in supported) else "cpu"
    if target not in OPTIONS:
        raise EngineError(f"No target is called {target!r}. Choose from auto, {', '.join(OPTIONS)}.")
    if target not in ("cpu", trt.__name__):
        raise EngineError(
            f"This network was defined with {trt.__name__}, so {target} can't build it. Define it with {target}: "
            f"<model>.build_engine(..., target={target!r}) does, or set NETDEFS_TENSORRT={target}."
        )
    return target


def _check_options(target: str, options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS[target]:
            owners = [other for other, known in OPTIONS.items() if name in known]
            what = f"one of the target {' and '.join(owners)}" if owners else "unknown"
            raise EngineError(
                f"The option {name!r} is {what}; this is the target {target}, whose options are "
                f"{', '.join(OPTIONS[target])}.{near(name, OPTIONS[target])}"
            )


def _chosen(definition: Any, patterns: Sequence[str]) -> list[Any]:
    """The layers' results that match, each once."""
    tensors = {tensor.name: tensor for tensor in results_of(definition)} if patterns else {}
    names = dict.fromkeys(name for pattern in patterns for name in marks.matching(tensors, pattern))
    return [tensors[name] for name in names]


@contextlib.contextmanager
def _marked(definition: Any, patterns: Sequence[str]) -> Iterator[None]:
    """Marks further layers as outputs for the length of the block."""
    chosen = [tensor for tensor in _chosen(definition, patterns) if not tensor.is_network_output]
    for tensor in chosen:
        definition.mark_output(tensor)
    try:
        yield
    finally:
        for tensor in chosen:
            definition.unmark_output(tensor)


@contextlib.contextmanager
def _debugged(definition: Any, patterns: Sequence[str]) -> Iterator[None]:
    """Makes debug tensors of layers' results for the length of the block."""
    chosen = [tensor for tensor in _chosen(definition, patterns) if not definition.is_debug_tensor(tensor)]
    try:
        for tensor in chosen:
            if not definition.mark_debug(tensor):
                raise EngineError(f"TensorRT refuses {tensor.name} as a debug tensor. Mark it as an output: outputs=.")
        yield
    finally:
        for tensor in chosen:
            definition.unmark_debug(tensor)


@contextlib.contextmanager
def _all_unfused(definition: Any, wanted: bool) -> Iterator[None]:
    """Makes debug tensors of all that fusion leaves, for the length of the block."""
    if not wanted:
        yield
        return
    if not hasattr(definition, "mark_unfused_tensors_as_debug_tensors"):
        raise EngineError("unfused=True takes TensorRT 10.12 or newer. Mark layers: outputs=, or debug=.")
    definition.mark_unfused_tensors_as_debug_tensors()
    try:
        yield
    finally:
        definition.unmark_unfused_tensors_as_debug_tensors()
