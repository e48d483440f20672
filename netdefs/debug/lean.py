"""ONNX models whose large weights stay where they are: cut into pieces and run, they are neither copied nor written."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from netdefs.core.errors import EngineError
from netdefs.core.optional import require

SMALLEST = 1024  # bytes; what is smaller stays in the model, where shapes and axes are looked for
QUIET = 4  # ONNX Runtime's log level "fatal": an error is raised as well
PLACE = "location"  # the entry of a TensorProto without values that says where these are


class Lean(NamedTuple):
    """A model without its large weights, and their values, flat, by the `PLACE` that its TensorProtos give."""

    model: Any
    values: dict[str, np.ndarray]


def of_definition(definition: Any, strict: bool = True) -> Lean:
    """The model of an `INetworkDefinition`; the weights are views of the network's own memory.

    Args:
        definition: the network.
        strict: False lets it have layers that ONNX has no word for: the model is then looked at, and not run.
    """
    from netdefs.export import to_parts
    from netdefs.export.save import fill

    model, weights = to_parts(definition, strict=strict)
    lean = Lean(model, {})
    for each in weights:
        tensor = model.graph.initializer.add()
        if not _take(lean, tensor, each.name, each.dtype, each.shape, each.values):
            fill(tensor, each)
    return lean


def of_model(model: Any) -> Lean:
    """The same of an ONNX model, which is not changed. Its weights are copied once, as protobuf gives them out."""
    from netdefs.engine import modelfile

    lean = Lean(modelfile.skeleton(model), {})
    for weight in model.graph.initializer:
        tensor = lean.model.graph.initializer.add()
        raw = weight.HasField("raw_data")
        if not (raw and _take(lean, tensor, weight.name, weight.data_type, weight.dims, weight)):
            tensor.CopyFrom(weight)
    return lean


def _take(lean: Lean, tensor: Any, name: str, dtype: int, dims: Iterable[int], source: Any) -> bool:
    """Describes a large weight in an empty TensorProto and keeps its values; False if it belongs into the model."""
    onnx = require("onnx", "cpu")
    kind, shape = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(dtype)), tuple(dims)
    size = math.prod(shape) * kind.itemsize
    if size < SMALLEST:
        return False
    values = source if isinstance(source, np.ndarray) else np.frombuffer(source.raw_data, np.uint8)
    if values.nbytes != size:  # packed: two values to a byte
        return False
    tensor.name, tensor.data_type = name, dtype
    tensor.dims.extend(shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key=PLACE, value=name)
    lean.values[name] = values
    return True


def execute(model: Any, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs an ONNX model once with ONNX Runtime.

    Raises:
        EngineError: it can't be loaded or run.
    """
    from netdefs.engine import modelfile

    runtime = require("onnxruntime", "cpu")
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    # For one run no optimization pays. And the layers are wanted as they were written.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Beside it PyTorch's threads may want the processor as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    names = [value.name for value in model.graph.output]
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    try:
        with modelfile.source(model) as source:
            session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        fed = {name: _value(runtime, array, kinds[name]) for name, array in feeds.items()}
        return dict(zip(names, session.run(names, fed), strict=True))
    except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
        raise EngineError(f"ONNX Runtime could not run a part of the network: {error}") from error


def _value(runtime: Any, array: np.ndarray, kind: int) -> Any:
    """A feed as ONNX Runtime takes it: numpy has no word for bfloat16."""
    if array.dtype.isbuiltin == 1:  # 2: a type that a package has registered with numpy
        return array
    bits = np.ascontiguousarray(array).view(np.dtype(f"u{array.dtype.itemsize}"))
    return runtime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, kind)
