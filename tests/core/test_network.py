"""`Network`: names, scopes, checks and errors."""

import gc

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.blocks import conv_bn, conv_bn_relu, layer, squeeze_excite
from netdefs.core.errors import NetworkError, WeightsError


def bn_weights(name, channels):
    rng = np.random.default_rng(channels)
    keys = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{key}": rng.random(channels, dtype=np.float32) + 0.5 for key in keys}


def conv_weights(name, *shape):
    return {f"{name}.weight": np.random.default_rng(1).standard_normal(shape, dtype=np.float32)}


def layers(net):
    return [net.definition.get_layer(i) for i in range(net.definition.num_layers)]


def test_a_layer_its_output_and_its_weights_carry_the_module_path():
    net = netdefs.Network({**conv_weights("layer1.0.conv1", 4, 3, 3, 3), "layer1.0.conv1.bias": np.zeros(4)})
    y = (net / "layer1" / 0).conv(net.input("input", (1, 3, 8, 8)), "conv1", 4, kernel=3)
    assert y.name == layers(net)[0].name == "layer1.0.conv1"
    net.finish(y)


def test_name_none_is_the_scope():
    net = netdefs.Network()
    x = net.input("input", (1, 3, 8, 8))
    assert (net / "layer1" / 0).relu(x).name == "layer1.0"
    with pytest.raises(NetworkError, match="root"):
        net.relu(x)


def test_metadata_tells_the_source_line():
    net = netdefs.Network()
    net.relu(net.input("input", (1, 3, 8, 8)), "r")
    assert layers(net)[0].metadata.startswith("r (") and "test_network, line" in layers(net)[0].metadata


def test_a_name_can_be_used_once():
    net = netdefs.Network()
    x = net.input("input", (1, 3, 8, 8))
    net.relu(x, "r")
    with pytest.raises(NetworkError, match=r"'r' is taken: it was added at .*line \d+ and again at .*line \d+"):
        net.relu(x, "r")
    with pytest.raises(NetworkError, match="'input' is taken"):
        net.input("input", (1, 3, 8, 8))


def test_a_refused_layer_is_an_error_with_path_shapes_and_tensorrts_words():
    net = netdefs.Network()
    a, b = net.input("a", (1, 3, 8, 8)), net.input("b", (1, 3, 7, 8))
    with pytest.raises(NetworkError) as error:
        (net / "layer3" / 2).add(a, b, "add")
    for part in ("'layer3.2.add'", "test_network, line", "'a' float(1, 3, 8, 8)", "'b' float(1, 3, 7, 8)", "broadcast"):
        assert part in str(error.value)


def test_mixed_types_of_raw_layers_are_refused():
    net = netdefs.Network(precision="fp16")
    x = net.input("input", (1, 3, 8, 8))
    other = net.cast(x, "other", net.trt.float32)
    with pytest.raises(NetworkError, match=r"half.*\n.*float"):
        sum_ = net.definition.add_elementwise(x, other, net.trt.ElementWiseOperation.SUM)
        net.layer(sum_, "sum", x, other)


