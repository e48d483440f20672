"""What several lowerings need to write the options of a layer as a person would."""

from collections.abc import Sequence
from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.program import ARRAY, TENSOR, Arg, Value

END = 2**63 - 1  # what PyTorch traces for "to the end"


def pair(sizes: Sequence[Arg] | int) -> Arg:
    """Height and width as one number where they are equal."""
    if not isinstance(sizes, Sequence):
        return sizes
    sizes = tuple(sizes)
    return sizes[0] if all(size == sizes[0] for size in sizes) else sizes


def differing(usual: dict[str, Arg], **options: Arg) -> dict[str, Arg]:
    """The options that are not at their default."""
    return {key: value for key, value in options.items() if key not in usual or usual[key] != value}


def axes(op: Op, dim: Any) -> Arg:
    """An operator's `dim` as a method takes it: one axis as a number, several as a tuple, all as None."""
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return None
    return dim if isinstance(dim, int) else dim[0] if len(dim) == 1 else tuple(dim)


def is_float(value: Value) -> bool:
    """Whether a value holds floating-point numbers."""
    return "float" in value.dtype


def is_array(value: Any) -> bool:
    """Whether a value is known while the network is defined."""
    return isinstance(value, Value) and value.kind == ARRAY


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of the network."""
    return isinstance(value, Value) and value.kind == TENSOR


def split_sizes(op: Op, dim: int) -> tuple[Any, ...]:
    """How long the parts are that an operator cuts its argument into, along an axis."""
    return tuple(shape[dim] for shape in op.shapes)
