"""A network's tensors on one input after another, in pieces of bounded memory."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import EngineError
from netdefs.core.optional import require
from netdefs.debug.graph import Graph

BUDGET = 256 * 2**20  # bytes of wanted values that one piece gives
QUIET = 4  # ONNX Runtime's log level "fatal": an error is raised as well


def session_of(model: Any) -> Any:
    """An ONNX Runtime session for many runs.

    Raises:
        EngineError: the model can't be loaded.
    """
    from netdefs.engine import modelfile

    runtime = require("onnxruntime", "cpu")
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # numpy works in between
    try:
        with modelfile.source(model) as source:
            return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
        raise EngineError(f"ONNX Runtime can't load the network {model.graph.name!r}: {error}") from error


def run(session: Any, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Runs a session.

    Raises:
        EngineError: ONNX Runtime fails.
    """
    try:
        found: list[np.ndarray] = session.run(list(names), dict(feeds))
        return found
    except Exception as error:  # as in session_of
        raise EngineError(f"ONNX Runtime could not run the network: {error}") from error


class Walk:
    """The tensors `wanted` of a network, input by input; the network runs once for each.

    The network is cut into pieces in the order of its execution, each with a session that is kept. Between two pieces
    only those values live that a later one reads.

    Args:
        model: onnx.ModelProto.
        wanted: tensors, inputs of the network among them, in the order in which they are to come.
        budget: bytes of wanted values that a piece may give; a single tensor may be larger.
    """

    def __init__(self, model: Any, wanted: Sequence[str], budget: int = BUDGET) -> None:
        self._graph, self._budget = Graph(model), budget
        self._wanted = [name for name in wanted if name not in self._graph.inputs]
        self._inputs = [name for name in wanted if name in self._graph.inputs]
        self._pieces: list[_Piece] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Each wanted tensor with its values on `feeds`.

        Raises:
            EngineError: ONNX Runtime can't load or run a piece.
        """
        if not self._pieces:
            self._pieces = list(self._cut(self._sizes(feeds)))
        yield from ((name, feeds[name]) for name in self._inputs)
        held = dict(feeds)
        for piece in self._pieces:
            taken = {name: held[name] for name in piece.takes}
            if piece.session is None:
                piece.session = session_of(self._graph.piece(piece.gives, piece.steps, taken)[0])
            held.update(zip(piece.gives, run(piece.session, piece.gives, taken), strict=True))
            for name in piece.wanted:
                yield name, held[name]
            held = {name: array for name, array in held.items() if name in piece.needed}

    def _sizes(self, feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Bytes of each wanted tensor on `feeds`, for inputs of such shapes."""
        known = {value.name: value.type.tensor_type.shape.dim for value in self._graph.model.graph.value_info}
        found, unknown = {}, []
        for name in self._wanted:
            dims = [dim.dim_value for dim in known.get(name, ())]
            if name in known and all(dims):
                found[name] = 4 * math.prod(dims)
            else:
                unknown.append(name)
        if unknown:
            found.update(zip(unknown, self._shapes(unknown, feeds), strict=True))
        return found

    def _shapes(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> Iterator[int]:
        """Bytes of tensors, found out by one run that gives their shapes."""
        from netdefs.engine import modelfile

        model = modelfile.copy(self._graph.model)
        del model.graph.output[:]
        for i, name in enumerate(names):
            model.graph.node.add(op_type="Shape", input=[name], output=[f" shape {i}"])
            model.graph.output.add().name = f" shape {i}"
        shapes = run(session_of(model), [value.name for value in model.graph.output], feeds)
        return (4 * math.prod(map(int, shape)) for shape in shapes)

    def _cut(self, sizes: Mapping[str, int]) -> Iterator["_Piece"]:
        graph = self._graph
        groups: list[list[str]] = []
        used = self._budget + 1
        for name in self._wanted:
            if used + sizes[name] > self._budget:
                groups.append([])
                used = 0
            groups[-1].append(name)
            used += sizes[name]
        written: set[str] = set()
        steps = []
        for group in groups:
            steps.append(graph.steps([name for name in group if name not in written], written))
            written.update(graph.written_by(steps[-1]))
        later: list[set[str]] = [set() for _ in groups]
        for i in range(len(groups) - 1, 0, -1):
            later[i - 1] = later[i] | set(graph.read_by(steps[i])) | set(groups[i])
        for group, step, needed in zip(groups, steps, later, strict=True):
            made = graph.written_by(step)
            yield _Piece(
                steps=step,
                takes=[name for name in graph.read_by(step) if name not in made],
                gives=[name for name in made if name in needed or name in group],
                wanted=group,
                needed=needed,
            )


@dataclasses.dataclass
class _Piece:
    """A stretch of the network.

    Attributes:
        steps: its nodes.
        takes: what it reads.
        gives: what it computes that is wanted now or needed later.
        wanted: what is wanted of it.
        needed: what later pieces read or want.
        session: runs it; made when its inputs, and so their types, are there for the first time.
    """

    steps: list[int]
    takes: list[str]
    gives: list[str]
    wanted: list[str]
    needed: set[str]
    session: Any = None
