"""Cutting ONNX models, also ones that the exporter never writes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from netdefs.core.errors import EngineError
from netdefs.debug.graph import Graph
from netdefs.debug.lean import execute
from netdefs.debug.match import Pair
from netdefs.debug.plan import Group, Task
from netdefs.debug.run import Chain, run_isolated


def model(nodes, weights=(), outputs=("out",)):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.float32(value), name) for name, value in dict(weights).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


# x -> a = x + w -> b = 2a -> out = a * b
NODES = [node("Add", "x w", "a"), node("Add", "a a", "b"), node("Mul", "a b", "out")]


def pair(name):
    return Pair(name, name, "layer", "", "", (), 0)


def groups(*names):
    return [Group(tuple(Task(pair(name)) for name in group), frozenset()) for group in names]


def test_steps_and_what_they_read():
    graph = Graph(model(NODES, {"w": 1}))
    assert graph.steps(["out"], known=()) == [0, 1, 2]
    assert graph.steps(["out"], known={"a"}) == [1, 2]
    assert graph.steps(["out"], known={"a", "b", "out"}) == [2]
    assert graph.read_by([1, 2]) == ["a", "b"]
    assert graph.read_by([0]) == ["x"]
    assert graph.constant_bytes([0]) > 0
    assert graph.constant_bytes([1, 2]) == 0
    assert graph.inputs == ["x"]


def test_a_piece_that_reads_what_it_computes():
    """a is given, and computed too: the given one is read, the computed one comes out."""
    graph = Graph(model(NODES, {"w": 1}))
    fed = {"x": np.float32([1]), "a": np.float32([10])}
    piece, names, _ = graph.piece(["a", "b"], [0, 1], fed)
    found = execute(piece, fed)
    assert names["a"] != "a"
    assert (found[names["a"]], found[names["b"]]) == (np.float32([2]), np.float32([20]))
    assert [value.name for value in graph.model.graph.input] == ["x"]  # the model itself is as it was


def test_the_chain_runs_every_node_once():
    ran = []

    def count(piece, feeds):
        ran.extend(node.output[0] for node in piece.graph.node)
        return execute(piece, feeds)

    graph = Graph(model(NODES, {"w": 1}))
    chain = Chain(graph, groups(["b"], ["a"], ["out"]), {"x": np.float32([1])}, count)
    held = []
    for index, expected in enumerate(({"b": 4}, {"a": 2}, {"out": 8})):
        assert chain.run(index) == expected
        held.append(set(chain._held))
    assert held == [{"a", "b"}, {"a", "b"}, set()]
    assert ran == ["a", "b", "out"]


def test_a_tensor_that_an_inner_graph_takes_from_outside():
    """The branches of If read tensors of the graph around them."""

    def branch(op):
        body = [node(op, "a a", "y")]
        return helper.make_graph(body, op, [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])

    nodes = [
        node("Add", "x w", "a"),
        node("ReduceSum", "a", "sum", keepdims=0),
        node("Greater", "sum zero", "positive"),
        node("If", "positive", "out", then_branch=branch("Add"), else_branch=branch("Mul")),
    ]
    graph = Graph(model(nodes, {"w": 1, "zero": 0}))
    assert graph.steps(["out"], known={"positive"}) == [0, 3]
    for positive, expected in ((True, -6), (False, 9)):
        fed = {"a": np.float32([-3]), "positive": np.array(positive)}
        piece, names, _ = graph.piece(["out"], [3], fed)
        assert execute(piece, fed)[names["out"]] == expected


def test_one_that_fails_does_not_spoil_the_others():
    nodes = [node("Add", "x w", "a"), node("Mul", "x v", "out")]
    graph = Graph(model(nodes, {"w": [1, 2], "v": [1, 2, 3]}))
    tasks = (Task(pair("a"), ("x",), (0,)), Task(pair("out"), ("x",), (1,)))
    found = run_isolated(graph, Group(tasks, frozenset()), {"x": np.float32([1, 1])}, execute)
    np.testing.assert_array_equal(found["a"], [2, 3])
    assert found["out"].startswith("it can't be computed from PyTorch's values: ONNX Runtime could not run")


def test_what_onnx_runtime_refuses():
    with pytest.raises(EngineError, match="could not run a part of the network"):
        execute(model([node("NoSuchThing", "x", "out")]), {"x": np.zeros(1, np.float32)})
