"""Loops and conditionals, against what the same steps give in numpy."""

import numpy as np
import pytest

from netdefs.core.errors import ExportError
from netdefs.export import to_onnx
from tests.export.nets import Net, evaluate, export, floats, run, trt

SUM, PROD, LESS = (getattr(trt.ElementWiseOperation, op) for op in ("SUM", "PROD", "LESS"))
COUNT, WHILE = trt.TripLimit.COUNT, trt.TripLimit.WHILE
LAST, CONCATENATE, REVERSE = (getattr(trt.LoopOutput, kind) for kind in ("LAST_VALUE", "CONCATENATE", "REVERSE"))


def scalar(net, value, dtype=np.float32):
    return net.constant(np.array(value, dtype))


def join(net, a, b, op=SUM):
    return net.definition.add_elementwise(a, b, op).get_output(0)


def counted(net, count):
    loop = net.definition.add_loop()
    loop.add_trip_limit(count, COUNT)
    return loop


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_power_by_repeated_products(count):
    x = floats(3)
    net = Net()
    base = net.input("x", x.shape)
    loop = counted(net, net.input("n", (), trt.int32))
    power = loop.add_recurrence(net.constant(np.ones(3, np.float32)))
    power.set_input(1, join(net, power.get_output(0), base, PROD))
    net.output(loop.add_loop_output(power.get_output(0), LAST))
    found = evaluate(net, {"x": x, "n": np.array(count, np.int32)})["y"]
    np.testing.assert_allclose(found, x**count, rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_iterator_slices_along_an_axis(axis, reverse):
    x = floats(4, 4, 3)
    net = Net()
    loop = counted(net, scalar(net, 4, np.int32))
    part = loop.add_iterator(net.input("x", x.shape), axis, reverse).get_output(0)
    total = loop.add_recurrence(net.constant(np.zeros((4, 3), np.float32)))
    total.set_input(1, join(net, total.get_output(0), part))
    step = join(net, total.get_output(0), part)
    each = loop.add_loop_output(step, CONCATENATE)
    each.set_input(1, scalar(net, 4, np.int32))
    net.output(each)
    order = np.moveaxis(x, axis, 0)[:: -1 if reverse else 1]
    np.testing.assert_allclose(evaluate(net, {"x": x})["y"], np.cumsum(order, 0), rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", [CONCATENATE, REVERSE])
def test_outputs_are_stacked_along_any_axis(kind, axis):
    x = floats(5, 2, 3)
    net = Net()
    loop = counted(net, scalar(net, 5, np.int32))
    part = loop.add_iterator(net.input("x", x.shape)).get_output(0)
    twice = join(net, part, part)
    output = loop.add_loop_output(twice, kind, axis)
    output.set_input(1, scalar(net, 5, np.int32))
    net.output(output)
    expected = np.moveaxis(2 * x[:: -1 if kind == REVERSE else 1], 0, axis)
    np.testing.assert_allclose(evaluate(net, {"x": x})["y"], expected)


def test_a_loop_ends_when_its_condition_is_false():
    net = Net()
    loop = net.definition.add_loop()
    x = loop.add_recurrence(net.input("x", (1,)))
    x.set_input(1, join(net, x.get_output(0), x.get_output(0)))
    small = join(net, x.get_output(0), net.constant(np.array([100], np.float32)), LESS)
    flag = net.definition.add_shuffle(small)
    flag.reshape_dims = ()
    loop.add_trip_limit(flag.get_output(0), WHILE)
    net.output(loop.add_loop_output(x.get_output(0), LAST))
    model = export(net)
    for start, end in ((3, 192), (99, 198), (100, 100), (500, 500)):  # tested before every iteration, the first one too
        assert run(model, {"x": np.array([start], np.float32)})["y"] == end


def test_a_condition_and_a_count_together():
    net = Net()
    loop = counted(net, scalar(net, 3, np.int32))
    x = loop.add_recurrence(net.input("x", (1,)))
    x.set_input(1, join(net, x.get_output(0), x.get_output(0)))
    keep = loop.add_recurrence(net.input("go", (), trt.bool))
    keep.set_input(1, keep.get_output(0))
    loop.add_trip_limit(keep.get_output(0), WHILE)
    net.output(loop.add_loop_output(x.get_output(0), LAST))
    model = export(net)
    for go, end in ((True, 8), (False, 1)):
        assert run(model, {"x": np.ones(1, np.float32), "go": np.array(go)})["y"] == end


def test_the_last_value_of_a_tensor_that_is_no_recurrence():
    x = floats(4, 3)
    net = Net()
    loop = counted(net, scalar(net, 4, np.int32))
    part = loop.add_iterator(net.input("x", x.shape)).get_output(0)
    twice = join(net, part, part)
    layer = loop.add_loop_output(twice, LAST)
    net.output(layer)
    np.testing.assert_allclose(evaluate(net, {"x": x})["y"], 2 * x[-1])


def test_two_recurrences_that_exchange_their_values():
    net = Net()
    loop = counted(net, net.input("n", (), trt.int32))
    a = loop.add_recurrence(net.input("a", (2,)))
    b = loop.add_recurrence(net.input("b", (2,)))
    a.set_input(1, b.get_output(0))
    b.set_input(1, a.get_output(0))
    for name, layer in (("x", a), ("y", b)):
        net.output(loop.add_loop_output(layer.get_output(0), LAST), name)
    feeds = {"a": floats(2), "b": floats(2, seed=1)}
    model = export(net)
    for n in range(3):
        found = run(model, {**feeds, "n": np.array(n, np.int32)})
        assert (found["x"] == feeds["ab"[n % 2]]).all() and (found["y"] == feeds["ba"[n % 2]]).all()


def test_nested_loops():
    """For each row: the sum of its values by an inner loop, all added up by the outer one."""
    x = floats(3, 4, 2)
    net = Net()
    data = net.input("x", x.shape)
    outer = counted(net, scalar(net, 3, np.int32))
    row = outer.add_iterator(data).get_output(0)
    total = outer.add_recurrence(net.constant(np.zeros(2, np.float32)))
    inner = counted(net, scalar(net, 4, np.int32))
    value = inner.add_iterator(row).get_output(0)
    subtotal = inner.add_recurrence(
        net.constant(np.zeros(2, np.float32))
    )  # its start does not depend on the outer loop
    subtotal.set_input(1, join(net, subtotal.get_output(0), value))
    result = inner.add_loop_output(subtotal.get_output(0), LAST).get_output(0)
    total.set_input(1, join(net, total.get_output(0), result))
    net.output(outer.add_loop_output(total.get_output(0), LAST))
    each = outer.add_loop_output(result, CONCATENATE)
    each.set_input(1, scalar(net, 3, np.int32))
    net.output(each, "rows")
    found = evaluate(net, {"x": x})
    np.testing.assert_allclose(found["y"], x.sum((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found["rows"], x.sum(1), rtol=1e-5)


def conditional(net, condition):
    result = net.definition.add_if_conditional()
    result.set_condition(condition)
    return result


@pytest.mark.parametrize("take", [True, False])
def test_a_conditional(take):
    x = floats(3)
    net = Net()
    branch = conditional(net, net.input("c", (), trt.bool))
    inside = branch.add_input(net.input("x", x.shape)).get_output(0)
    double = join(net, inside, inside)
    square = join(net, inside, inside, PROD)
    net.output(branch.add_output(double, square))
    net.output(branch.add_output(inside, double), "z")  # a layer that both branches need
    found = evaluate(net, {"x": x, "c": np.array(take)})
    np.testing.assert_allclose(found["y"], 2 * x if take else x * x)
    np.testing.assert_allclose(found["z"], x if take else 2 * x)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_nested_conditionals(first, second):
    x = floats(3)
    net = Net()
    outer = conditional(net, net.input("a", (), trt.bool))
    inside = outer.add_input(net.input("x", x.shape)).get_output(0)
    inner = conditional(net, net.input("b", (), trt.bool))
    deep = inner.add_input(inside).get_output(0)
    chosen = inner.add_output(join(net, deep, deep), join(net, deep, deep, PROD)).get_output(0)
    net.output(outer.add_output(chosen, inside))
    expected = (2 * x if second else x * x) if first else x
    found = evaluate(net, {"x": x, "a": np.array(first), "b": np.array(second)})["y"]
    np.testing.assert_allclose(found, expected)


def test_a_conditional_inside_of_a_loop():
    net = Net()
    loop = counted(net, scalar(net, 6, np.int32))
    x = loop.add_recurrence(net.input("x", ()))
    small = join(net, x.get_output(0), scalar(net, 10), LESS)
    branch = conditional(net, small)
    inside = branch.add_input(x.get_output(0)).get_output(0)
    grown = branch.add_output(join(net, inside, inside), inside).get_output(0)
    x.set_input(1, grown)
    net.output(loop.add_loop_output(x.get_output(0), LAST))
    assert evaluate(net, {"x": np.array(3, np.float32)})["y"] == 12


def test_a_loop_inside_of_a_conditional():
    x = floats(3)
    net = Net()
    branch = conditional(net, net.input("c", (), trt.bool))
    inside = branch.add_input(net.input("x", x.shape)).get_output(0)
    loop = counted(net, scalar(net, 3, np.int32))
    doubled = loop.add_recurrence(inside)
    doubled.set_input(1, join(net, doubled.get_output(0), doubled.get_output(0)))
    net.output(branch.add_output(loop.add_loop_output(doubled.get_output(0), LAST).get_output(0), inside))
    model = export(net)
    for take, factor in ((True, 8), (False, 1)):
        np.testing.assert_allclose(run(model, {"x": x, "c": np.array(take)})["y"], factor * x)


def test_a_tensor_inside_of_a_loop_can_not_be_an_output():
    net = Net()
    loop = counted(net, scalar(net, 3, np.int32))
    x = loop.add_recurrence(net.input("x", (1,)))
    step = join(net, x.get_output(0), x.get_output(0))
    step.name = "body.step"
    x.set_input(1, step)
    net.output(loop.add_loop_output(x.get_output(0), LAST))
    with pytest.raises(ExportError, match=r"'body\.step'\. It is inside of a loop"):
        to_onnx(net.definition, outputs=["body.step"])


def test_a_condition_on_an_iterator_is_an_error():
    net = Net()
    loop = net.definition.add_loop()
    flag = loop.add_iterator(net.input("flags", (5,), trt.bool)).get_output(0)
    loop.add_trip_limit(flag, WHILE)
    x = loop.add_recurrence(net.input("x", (1,)))
    x.set_input(1, join(net, x.get_output(0), x.get_output(0)))
    net.output(loop.add_loop_output(x.get_output(0), LAST))
    with pytest.raises(ExportError, match="its condition depends on an iterator"):
        to_onnx(net.definition)


def test_half_precision_states():
    net = Net()
    loop = counted(net, scalar(net, 3, np.int32))
    x = loop.add_recurrence(net.input("x", (2,), trt.float16))
    x.set_input(1, join(net, x.get_output(0), x.get_output(0)))
    net.output(loop.add_loop_output(x.get_output(0), LAST))
    value = np.array([1, 0.5], np.float16)
    assert (evaluate(net, {"x": value})["y"] == 8 * value).all()
