"""Precisions by pattern: which layer gets which, where casts are, and what is refused."""

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.errors import NetworkError
from netdefs.core.precision import Precision


def weights(**convs):
    """Weights of 3x3 convolutions without a bias: name=(out, in)."""
    rng = np.random.default_rng(0)
    return {f"{name}.weight": rng.standard_normal((*size, 3, 3), dtype=np.float32) / 8 for name, size in convs.items()}


def chain(precision, **options):
    """Three convolutions with ReLUs, the last below `head`."""
    net = netdefs.Network(weights(a=(8, 4), b=(8, 8), **{"head.c": (8, 8)}), precision=precision, **options)
    x = net.input("input", (1, 4, 16, 16))
    for name in ("a", "b"):
        x = net.relu(net.conv(x, name, 8, 3, padding=1, bias=False), f"{name}.relu")
    head = net / "head"
    x = head.softmax(head.conv(x, "c", 8, 3, padding=1, bias=False), "softmax", dim=1)
    net.finish(net.output(x, "y"))
    return net


def casts(net):
    """What is cast, and to what."""
    made = [net.definition.get_layer(i) for i in range(net.definition.num_layers)]
    return [(each.get_input(0).name, each.get_output(0).dtype.name) for each in made if each.type.name == "CAST"]


def dtype(net, name):
    return net.tensor(name).dtype.name


def test_later_entries_win():
    precision = Precision({"*": "fp16", "layer1.*": "fp32", "layer1.0.*": "bf16", "layer1.0.conv1": "fp16"})
    found = {name: precision.of(name)[0].floats for name in ("stem", "layer1.1.bn", "layer1.0.bn", "layer1.0.conv1")}
    assert found == {"stem": "fp16", "layer1.1.bn": "fp32", "layer1.0.bn": "bf16", "layer1.0.conv1": "fp16"}


def test_what_is_not_quantized_has_a_type_too():
    choice, _ = Precision("int8").of("x")
    assert (choice.quantized, choice.dtype) == ("int8", "float32")
    choice, _ = Precision({"*": "int8+fp16"}, keep=["fc"]).of("fc")
    assert (choice.quantized, choice.dtype) == (None, "float16")
    choice, _ = Precision({"*": "int8+fp16", "f?": "fp8"}, keep=["fc"]).of("fc")
    assert choice.quantized == "fp8", "a pattern counts before the policy"


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", []),
        ("fp16", [("input", "HALF"), ("head.c", "FLOAT")]),  # softmax is in float32, and so is the output
        ({"*": "fp16", "b": "fp32"}, [("input", "HALF"), ("a.relu", "FLOAT"), ("b", "HALF"), ("head.c", "FLOAT")]),
        ({"*": "fp16", "a*": "fp32"}, [("a.relu", "HALF"), ("head.c", "FLOAT")]),
        ({"*": "fp16", "head.*": "fp32"}, [("input", "HALF"), ("b.relu", "FLOAT")]),
        ({"head.c": "bf16"}, [("b.relu", "BF16"), ("head.c", "FLOAT")]),
        ({"*": "fp16", "head.softmax": "fp16"}, [("input", "HALF"), ("head.softmax", "FLOAT")]),
        ({"*": "fp16", "head.*": "fp16"}, [("input", "HALF"), ("head.c", "FLOAT")]),
    ],
)
def test_casts_are_where_types_change(precision, expected):
    net = chain(precision)
    assert casts(net) == expected
    assert dtype(net, "y") == "FLOAT"
    assert netdefs.build(net, target="tensorrt_rtx").outputs["y"].dtype == np.float32


def test_a_tensor_is_cast_once():
    net = netdefs.Network(weights(a=(8, 8), b=(8, 8)), precision={"*": "fp16", "[ab]": "fp32"})
    x = net.relu(net.input("input", (1, 8, 16, 16)), "x")
    a, b = (net.conv(x, name, 8, 3, padding=1, bias=False) for name in "ab")
    sum_ = net.add(net.add(a, b, "sum"), x, "skip")
    assert casts(net) == [("input", "HALF"), ("x", "FLOAT"), ("a", "HALF"), ("b", "HALF")]
    net.add(sum_, net.conv(x, "c", 8, 3, padding=1, bias=False), "again")
    assert len(casts(net)) == 4


def test_a_widened_tensor_is_narrowed_by_no_cast():
    net = netdefs.Network({}, precision={"*": "fp16", "softmax": "fp16", "r": "fp16"})
    x = net.relu(net.input("input", (1, 4, 4, 4)), "r")
    wide = net.as_type(x, net.trt.float32)
    assert net.as_type(wide, net.trt.float16) is x


def test_what_is_cast_stays_so():
    """Decoding in float32: an explicit cast counts for all that follows, whatever the network's precision."""
    for precision in ("fp16", {"*": "fp16", "other": "fp32"}, {"*": "fp32", "other": "fp16"}):
        net = netdefs.Network({}, precision=precision)
        x = net.relu(net.input("input", (1, 4, 4, 4)), "other")
        wide = net.cast(x, "wide", net.trt.float32)
        y = net.mul(net.add(wide, net.constant(np.ones((1, 4, 1, 1), np.float32), "one"), "sum"), 3.0, "product")
        joined = net.concat([y, net.sigmoid(x, "half")], "joined", dim=1)
        assert {dtype(net, name) for name in ("wide", "sum", "product", "joined")} == {"FLOAT"}
        assert dtype(net, "half") == ("FLOAT" if precision == {"*": "fp32", "other": "fp16"} else "HALF")
        net.finish(net.output(joined, "y"))
        netdefs.build(net, target="tensorrt_rtx")


