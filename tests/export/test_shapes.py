"""Shuffle, concatenation, shape, constant, slice, padding, gather."""

import numpy as np
import onnx
import pytest

from tests.export.nets import Net, evaluate, export, floats, rng, run, trt


@pytest.mark.parametrize(
    ("first", "shape", "second"),
    [
        (None, None, None),
        ((0, 2, 1, 3), None, None),
        (None, (0, -1), None),
        (None, (6, 4, 5), (2, 0, 1)),
        ((3, 0, 1, 2), (0, 6, -1), (1, 0, 2)),
        ((0, 2, 3, 1), (0, 0, -1), None),
    ],
)
def test_shuffle(first, shape, second):
    x = floats(2, 3, 4, 5)
    net = Net()
    layer = net.definition.add_shuffle(net.input("x", x.shape))
    expected = x
    if first:
        layer.first_transpose = first
        expected = expected.transpose(first)
    if shape:
        layer.reshape_dims = shape
        expected = expected.reshape([expected.shape[i] if n == 0 else n for i, n in enumerate(shape)])
    if second:
        layer.second_transpose = second
        expected = expected.transpose(second)
    net.output(layer)
    assert (evaluate(net, {"x": x})["y"] == expected).all()


def test_shuffle_to_a_scalar_and_back():
    net = Net()
    scalar = net.definition.add_shuffle(net.input("x", (1, 1)))
    scalar.reshape_dims = ()
    net.output(scalar, "scalar")
    back = net.definition.add_shuffle(scalar.get_output(0))
    back.reshape_dims = (1,)
    net.output(back)
    results = evaluate(net, {"x": np.array([[3]], np.float32)})
    assert results["scalar"].shape == () and results["y"].shape == (1,)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_shuffle_to_a_shape_known_at_run_time(dtype):
    x, like = floats(2, 6, 2), floats(4, 3, 2)
    net = Net()
    size = net.definition.add_shape(net.input("like", (-1, -1, 2))).get_output(0)
    if dtype == "int32":
        size = net.definition.add_cast(size, trt.int32).get_output(0)
    layer = net.definition.add_shuffle(net.input("x", (-1, 6, 2)))
    layer.set_input(1, size)
    layer.second_transpose = (1, 0, 2)
    net.output(layer)
    expected = x.reshape(like.shape).transpose(1, 0, 2)
    assert (evaluate(net, {"x": x, "like": like})["y"] == expected).all()


