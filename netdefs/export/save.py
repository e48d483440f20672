"""Models as messages and as files. Weights are copied once; a model above 2 GB never becomes one message."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from netdefs.core.errors import ExportError
from netdefs.core.files import atomic_write
from netdefs.export.graph import Initializer

# protobuf can't hold more than 2 GB in a message; the rest of a model (nodes, names, shapes) is given 64 MB of it.
LARGEST_MESSAGE = 2**31 - 2**26
# Constants below this size stay in the model even with external data: who loads it must know shapes and axes.
SMALLEST_EXTERNAL = 1024
ALIGNMENT = 4096


def assemble(model: onnx.ModelProto, initializers: Iterable[Initializer]) -> onnx.ModelProto:
    """Puts the weights into the model, which is given back.

    protobuf takes values as a `bytes` object only and copies that, so a tensor is in memory once more while it is put
    in. The largest go first, when there is room that the others will take.
    """
    pairs = [(model.graph.initializer.add(), each) for each in initializers]
    for tensor, each in sorted(pairs, key=lambda pair: -pair[1].nbytes):
        fill(tensor, each)
    return model


def fill(tensor: TensorProto, initializer: Initializer) -> None:
    """Writes name, type, shape and values into an empty TensorProto."""
    describe(tensor, initializer)
    tensor.raw_data = little_endian(initializer.values).tobytes()


def describe(tensor: TensorProto, initializer: Initializer) -> None:
    """Writes all but the values into an empty TensorProto."""
    tensor.name = initializer.name
    tensor.data_type = initializer.dtype
    tensor.dims.extend(initializer.shape)


def little_endian(values: np.ndarray) -> np.ndarray:
    """The values in ONNX's byte order: the same array on nearly every machine."""
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def save(
    model: onnx.ModelProto,
    initializers: Sequence[Initializer],
    path: str | os.PathLike[str],
    external_data: bool | None,
) -> onnx.ModelProto:
    """Writes a model that has no weights yet, with its weights, to `path`; gives back what was written.

    Raises:
        ExportError: `external_data` is False, and one file can't hold the weights.
        FileError: the file can't be written. Nothing that was there is then changed.
    """
    too_large = sum(each.nbytes for each in initializers) > LARGEST_MESSAGE
    if too_large and external_data is False:
        raise ExportError(
            f"{path}: the weights do not fit into one file, which holds 2 GB. Leave out external_data=False."
        )
    if too_large or external_data:
        save_external(model, initializers, Path(path))
        return model
    with atomic_write(path) as file:
        for part in message_parts(model, initializers):
            file.write(part)
    return assemble(model, initializers)


def message_parts(model: onnx.ModelProto, initializers: Sequence[Initializer]) -> Iterator[Any]:
    """A model in protobuf's wire format, piece by piece; the weights are written from where they are.

    A message is a sequence of fields in any order: here the graph comes last, in it its initializers, each ending in
    its values.
    """
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    graph = model.graph.SerializeToString()
    tag = field_tag(onnx.GraphProto.INITIALIZER_FIELD_NUMBER)
    heads, total = [], len(graph)
    for each in initializers:
        tensor = TensorProto()
        describe(tensor, each)
        head = tensor.SerializeToString() + field_tag(TensorProto.RAW_DATA_FIELD_NUMBER) + varint(each.nbytes)
        heads.append(tag + varint(len(head) + each.nbytes) + head)
        total += len(heads[-1]) + each.nbytes
    yield rest.SerializeToString() + field_tag(onnx.ModelProto.GRAPH_FIELD_NUMBER) + varint(total) + graph
    for head, each in zip(heads, initializers, strict=True):
        yield head
        yield raw(each.values)


def raw(values: np.ndarray) -> memoryview:
    """The bytes of an array, in ONNX's order; not copied."""
    return memoryview(little_endian(values).view(np.uint8))  # type: ignore[arg-type]


def field_tag(number: int) -> bytes:
    """The tag of a length-delimited field."""
    return varint(number << 3 | 2)


def varint(value: int) -> bytes:
    """An integer as protobuf writes it: seven bits to a byte, lowest first."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def save_external(model: onnx.ModelProto, initializers: Sequence[Initializer], path: Path) -> None:
    """Writes the model to `path` and its weights to `<path>.data`, straight from the network's memory."""
    data = path.with_name(f"{path.name}.data")
    # Both are complete under temporary names before either takes its own; the model's file does so last.
    with atomic_write(path) as file, atomic_write(data) as weights:
        for each in initializers:
            tensor = model.graph.initializer.add()
            if each.nbytes < SMALLEST_EXTERNAL:
                fill(tensor, each)
                continue
            describe(tensor, each)
            weights.write(b"\0" * (-weights.tell() % ALIGNMENT))
            tensor.data_location = TensorProto.EXTERNAL
            where = {"location": data.name, "offset": weights.tell(), "length": each.nbytes}
            for key, value in where.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
            weights.write(raw(each.values))
        file.write(model.SerializeToString())
        file.flush()
