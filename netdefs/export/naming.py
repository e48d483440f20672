"""Names for the dynamic dimensions of a model: where an input's dimension comes back, it comes back under its name."""

from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto

from netdefs.export.graph import Initializer
from netdefs.export.save import SMALLEST_EXTERNAL, describe, fill


def name_dimensions(model: onnx.ModelProto, initializers: Iterable[Initializer]) -> None:
    """Names the dimensions of outputs and inner tensors that ONNX's shape inference traces back to an input's.

    `model` has no weights yet, and inference needs none: it sees the large ones by shape only.
    """
    names = {dim.dim_param for info in model.graph.input for dim in dims(info) if dim.dim_param}
    if not names:
        return
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model)
    for each in initializers:
        tensor = skeleton.graph.initializer.add()
        if each.nbytes < SMALLEST_EXTERNAL:
            fill(tensor, each)
        else:
            describe(tensor, each)
            tensor.data_location = TensorProto.EXTERNAL
    for info in (*skeleton.graph.output, *skeleton.graph.value_info):
        info.type.tensor_type.ClearField("shape")  # else inference keeps the nameless dimensions
    inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=True).graph
    found = {info.name: info for info in (*inferred.output, *inferred.value_info)}
    for info in (*model.graph.output, *model.graph.value_info):
        known = list(dims(found[info.name])) if info.name in found else []
        for dim, other in zip(dims(info), known, strict=False):
            if not dim.HasField("value") and other.dim_param in names:
                dim.dim_param = other.dim_param


def dims(info: onnx.ValueInfoProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    """The dimensions of a tensor."""
    yield from info.type.tensor_type.shape.dim
