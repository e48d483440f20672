"""Reduce, softmax, top-k, matrix multiply, resize."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.export.nets import Net, close, evaluate, export, floats, rng, trt

REDUCE = {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min, "AVG": np.mean}


@pytest.mark.parametrize("opset", [None, 18])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(0,), (1, 3), (2, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("op", REDUCE)
def test_reduce(op, axes, keep, opset):
    x = floats(2, 3, 4, 5)
    net = Net()
    mask = sum(1 << axis for axis in axes)
    net.output(net.definition.add_reduce(net.input("x", x.shape), getattr(trt.ReduceOperation, op), mask, keep))
    close(evaluate(net, {"x": x}, opset=opset)["y"], REDUCE[op](x.astype(np.float64), axes, keepdims=keep))


@pytest.mark.parametrize(
    ("dtype", "axes", "keep", "op"),
    [
        ("float32", 12, True, "GlobalAveragePool"),
        ("float16", 12, True, "GlobalAveragePool"),
        ("bfloat16", 12, True, "ReduceMean"),  # GlobalAveragePool of bfloat16 would ask for opset 22
        ("float32", 12, False, "ReduceMean"),
        ("float32", 8, True, "ReduceMean"),
    ],
)
def test_the_mean_of_all_pixels_is_a_global_average_pool(dtype, axes, keep, op):
    net = Net()
    x = net.input("x", (-1, 3, -1, 5), getattr(trt, dtype))
    net.output(net.definition.add_reduce(x, trt.ReduceOperation.AVG, axes, keep))
    model = export(net)
    assert [node.op_type for node in model.graph.node] == [op]
    assert model.opset_import[0].version == 13


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("op", ["SUM", "PROD", "MAX", "MIN"])
def test_reduce_integers(op, dtype):
    x = rng().integers(-4, 5, (3, 4)).astype(dtype)
    net = Net()
    net.output(
        net.definition.add_reduce(
            net.input("x", x.shape, getattr(trt, dtype)), getattr(trt.ReduceOperation, op), 2, False
        )
    )
    assert (evaluate(net, {"x": x})["y"] == REDUCE[op](x, 1)).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax(axis):
    x = floats(2, 3, 4)
    net = Net()
    layer = net.definition.add_softmax(net.input("x", x.shape))
    layer.axes = 1 << axis
    net.output(layer)
    close(evaluate(net, {"x": x})["y"], torch.from_numpy(x).softmax(axis))


def test_softmax_has_tensorrts_default_axis():
    x = floats(2, 3, 4, 5)
    net = Net()
    net.output(net.definition.add_softmax(net.input("x", x.shape)))
    close(evaluate(net, {"x": x})["y"], torch.from_numpy(x).softmax(1))


@pytest.mark.parametrize("dynamic_k", [False, True])
@pytest.mark.parametrize("indices", ["int32", "int64"])
@pytest.mark.parametrize("op", ["MAX", "MIN"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_topk(axis, op, indices, dynamic_k):
    x = floats(4, 5, 6)
    net = Net()
    layer = net.definition.add_topk(
        net.input("x", x.shape), getattr(trt.TopKOperation, op), 3, 1 << axis, getattr(trt, indices)
    )
    feeds = {"x": x}
    if dynamic_k:
        layer.set_input(1, net.input("k", (), trt.int32))
        feeds["k"] = np.array(3, np.int32)
    net.output(layer)
    net.output(layer, "index", 1)
    results = evaluate(net, feeds)
    order = np.argsort(-x if op == "MAX" else x, axis).take(range(3), axis)
    assert (results["index"] == order).all()
    assert (results["y"] == np.take_along_axis(x, order, axis)).all()


NONE, TRANSPOSE, VECTOR = "NONE", "TRANSPOSE", "VECTOR"


@pytest.mark.parametrize(
    ("a", "op0", "b", "op1", "equation"),
    [
        ((3, 4), NONE, (4, 5), NONE, "ij,jk->ik"),
        ((4, 3), TRANSPOSE, (5, 4), TRANSPOSE, "ji,kj->ik"),
        ((2, 3, 4), NONE, (2, 5, 4), TRANSPOSE, "bij,bkj->bik"),
        ((1, 3, 4), NONE, (2, 4, 5), NONE, "xij,bjk->bik"),
        ((3, 4), NONE, (4,), VECTOR, "ij,j->i"),
        ((4,), VECTOR, (4, 5), NONE, "j,jk->k"),
        ((4,), VECTOR, (4,), VECTOR, "j,j->"),
        ((2, 4), VECTOR, (2, 4, 5), NONE, "bj,bjk->bk"),
        ((2, 4), VECTOR, (2, 5, 4), TRANSPOSE, "bj,bkj->bk"),
        ((2, 4, 3), TRANSPOSE, (2, 4), VECTOR, "bji,bj->bi"),
        ((2, 4), VECTOR, (2, 4), VECTOR, "bj,bj->b"),
    ],
)
def test_matrix_multiply(a, op0, b, op1, equation):
    x, y = floats(*a), floats(*b, seed=1)
    net = Net()
    ops = [getattr(trt.MatrixOperation, op) for op in (op0, op1)]
    net.output(net.definition.add_matrix_multiply(net.input("a", a), ops[0], net.input("b", b), ops[1]))
    close(evaluate(net, {"a": x, "b": y})["y"], np.einsum(equation, x, y))


def resized(x, configure, dynamic=False, feeds=None):
    net = Net()
    layer = net.definition.add_resize(net.input("x", [-1] * x.ndim if dynamic else x.shape))
    configure(net, layer)
    net.output(layer)
    return evaluate(net, {"x": x, **(feeds or {})})["y"]


def settings(mode, coordinates="ASYMMETRIC", selector="FORMULA", rounding="FLOOR"):
    def configure(layer):
        layer.resize_mode = getattr(trt.InterpolationMode, mode)
        layer.coordinate_transformation = getattr(trt.ResizeCoordinateTransformation, coordinates)
        layer.selector_for_single_pixel = getattr(trt.ResizeSelector, selector)
        layer.nearest_rounding = getattr(trt.ResizeRoundMode, rounding)

    return configure


TORCH_RESIZE = {
    "nearest": (settings("NEAREST"), {"mode": "nearest"}),
    "nearest-exact": (settings("NEAREST", "HALF_PIXEL", "FORMULA", "HALF_UP"), {"mode": "nearest-exact"}),
    "bilinear": (settings("LINEAR", "HALF_PIXEL"), {"mode": "bilinear", "align_corners": False}),
    "bilinear-corners": (settings("LINEAR", "ALIGN_CORNERS"), {"mode": "bilinear", "align_corners": True}),
    "bicubic": (settings("CUBIC", "HALF_PIXEL"), {"mode": "bicubic", "align_corners": False}),
    "bicubic-corners": (settings("CUBIC", "ALIGN_CORNERS"), {"mode": "bicubic", "align_corners": True}),
}


@pytest.mark.parametrize("kind", ["shape", "tensor", "scales"])
@pytest.mark.parametrize("size", [(10, 14), (7, 5), (5, 7), (1, 1), (13, 3)])
@pytest.mark.parametrize("name", TORCH_RESIZE)
def test_resize_as_in_pytorch(name, size, kind):
    x = floats(2, 3, 5, 7)
    configure, arguments = TORCH_RESIZE[name]

    def setup(net, layer):
        configure(layer)
        if kind == "shape":
            layer.shape = (2, 3, *size)
        elif kind == "tensor":
            layer.set_input(1, net.input("size", (4,), trt.int32))
        else:
            layer.scales = (1, 1, 2, 2)

    feeds = {"size": np.array([2, 3, *size], np.int32)} if kind == "tensor" else None
    wanted = {"scale_factor": 2} if kind == "scales" else {"size": size}
    expected = F.interpolate(torch.from_numpy(x), **wanted, **arguments)
    close(resized(x, setup, kind == "tensor", feeds), expected)


@pytest.mark.parametrize("mode", ["LINEAR", "CUBIC", "NEAREST"])
def test_the_selector_upper_takes_the_first_pixel_for_an_output_of_one(mode):
    x = floats(1, 2, 5, 7)

    def setup(net, layer):
        settings(mode, "HALF_PIXEL", "UPPER")(layer)
        layer.shape = (1, 2, 1, 1)

    close(resized(x, setup), x[:, :, :1, :1])


def nearest(n, m, coordinates, rounding):
    """Nearest indices by the formulas of TensorRT's documentation."""
    out = np.arange(m, dtype=np.float64)
    x = {
        "ASYMMETRIC": out * n / m,
        "HALF_PIXEL": (out + 0.5) * n / m - 0.5,
        "ALIGN_CORNERS": out * (n - 1) / max(m - 1, 1),
    }
    rounded = {
        "FLOOR": np.floor,
        "CEIL": np.ceil,
        "HALF_UP": lambda v: np.floor(v + 0.5),
        "HALF_DOWN": lambda v: np.ceil(v - 0.5),
    }
    return np.clip(rounded[rounding](x[coordinates]), 0, n - 1).astype(int)


