import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from netdefs.core.errors import ExportError
from netdefs.export import to_onnx
from tests.export.nets import Net, check, close, evaluate, export, floats, rng, run, trt

FP8 = trt.fp8


def round_trip(x, scale, axis=None, kind=None, opset=None):
    """Quantizes and dequantizes."""
    net = Net()
    factor = net.constant(scale)
    q = net.definition.add_quantize(net.input("x", x.shape), factor, kind or trt.int8)
    dq = net.definition.add_dequantize(q.get_output(0), factor, trt.float32)
    if axis is not None:
        q.axis = dq.axis = axis
    net.output(dq)
    return evaluate(net, {"x": x}, opset=opset)["y"]


@pytest.mark.parametrize("opset", [None, 13, 21])
def test_int8_per_tensor(opset):
    x = floats(3, 50) * 3
    x.flat[:4] = 0.5 * 0.02, 1.5 * 0.02, -2.5 * 0.02, 100  # halves go to even, large values are cut
    expected = np.clip(np.round(x / np.float32(0.02)), -128, 127) * np.float32(0.02)
    assert (round_trip(x, np.array(0.02, np.float32), opset=opset) == expected).all()
    assert (round_trip(x, np.array([0.02], np.float32), opset=opset) == expected).all()


@pytest.mark.parametrize("opset", [None, 21])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_int8_per_channel(axis, opset):
    x = floats(2, 3, 4)
    scale = np.linspace(0.01, 0.03, x.shape[axis]).astype(np.float32)
    spread = scale.reshape([-1 if i == axis else 1 for i in range(3)])
    expected = np.clip(np.round(x / spread), -128, 127) * spread
    close(round_trip(x, scale, axis, opset=opset), expected, 1e-6)


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "input"])
@pytest.mark.parametrize("opset", [None, 21])
@pytest.mark.parametrize("shape", [(), (1,), (4,)])
def test_zero_points(shape, opset, constant):
    x = floats(3, 4) * 3
    scale = np.linspace(0.01, 0.02, int(np.prod(shape))).reshape(shape).astype(np.float32)
    zero = np.arange(-20, -20 + int(np.prod(shape))).reshape(shape).astype(np.int8)
    net = Net()
    factor, shift = net.constant(scale), net.constant(zero) if constant else net.input("zero", shape, trt.int8)
    q = net.definition.add_quantize(net.input("x", x.shape), factor, trt.int8)
    dq = net.definition.add_dequantize(q.get_output(0), factor, trt.float32)
    for layer in (q, dq):
        layer.axis = 1
        layer.set_input(2, shift)
    net.output(q, "q")
    net.output(dq)
    found = run(export(net, opset=opset), {"x": x} if constant else {"x": x, "zero": zero})
    expected = np.clip(np.round(x / scale) + zero, -128, 127)
    assert (found["q"] == expected).all()
    close(found["y"], (expected - zero) * scale, 1e-6)


def test_a_zero_point_of_another_type():
    net = Net()
    q = net.definition.add_quantize(net.input("x", (4,)), net.constant(np.array(0.1, np.float32)), trt.int8)
    q.set_input(2, net.input("zero", (), trt.uint8))
    net.output(q, "q")
    with pytest.raises(ExportError, match=r"'q' \(QUANTIZE\).* its zero point is uint8, the quantized values are int8"):
        to_onnx(net.definition)


def test_a_zero_point_of_zeros_is_left_out():
    net = Net()
    q = net.definition.add_quantize(net.input("x", (4,)), net.constant(np.array(0.1, np.float32)), trt.int8)
    q.set_input(2, net.constant(np.array(0, np.int32)))
    net.output(q, "q")
    model = export(net, opset=21)
    assert len(model.graph.node[0].input) == 2
    x = np.array([0.04, -0.06, 20, 0], np.float32)
    assert run(model, {"x": x})["q"].tolist() == [0, -1, 127, 0]


