"""What is compared with PyTorch: a network, a definition or an engine, seen in one way."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.dtypes import bfloat16_to_float32, float32_to_bfloat16
from netdefs.core.errors import CompareError, EngineError
from netdefs.core.optional import require
from netdefs.core.weights import Weights
from netdefs.debug.graph import Graph
from netdefs.debug.modules import under_module_names
from netdefs.debug.run import Arrays
from netdefs.engine import Engine, TensorInfo
from netdefs.engine.base import Profile

QUIET = 4  # ONNX Runtime's log level "fatal": an error is raised as well


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
        known_as: the names of those of them that have another one in the network.
        passed_on: output -> the tensors whose values it hands on unchanged, nearest first.
        marked: outputs that other layers read: they were marked to be seen.
        folded: convolution -> the batch norm that it was folded into.
        weights: what it took its weights from, where that is known.
        fingerprint: else the hash of these, where that is known.
        kernels: weights of convolutions by key, where an engine shows them.
        graph: what ONNX Runtime executes; None for an engine that only runs as a whole.
        engine: that engine.
    """

    name: str
    precision: str
    inputs: dict[str, TensorInfo]
    profile: Profile
    outputs: dict[str, tuple[int, ...]]
    tensors: dict[str, str]
    types: dict[str, str]
    known_as: dict[str, str] = dataclasses.field(default_factory=dict)
    passed_on: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    marked: frozenset[str] = frozenset()
    folded: dict[str, str] = dataclasses.field(default_factory=dict)
    weights: Weights | None = None
    fingerprint: str | None = None
    kernels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    graph: Graph | None = None
    engine: Engine | None = None

    def as_typed(self, tensor: str, array: np.ndarray) -> np.ndarray:
        """PyTorch's value of a tensor as the network would hold it: rounded to the tensor's type."""
        kind = self.types[tensor]
        if kind == "bfloat16":
            return bfloat16_to_float32(float32_to_bfloat16(array.astype(np.float32)))
        with np.errstate(over="ignore"):
            array = array.astype(kind, copy=False)
        return array.astype(np.float32) if kind == "float16" else array


def subject_of(source: Any) -> Subject:
    """The subject of a comparison.

    Args:
        source: a `Network`, a raw `INetworkDefinition` or an `Engine`.

    Raises:
        CompareError: it is none of these.
    """
    definition = getattr(source, "definition", source)
    if isinstance(source, Engine):
        model = getattr(source, "model", None)
        subject = _of_engine(source) if model is None else _of_model(model, source.info, source.profile)
        if subject.graph is not None and subject.precision == "fp32":
            subject.kernels = subject.graph.kernels(set(subject.folded.values()))
        subject.fingerprint = source.info.get("weights_sha256")
        return subject
    if not hasattr(definition, "get_layer"):
        raise CompareError(
            f"compare takes a Network, an INetworkDefinition or an Engine first, not {type(source).__name__}."
        )
    from netdefs.export import to_onnx

    subject = _of_model(to_onnx(definition), getattr(source, "info", {}), getattr(source, "profile", {}))
    kinds = _layer_types(definition)
    found = {name: kinds.get(subject.known_as.get(name, name)) for name in subject.tensors}
    subject.tensors = {name: kind for name, kind in found.items() if kind is not None}
    weights = getattr(source, "weights", None)
    subject.weights = weights if isinstance(weights, Weights) else None
    return subject


def execute(model: Any, feeds: Mapping[str, np.ndarray]) -> Arrays:
    """Runs an ONNX model once with ONNX Runtime.

    Raises:
        EngineError: it can't be loaded or run.
    """
    from netdefs.engine import modelfile

    runtime = require("onnxruntime", "cpu")
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    # For one run, changing the layout of all weights does not pay.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # It runs in the middle of PyTorch's forward pass, whose threads want the processor as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    names = [value.name for value in model.graph.output]
    try:
        with modelfile.source(model) as source:
            session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
        raise EngineError(f"ONNX Runtime could not run a part of the network: {error}") from error


def _of_model(model: Any, info: Mapping[str, Any], profile: Profile) -> Subject:
    from netdefs.engine import emulate

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
        known_as=known_as,
        marked=frozenset(value.name for value in model.graph.output if value.name in read),
        passed_on={value.name: _passed_on(value.name, made) for value in model.graph.output},
        folded=dict(info.get("folded", {})),
        graph=Graph(emulate.emulate(model) if emulate.needs_emulation(model) else model),
    )


def _of_engine(engine: Engine) -> Subject:
    return Subject(
        name=str(engine.info.get("variant") or engine.info.get("name") or "the engine"),
        precision=_precision(engine.info, {str(info.dtype) for info in engine.outputs.values()}),
        inputs=dict(engine.inputs),
        profile=dict(engine.profile),
        outputs={name: tuple(info.shape) for name, info in engine.outputs.items()},
        tensors=dict.fromkeys(engine.outputs, "engine output"),
        types={name: str(info.dtype) for name, info in engine.outputs.items()},
        folded=dict(engine.info.get("folded", {})),
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
