"""The CPU engine's half precision, to the last bit: see raw.py for why it can be known."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional

import netdefs
from netdefs.core.network import Network
from netdefs.engine import emulate
from netdefs.engine.cpu import CpuEngine
from tests.engine import raw

HALVES = ["float16", "bfloat16"]


def rounded(tensor, dtype):
    return tensor.to(getattr(torch, dtype)).float()


def layers(x, dtype):
    """The layers of raw.conv_scale_relu with each result rounded."""
    weights = {name: rounded(torch.from_numpy(array), dtype) for name, array in raw.WEIGHTS.items()}
    cast = rounded(torch.from_numpy(x), dtype)
    conv = rounded(functional.conv2d(cast, weights["kernel"], weights["bias"], padding=1), dtype)
    bn = rounded(conv * weights["scale"][:, None, None] + weights["shift"][:, None, None], dtype)
    return {"x.cast": cast.numpy(), "conv": conv.numpy(), "bn": bn.numpy(), "relu": bn.relu().numpy()}


@pytest.mark.parametrize("dtype", HALVES)
def test_every_layer_is_rounded_once(dtype):
    x = raw.fine((1, 3, 8, 8), 9)
    engine = netdefs.build(raw.conv_scale_relu(dtype), target="cpu")
    results = engine.run({"x": x}, outputs="*")
    expected = layers(x, dtype)
    assert set(results) == {*expected, "out"}
    for name, array in expected.items():
        np.testing.assert_array_equal(results[name].astype(np.float32), array, err_msg=name)
    np.testing.assert_array_equal(results["out"], expected["relu"])
    # The rounding is there without the further outputs too, where ONNX Runtime may fuse and leave out what it likes.
    np.testing.assert_array_equal(engine.run({"x": x})["out"], expected["relu"])
    exact = netdefs.build(raw.conv_scale_relu("float32"), target="cpu").run({"x": x})["out"]
    assert not np.array_equal(exact, expected["relu"])


@pytest.mark.parametrize("dtype", HALVES)
def test_types_that_come_back(dtype):
    engine = netdefs.build(raw.conv_scale_relu(dtype), target="cpu")
    results = engine.run({"x": raw.fine((1, 3, 8, 8), 9)}, outputs="conv")
    assert results["out"].dtype == np.float32
    # float16 as such; bfloat16 as float32, since numpy lacks it.
    assert results["conv"].dtype == (np.float16 if dtype == "float16" else np.float32)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_inputs_and_outputs(dtype):
    engine = netdefs.build(raw.conv_scale_relu(dtype, io=dtype), target="cpu")
    x = raw.fine((1, 3, 8, 8), 9)
    if dtype == "float16":
        assert engine.inputs["x"].dtype == np.float16
        out = engine.run({"x": x.astype(np.float16)})["out"]
        assert out.dtype == np.float16
    else:
        assert engine.inputs["x"].dtype == "bfloat16"
        out = engine.run({"x": x})["out"]  # rounded inside
        assert out.dtype == np.float32
    np.testing.assert_array_equal(out.astype(np.float32), layers(x, dtype)["relu"])


def test_infinities_and_nans_survive():
    net = Network({}, precision="fp16")
    net.finish(net.output(net.add(x := net.input("x", (4,)), x, "add"), "out"))
    out = netdefs.build(net, target="cpu").run({"x": np.float32([np.nan, np.inf, 65504, 1e-8])})["out"]
    np.testing.assert_array_equal(out, np.float32([np.nan, np.inf, np.inf, 0]))


def test_what_a_layer_holds_in_between_is_not_rounded():
    """(x * scale + shift)^2: three nodes and one rounding."""
    trt, definition = raw.empty()
    rng = np.random.default_rng(0)
    x, scale, shift = rng.standard_normal((3, 256)).astype(np.float16)
    given = definition.add_input("x", trt.float32, (1, 256, 1, 1))
    half = raw.named(definition.add_cast(given, trt.float16), "half")
    squares = definition.add_scale_nd(half, trt.ScaleMode.CHANNEL, shift, scale, np.full(256, 2, np.float16), 1)
    definition.mark_output(raw.named(definition.add_cast(raw.named(squares, "squares"), trt.float32), "out"))
    engine = netdefs.build(definition, target="cpu")
    assert [node.op_type for node in engine.model.graph.node] == ["Cast", "Mul", "Add", "Pow", "Cast"]
    out = engine.run({"x": x.reshape(1, 256, 1, 1).astype(np.float32)})["out"].reshape(-1)
    once = ((x.astype(np.float32) * scale.astype(np.float32) + shift.astype(np.float32)) ** 2).astype(np.float16)
    np.testing.assert_array_equal(out, once)
    assert not np.array_equal(out, (x * scale + shift) ** 2)  # numpy rounds after every step


def test_a_moved_value_that_was_not_rounded_yet_is():
    """A layer whose last node only moves what its first has computed."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "x"], ["layer/square"]),
            helper.make_node("Identity", ["layer/square"], ["layer"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1])],
        [helper.make_tensor_value_info("layer", TensorProto.FLOAT16, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = np.float16(1 + 2**-10)
    assert CpuEngine(model, {}).run({"x": np.full(1, x)})["layer"].item() == np.float16(float(x) ** 2)
    casts = [node.op_type for node in emulate.emulate(model).graph.node].count("Cast")
    assert casts == 2


def test_graphs_inside_of_nodes_are_rounded_too():
    def branch(name, op):
        return helper.make_graph(
            [helper.make_node(op, ["x", "x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1])],
        )

    graph = helper.make_graph(
        [
            helper.make_node(
                "If", ["flag"], ["y"], then_branch=branch("square", "Mul"), else_branch=branch("twice", "Add")
            )
        ],
        "net",
        [
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1])],
    )
    engine = CpuEngine(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), {})
    x = np.float16(1 + 2**-10)
    for flag, expected in ((True, x * x), (False, x + x)):
        assert engine.run({"flag": np.array(flag), "x": np.full(1, x)})["y"].item() == expected


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_saved_model_stays_half(tmp_path, precision):
    weights = {"conv.weight": raw.coarse((64, 64, 3, 3), 5)}

    def saved(precision):
        net = Network(weights, precision=precision)
        x = net.input("x", (1, 64, 8, 8))
        net.finish(net.output(net.conv(x, "conv", 64, kernel=3, bias=False), "out"))
        engine = netdefs.build(net, target="cpu")
        engine.save(tmp_path / f"{precision}.onnx")
        return engine, (tmp_path / f"{precision}.onnx").stat().st_size

    engine, size = saved(precision)
    assert size == pytest.approx(saved("fp32")[1] / 2, rel=0.05)
    x = raw.coarse((1, 64, 8, 8), 6)
    loaded = netdefs.load_engine(tmp_path / f"{precision}.onnx")
    np.testing.assert_array_equal(loaded.run({"x": x})["out"], engine.run({"x": x})["out"])


def test_a_cast_in_the_network_keeps_its_meaning():
    """float32 -> bfloat16 -> float16 -> float32: each step rounds."""
    trt, definition = raw.empty()
    y = x = definition.add_input("x", trt.float32, (1000,))
    for name, dtype in (("a", trt.bfloat16), ("b", trt.float16), ("out", trt.float32)):
        y = raw.named(definition.add_cast(y, dtype), name)
    definition.mark_output(y)
    x = np.random.default_rng(0).standard_normal(1000, dtype=np.float32) * 1e-6  # subnormal in float16
    expected = torch.from_numpy(x).bfloat16().half().float().numpy()
    np.testing.assert_array_equal(netdefs.build(definition, target="cpu").run({"x": x})["out"], expected)


def test_float32_models_are_left_alone():
    engine = netdefs.build(raw.conv_scale_relu(), target="cpu")
    assert not emulate.needs_emulation(engine.model)
    assert emulate.needs_emulation(netdefs.build(raw.conv_scale_relu("float16"), target="cpu").model)


def test_emulation_makes_a_valid_model_and_leaves_the_given_one():
    model = netdefs.build(raw.conv_scale_relu("bfloat16"), target="cpu").model
    before = model.SerializeToString(deterministic=True)
    result = emulate.emulate(model)
    onnx.checker.check_model(result, full_check=True)
    assert model.SerializeToString(deterministic=True) == before
