"""Causes of a wrong convolution, deconvolution or linear layer: how its attributes, kernel and bias differ."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.causes.case import Candidate, Case, attributes_of
from netdefs.debug.lean import execute
from netdefs.debug.relations import relate

OPERATORS = {"Conv": ("Conv",), "ConvTranspose": ("ConvTranspose",), "Linear": ("Gemm", "MatMul")}
# What is different, in the order in which it is named: another dilation mostly comes with another padding.
ATTRIBUTES = ("stride", "dilation", "groups", "output_padding", "padding")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a layer's window moves; padding is (top, left, bottom, right)."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding: tuple[int, ...]
    output_padding: tuple[int, ...] = ()


def main_node(case: Case, module: Any) -> Any:
    """The node with the weights of a convolution or linear layer; None if there is not exactly one."""
    kind = next((name for name in OPERATORS if type(module).__name__.startswith(name)), "")
    if type(module).__name__.startswith("ConvTranspose"):
        kind = "ConvTranspose"
    found = [node for node in case.nodes if node.op_type in OPERATORS.get(kind, ())]
    found = [node for node in found if case.constant(node.input[1]) is not None]
    return found[0] if len(found) == 1 else None


def layers(case: Case) -> Iterator[Candidate]:
    """Attributes, kernel and bias that are not the module's; all that differ together make one candidate."""
    module = case.convolution if case.convolution is not None else case.module
    node = main_node(case, module)
    if node is None or case.given is None or case.ours.ndim not in (2, 3, 4):
        return
    kernel, bias = reference_weights(case)
    ours, offset = case.constant(node.input[1]), _bias(case, node, len(bias))
    if ours is None or offset is None:
        return
    is_linear = node.op_type in OPERATORS["Linear"]
    if is_linear:
        ours = _matrix(node, ours)
    if ours.size != kernel.size:
        return
    wanted = None if is_linear else settings_of(module)
    found = None if is_linear else _settings(node)
    differing = [] if found is None or wanted is None else _differences(found, wanted)
    rough = case.precision in ("fp16", "bf16")
    weight = relate(ours.reshape(kernel.shape), kernel, _keys(case, module, "weight"), rough, "weight", is_linear)
    shift = relate(offset, bias, _keys(case, module, "bias"), rough, "bias", True)
    relations = [relation for relation in (weight, shift) if relation.kind]
    if not differing and not relations:
        return
    kinds = [kind for kind, _ in differing] + [relation.kind for relation in relations]
    text = " and ".join([t for _, t in differing] + [relation.text for relation in relations])

    def ours_again() -> np.ndarray:
        assert case.given is not None
        kernels, biases = weight.apply(kernel), shift.apply(bias)
        return compute(module, case.given, kernels, biases, found)

    yield Candidate(kinds[0], text, ours=ours_again)


def reference_weights(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The module's kernel and bias (zeros if it has none); with its batch norm folded in if that is the case's."""
    module = case.convolution if case.convolution is not None else case.module
    kernel = module.weight.detach().cpu().float().numpy()
    transposed = type(module).__name__.startswith("ConvTranspose")
    count = kernel.shape[1] * module.groups if transposed else kernel.shape[0]
    bias = np.zeros(count, np.float32) if module.bias is None else module.bias.detach().cpu().float().numpy()
    if case.convolution is None:
        return kernel, bias
    norm = case.module
    parts = [getattr(norm, name) for name in ("weight", "bias", "running_mean", "running_var")]
    gamma, beta, mean, var = (part.detach().cpu().double().numpy() for part in parts)
    scale = gamma / np.sqrt(var + norm.eps)
    wide = scale.reshape(-1, *(1,) * (kernel.ndim - 1))
    return (kernel * wide).astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)


def settings_of(module: Any) -> Settings:
    """The settings of PyTorch's module."""
    padding = module.padding
    if padding == "valid":
        padding = (0,) * len(module.kernel_size)
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        sides = (*(t // 2 for t in total), *(t - t // 2 for t in total))
    else:
        sides = (*padding, *padding)
    grown = tuple(module.output_padding) if getattr(module, "transposed", False) else ()
    return Settings(tuple(module.stride), tuple(module.dilation), module.groups, sides, grown)


def convolve(module: Any, x: np.ndarray) -> np.ndarray:
    """What PyTorch's convolution gives."""
    torch = require("torch", "torch")
    parameter = next(module.parameters())
    with torch.no_grad():
        return np.asarray(module(torch.tensor(x).to(parameter.device, parameter.dtype)).float().cpu().numpy())


def compute(module: Any, x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, settings: Settings | None) -> np.ndarray:
    """A convolution, deconvolution or linear layer of PyTorch's with other weights and settings."""
    x, kernel, bias = (np.ascontiguousarray(a, np.float32) for a in (x, kernel, bias))
    if settings is None:
        return np.asarray(x @ kernel.T + bias)
    rank = len(settings.stride)
    shared = {"strides": settings.stride, "dilations": settings.dilation, "group": settings.groups}
    if not getattr(module, "transposed", False):
        return _run("Conv", [x, kernel, bias], pads=settings.padding, **shared)
    found = _run("ConvTranspose", [x, kernel], **shared)
    before, behind = settings.padding[:rank], settings.padding[rank:]
    # What lies beyond the full product is zero: output padding can ask for it.
    wider = [
        (0, 0),
        (0, 0),
        *((0, max(grown - cut, 0)) for grown, cut in zip(settings.output_padding, behind, strict=True)),
    ]
    ends = [
        size + grown - cut for size, grown, cut in zip(found.shape[2:], settings.output_padding, behind, strict=True)
    ]
    inner = tuple(slice(start, end) for start, end in zip(before, ends, strict=True))
    return np.asarray(np.pad(found, wider)[(slice(None), slice(None), *inner)] + bias.reshape(1, -1, *(1,) * rank))


def _run(operator: str, arrays: Sequence[np.ndarray], **attributes: Any) -> np.ndarray:
    """What one ONNX operator gives."""
    onnx = require("onnx", "cpu")
    names = [f"input{i}" for i in range(len(arrays))]
    node = onnx.helper.make_node(operator, names, ["output"], **attributes)
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    outputs = [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)]
    graph = onnx.helper.make_graph([node], "layer", inputs, outputs)
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 17)])
    return np.asarray(execute(model, dict(zip(names, arrays, strict=True)))["output"])