@pytest.mark.parametrize("rounding", ["FLOOR", "CEIL", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize("coordinates", ["ASYMMETRIC", "HALF_PIXEL", "ALIGN_CORNERS"])
def test_nearest_roundings(coordinates, rounding):
    x = floats(1, 2, 4, 8)

    def setup(net, layer):
        settings("NEAREST", coordinates, "FORMULA", rounding)(layer)
        layer.shape = (1, 2, 7, 4)

    expected = x[:, :, nearest(4, 7, coordinates, rounding)][:, :, :, nearest(8, 4, coordinates, rounding)]
    close(resized(x, setup), expected)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("shape", [(9,), (4, 6), (3, 4, 6), (2, 3, 4, 6), (1, 2, 3, 4, 6), (2, 1, 2, 3, 4, 5)])
def test_linear_resize_of_any_rank(shape, dynamic):
    x = floats(*shape)
    target = [n if i < len(shape) - 3 else 2 * n - 1 for i, n in enumerate(shape)]

    def setup(net, layer):
        settings("LINEAR", "ALIGN_CORNERS")(layer)
        layer.shape = target

    expected = x.astype(np.float64)
    for axis, (n, m) in enumerate(zip(shape, target, strict=True)):
        at = np.arange(m) * (n - 1) / max(m - 1, 1)
        low = np.minimum(at.astype(int), n - 1)
        high, share = np.minimum(low + 1, n - 1), (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        expected = expected.take(low, axis) * (1 - share) + expected.take(high, axis) * share
    close(resized(x, setup, dynamic), expected)


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (1, 2, 2, 5, 6)])
def test_cubic_resize_of_any_rank_by_scales(shape):
    x = floats(*shape)

    def setup(net, layer):
        settings("CUBIC", "HALF_PIXEL")(layer)
        layer.scales = [*[1] * (x.ndim - 2), 2, 3]

    images = torch.from_numpy(x.reshape(1, -1, 5, 6))
    expected = F.interpolate(images, scale_factor=(2, 3), mode="bicubic").reshape(*shape[:-2], 10, 18)
    close(resized(x, setup), expected)


def test_cubic_coefficient_and_exclude_outside():
    x = floats(1, 1, 6, 6)

    def setup(net, layer):
        settings("CUBIC", "HALF_PIXEL")(layer)
        layer.shape, layer.cubic_coeff, layer.exclude_outside = (1, 1, 9, 9), -0.5, 1

    def weights(n, m):
        table = np.zeros((m, n))
        for i in range(m):
            at = (i + 0.5) * n / m - 0.5
            for j in range(n):
                d, a = abs(at - j), -0.5
                if d <= 1:
                    table[i, j] = (a + 2) * d**3 - (a + 3) * d**2 + 1
                elif d < 2:
                    table[i, j] = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        return table / table.sum(1, keepdims=True)

    expected = weights(6, 9) @ x[0, 0] @ weights(6, 9).T
    close(resized(x, setup)[0, 0], expected)
