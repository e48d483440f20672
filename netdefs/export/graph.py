"""The ONNX graph under construction."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from netdefs.core.errors import ExportError
from netdefs.export.reading import value_info
from netdefs.export.types import NUMPY_TYPES, type_name

LOWEST_OPSET = 13
HIGHEST_OPSET = onnx.defs.onnx_opset_version()
# Operators that take bfloat16 only in a later opset are written in float32: most runtimes do not have those opsets yet.
LATEST_FOR_BFLOAT16 = 22


@dataclass
class Initializer:
    """A constant of the model. `values` is flat, usually a view of the network's own memory: it is copied last."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return int(self.values.nbytes)


@dataclass
class Need:
    """The lowest opset that can hold what was written so far, and what asked for it."""

    opset: int = LOWEST_OPSET
    reason: str = ""


@dataclass
class Graph:
    """The ONNX graph under construction.

    It is written for one opset; a layer that needs a higher one says so in `need`, and the exporter then starts again.
    """

    opset: int
    fixed: bool = False  # the caller asked for this opset: nothing may want a higher one just to be shorter or faster
    need: Need = field(default_factory=Need)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[Initializer] = field(default_factory=list)
    dtypes: dict[str, int] = field(default_factory=dict)  # every tensor's element type
    constants: dict[str, np.ndarray] = field(default_factory=dict)  # tensors whose value is known now
    tensors: dict[str, Any] = field(default_factory=dict)  # TensorRT's own, by name
    names: set[str] = field(default_factory=set)
    loops: dict[int, tuple[str, str]] = field(default_factory=dict)  # by id: tensors of iteration and trip count, or ""
    domains: set[str] = field(default_factory=set)

    def unique(self, name: str) -> str:
        """`name`, or the first of `name_1`, `name_2` ... that is free; taken from then on."""
        free, count = name, 0
        while free in self.names:
            count += 1
            free = f"{name}_{count}"
        self.names.add(free)
        return free

    def require(self, opset: int, reason: str) -> None:
        """Says that what is being written needs at least this opset."""
        if opset > self.need.opset:
            self.need = Need(opset, reason)

    @contextlib.contextmanager
    def nested(self, nodes: list[onnx.NodeProto]) -> Iterator[None]:
        """What is written in this block goes to `nodes`, for the body of a loop or a branch."""
        outer, self.nodes = self.nodes, nodes
        try:
            yield
        finally:
            self.nodes = outer

    def add_initializer(self, name: str, dtype: int, shape: Sequence[int], values: np.ndarray) -> str:
        """A constant of the model, under a name that is free already: returns the name."""
        self.dtypes[name] = dtype
        self.initializers.append(Initializer(name, dtype, tuple(shape), values))
        if dtype in NUMPY_TYPES:
            self.constants[name] = values.reshape(tuple(shape))
        return name

    def add_node(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        owner: str,
        doc: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> None:
        """Adds a node; `owner` is the layer in words, for errors. The inputs' types may ask for a higher opset."""
        if domain:
            self.domains.add(domain)
        else:
            opset = self.opset_for(op, inputs, outputs)
            if (opset or HIGHEST_OPSET) > LATEST_FOR_BFLOAT16 and self.any_bfloat16((*inputs, *outputs)):
                self.widened(op, inputs, outputs, name, owner, doc, **attributes)
                return
            if opset is None:
                types = self.types_in_words(inputs, outputs)
                raise ExportError(f"{owner} can't be written as ONNX: {op} of {types} does not exist.")
            if opset > self.need.opset:
                self.require(opset, f"{owner}: {op} of {self.types_in_words(inputs, outputs)}")
        # Attributes that are None were not asked for: ONNX's default holds.
        given = {key: value for key, value in attributes.items() if value is not None}
        node = helper.make_node(
            op, list(inputs), list(outputs), name=name, doc_string=doc, domain=domain or None, **given
        )
        self.nodes.append(node)

    def opset_for(self, op: str, inputs: Sequence[str], outputs: Sequence[str]) -> int | None:
        """The lowest opset whose `op` knows the types of these tensors; None if no opset does."""
        taken, made = (tuple(self.dtypes[x] if x else 0 for x in tensors) for tensors in (inputs, outputs))
        return lowest_opset(op, taken, made, self.opset)

    def types_in_words(self, inputs: Sequence[str], outputs: Sequence[str]) -> str:
        """The element types of an operator's tensors, such as "float16 to bool"."""
        both = [{type_name(self.dtypes[x]) for x in tensors if x} for tensors in (inputs, outputs)]
        return " to ".join(dict.fromkeys(" and ".join(sorted(kinds)) for kinds in both if kinds))

    def any_bfloat16(self, tensors: Sequence[str]) -> bool:
        """True if one of the tensors is of bfloat16."""
        return any(x and self.dtypes[x] == TensorProto.BFLOAT16 for x in tensors)

    def widened(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, owner: str, doc: str, **attributes: Any
    ) -> None:
        """Adds a node that computes in float32 between bfloat16 tensors."""
        wide = []
        for i, x in enumerate((*inputs, *outputs)):
            if x and self.dtypes[x] == TensorProto.BFLOAT16:
                wide.append(self.unique(f"{name}/float.{i}"))
                self.dtypes[wide[-1]] = TensorProto.FLOAT
            else:
                wide.append(x)
        for x, y in zip(inputs, wide, strict=False):
            if x != y:
                self.add_node("Cast", [x], [y], y, owner, to=TensorProto.FLOAT)
        self.add_node(op, wide[: len(inputs)], wide[len(inputs) :], f"{name}/float32", owner, **attributes)
        for x, y in zip(outputs, wide[len(inputs) :], strict=True):
            if x != y:
                self.add_node("Cast", [y], [x], name, owner, doc, to=TensorProto.BFLOAT16)

    def infos(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx.ValueInfoProto]:
        """Type and shape of those of TensorRT's tensors that these nodes make."""
        return [value_info(self.tensors[x]) for node in nodes for x in node.output if x in self.tensors]


def taken_by(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The tensors that nodes take, or the nodes of the graphs inside them, and those that these graphs give out."""
    taken: set[str] = set()
    for node in nodes:
        taken.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                taken |= taken_by(attribute.g.node)
                taken.update(info.name for info in attribute.g.output)
    return taken


@functools.cache
def lowest_opset(op: str, taken: tuple[int, ...], made: tuple[int, ...], opset: int) -> int | None:
    """The lowest opset from `opset` on in which ONNX's `op` takes and makes these types; None if none does."""
    for version in range(opset, HIGHEST_OPSET + 1):
        try:
            schema = onnx.defs.get_schema(op, version, "")
        except onnx.defs.SchemaError:
            continue  # the operator came later
        if admitted(schema.inputs, taken) and admitted(schema.outputs, made):
            return version
    return None


def admitted(formals: Sequence[Any], dtypes: Sequence[int]) -> bool:
    """True if an operator's formal parameters admit tensors of these element types (0 is an absent one)."""
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    if len(dtypes) > len(formals) and not (formals and formals[-1].option == variadic):
        return False
    pairs = ((formals[min(i, len(formals) - 1)], dtype) for i, dtype in enumerate(dtypes) if dtype)
    return all(f"tensor({type_name(dtype)})" in formal.types for formal, dtype in pairs)
