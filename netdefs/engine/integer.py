"""Int8 on the CPU: ONNX Runtime's integer convolutions, for networks whose int8 is TensorRT's.

ONNX Runtime makes an integer convolution of one between Dequantize and Quantize. On x86 it does so for unsigned
integers, and only where nothing lies in between. TensorRT's are signed and symmetric, and its Quantize comes behind the
ReLU. Two changes of a session's model make the one into the other, and leave every value as it is:

- q as uint8 with the zero point 128 stands for the same number as q - 128 as int8 with 0.
- Quantizing rises with its input, and keeps 0, so quantize(relu(x)) is max(quantize(x), zero): the ReLU moves behind.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from netdefs.engine.modelfile import copy

ZERO = "netdefs zero point 128"
# What ONNX Runtime moves Quantize over, or takes as a part of the convolution before it.
PASSED = ("Relu", "LeakyRelu", "Clip", "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice")
BEFORE = " before ReLU"


def quantizes(model: onnx.ModelProto) -> bool:
    """True if the model quantizes anything."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its int8 tensors as uint8, and ReLUs behind a Quantize in place of before it.

    Kernels of convolutions that remain float ones are dequantized here, once and not in every run.
    """
    result = copy(model)
    graph = result.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made: dict[str, Any] = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {value.name: [None] for value in graph.output}  # None: it is given out
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    moved = set()  # what the ReLUs gave that go behind their Quantize
    changed = set()
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or not _is_int8(node, constants):
            continue
        known = readers.get(node.output[0], [])
        pairs = [one for one in known if one is not None and one.op_type == "DequantizeLinear"]
        if len(pairs) < len(known) or not all(_scalar(one, constants) for one in pairs):
            continue
        for one in (node, *pairs):
            one.input[:] = [*one.input[:2], ZERO]
        kept = [a for a in node.attribute if a.name not in ("output_dtype", "axis")]
        del node.attribute[:]
        node.attribute.extend(kept)
        changed.add(node.output[0])
        before = made.get(node.input[0])
        if before is not None and before.op_type == "Relu" and _only(readers, before.output[0], node):
            conv = made.get(before.input[0])
            if conv is not None and conv.op_type == "Conv" and _only(readers, before.input[0], before):
                moved.add(before.output[0])
    if not changed:
        return model
    graph.initializer.append(numpy_helper.from_array(np.array(128, np.uint8), ZERO))
    for value in graph.value_info:
        if value.name in changed:
            value.type.tensor_type.elem_type = TensorProto.UINT8
    nodes = list(graph.node)
    sources = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Relu"}
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Relu" and node.output[0] in moved:
            continue
        quantized = node.output[0]
        if node.op_type == "QuantizeLinear" and node.input[0] in moved:
            node.input[0], node.output[0] = sources[node.input[0]], quantized + BEFORE
            graph.node.extend([node, helper.make_node("Max", [quantized + BEFORE, ZERO], [quantized])])
        else:
            graph.node.append(node)
    gone = [value for value in graph.value_info if value.name not in moved]
    del graph.value_info[:]
    graph.value_info.extend(gone)
    _dequantize_kernels(graph, constants)
    return result


def _dequantize_kernels(graph: onnx.GraphProto, constants: Mapping[str, Any]) -> None:
    """Makes constants of the dequantized kernels of convolutions whose results are not quantized at once."""
    nodes = list(graph.node)
    integer = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    made = {node.output[0]: node for node in nodes if node.op_type == "DequantizeLinear"}
    # ONNX Runtime moves Quantize upwards. Where one ends up behind a convolution with a float kernel, or behind its
    # ReLU, it quantizes that kernel again, with one scale for all of it.
    for node in reversed(nodes):
        if node.op_type in PASSED and integer.intersection(node.output):
            integer.update(node.input)
    gone = set()
    for node in nodes:
        if node.op_type not in ("Conv", "ConvTranspose") or node.output[0] in integer:
            continue
        pair = made.get(node.input[1])
        if pair is None or pair.input[0] not in constants or pair.input[1] not in constants:
            continue
        if len(pair.input) > 2 and numpy_helper.to_array(constants[pair.input[2]]).any():
            continue
        values, scales = (numpy_helper.to_array(constants[name]) for name in pair.input[:2])
        axis = next((a.i for a in pair.attribute if a.name == "axis"), 1)
        along = [-1 if i == axis else 1 for i in range(values.ndim)] if scales.ndim else []
        kernel = values.astype(np.float32) * scales.astype(np.float32).reshape(along)
        if node.input[1] not in gone:
            graph.initializer.append(numpy_helper.from_array(kernel, node.input[1]))
            gone.add(node.input[1])
    del graph.node[:]
    graph.node.extend(node for node in nodes if not gone.intersection(node.output))


def _is_int8(node: Any, constants: Mapping[str, Any]) -> bool:
    """Whether a Quantize gives int8 with one scale and the zero point 0."""
    if len(node.input) < 3:
        return _scalar(node, constants) and any(
            a.name == "output_dtype" and a.i == TensorProto.INT8 for a in node.attribute
        )
    zero = constants.get(node.input[2])
    return zero is not None and zero.data_type == TensorProto.INT8 and _scalar(node, constants)


def _scalar(node: Any, constants: Mapping[str, Any]) -> bool:
    """Whether a Quantize or Dequantize has one scale, and no zero point but 0."""
    scale = constants.get(node.input[1])
    zero = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if len(node.input) > 2 and node.input[2] and node.input[2] != ZERO and zero is None:
        return False
    return scale is not None and not scale.dims and (zero is None or not numpy_helper.to_array(zero).any())


def _only(readers: Mapping[str, list[Any]], name: str, reader: Any) -> bool:
    found = readers.get(name, [])
    return len(found) == 1 and found[0] is reader
