"""Small ONNX models, written by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def value(name: str, shape: Any = None, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Iterable[tuple[str, Any]] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "graph", inputs, outputs, [numpy_helper.from_array(np.asarray(a), name) for name, a in weights]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write(path: Path, made: onnx.ModelProto) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def small(folder: Path) -> Path:
    """A convolution and a ReLU in a file."""
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["conv"], name="conv"),
        helper.make_node("Relu", ["conv"], ["y"], name="relu"),
    ]
    kernel = floats(4, 3, 1, 1)
    return write(folder / "m.onnx", model(nodes, [value("x", [1, 3, 8, 8])], [value("y")], [("kernel", kernel)]))