def test_raw_tensorrt_calls_can_be_mixed_in():
    net = netdefs.Network()
    x = net.input("input", (1, 3, 8, 8))
    y = (net / "head").layer(net.definition.add_unary(x, net.trt.UnaryOperation.EXP), "exp", x)
    assert y.name == "head.exp"
    net.finish(y)
    with netdefs.build(net, target="cpu") as engine:
        feed = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
        np.testing.assert_allclose(engine.run({"input": feed})["head.exp"], np.exp(feed), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net, x: net.conv(x, "c", 4, kernel=3, groups=2), "groups=2 does not divide the 3 channels"),
        (lambda net, x: net.conv(x, "c", 4, kernel=3, groups=0), "groups=0 does not divide"),
        (lambda net, x: net.conv(x, "c", 4, kernel=3, stride=0), "refused the layer 'c'"),
        (lambda net, x: net.conv(x, "c", 4, kernel=3, padding=-1), "refused the layer 'c'"),
        (lambda net, x: net.conv(x, "c", 4, kernel=3, dilation=0), "refused the layer 'c'"),
        (lambda net, x: net.conv(x, "c", 4, kernel=3, stride=(1, 1, 1)), r"not \(1, 1, 1\)"),
        (lambda net, x: net.conv(x, "c", 4, kernel=3, padding="same"), "a pair of ints, not 'same'"),
        (lambda net, x: net.conv(x, "c", 4, kernel=3, stride=1.5), "not 1.5"),
        (lambda net, x: net.deconv(x, "c", 4, 2, stride=0), "must be smaller|refused the layer 'c'"),
        (lambda net, x: net.max_pool(x, "p", 0), r"kernel=\(0, 0\) can't be"),
        (lambda net, x: net.max_pool(x, "p", 2, stride=-1), r"stride=\(-1, -1\) can't be"),
        (lambda net, x: net.avg_pool(x, "p", 2, padding=-1), r"padding=\(-1, -1\) can't be"),
        (lambda net, x: net.max_pool(x, "p", 100), r"empty output, \(1, 3, 0, 0\)|refused the layer 'p'"),
        (lambda net, x: net.upsample(x, "u", 0), "scale_factor=0 is to be a positive number"),
        (lambda net, x: net.split(x, "s", 0, dim=1), "split_size=0 must be positive"),
        (lambda net, x: net.batch_norm(x, "b", eps=-1.0), r"b: running_var \+ eps must be positive"),
        (
            lambda net, x: net.deconv(x, "c", 4, 2, stride=2, output_padding=2),
            r"output_padding=\(2, 2\) must be smaller",
        ),
        (lambda net, x: net.max_pool(x, "p", 2, padding=2), r"padding=\(2, 2\) must be at most half"),
        (lambda net, x: net.softmax(x, "s", dim=4), "axis 4 is out of range"),
        (lambda net, x: net.slice(x, "s", 1, 3), "is empty"),
        (lambda net, x: net.slice(x, "s", 1, 0, 3, -1), "step must be positive"),
        (lambda net, x: net.split(x, "s", [1, 1], dim=1), "don't add up to the size 3"),
        (lambda net, x: net.upsample(x, "u"), "either scale_factor or size"),
        (lambda net, x: net.upsample(x, "u", 2, size=(4, 4)), "either scale_factor or size"),
        (lambda net, x: net.upsample(x, "u", 2, mode="lanczos"), "mode is one of"),
        (lambda net, x: net.upsample(x, "u", 2, align_corners=True), "align_corners has no meaning"),
        (lambda net, x: net.pixel_shuffle(x, "s", 2), "multiple of 4 channels, not 3"),
        (lambda net, x: net.gelu(x, "g", "fast"), "'none' or 'tanh'"),
        (lambda net, x: net.topk(x, "t", 9), "refused the layer 't'"),
        (lambda net, x: net.reshape(x, "r", (1, 5, -1)), "refused the layer 'r'"),
    ],
)
def test_wrong_arguments(call, words):
    net = netdefs.Network()
    with pytest.raises(NetworkError, match=words):
        call(net, net.input("input", (1, 3, 8, 8)))


def test_wrong_inputs():
    net = netdefs.Network()
    with pytest.raises(NetworkError, match="neither a size nor"):
        net.input("a", (1, 3, 0, 8))
    for wrong in ((4, 2, 8), (1, 8), "8", 8.5, None):
        with pytest.raises(NetworkError, match="rising order"):
            net.input("b", (wrong, 3, 8, 8))


def test_dynamic_sizes_become_the_profile():
    net = netdefs.Network()
    x = net.input("input", ((1, 4, 8), 3, (32, 64, 128), 64))
    assert tuple(x.shape) == (-1, 3, -1, 64)
    assert net.profile == {"input": ((1, 3, 32, 64), (4, 3, 64, 64), (8, 3, 128, 64))}


def test_half_precision_stays_inside():
    net = netdefs.Network({**conv_weights("c", 4, 3, 1, 1)}, precision="fp16")
    x = net.input("input", (1, 3, 8, 8))
    y = net.conv(x, "c", 4, kernel=1, bias=False)
    result = net.output(y, "result")
    net.finish(result)
    trt = net.trt
    assert net.definition.get_input(0).dtype == trt.float32
    assert x.dtype == y.dtype == trt.float16
    convolution = layers(net)[1]
    convolution.__class__ = trt.IConvolutionLayer  # get_layer gives the base class
    assert result.dtype == trt.float32 and convolution.kernel.dtype == np.float16


