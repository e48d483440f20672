"""TensorRT networks as ONNX models with the same names, that ONNX Runtime executes with TensorRT's meaning."""

from netdefs.core.optional import require

require("onnx", "cpu")

from netdefs.export.exporter import to_onnx, to_parts  # noqa: E402

__all__ = ["to_onnx", "to_parts"]
