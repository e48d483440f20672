"""Arithmetic, comparisons, logic and choices against PyTorch, with tensors, arrays and numbers on either side."""

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, compile_all, network, run, values

ROW = values((5, 4), seed=2)
WIDE = values((3, 1, 1, 5, 1), positive=True, seed=3)  # of a higher rank than the tensor that it meets
MASK = ROW > 0
ARITHMETIC = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
}
EXACT = {
    "eq": torch.eq,
    "ne": torch.ne,
    "gt": torch.gt,
    "lt": torch.lt,
    "ge": torch.ge,
    "le": torch.le,
    "floor_divide": torch.floor_divide,
    "remainder": torch.remainder,
}


def tensor(array):
    return torch.from_numpy(np.asarray(array))


def both_sides(name, function, other, label):
    return [
        case(
            f"{name}-{label}", lambda net, x: getattr(net, name)(x, other, "y"), lambda x, w: function(x, tensor(other))
        ),
        case(
            f"{label}-{name}", lambda net, x: getattr(net, name)(other, x, "y"), lambda x, w: function(tensor(other), x)
        ),
    ]


SMOOTH = [
    *[
        c
        for name, f in ARITHMETIC.items()
        for other, label in ((ROW, "array"), (np.float32(2.5), "number"))
        for c in both_sides(name, f, other, label)
    ],
    *both_sides("add", torch.add, WIDE, "higher-rank"),
    *both_sides("div", torch.div, WIDE, "higher-rank"),
    case("add-float64-array", lambda net, x: net.add(x, ROW.astype(np.float64), "y"), lambda x, w: x + tensor(ROW)),
    case("add-int-array", lambda net, x: net.add(x, np.arange(4), "y"), lambda x, w: x + torch.arange(4)),
    case("mul-bool-array", lambda net, x: net.mul(MASK, x, "y"), lambda x, w: tensor(MASK) * x),
    case("mul-mask", lambda net, x: net.mul(net.gt(x, 0.0, "m"), x, "y"), lambda x, w: (x > 0) * x),
    case("pow2", lambda net, x: net.pow(x, 2, "y"), lambda x, w: x**2),
    case("pow0.5", lambda net, x: net.pow(x, 0.5, "y"), lambda x, w: x**0.5, positive=True),
    case("pow3", lambda net, x: net.pow(x, 3, "y"), lambda x, w: x**3),
    case("pow-1.7", lambda net, x: net.pow(x, -1.7, "y"), lambda x, w: x**-1.7, positive=True),
    case("pow-of-number", lambda net, x: net.pow(2.0, x, "y"), lambda x, w: 2.0**x),
    case("pow-array", lambda net, x: net.pow(x, ROW, "y"), lambda x, w: x ** tensor(ROW), positive=True),
    case("clamp", lambda net, x: net.clamp(x, "y", -0.5, 0.75), lambda x, w: x.clamp(-0.5, 0.75)),
    case("clamp-min", lambda net, x: net.clamp(x, "y", min=0.1), lambda x, w: x.clamp(min=0.1)),
    case("clamp-max", lambda net, x: net.clamp(x, "y", max=0.1), lambda x, w: x.clamp(max=0.1)),
    case("clamp-crossed", lambda net, x: net.clamp(x, "y", 0.5, -0.75), lambda x, w: x.clamp(0.5, -0.75)),
    case("clamp-beyond-half", lambda net, x: net.clamp(x, "y", 0.0, 1e9), lambda x, w: x.clamp(0, 1e9)),
    case(
        "clamp-tensors",
        lambda net, x: net.clamp(x, "y", ROW, net.relu(x, "r")),
        lambda x, w: torch.clamp(x, tensor(ROW), torch.relu(x)),
    ),
    case(
        "where",
        lambda net, x: net.where(net.gt(x, 0.0, "c"), x, ROW, "y"),
        lambda x, w: torch.where(x > 0, x, tensor(ROW)),
    ),
    case(
        "where-array-first",
        lambda net, x: net.where(net.gt(x, 0.0, "c"), ROW, x, "y"),
        lambda x, w: torch.where(x > 0, tensor(ROW), x),
    ),
    case(
        "where-mask-array", lambda net, x: net.where(MASK, x, 0.5, "y"), lambda x, w: torch.where(tensor(MASK), x, 0.5)
    ),
    case(
        "where-numbers",
        lambda net, x: net.where(net.gt(x, 0.0, "c"), 1.0, 0.25, "y"),
        lambda x, w: torch.where(x > 0, 1.0, 0.25),
    ),
    case(
        "where-ranks",
        lambda net, x: net.where(net.gt(net.constant(ROW, "k"), 0.0, "c"), x, WIDE, "y"),
        lambda x, w: torch.where(tensor(MASK), x, tensor(WIDE)),
    ),
    case(
        "masked_fill",
        lambda net, x: net.masked_fill(x, "y", net.lt(x, 0.0, "m"), 0.125),
        lambda x, w: x.masked_fill(x < 0, 0.125),
    ),
    case(
        "masked_fill-lowest",
        lambda net, x: net.softmax(net.masked_fill(x, "f", MASK, float(np.finfo(np.float32).min)), "y", dim=-1),
        lambda x, w: x.masked_fill(tensor(MASK), torch.finfo(torch.float32).min).softmax(-1),
    ),
]