def test_zeros_in_a_shape_can_mean_zero():
    net = Net()
    layer = net.definition.add_shuffle(net.input("x", (0, 4)))
    layer.zero_is_placeholder = False
    layer.reshape_dims = (2, 0)
    net.output(layer)
    assert evaluate(net, {"x": np.zeros((0, 4), np.float32)})["y"].shape == (2, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concatenation(axis):
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    shapes[1][axis] = 5
    arrays = [floats(*shape, seed=i) for i, shape in enumerate(shapes)]
    net = Net()
    layer = net.definition.add_concatenation([net.input(f"x{i}", a.shape) for i, a in enumerate(arrays)])
    layer.axis = axis
    net.output(layer)
    feeds = {f"x{i}": a for i, a in enumerate(arrays)}
    assert (evaluate(net, feeds)["y"] == np.concatenate(arrays, axis)).all()


def test_shape():
    net = Net()
    net.output(net.definition.add_shape(net.input("x", (-1, 3, -1))))
    assert (evaluate(net, {"x": floats(5, 3, 2)})["y"] == [5, 3, 2]).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64", "bool"])
def test_constant_as_an_output(dtype):
    values = rng().integers(0, 2, (2, 3)).astype(dtype)
    net = Net()
    net.output(net.definition.add_constant(values.shape, values))
    assert (evaluate(net, {})["y"] == values).all()


@pytest.mark.parametrize("dtype", ["BF16", "FP8", "INT4", "FP4", "E8M0"])
def test_constants_of_types_that_numpy_lacks(dtype):
    bits = rng().integers(0, 255, 14).astype(np.uint8)
    net = Net()
    kind = getattr(trt.DataType, dtype)
    layer = net.definition.add_constant((7,), trt.Weights(kind, bits.ctypes.data, 7))
    net.output(layer)
    model = export(net)
    (constant,) = model.graph.initializer
    size = {"BF16": 14, "FP8": 7, "INT4": 4, "FP4": 4, "E8M0": 7}[dtype]
    assert constant.raw_data == bits[:size].tobytes()
    assert tuple(constant.dims) == (7,)


SLICES = [
    # start, size, stride, of an input (5, 6)
    ((0, 0), (5, 6), (1, 1)),
    ((1, 2), (3, 3), (1, 1)),
    ((1, 0), (2, 3), (2, 2)),
    ((4, 5), (5, 6), (-1, -1)),
    ((4, 4), (2, 3), (-2, -2)),
    ((2, 1), (0, 3), (1, 1)),
]
OUTSIDE = [
    *SLICES,
    ((-1, -2), (7, 10), (1, 1)),
    ((-2, 0), (8, 6), (1, 1)),
    ((-3, -5), (6, 9), (2, 2)),
    ((-9, 3), (20, 20), (1, 1)),
    ((8, -1), (9, 4), (-2, 3)),
]


def reading(n, start, size, stride, mode):
    """The input indices that a slice reads along an axis of length n; None is outside."""
    index = []
    for i in range(size):
        at = start + i * stride
        if mode == "CLAMP":
            at = min(max(at, 0), n - 1)
        elif mode == "WRAP":
            at %= n
        elif mode == "REFLECT":
            while n > 1 and not 0 <= at < n:
                at = -at if at < 0 else 2 * (n - 1) - at
            at = at if n > 1 else 0
        index.append(at if 0 <= at < n else None)
    return index


def slice_reference(x, start, size, stride, mode, fill=0):
    axes = [reading(n, *v, mode) for n, *v in zip(x.shape, start, size, stride, strict=True)]
    y = np.full(size, fill, x.dtype)
    for i, row in enumerate(axes[0]):
        for j, column in enumerate(axes[1]):
            if row is not None and column is not None:
                y[i, j] = x[row, column]
    return y


MODES = [("STRICT_BOUNDS", SLICES), *((mode, OUTSIDE) for mode in ("FILL", "CLAMP", "WRAP", "REFLECT"))]


@pytest.mark.parametrize("kind", ["static", "tensors", "dynamic"])
@pytest.mark.parametrize(("mode", "case"), [(mode, case) for mode, cases in MODES for case in cases])
def test_slice(mode, case, kind):
    x = rng().integers(-50, 50, (5, 6)).astype(np.float32)
    net = Net()
    data = net.input("x", x.shape if kind == "static" else (-1, -1))
    feeds = {"x": x}
    if kind == "dynamic":
        layer = net.definition.add_slice(data, (0, 0), (0, 0), (0, 0))
        for i, name in enumerate(("start", "size", "stride")):
            layer.set_input(i + 1, net.input(name, (2,), trt.int32 if i == 1 else trt.int64))
            feeds[name] = np.array(case[i], np.int32 if i == 1 else np.int64)
    else:
        layer = net.definition.add_slice(data, *case)
        if kind == "tensors":
            layer.set_input(2, net.constant(np.array(case[1], np.int32)))
    layer.mode = getattr(trt.SampleMode, mode)
    fill = 0
    if mode == "FILL" and kind != "static":
        fill = 7
        layer.set_input(4, net.constant(np.array(fill, np.float32)))
    net.output(layer)
    found = evaluate(net, feeds)["y"]
    assert (found == slice_reference(x, *case, mode, fill)).all()


@pytest.mark.parametrize("mode", ["STRICT_BOUNDS", "FILL", "CLAMP", "WRAP", "REFLECT"])
def test_slice_along_some_axes(mode):
    x = floats(2, 5, 6)
    start, size = (1, 2) if mode == "STRICT_BOUNDS" else (-1, 8)
    net = Net()
    layer = net.definition.add_slice(net.input("x", (-1, -1, 6)), (start,), (size,), (1,))
    layer.axes = (2,)
    layer.mode = getattr(trt.SampleMode, mode)
    net.output(layer)
    expected = np.stack([slice_reference(part, (0, start), (5, size), (1, 1), mode) for part in x])
    assert (evaluate(net, {"x": x})["y"] == expected).all()


@pytest.mark.parametrize("mode", ["STRICT_BOUNDS", "FILL"])
def test_slice_along_axes_given_as_a_tensor(mode):
    x = floats(4, 5, 6)
    net = Net()
    layer = net.definition.add_slice(net.input("x", (-1, -1, -1)), (1,), (3,), (1,))
    layer.set_input(5, net.input("axes", (1,), trt.int64))
    layer.mode = getattr(trt.SampleMode, mode)
    net.output(layer)
    found = evaluate(net, {"x": x, "axes": np.array([1])})["y"]
    assert (found == x[:, 1:4]).all()


def test_padding_and_trimming():
    x = floats(1, 2, 5, 6)
    net = Net()
    net.output(net.definition.add_padding_nd(net.input("x", x.shape), (2, -1), (-2, 3)))
    expected = np.pad(x[:, :, :-2, 1:], ((0, 0), (0, 0), (2, 0), (0, 3)))
    assert (evaluate(net, {"x": x})["y"] == expected).all()


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_gather(shape, axis, dtype):
    x, index = floats(4, 5, 6), rng().integers(0, 4, shape).astype(dtype)
    net = Net()
    inputs = net.input("x", x.shape), net.input("i", shape, getattr(trt, dtype))
    net.output(net.definition.add_gather(*inputs, axis))
    assert (evaluate(net, {"x": x, "i": index})["y"] == np.take(x, index, axis)).all()


@pytest.mark.parametrize(("axis", "batch"), [(1, 1), (2, 1), (3, 1)])
@pytest.mark.parametrize("extra", [(), (5,), (2, 4)])
def test_gather_with_a_batch_axis(axis, batch, extra):  # TensorRT takes one at most
    x = floats(2, 3, 4, 5)
    index = rng().integers(0, 3, (*x.shape[:batch], *extra))
    net = Net()
    layer = net.definition.add_gather(net.input("x", x.shape), net.input("i", index.shape, trt.int64), axis)
    layer.num_elementwise_dims = batch
    net.output(layer)
    expected = np.zeros((*x.shape[:batch], *x.shape[batch:axis], *extra, *x.shape[axis + 1 :]), np.float32)
    for at in np.ndindex(*x.shape[:batch]):
        expected[at] = np.take(x[at], index[at], axis - batch)
    assert (evaluate(net, {"x": x, "i": index})["y"] == expected).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_gather_elements(axis):
    x, index = floats(4, 5), rng().integers(0, 4, (4, 5))
    net = Net()
    layer = net.definition.add_gather_v2(
        net.input("x", x.shape), net.input("i", index.shape, trt.int64), trt.GatherMode.ELEMENT
    )
    layer.axis = axis
    net.output(layer)
    assert (evaluate(net, {"x": x, "i": index})["y"] == np.take_along_axis(x, index, axis)).all()


@pytest.mark.parametrize("batch", [0, 1])
def test_gather_nd(batch):
    x, index = floats(3, 4, 5), rng().integers(0, 3, (3, 2, 2)).astype(np.int32)
    net = Net()
    layer = net.definition.add_gather_v2(
        net.input("x", x.shape), net.input("i", index.shape, trt.int32), trt.GatherMode.ND
    )
    layer.num_elementwise_dims = batch
    net.output(layer)
    if batch:
        expected = np.array([[x[b, i, j] for i, j in row] for b, row in enumerate(index)])
    else:
        expected = np.array([[x[i, j] for i, j in row] for row in index])
    assert (evaluate(net, {"x": x, "i": index})["y"] == expected).all()


def test_a_constant_that_feeds_a_layer_is_an_initializer():
    net = Net()
    values = net.constant(floats(3))
    values.name = "offset"
    net.output(net.definition.add_elementwise(net.input("x", (3,)), values, trt.ElementWiseOperation.SUM))
    model = export(net)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert [each.name for each in model.graph.initializer] == ["offset"]
    assert run(model, {"x": np.zeros(3, np.float32)})["y"] == pytest.approx(floats(3))
    assert onnx.numpy_helper.to_array(model.graph.initializer[0]) == pytest.approx(floats(3))