def _settings(node: Any) -> Settings:
    found = attributes_of(node)
    rank = len(found["kernel_shape"])
    transposed = node.op_type == "ConvTranspose"
    return Settings(
        stride=tuple(found.get("strides", (1,) * rank)),
        dilation=tuple(found.get("dilations", (1,) * rank)),
        groups=int(found.get("group", 1)),
        padding=tuple(found.get("pads", (0,) * (2 * rank))),
        output_padding=tuple(found.get("output_padding", (0,) * rank)) if transposed else (),
    )


def _differences(found: Settings, wanted: Settings) -> list[tuple[str, str]]:
    """What differs: its kind, and it in words."""
    result = []
    if wanted.output_padding:
        # TensorRT has no output padding: it is less padding behind.
        rank = len(wanted.stride)
        before = found.padding[:rank]
        behind = tuple(b - o for b, o in zip(found.padding[rank:], found.output_padding, strict=True))
        grown = tuple(a - b for a, b in zip(before, behind, strict=True))
        if min(grown) >= 0:
            found = dataclasses.replace(found, padding=before * 2, output_padding=grown)
    for name in ATTRIBUTES:
        ours, theirs = getattr(found, name), getattr(wanted, name)
        if ours == theirs:
            continue
        kind = name
        if name == "padding":
            rank = len(ours) // 2
            sums = [tuple(p[i] + p[i + rank] for i in range(rank)) for p in (ours, theirs)]
            kind = "padding_side" if sums[0] == sums[1] else "padding"
        result.append((kind, f"its {name.replace('_', ' ')} is {_short(ours)}, PyTorch's is {_short(theirs)}"))
    return result


def _short(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    half = value[: len(value) // 2]
    value = half if len(value) == 4 and half == value[2:] else value
    if len(value) == 4:
        return "{} at the top, {} left, {} below, {} right".format(*value)
    return str(value[0]) if len(set(value)) == 1 else "x".join(map(str, value))


def _bias(case: Case, node: Any, count: int) -> np.ndarray | None:
    """What the layer adds: of the node itself, and of additions of constants behind it; None if that can't be told."""
    third = case.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(count, np.float32)
    if third is None or third.size != count:
        return None
    total = third.reshape(-1).astype(np.float32)
    name = node.output[0]
    for behind in case.nodes:
        if behind.op_type == "Cast" and behind.input[0] == name:
            name = behind.output[0]
        elif behind.op_type == "Add" and name in behind.input:
            added = case.constant(behind.input[1] if behind.input[0] == name else behind.input[0])
            if added is None or added.size != count:
                break
            total = total + added.reshape(-1)
            name = behind.output[0]
    return np.asarray(total)


def _matrix(node: Any, stored: np.ndarray) -> np.ndarray:
    """The matrix of a linear layer as PyTorch has it: (out, in)."""
    matrix = stored.reshape(stored.shape[-2:])
    return matrix if attributes_of(node).get("transB", 0) else matrix.T


def _keys(case: Case, module: Any, part: str) -> Mapping[str, np.ndarray]:
    """The same part of all other modules, by key."""
    shape = np.shape(getattr(module, part)) if getattr(module, part) is not None else None
    found: dict[str, np.ndarray] = {}
    if case.convolution is not None:
        return found
    for name, other in case.modules.items():
        value = getattr(other, part, None)
        if other is not module and value is not None and hasattr(value, "detach") and tuple(value.shape) == shape:
            found[f"{name}.{part}"] = value.detach().cpu().float().numpy()
    return found
