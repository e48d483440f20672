"""Scatter, one-hot, non-zero, reverse sequence, fill, einsum, cumulative, squeeze, ragged softmax, grid sample."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.export.nets import Net, close, evaluate, export, floats, rng, run, trt


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_elements(axis, dtype):
    x, update = floats(4, 5), floats(2, 5, seed=1) if axis == 0 else floats(4, 2, seed=1)
    index = np.argsort(rng().random(update.shape), axis).astype(dtype)
    net = Net()
    inputs = net.input("x", x.shape), net.input("i", index.shape, getattr(trt, dtype)), net.input("u", update.shape)
    layer = net.definition.add_scatter(*inputs, trt.ScatterMode.ELEMENT)
    layer.axis = axis
    net.output(layer)
    expected = x.copy()
    np.put_along_axis(expected, index.astype(np.int64), update, axis)
    assert (evaluate(net, {"x": x, "i": index, "u": update})["y"] == expected).all()


def test_scatter_nd():
    x, index, update = floats(4, 5, 6), np.array([[0, 1], [3, 4]], np.int32), floats(2, 6, seed=1)
    net = Net()
    inputs = net.input("x", x.shape), net.input("i", index.shape, trt.int32), net.input("u", update.shape)
    net.output(net.definition.add_scatter(*inputs, trt.ScatterMode.ND))
    expected = x.copy()
    expected[0, 1], expected[3, 4] = update
    assert (evaluate(net, {"x": x, "i": index, "u": update})["y"] == expected).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64", "bool"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis, dtype):
    index = np.array([[0, 3], [2, 9]], np.int32)  # 9 is outside: nothing is hot
    values = np.array([0, 1] if dtype == "bool" else [2, 7], dtype)
    net = Net()
    inputs = net.input("i", index.shape, trt.int32), net.input("v", (2,), getattr(trt, dtype))
    net.output(net.definition.add_one_hot(*inputs, net.constant(np.array(4, np.int32)), axis))
    hot = np.moveaxis(index[..., None] == np.arange(4), -1, axis)
    assert (evaluate(net, {"i": index, "v": values})["y"] == np.where(hot, values[1], values[0])).all()


@pytest.mark.parametrize("indices", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_non_zero(dtype, indices):
    x = rng().integers(0, 2, (3, 4)).astype(dtype)
    net = Net()
    net.output(net.definition.add_non_zero(net.input("x", x.shape, getattr(trt, dtype)), getattr(trt, indices)))
    found = run(export(net), {"x": x})["y"]
    assert found.dtype == indices and (found == np.array(np.nonzero(x))).all()


@pytest.mark.parametrize(("batch", "sequence"), [(1, 0), (0, 1), (2, 0), (0, 2), (1, 2)])
def test_reverse_sequence(batch, sequence):
    x = floats(3, 4, 5)
    lengths = rng().integers(1, x.shape[sequence] + 1, x.shape[batch]).astype(np.int32)
    net = Net()
    layer = net.definition.add_reverse_sequence(net.input("x", x.shape), net.input("n", lengths.shape, trt.int32))
    layer.batch_axis, layer.sequence_axis = batch, sequence
    net.output(layer)
    moved = np.moveaxis(x, (batch, sequence), (0, 1)).copy()
    for row, n in zip(moved, lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    expected = np.moveaxis(moved, (0, 1), (batch, sequence))
    assert (evaluate(net, {"x": x, "n": lengths})["y"] == expected).all()


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_linspace_with_its_own_numbers(dtype):
    net = Net()
    layer = net.definition.add_fill((6,), trt.FillOperation.LINSPACE, getattr(trt, dtype))
    layer.alpha, layer.beta = 3, 2
    net.output(layer)
    assert (evaluate(net, {})["y"] == np.arange(3, 15, 2)).all()


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_linspace_with_a_step_for_each_axis(dtype):
    net = Net()
    layer = net.definition.add_fill((1, 1), trt.FillOperation.LINSPACE, getattr(trt, dtype))
    layer.set_input(0, net.input("shape", (2,), trt.int64))
    layer.set_input(1, net.constant(np.array(1, dtype)))
    layer.set_input(2, net.constant(np.array([100, 10], dtype)))
    net.output(layer)
    found = evaluate(net, {"shape": np.array([3, 4])})["y"]
    assert (found == [[1, 11, 21, 31], [101, 111, 121, 131], [201, 211, 221, 231]]).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("kind", ["RANDOM_UNIFORM", "RANDOM_NORMAL"])
def test_random_numbers_are_seeded(kind, inputs, dtype):
    net = Net()
    for name in ("y", "z"):
        layer = net.definition.add_fill((100, 100), getattr(trt.FillOperation, kind), getattr(trt, dtype))
        if inputs:
            layer.set_input(1, net.constant(np.array(2, dtype)))
            layer.set_input(2, net.constant(np.array(5, dtype)))
        else:
            layer.alpha, layer.beta = 2, 5
        net.output(layer, name)
    model = export(net)
    first, second = run(model, {}), run(model, {})
    assert (first["y"] == second["y"]).all()
    assert (first["y"] != first["z"]).any()
    values = first["y"].astype(np.float64)
    mean, deviation = (3.5, 3 / 12**0.5) if kind == "RANDOM_UNIFORM" else (2, 5)
    assert values.mean() == pytest.approx(mean, abs=0.2) and values.std() == pytest.approx(deviation, rel=0.05)
    if kind == "RANDOM_UNIFORM":
        assert values.min() >= 2 and values.max() <= 5


@pytest.mark.parametrize(
    "equation", ["ij,jk->ik", "bij,bjk->bik", "ij->ji", "ij->", "i,j->ij", "bhqd,bhkd->bhqk", "ij,jk"]
)
def test_einsum(equation):
    sizes = dict(zip("bhijkqd", (2, 3, 4, 5, 6, 7, 8), strict=True))
    arrays = [
        floats(*(sizes[c] for c in part), seed=i) for i, part in enumerate(equation.partition("->")[0].split(","))
    ]
    net = Net()
    net.output(net.definition.add_einsum([net.input(f"x{i}", a.shape) for i, a in enumerate(arrays)], equation))
    close(evaluate(net, {f"x{i}": a for i, a in enumerate(arrays)})["y"], np.einsum(equation, *arrays), 1e-4)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_cumulative(axis, exclusive, reverse):
    x = floats(4, 5)
    net = Net()
    where = net.constant(np.array(axis, np.int32))
    net.output(
        net.definition.add_cumulative(net.input("x", x.shape), where, trt.CumulativeOperation.SUM, exclusive, reverse)
    )
    expected = np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else np.cumsum(x, axis)
    close(evaluate(net, {"x": x})["y"], expected - x if exclusive else expected)


def test_squeeze_and_unsqueeze():
    x = floats(2, 1, 3, 1)
    net = Net()
    data = net.input("x", x.shape)
    net.output(net.definition.add_squeeze(data), "all")
    net.output(net.definition.add_squeeze(data, net.constant(np.array([-1], np.int32))), "last")
    net.output(net.definition.add_unsqueeze(data, net.constant(np.array([0, 3], np.int64))), "more")
    found = evaluate(net, {"x": x})
    assert {name: value.shape for name, value in found.items()} == {
        "all": (2, 3),
        "last": (2, 1, 3),
        "more": (1, 2, 1, 1, 3, 1),
    }


def test_squeeze_keeps_what_is_dynamic():
    net = Net()
    net.output(net.definition.add_squeeze(net.input("x", (-1, 1, 3))))
    assert evaluate(net, {"x": floats(1, 1, 3)})["y"].shape == (1, 3)


def test_ragged_softmax():
    x, bounds = floats(1, 4, 6), np.array([[[6], [1], [3], [0]]], np.int32)
    net = Net()
    net.output(net.definition.add_ragged_softmax(net.input("x", x.shape), net.input("n", bounds.shape, trt.int32)))
    expected = np.zeros_like(x)
    for i, n in enumerate(bounds.flat):
        expected[0, i, :n] = F.softmax(torch.from_numpy(x[0, i, :n]), -1)
    close(evaluate(net, {"x": x, "n": bounds})["y"], expected)


GRID = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
SAMPLING = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}


@pytest.mark.parametrize("volumes", [False, True])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", GRID)
@pytest.mark.parametrize("interpolation", SAMPLING)
def test_grid_sample(interpolation, mode, align, volumes):
    if volumes and interpolation == "CUBIC":
        pytest.skip("neither PyTorch nor ONNX samples volumes by cubics")
    x = floats(2, 3, 4, 5, 6) if volumes else floats(2, 3, 5, 6)
    grid = rng(1).uniform(-1.4, 1.4, (2, 3, 4, 5, 3) if volumes else (2, 4, 5, 2)).astype(np.float32)
    net = Net()
    layer = net.definition.add_grid_sample(net.input("x", x.shape), net.input("g", grid.shape))
    layer.interpolation_mode = getattr(trt.InterpolationMode, interpolation)
    layer.sample_mode, layer.align_corners = getattr(trt.SampleMode, mode), align
    net.output(layer)
    expected = F.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), SAMPLING[interpolation], GRID[mode], align)
    close(evaluate(net, {"x": x, "g": grid})["y"], expected, 1e-4)


def test_an_assertion_is_left_out():
    net = Net()
    net.definition.add_assertion(net.constant(np.array([True])), "never")
    net.output(net.definition.add_identity(net.input("x", (2,))))
    assert [node.op_type for node in export(net).graph.node] == ["Identity"]