def test_weights_that_half_precision_cannot_hold():
    net = netdefs.Network({"c.weight": np.full((4, 3, 1, 1), 7e4, np.float32)}, precision="fp16")
    with pytest.raises(NetworkError, match=r"c\.weight holds 70000.*bf16"):
        net.conv(net.input("input", (1, 3, 8, 8)), "c", 4, kernel=1, bias=False)


def test_a_network_without_outputs_is_not_finished():
    net = netdefs.Network()
    net.relu(net.input("input", (1, 3, 8, 8)), "r")
    with pytest.raises(NetworkError, match="no output"):
        net.check()


def test_every_problem_of_the_weights_in_one_message():
    net = netdefs.Network(
        {"conv.weihgt": np.zeros(36), "fc.weight": np.zeros((5, 4)), "left": np.zeros(1)}, name="small"
    )
    x = net.conv(net.input("input", (1, 1, 3, 3)), "conv", 4, kernel=3, bias=False)
    y = net.linear(net.flatten(x, "f", 1), "fc", 3, bias=False)
    with pytest.raises(WeightsError) as error:
        net.finish(y)
    for part in (
        "These weights don't fit small: a dict of 3 arrays.",
        "missing, 1 of 2 keys:",
        "conv.weight (the file has conv.weihgt)",
        "fc.weight: the network has (3, 4), the file (5, 4), which fits if the first dimension is 5",
        "left",
    ):
        assert part in str(error.value)


def test_a_prefix_is_recognized():
    net = netdefs.Network({"model.c.weight": np.zeros((4, 3, 1, 1))})
    y = net.conv(net.input("input", (1, 3, 8, 8)), "c", 4, kernel=1, bias=False)
    with pytest.raises(WeightsError, match=r"prefix 'model\.'.*--prefix model\."):
        net.finish(y)


def test_weights_can_be_knowingly_ignored_and_counters_are():
    weights = {**conv_weights("c", 4, 3, 1, 1), **bn_weights("b", 4), "aux.fc.weight": np.zeros(3)}
    weights["b.num_batches_tracked"] = np.array(7)
    net = netdefs.Network(weights)
    y = conv_bn(net, net.input("input", (1, 3, 8, 8)), "c", "b", 4, kernel=1)
    net.ignore("aux.*")
    net.finish(y)


def test_arrays_changed_after_definition_do_not_change_the_network():
    weight = np.ones((4, 3, 1, 1), np.float32)
    net = netdefs.Network({"c.weight": weight})
    net.finish(net.conv(net.input("input", (1, 3, 2, 2)), "c", 4, kernel=1, bias=False))
    weight[:] = 5
    with netdefs.build(net, target="cpu") as engine:
        assert engine.run({"input": np.ones((1, 3, 2, 2), np.float32)})["c"].max() == 3


def test_folded_batch_norms_compute_the_same():
    weights = {**conv_weights("c", 4, 3, 3, 3), "c.bias": np.arange(4, dtype=np.float32), **bn_weights("b", 4)}
    feed = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    results = []
    for fold_bn in (False, True):
        net = netdefs.Network(weights, fold_bn=fold_bn)
        net.finish(net.output(conv_bn(net, net.input("input", (1, 3, 8, 8)), "c", "b", 4, 3, bias=True), "y"))
        with netdefs.build(net, target="cpu") as engine:
            results.append(engine.run({"input": feed})["y"])
    assert net.info["folded"] == {"c": "b"} and "c" not in net.names
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_eps_of_the_checkpoint_counts():
    weights = netdefs.Weights(bn_weights("b", 4))
    weights.metadata["eps"] = {"b": 0.5}
    net = netdefs.Network(weights)
    net.finish(net.output(net.batch_norm(net.input("input", (1, 4, 2, 2)), "b", eps=1e-5), "y"))
    with netdefs.build(net, target="cpu") as engine:
        got = engine.run({"input": np.ones((1, 4, 2, 2), np.float32)})["y"][0, :, 0, 0]
    gamma, beta, mean, var = (weights[f"b.{key}"] for key in ("weight", "bias", "running_mean", "running_var"))
    np.testing.assert_allclose(got, (1 - mean) / np.sqrt(var + 0.5) * gamma + beta, rtol=1e-5)


