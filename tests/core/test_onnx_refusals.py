"""What `from_onnx` says of models that NVIDIA's parser can't take."""

import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

import netdefs
from netdefs.core.errors import FileError, NetworkError
from tests.core.onnx_models import INT64, STRING, floats, model, small, value, write


def refusal(path):
    with pytest.raises(NetworkError) as error:
        netdefs.from_onnx(path)
    return str(error.value)


def unsupported():
    """A model with several operators that TensorRT lacks, most of them where its parser does not look."""
    branches = {
        name: helper.make_graph([helper.make_node(op, ["x"], [name], name=op.lower())], name, [], [value(name)])
        for name, op in (("then_branch", "Det"), ("else_branch", "Wavelet"))
    }
    nodes = [
        helper.make_node("If", ["c"], ["a"], name="if", **branches),
        *(helper.make_node("Curl", ["x"], [f"curl{i}"], name=f"curl{i}") for i in range(5)),
        helper.make_node("Unique", ["x"], ["u"]),
    ]
    inputs = [value("x", [3, 3]), value("c", [], TensorProto.BOOL)]
    return model(nodes, inputs, [value("a"), value("curl4"), value("u")])


def test_every_operator_that_tensorrt_lacks_is_listed_at_once(tmp_path, monkeypatch):
    path = write(tmp_path / "m.onnx", unsupported())
    said = refusal(path)
    for words in (
        "Det: 'det'",
        "Wavelet: 'wavelet'",
        "Unique: the one that makes 'u'",
        "'curl0', 'curl1', 'curl2' and 2 more",
    ):
        assert words in said
    assert "Relu" not in said and " If" not in said and "load_engine" in said
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "Det: 'det'" in refusal(path), "without the package onnx, what the parser says"


def test_operators_that_would_need_plugins_are_listed_with_the_others(tmp_path):
    """The parser knows these, stops at the first, and looks no further once it has met an operator it does not know."""

    def node(op, inputs, name, **attributes):
        return helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes)

    branch = helper.make_graph([node("NonZero", ["twice"], "inner")], "branch", [], [value("inner_out", None, INT64)])
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        *(node("RoiAlign", ["twice", "boxes", "items"], f"roi{i}", output_height=3, output_width=i) for i in (1, 2)),
        node("NonZero", ["roi1_out"], "where"),
        node("If", ["flag"], "if", then_branch=branch, else_branch=branch),
        node("LpPool", ["x"], "pool", kernel_shape=[2, 2], p=3),
        node("MaxPool", ["twice"], "", kernel_shape=[2, 2], dilations=[2, 2]),
        node("Curl", ["x"], "curl"),
    ]
    inputs = [value("x", [1, 3, 8, 8]), value("items", [2], INT64), value("flag", [], TensorProto.BOOL)]
    for order in (nodes, [nodes[-1], *nodes[:-1]]):
        made = model(order, inputs, [value("curl_out"), value("where_out")], [("boxes", floats(2, 4))])
        with pytest.raises(NetworkError) as error:
            netdefs.from_onnx(write(tmp_path / "m.onnx", made), package="tensorrt_rtx")
        assert str(error.value).splitlines()[1:-1] == [
            "TensorRT lacks these operators:",
            "  Curl: 'curl'",
            "TensorRT would need plugins for these, which are not there:",
            "  RoiAlign: 'roi1', 'roi2'",
            "  NonZero: 'where', 'inner'",
            "Its parser says:",
            "  LpPool 'pool': Only L1 and L2 normalization are supported.",
            "  MaxPool, the one that makes '_out': This version of TensorRT does not support dilations other than 1.",
        ]


def test_functions_are_looked_into(tmp_path):
    body = [
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("NonZero", ["r"], ["b"], name="where"),
        helper.make_node("LpPool", ["r"], ["c"], kernel_shape=[2, 2], p=3),
    ]
    made = model(
        [helper.make_node("F", ["x"], ["y", "z"], "call", domain="own")], [value("x", [1, 3, 8, 8])], [value("z")]
    )
    opsets = [helper.make_opsetid("", 17)]
    made.functions.append(helper.make_function("own", "F", ["a"], ["b", "c"], body, opsets))
    made.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(NetworkError) as error:
        netdefs.from_onnx(write(tmp_path / "m.onnx", made), package="tensorrt_rtx")
    assert "  NonZero: 'where'\n" in str(error.value)
    assert "  LpPool, one inside of call (F): Only L1" in str(error.value)


def test_an_input_without_a_shape(tmp_path):
    path = write(tmp_path / "m.onnx", model([helper.make_node("Relu", ["x"], ["y"])], [value("x")], [value("y")]))
    assert "gives no shape for its input 'x'" in refusal(path)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("Reshape", ["x", "shape"], {})], "Reshape 'node0': reshape changes volume. Reshaping [1,3,4,4] to [7,7]."),
        ([("Relu", ["nothing"], {})], "Relu 'node0': Node input was not registered."),
        ([("Identity", ["text"], {})], "Input 'text': TensorRT has no type string."),
        ([("Identity", ["x"], {}), ("Identity", ["odd"], {})], "The weights: Found unsupported datatype (4)"),
        (
            [("Relu", ["x"], {}), *[("LpPool", ["x"], {"kernel_shape": [2, 2], "p": 3})] * 2],
            "LpPool 'node1', 'node2': Only L1 and L2 normalization are supported.",
        ),
    ],
)
def test_refused_nodes_are_named_with_the_reason(nodes, words, tmp_path):
    made = [
        helper.make_node(op, inputs, [f"y{i}"], name=f"node{i}", **attributes)
        for i, (op, inputs, attributes) in enumerate(nodes)
    ]
    used = {name for _, inputs, _ in nodes for name in inputs}
    inputs = [info for info in (value("x", [1, 3, 4, 4]), value("text", [1], STRING)) if info.name in used]
    weights = [("shape", np.array([7, 7])), ("odd", np.ones(2, np.uint16))]
    outputs = [value(node.output[0]) for node in made]
    path = write(tmp_path / "m.onnx", model(made, inputs, outputs, [(k, a) for k, a in weights if k in used]))
    said = refusal(path)
    assert words in said
    for noise in ("Assertion", "cuda", "Invalid Node", "&&"):
        assert noise not in said


def test_a_file_that_is_cut_short(tmp_path):
    path = small(tmp_path)
    whole = path.read_bytes()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        assert "is damaged or cut short" in refusal(path), size


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04....", "it looks like a zip archive or a PyTorch checkpoint"),
        (b"ir_version: 9", "it looks like text"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_a_file_that_is_something_else(content, words, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    said = refusal(path)
    assert said.startswith(f"{path} is not an ONNX model") and words in said


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileError, match=r"There is no file .*none\.onnx"):
        netdefs.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(FileError, match=r"Can't read .*directory"):
        netdefs.from_onnx(tmp_path)
    with pytest.raises(FileError, match=r"Can't read .*null byte"):
        netdefs.from_onnx("nul\0.onnx")
