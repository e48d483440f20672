"""What is compared with PyTorch: a network, a definition or an engine, seen in one way."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.dtypes import bfloat16_to_float32, float32_to_bfloat16
from netdefs.core.errors import CompareError
from netdefs.core.optional import require
from netdefs.core.weights import Weights
from netdefs.debug.deployed import Deployment
from netdefs.debug.graph import Graph
from netdefs.debug.lean import Lean, of_definition, of_model
from netdefs.debug.modules import under_module_names
from netdefs.engine import Engine, TensorInfo
from netdefs.engine.base import Profile


@dataclasses.dataclass
class Subject:
    """A network to compare.

    Attributes:
        name: for the report.
        precision: "fp32", "tf32", "fp16" or "bf16".
        inputs: its inputs.
        profile: the ranges of dynamic ones.
        outputs: its outputs and their shapes, -1 where a size is unknown.
        tensors: what its layers give, and the layer's type, in execution order; constants left out.
        types: the type of each of these.
        shapes: their shapes, -1 where a size is unknown, as far as they are known.
        known_as: the names of those of them that have another one in the network.
        passed_on: output -> the tensors whose values it hands on unchanged, nearest first.
        marked: outputs that other layers read: they were marked to be seen.
        folded: convolution -> the batch norm that it was folded into.
        weights: what it took its weights from, where that is known.
        fingerprint: else the hash of these, where that is known.
        kernels: weights of convolutions by key, where an engine shows them.
        graph: what ONNX Runtime executes; None for an engine that only runs as a whole.
        engine: that engine.
        deployment: what runs it from its inputs on, if that is not ONNX Runtime on this graph.
        gaps: inputs that stand for what is not defined yet.
        source: what `compare` was given: a network, a definition or an engine.
    """

    name: str
    precision: str
    inputs: dict[str, TensorInfo]
    profile: Profile
    outputs: dict[str, tuple[int, ...]]
    tensors: dict[str, str]
    types: dict[str, str]
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    known_as: dict[str, str] = dataclasses.field(default_factory=dict)
    passed_on: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    marked: frozenset[str] = frozenset()
    folded: dict[str, str] = dataclasses.field(default_factory=dict)
    weights: Weights | None = None
    fingerprint: str | None = None
    kernels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    graph: Graph | None = None
    engine: Engine | None = None
    deployment: Deployment | None = None
    gaps: tuple[str, ...] = ()
    source: Any = None

    @property
    def given(self) -> dict[str, TensorInfo]:
        """The inputs that a comparison is given: those that are no gaps."""
        return {name: info for name, info in self.inputs.items() if name not in self.gaps}

    def as_typed(self, tensor: str, array: np.ndarray) -> np.ndarray:
        """PyTorch's value of a tensor as the network would hold it: rounded to the tensor's type."""
        kind = self.types[tensor]
        if kind == "bfloat16":
            return bfloat16_to_float32(float32_to_bfloat16(array.astype(np.float32)))
        with np.errstate(over="ignore"):
            array = array.astype(kind, copy=False)
        return array.astype(np.float32) if kind == "float16" else array


def subject_of(source: Any, strict: bool = True) -> Subject:
    """The subject of a comparison.

    Args:
        source: a `Network`, a raw `INetworkDefinition` or an `Engine`.
        strict: False lets it have layers that ONNX Runtime can't run.

    Raises:
        CompareError: it is none of these.
    """
    definition = getattr(source, "definition", source)
    if isinstance(source, Engine):
        model = getattr(source, "model", None)
        subject = _of_engine(source) if model is None else _of_model(of_model(model), source.info, source.profile)
        if subject.graph is not None and subject.precision == "fp32":
            subject.kernels = subject.graph.kernels(set(subject.folded.values()))
        subject.fingerprint = source.info.get("weights_sha256")
        subject.source = source
        return subject
    if not hasattr(definition, "get_layer"):
        raise CompareError(
            f"compare takes a Network, an INetworkDefinition or an Engine first, not {type(source).__name__}."
            f"{_hint(source)}"
        )
    subject = _of_model(of_definition(definition, strict), getattr(source, "info", {}), getattr(source, "profile", {}))
    kinds = _layer_types(definition)
    found = {name: kinds.get(subject.known_as.get(name, name)) for name in subject.tensors}
    subject.tensors = {name: kind for name, kind in found.items() if kind is not None}
    subject.source = source
    weights = getattr(source, "weights", None)
    subject.weights = weights if isinstance(weights, Weights) else None
    return subject


def _hint(source: Any) -> str:
    """What the commonest mistakes need."""
    if isinstance(source, str | os.PathLike):
        return f" If that is the file of an engine, pass netdefs.load_engine({str(source)!r})."
    if hasattr(source, "named_modules"):
        return " The network comes first, the PyTorch module second: exchange them."
    return ""


def _of_model(lean: Lean, info: Mapping[str, Any], profile: Profile) -> Subject:
    from netdefs.engine import emulate

    model = lean.model
    known_as: dict[str, str] = {}
    if info.get("modules"):
        model, known_as = under_module_names(model, info["modules"])
    types = _types(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    made = {name: node for node in model.graph.node for name in node.output if name}
    read = {name for node in model.graph.node for name in node.input}
    return Subject(
        name=str(info.get("variant") or info.get("name") or model.graph.name or "the network"),
        precision=_precision(info, set(types.values())),
        inputs={value.name: TensorInfo(_shape(value), _numpy(types[value.name])) for value in inputs},
        profile=dict(profile),
        outputs={value.name: _shape(value) for value in model.graph.output},
        tensors={name: node.op_type for name, node in made.items() if name in types and node.op_type != "Constant"},
        types=types,
        shapes={value.name: _shape(value) for value in (*model.graph.value_info, *model.graph.output)},
        known_as=known_as,
        marked=frozenset(value.name for value in model.graph.output if value.name in read),
        passed_on={value.name: _passed_on(value.name, made) for value in model.graph.output},
        folded=dict(info.get("folded", {})),
        gaps=tuple(info.get("gaps", ())),
        graph=Graph(emulate.emulate(model) if emulate.needs_emulation(model) else model, lean.values),
    )


def _of_engine(engine: Engine) -> Subject:
    return Subject(
        name=str(engine.info.get("variant") or engine.info.get("name") or "the engine"),
        precision=_precision(engine.info, {str(info.dtype) for info in engine.outputs.values()}),
        inputs=dict(engine.inputs),
        profile=dict(engine.profile),
        outputs={name: tuple(info.shape) for name, info in engine.outputs.items()},
        tensors=dict.fromkeys(engine.outputs, "engine output"),
        types={name: str(info.dtype) for name, info in (*engine.inputs.items(), *engine.outputs.items())},
        folded=dict(engine.info.get("folded", {})),
        gaps=tuple(engine.info.get("gaps", ())),
        engine=engine,
    )


def _layer_types(definition: Any) -> dict[str, str]:
    """Tensor -> the type of the layer that makes it, in words; constants left out."""
    constant = tensorrt.module_of(definition).LayerType.CONSTANT
    found = {}
    for i in range(definition.num_layers):
        layer = definition.get_layer(i)
        if layer.type != constant:
            kind = layer.type.name.lower().replace("_", " ")
            found.update({layer.get_output(j).name: kind for j in range(layer.num_outputs)})
    return found


def _precision(info: Mapping[str, Any], types: set[str]) -> str:
    """What the network says, or else the lowest precision among its tensors."""
    if info.get("precision"):
        return str(info["precision"])
    return "bf16" if "bfloat16" in types else "fp16" if "float16" in types else "fp32"


def _passed_on(output: str, made: Mapping[str, Any]) -> tuple[str, ...]:
    chain = []
    while output in made and made[output].op_type in ("Identity", "Cast"):
        output = made[output].input[0]
        chain.append(output)
    return tuple(chain)


def _types(model: Any) -> dict[str, str]:
    """The type of every tensor that the model describes: those of the network, not the helpers in between."""
    onnx = require("onnx", "cpu")
    words = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64"}
    found = {}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        number = value.type.tensor_type.elem_type
        found[value.name] = words.get(number) or str(onnx.TensorProto.DataType.Name(number)).lower()
    return found


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim)


def _numpy(dtype: str) -> np.dtype[Any] | str:
    return dtype if dtype == "bfloat16" else np.dtype(dtype)