STEPS = [
    *[
        c
        for name, f in EXACT.items()
        for other, label in ((ROW, "array"), (np.float32(0.75), "number"))
        for c in both_sides(name, f, other, label)
    ],
    *[
        case(
            f"{name}-itself", lambda net, x, name=name: getattr(net, name)(x, x, "y"), lambda x, w, f=function: f(x, x)
        )
        for name, function in EXACT.items()
        if name not in ("floor_divide", "remainder")
    ],
    *[
        case(
            f"logical_{name}",
            lambda net, x, name=name: getattr(net, f"logical_{name}")(net.gt(x, 0.0, "a"), MASK, "y"),
            lambda x, w, name=name: getattr(torch, f"logical_{name}")(x > 0, tensor(MASK)),
        )
        for name in ("and", "or", "xor")
    ],
    case(
        "logical_and-of-numbers",
        lambda net, x: net.logical_and(net.relu(x, "r"), np.arange(4), "y"),
        lambda x, w: torch.logical_and(torch.relu(x), torch.arange(4)),
    ),
    case("logical_not", lambda net, x: net.logical_not(net.gt(x, 0.0, "a"), "y"), lambda x, w: ~(x > 0)),
    case(
        "logical_not-number",
        lambda net, x: net.logical_not(net.relu(x, "r"), "y"),
        lambda x, w: torch.relu(x).logical_not(),
    ),
    case(
        "bools",
        lambda net, x: net.mul(net.add(net.gt(x, 0.0, "a"), MASK, "s"), net.lt(x, 1.0, "b"), "y"),
        lambda x, w: ((x > 0) + tensor(MASK)) * (x < 1),
    ),
]


def index(net, x):
    return net.argmax(x, "i", dim=-1)