def test_squeeze_excite_scales_channels():
    weights = {**conv_weights("se.fc1", 2, 6, 1, 1), **conv_weights("se.fc2", 6, 2, 1, 1)}
    weights |= {"se.fc1.bias": np.zeros(2, np.float32), "se.fc2.bias": np.ones(6, np.float32)}
    net = netdefs.Network(weights)
    net.finish(squeeze_excite(net / "se", net.input("input", (1, 6, 4, 4)), "fc1", "fc2", 2))
    feed = np.random.default_rng(0).standard_normal((1, 6, 4, 4), dtype=np.float32)
    hidden = np.maximum(weights["se.fc1.weight"][:, :, 0, 0] @ feed.mean((0, 2, 3)), 0)
    scale = 1 / (1 + np.exp(-(weights["se.fc2.weight"][:, :, 0, 0] @ hidden + 1)))
    with netdefs.build(net, target="cpu") as engine:
        np.testing.assert_allclose(engine.run({"input": feed})["se"], feed * scale.reshape(1, -1, 1, 1), rtol=1e-5)


def test_blocks_repeat_with_a_stride_only_in_the_first():
    def block(net, x, channels, stride):
        return conv_bn_relu(net, x, "c", "b", channels, kernel=3, stride=stride)

    weights = {}
    for i, inputs in ((0, 3), (1, 8)):
        weights |= {**conv_weights(f"layer2.{i}.c", 8, inputs, 3, 3), **bn_weights(f"layer2.{i}.b", 8)}
    net = netdefs.Network(weights)
    y = layer(net / "layer2", net.input("input", (1, 3, 16, 16)), block, 8, blocks=2, stride=2)
    assert tuple(y.shape) == (1, 8, 8, 8) and y.name == "layer2.1.b.relu"
    net.finish(y)


def test_mark():
    net = netdefs.Network()
    x = net.relu(net.input("input", (1, 3, 8, 8)), "layer1.relu")
    y = net.output(net.sigmoid(x, "layer2.sigmoid"), "y")
    net.finish(y)
    assert netdefs.mark(net, "layer*") == ["layer1.relu", "layer2.sigmoid"]
    assert netdefs.mark(net, "layer1.relu") == ["layer1.relu"], "marking twice is no error"
    names = [net.definition.get_output(i).name for i in range(net.definition.num_outputs)]
    assert sorted(names) == ["layer1.relu", "layer2.sigmoid", "y"]
    with pytest.raises(NetworkError, match=r"'layer1.rleu'.* Near: layer1.relu"):
        netdefs.mark(net, "layer1.rleu")
    with pytest.raises(NetworkError, match="no tensor 'layer3'"):
        net.tensor("layer3")
    assert net.tensor("layer1.relu").name == "layer1.relu"


def test_marks_are_for_what_layers_compute():
    net = netdefs.Network({"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.zeros(2, np.float32)})
    net.finish(net.output(net.linear(net.input("x", (1, 3)), "fc", 2), "y"))
    assert netdefs.mark(net, "fc*") == ["fc.matmul", "fc"], "not its constants"
    with pytest.raises(NetworkError, match="a netdefs Network or an INetworkDefinition, not int"):
        netdefs.mark(5, "*")


def test_bfloat16_weights_live_as_long_as_the_definition():
    def define():
        weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3), dtype=np.float32)
        net = netdefs.Network({"c.weight": weight}, precision="bf16")
        net.finish(net.output(net.conv(net.input("x", (1, 64, 8, 8)), "c", 64, kernel=3, bias=False), "y"))
        return net.definition, weight

    definition, weight = define()
    gc.collect()
    junk = [np.full((64, 64, 3, 3), np.nan, np.float32) for _ in range(20)]  # what would lie in freed memory
    x = np.random.default_rng(1).standard_normal((1, 64, 8, 8), dtype=np.float32)
    with netdefs.build(definition, target="cpu") as engine:
        got = engine.run({"x": x})["y"]
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight)).numpy()
    assert len(junk) == 20 and np.linalg.norm(got - expected) < 1e-2 * np.linalg.norm(expected)


def test_mark_takes_a_raw_definition():
    net = netdefs.Network()
    net.finish(net.output(net.relu(net.input("input", (1, 3, 8, 8)), "r"), "y"))
    assert netdefs.mark(net.definition, "r") == ["r"]