def test_fp8():
    import ml_dtypes

    x = floats(100) * 200
    scale = np.float32(0.7)
    expected = np.clip(x / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale
    assert (round_trip(x, np.array(scale), kind=FP8) == expected).all()


def test_half_precision_input_takes_a_scale_of_its_type():
    steps = rng().integers(-50, 50, 40)
    x = (steps * 0.05 + rng(1).uniform(-0.01, 0.01, 40)).astype(np.float16)  # nowhere near a half step
    net = Net()
    factor = net.constant(np.array(0.05, np.float16))
    q = net.definition.add_quantize(net.input("x", x.shape, trt.float16), factor, trt.int8)
    net.output(net.definition.add_dequantize(q.get_output(0), factor, trt.float16))
    y = evaluate(net, {"x": x})["y"]
    close(y.astype(np.float32), steps * 0.05, 2e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_int4_weights_by_blocks(axis):
    values = rng().integers(-8, 8, (32, 64)).astype(np.int8)
    flat = values.reshape(-1)
    packed = ((flat[1::2] & 15) << 4 | (flat[::2] & 15)).astype(np.uint8)
    shape = [32, 64]
    shape[axis] //= 16
    scale = rng(1).uniform(0.5, 2, shape).astype(np.float32)
    net = Net()
    weights = net.definition.add_constant((32, 64), trt.Weights(trt.int4, packed.ctypes.data, flat.size)).get_output(0)
    dq = net.definition.add_dequantize(weights, net.constant(scale), trt.float32)
    net.output(
        net.definition.add_matrix_multiply(
            net.input("x", (2, 32)), trt.MatrixOperation.NONE, dq.get_output(0), trt.MatrixOperation.NONE
        )
    )
    x = floats(2, 32)
    expected = x @ (values * np.repeat(scale, 16, axis))
    # Optimized, ONNX Runtime multiplies 4-bit weights with activations that it rounds to 8 bits.
    close(run(export(net), {"x": x}, optimize=False)["y"], expected, 1e-4)


def test_blocks_along_two_axes():
    x = floats(32, 64)
    scale = rng(1).uniform(0.01, 0.02, (2, 2)).astype(np.float32)
    net = Net()
    q = net.definition.add_quantize(net.input("x", x.shape), net.constant(scale), FP8)
    q.block_shape = (16, 32)
    try:
        tuple(q.get_output(0).shape)
    except RuntimeError:
        pytest.skip("this TensorRT quantizes no blocks of two axes")
    dq = net.definition.add_dequantize(q.get_output(0), net.constant(scale), trt.float32)
    dq.block_shape = (16, 32)
    net.output(dq)
    close(evaluate(net, {"x": x})["y"], x, 0.1)


def test_a_quantized_convolution_runs():
    w, x = floats(4, 3, 3, 3), floats(1, 3, 8, 8, seed=1)
    w_scale = (np.abs(w).max((1, 2, 3)) / 127).astype(np.float32)
    net = Net()
    scale, factor = net.constant(np.array(0.03, np.float32)), net.constant(w_scale)
    q = net.definition.add_quantize(net.input("x", x.shape), scale, trt.int8)
    dq = net.definition.add_dequantize(q.get_output(0), scale, trt.float32)
    wq = net.definition.add_quantize(net.constant(w), factor, trt.int8)
    wdq = net.definition.add_dequantize(wq.get_output(0), factor, trt.float32)
    wq.axis = wdq.axis = 0
    conv = net.definition.add_convolution_nd(dq.get_output(0), 4, (3, 3), trt.Weights())
    conv.set_input(1, wdq.get_output(0))
    net.output(conv)
    exact = Net()
    exact.output(exact.definition.add_convolution_nd(exact.input("x", x.shape), 4, (3, 3), w))
    found, expected = evaluate(net, {"x": x})["y"], evaluate(exact, {"x": x})["y"]
    assert 0 < np.abs(found - expected).max() < 0.2


@pytest.mark.parametrize(
    ("kind", "scale_kind", "size", "largest", "double"),
    [("fp4", "FP8", 16, 6, 0.5), ("fp8", "E8M0", 32, 448, None), ("fp8", "FLOAT", 32, 448, None)],
)
def test_dynamic_quantize(kind, scale_kind, size, largest, double):
    """ONNX Runtime lacks most of these types: ONNX's own reference evaluator runs the model."""
    x = floats(4, 64)
    x[0, :size] = 0
    net = Net()
    kinds = getattr(trt, kind), getattr(trt.DataType, scale_kind)
    layer = net.definition.add_dynamic_quantize(net.input("x", x.shape), 1, size, *kinds)
    if double:
        layer.set_input(1, net.constant(np.array(double, np.float32)))
    net.output(layer)
    net.output(layer, "scales", 1)
    model = export(net)
    values, scales = (v.astype(np.float64) for v in ReferenceEvaluator(model).run(None, {"x": x}))
    assert scales.shape == (4, 64 // size)
    used = np.repeat(scales * (double or 1), size, 1)
    assert np.abs(values).max() <= largest
    assert (values[0, :size] == 0).all()
    step = 0.25 if kind == "fp4" else 1 / 16
    assert (np.abs(values * used - x) <= np.maximum(np.abs(x) * step, used * 0.26) + 1e-6).all()
    exact = np.abs(x).reshape(4, -1, size).max(-1) / largest / (double or 1)
    if scale_kind == "E8M0":
        exact = 2.0 ** np.ceil(np.log2(np.maximum(exact, 2.0**-127)))
    np.testing.assert_allclose(scales, exact, rtol=0.07 if scale_kind == "FP8" else 1e-6)


def test_blocks_that_do_not_fit_are_an_error():
    net = Net()
    layer = net.definition.add_dynamic_quantize(net.input("x", (-1, -1, 64)), 2, 32, trt.fp8, trt.DataType.E8M0)
    net.output(layer)
    with pytest.raises(ExportError, match="more than one dynamic dimension"):
        to_onnx(net.definition)


def test_the_opset_follows_the_type():
    def opset(kind):
        net = Net()
        net.output(net.definition.add_quantize(net.input("x", (2, 4)), net.constant(np.array(1, np.float32)), kind))
        model = to_onnx(net.definition)
        check(model)
        return model.opset_import[0].version

    assert [opset(kind) for kind in (trt.int8, trt.fp8)] == [13, 19]


def test_quantized_values_are_what_they_should_be():
    x = np.array([-1000, -1, -0.26, 0.24, 0.75, 1000], np.float32)
    net = Net()
    net.output(net.definition.add_quantize(net.input("x", x.shape), net.constant(np.array(0.5, np.float32)), trt.int8))
    assert run(export(net), {"x": x})["y"].tolist() == [-128, -2, -1, 0, 2, 127]
    assert export(net).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.INT8