# Of int32, PyTorch's int64: what TensorRT makes of indices.
INTEGERS = [
    case("times-half", lambda net, x: net.mul(index(net, x), 0.5, "y"), lambda x, w: x.argmax(-1) * 0.5),
    case("over-3", lambda net, x: net.div(index(net, x), 3, "y"), lambda x, w: x.argmax(-1) / 3),
    case(
        "plus-floats",
        lambda net, x: net.add(index(net, x), net.amax(x, "m", dim=-1), "y"),
        lambda x, w: x.argmax(-1) + x.amax(-1),
    ),
    case("minus-2", lambda net, x: net.sub(index(net, x), 2, "y"), lambda x, w: x.argmax(-1) - 2),
    case(
        "floor_divide-negative",
        lambda net, x: net.floor_divide(net.sub(index(net, x), 3, "s"), 2, "y"),
        lambda x, w: (x.argmax(-1) - 3) // 2,
    ),
    case(
        "remainder-negative",
        lambda net, x: net.remainder(net.sub(index(net, x), 3, "s"), 2, "y"),
        lambda x, w: (x.argmax(-1) - 3) % 2,
    ),
    case("squared", lambda net, x: net.pow(index(net, x), 2, "y"), lambda x, w: x.argmax(-1) ** 2),
    case("gt-float", lambda net, x: net.gt(index(net, x), 1.5, "y"), lambda x, w: x.argmax(-1) > 1.5),
    case("clamp", lambda net, x: net.clamp(index(net, x), "y", 1, 2), lambda x, w: x.argmax(-1).clamp(1, 2)),
    case("bool-plus-1", lambda net, x: net.add(net.gt(x, 0.0, "b"), 1, "y"), lambda x, w: (x > 0) + 1),
    case("where-ints", lambda net, x: net.where(net.gt(x, 0.0, "b"), 3, 7, "y"), lambda x, w: torch.where(x > 0, 3, 7)),
    case(
        "int64",
        lambda net, x: net.add(net.cast(index(net, x), "wide", net.trt.int64), index(net / "other", x), "y"),
        lambda x, w: 2 * x.argmax(-1),
    ),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", [*SMOOTH, *STEPS, *INTEGERS])
def test_float32(case, dynamic):
    check(case, dynamic=dynamic)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("bf16", 4e-2)])
@pytest.mark.parametrize("case", SMOOTH)
def test_half_precision(case, precision, tolerance):
    check(case, precision, tolerance=tolerance)


def test_not_a_number_is_in_no_order():
    """What >= and < say of it is both false."""
    x = np.array([[np.nan, 1.0, 2.0]], np.float32)
    for name in ("eq", "ne", "gt", "lt", "ge", "le"):
        net = network(lambda net, x, name=name: getattr(net, name)(x, 1.0, "y"), x.shape)
        np.testing.assert_array_equal(run(net, x), getattr(torch, name)(torch.from_numpy(x), 1.0).numpy())


def test_a_constant_has_the_type_of_its_layer_not_of_the_network():
    """Half precision does not hold 1e6; a layer that stays in float32 does."""

    def define(net, x):
        return net.mul(net.mul(x, 1e6, "big"), 1e-6, "y")

    with pytest.raises(NetworkError, match=r"big\.constant holds 1e\+06, which half precision can't"):
        network(define, (1, 4), precision="fp16")
    x = values((1, 4))
    got = run(network(define, (1, 4), precision={"*": "fp16", "big": "fp32", "y": "fp32"}), x)
    np.testing.assert_allclose(got, x, rtol=2e-3)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_all_compile(precision):
    compile_all([*SMOOTH, *STEPS, *INTEGERS], precision)


def test_errors():
    net = netdefs.Network()
    x = net.input("x", (2, 3))
    i = net.argmax(x, "i", dim=-1)
    with pytest.raises(NetworkError, match="a: one operand must be a tensor of the network"):
        net.add(1, np.ones(3), "a")
    with pytest.raises(NetworkError, match="w: one operand must be a tensor of the network"):
        net.where(np.ones(3, bool), 1.0, np.ones(3), "w")
    with pytest.raises(NetworkError, match="s: an operand is a tensor, an array of numbers or a number, not 'x'"):
        net.add(x, "x", "s")
    with pytest.raises(NetworkError, match="c: clamp needs min, max or both"):
        net.clamp(x, "c")
    with pytest.raises(NetworkError, match="w: where needs a condition of booleans, such as gt gives, not 'x' float"):
        net.where(x, x, 0.0, "w")
    with pytest.raises(NetworkError, match="p: integers have no negative powers"):
        net.pow(i, -1, "p")
    with pytest.raises(NetworkError, match=r"(?s)TensorRT refused the layer 'b'.*input: 'x' float\(2, 3\)"):
        net.add(x, np.ones((2, 4)), "b")
