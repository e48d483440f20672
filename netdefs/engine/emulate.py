"""Half precision on the CPU: float32 arithmetic, with every layer's result rounded as the half type rounds it.

ONNX Runtime has few float16 kernels on the CPU and no bfloat16 ones. It runs such models by keeping float32 between the
layers wherever it can, which hides the very rounding that a strongly typed network has on the GPU. So the rounding is
written into the model: every half tensor becomes a float32 tensor of the same name, and each node that computes a
layer's result is followed by a Cast to the half type and one back. This is float32 accumulation with one rounding per
layer; what a layer that takes several nodes holds in between is not rounded, as it is not inside of a GPU kernel.
"""

import onnx
from onnx import TensorProto, helper

from netdefs.engine.modelfile import copy

HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

# These hand on values that they were given, so there is nothing to round.
MOVES = frozenset(
    {
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Concat",
        "Split",
        "Slice",
        "Expand",
        "Tile",
        "Gather",
        "GatherElements",
        "GatherND",
        "DepthToSpace",
        "SpaceToDepth",
        "Where",
        "Relu",
        "Neg",
        "Abs",
        "Max",
        "Min",
        "MaxPool",
        "GlobalMaxPool",
        "ReduceMax",
        "ReduceMin",
        "TopK",
    }
)


def needs_emulation(model: onnx.ModelProto) -> bool:
    """True if the model computes in half precision."""
    tensors = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    return any(info.type.tensor_type.elem_type in HALF for info in tensors) or any(
        tensor.data_type in HALF for tensor in model.graph.initializer
    )


def has_fp8(model: onnx.ModelProto) -> bool:
    """True if a tensor of the model is quantized to fp8."""
    return any(info.type.tensor_type.elem_type == TensorProto.FLOAT8E4M3FN for info in model.graph.value_info)


def emulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float32, inputs and outputs too, each half tensor holding only values that its half type has.

    Which tensors are layers' results, and of which type, the model says itself, in its outputs and value_info. What is
    fed to it must be rounded already.
    """
    result = copy(model)
    _rewrite(result.graph, {}, set())
    return result


def _rewrite(graph: onnx.GraphProto, half: dict[str, int], unrounded: set[str]) -> None:
    """Rewrites a graph, and those inside of its nodes, in place.

    Args:
        half: the half tensors that were seen so far -> their types.
        unrounded: tensors that only a layer itself sees.
    """
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type in HALF:
            half[info.name] = info.type.tensor_type.elem_type
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = list(graph.node)
    del graph.node[:]
    for tensor in graph.initializer:
        if tensor.data_type in HALF:  # ONNX Runtime folds this cast; the model need not hold the weights twice as large
            cast = helper.make_node("Cast", [f"{tensor.name} (half)"], [tensor.name], to=TensorProto.FLOAT)
            tensor.name = f"{tensor.name} (half)"
            graph.node.append(cast)
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rewrite(attribute.g, half, unrounded)
        moves = node.op_type in MOVES and unrounded.isdisjoint(node.input)
        rounded = {}
        for name in node.output if not moves else ():
            dtype = _fixed_type(node) or half.get(name)
            if dtype in HALF:
                rounded[name] = dtype
            else:
                unrounded.add(name)
        node.output[:] = [f"{name} (exact)" if name in rounded else name for name in node.output]
        graph.node.append(node)
        for name, dtype in rounded.items():
            graph.node.append(helper.make_node("Cast", [f"{name} (exact)"], [f"{name} (half)"], to=dtype))
            graph.node.append(helper.make_node("Cast", [f"{name} (half)"], [name], to=TensorProto.FLOAT))


def _fixed_type(node: onnx.NodeProto) -> int | None:
    """The type that a node's attributes give its output, whatever its inputs are: Cast's, or a constant's."""
    for attribute in node.attribute:
        if attribute.name == "to":
            return int(attribute.i)
        if attribute.name == "value":
            return int(attribute.t.data_type)
    return None
