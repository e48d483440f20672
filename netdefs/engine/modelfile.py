"""ONNX models as bytes and files, also those above protobuf's limit of 2 GB."""

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from netdefs.core.errors import EngineError
from netdefs.core.files import atomic_write
from netdefs.export import save


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model without its weights."""
    bare = onnx.ModelProto()
    _copy_fields(model, bare, leave_out="graph")
    _copy_fields(model.graph, bare.graph, leave_out="initializer")
    return bare


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model, also of one above protobuf's limit, which `CopyFrom` may refuse."""
    whole = skeleton(model)
    whole.graph.initializer.extend(model.graph.initializer)
    return whole


def _copy_fields(source: Any, target: Any, leave_out: str) -> None:
    """Copies the fields that a message has, which are repeated ones and plain values."""
    for field, value in source.ListFields():
        if field.name == leave_out:
            continue
        if hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)


def write(model: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Writes the model to `path`, and its weights to `<path>.data` where one file can't hold both.

    Raises:
        FileError: the file can't be written. Nothing that was there is then changed.
    """
    if fits_message(model):
        with atomic_write(path) as file:
            file.write(model.SerializeToString())
        return
    weights = [
        save.Initializer(tensor.name, tensor.data_type, tuple(tensor.dims), values_of(tensor))
        for tensor in model.graph.initializer
    ]
    save.save(skeleton(model), weights, path, external_data=True)


@contextlib.contextmanager
def source(model: onnx.ModelProto) -> Iterator[bytes | str]:
    """What a session is made from: the model's bytes, or the path of a temporary file when it is too large for that."""
    if fits_message(model):
        yield model.SerializeToString()
        return
    with tempfile.TemporaryDirectory(prefix="netdefs-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        write(model, path)
        yield str(path)


def values_of(tensor: onnx.TensorProto) -> np.ndarray:
    """A weight's values as they lie in memory, flat."""
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, np.uint8)
    return onnx.numpy_helper.to_array(tensor).reshape(-1)


def fits_message(model: onnx.ModelProto) -> bool:
    """True if protobuf can hold the model in one message."""
    sizes = (
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
    )
    return sum(sizes) <= save.LARGEST_MESSAGE


def parse(path: Path, data: bytes) -> onnx.ModelProto | None:
    """The model that the bytes of a file hold, with its external weights; None if they hold none.

    Raises:
        EngineError: its external weights are missing.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's DecodeError, whose home differs between versions
        return None
    # Protobuf takes nearly any short text, and a file of no bytes, for a message of unknown fields.
    if not (model.ir_version and model.opset_import and model.graph.node and model.graph.output):
        return None
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise EngineError(
            f"The weights of {path} are in another file, which can't be read: {error}. It belongs beside {path.name}."
        ) from error
    return model
