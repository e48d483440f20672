"""Raw TensorRT networks for tests, and what ONNX Runtime makes of their export."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime

from netdefs.core import trt as tensorrt
from netdefs.export import to_onnx

trt = tensorrt.load()


class Net:
    """A strongly typed network under construction. `definition` is the real `INetworkDefinition`."""

    def __init__(self) -> None:
        self.log = tensorrt.logger_of(trt)
        self.builder = trt.Builder(self.log.bridge)
        self.definition = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def input(self, name: str, shape: Any, dtype: Any = None) -> Any:
        return self.definition.add_input(name, trt.float32 if dtype is None else dtype, shape)

    def constant(self, values: Any) -> Any:
        values = np.asarray(values)
        return self.definition.add_constant(values.shape, np.ascontiguousarray(values)).get_output(0)

    def output(self, layer: Any, name: str = "y", index: int = 0) -> Any:
        assert layer is not None, self.log.take()
        if index == 0:
            layer.name = name
        tensor = layer.get_output(index)
        tensor.name = name
        self.definition.mark_output(tensor)
        return tensor

    def compile(self) -> Any:
        """Builds a plan: some mistakes show only there. Needs no GPU with RTX."""
        plan = self.builder.build_serialized_network(self.definition, self.builder.create_builder_config())
        assert plan is not None, self.log.take()
        return plan


def check(model: onnx.ModelProto) -> None:
    """onnx.checker with everything it has, and no operators of other domains."""
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}


def session(model: onnx.ModelProto, optimize: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], optimize: bool = True) -> dict[str, np.ndarray]:
    runner = session(model, optimize)
    return dict(zip([x.name for x in runner.get_outputs()], runner.run(None, dict(feeds)), strict=True))


def export(net: Net, **options: Any) -> onnx.ModelProto:
    model = to_onnx(net.definition, **options)
    check(model)
    return model


def evaluate(net: Net, feeds: Mapping[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
    """Exports, checks and runs a network; the shapes and types are what TensorRT says."""
    model = export(net, **options)
    results = run(model, feeds)
    for i in range(net.definition.num_outputs):
        tensor = net.definition.get_output(i)
        found = results[tensor.name]
        assert len(tensor.shape) == found.ndim
        assert all(n in (-1, m) for n, m in zip(tensor.shape, found.shape, strict=True)), (tensor.shape, found.shape)
        assert str(found.dtype) == str(np.dtype(trt.nptype(tensor.dtype)))
    return results


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return rng(seed).standard_normal(shape).astype(np.float32)


def close(found: np.ndarray, expected: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found, np.asarray(expected), rtol=tolerance, atol=tolerance)