def test_constants_take_the_type_that_is_needed():
    net = netdefs.Network({}, precision={"*": "fp16", "b": "fp32"})
    x = net.input("input", (1, 4, 4, 4))
    one = net.constant(np.full((1, 1, 1, 1), 0.1), "tenth", like=net.relu(x, "r"))
    y = net.add(net.as_type(x, net.trt.float32), one, "b")
    net.finish(net.output(y, "y"))
    assert casts(net) == [("input", "HALF")], "the constant is another one, not a cast one"
    with netdefs.build(net, target="cpu") as engine:
        assert engine.run({"input": np.zeros((1, 4, 4, 4), np.float32)})["y"].flat[0] == np.float32(0.1)


def test_activations_made_of_several_layers_have_one_type():
    net = netdefs.Network({}, precision={"*": "fp16", "act": "fp32"})
    x = net.relu(net.input("input", (1, 4, 4, 4)), "r")
    y = net.mish(x, "act")
    net.finish(net.output(net.relu(y, "after"), "y"))
    assert [dtype(net, name) for name in ("act.softplus", "act.tanh", "act", "after")] == [*["FLOAT"] * 3, "HALF"]
    assert casts(net) == [("input", "HALF"), ("r", "FLOAT"), ("act", "HALF"), ("after", "FLOAT")]


def test_values_of_a_mixed_network():
    net, x = chain({"*": "fp16", "b": "fp32"}), np.random.default_rng(1).standard_normal((1, 4, 16, 16), np.float32)
    y = torch.from_numpy(x).half().float()
    arrays = weights(a=(8, 4), b=(8, 8), **{"head.c": (8, 8)})
    kernel = {name: torch.from_numpy(array) for name, array in arrays.items()}
    y = torch.conv2d(y, kernel["a.weight"].half().float(), padding=1).half().relu().float()
    y = torch.conv2d(y, kernel["b.weight"], padding=1).relu().half().float()  # the weights of b are not rounded
    y = torch.conv2d(y, kernel["head.c.weight"].half().float(), padding=1).half().float().softmax(1)
    with netdefs.build(net, target="cpu") as engine:
        np.testing.assert_allclose(engine.run({"input": x})["y"], y.numpy(), atol=2e-4)


def test_info_says_what_was_asked_for():
    assert chain("fp16").info["precision"] == chain({"*": "fp32", "b": "fp16"}).info["precision"] == "fp16"
    info = chain({"*": "fp16", "b": "bf16"}).info
    assert info["precision"] == "bf16" and info["precisions"] == {"*": "fp16", "b": "bf16"}
    assert chain({"*": "tf32", "b": "fp16"}).info["tf32"]


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("fp17", r"precision='fp17' is unknown. Choose from fp32, .*Near: fp16"),
        ("fp16+int8", "'int8\\+fp16'"),
        ("int8+fp8", "is unknown"),
        ({}, "no entry"),
        ({"a": "half"}, "precision='half' for 'a' is unknown"),
        ({"a": 16}, "'a': 16 is no entry"),
        ({"a": "fp16", "*": "fp32"}, r"'\*' comes after 'a'"),
        ({"*": "tf32", "a": "fp32"}, "TF32 for a whole network"),
        ({"*": "tf32", "a": "int8"}, "'int8\\+tf32'"),
    ],
)
def test_what_no_precision_is(precision, words):
    with pytest.raises(netdefs.NetdefsError, match=words):
        netdefs.Network(precision=precision)


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ({"*": "fp32", "heat.*": "fp16"}, r"no layer matches 'heat\.\*'.* Near: head\.c"),
        ({"*": "fp32", "y": "fp16"}, r"'y' has no precision of its own"),
        ({"*": "fp32", "a.relu": "int8"}, r"'a.relu' matches no layer that can be int8, only 'a.relu'"),
        ({"*": "fp16", "*.relu": "fp8"}, r"matches no layer that can be fp8, only 'a.relu' and others"),
    ],
)
def test_patterns_without_effect(precision, words):
    with pytest.raises(netdefs.NetdefsError, match=words):
        chain(precision)


def test_values_beyond_half_precision_can_be_kept_wide():
    arrays = {"c.weight": np.full((4, 3, 1, 1), 7e4, np.float32)}
    net = netdefs.Network(arrays, precision={"*": "fp16", "c": "fp32"})
    net.conv(net.input("input", (1, 3, 8, 8)), "c", 4, kernel=1, bias=False)
    with pytest.raises(NetworkError, match="half precision can't"):
        net = netdefs.Network(arrays, precision="fp16")
        net.conv(net.input("input", (1, 3, 8, 8)), "c", 4, kernel=1, bias=False)
