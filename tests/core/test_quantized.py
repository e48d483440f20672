"""Quantize and Dequantize layers: where they are, that TensorRT compiles them, and what is refused."""

import collections

import numpy as np
import onnx
import pytest

import netdefs
from netdefs.core.network import tensors_of
from tests.core.quantized_patterns import (
    PATTERNS,
    SHAPE,
    SHARED,
    attention,
    concat,
    conv,
    define,
    in_a_row,
    prepared,
    residual,
)


def layers(net):
    return [net.definition.get_layer(i) for i in range(net.definition.num_layers)]


@pytest.mark.parametrize("precision", ["int8", "int8+fp16", "fp8"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_pairs_are_where_tensorrt_fuses_them(pattern, precision):
    weights, _, _, ranges = prepared(pattern)
    net = define(pattern, weights, precision, calibration=ranges)
    counts = collections.Counter(layer.type.name for layer in layers(net))
    kernels = counts["CONVOLUTION"] + counts["DECONVOLUTION"]
    kernels += 0 if pattern is attention else counts["MATRIX_MULTIPLY"]
    assert sorted(net.info["scales"]) == sorted(PATTERNS[pattern])
    assert counts["QUANTIZE"] == len(PATTERNS[pattern]), "each tensor once"
    assert counts["DEQUANTIZE"] == counts["QUANTIZE"] + kernels, "and each weight, in advance"
    assert counts["SCALE"] == 0, "batch norms are folded before weights are quantized"
    wide = counts["SOFTMAX"]  # softmax is in float32
    assert counts["CAST"] == (0 if "fp16" not in precision else 1 + wide), "the output, and no other"

    readers = collections.defaultdict(list)
    for layer in layers(net):
        for i in range(layer.num_inputs):
            if layer.get_input(i) is not None:
                readers[layer.get_input(i).name].append(layer.type.name)
    for layer in layers(net):
        if layer.type.name == "DEQUANTIZE":
            assert "QUANTIZE" not in readers[layer.get_output(0).name], "a pair right behind another one"
        if layer.type.name in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"):
            assert layer.get_input(0).name.endswith(".dq") and layer.get_input(1).name.endswith(".dq")


@pytest.mark.parametrize("pattern", SHARED)
def test_what_is_joined_shares_a_scale(pattern):
    weights, _, _, ranges = prepared(pattern)
    scales = define(pattern, weights, "int8", calibration=ranges).info["scales"]
    for group in SHARED[pattern]:
        largest = max(ranges[name] for name in group)
        assert {scales[name] for name in group} == {float(np.float32(largest / 127))}


@pytest.mark.parametrize("precision", ["int8", "int8+fp16", "int8+bf16", "fp8", "fp8+fp16"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_rtx_compiles_it(pattern, precision):
    weights, _, _, ranges = prepared(pattern)
    net = define(pattern, weights, precision, calibration=ranges)
    engine = netdefs.build(net, target="tensorrt_rtx", compute_capabilities=("8.9",))
    assert engine.outputs["y"].dtype == np.float32


def test_the_plan_of_an_int8_network_is_about_a_quarter(tmp_path):
    def wide(net, x):
        for name in "abcd":
            x = conv(net, x, name)
        return x

    shape = (1, 512, 16, 16)
    weights, _, net, ranges = prepared(wide, shape)

    def size(net):
        netdefs.build(net, target="tensorrt_rtx", compute_capabilities=("8.9",)).save(tmp_path / "plan.engine")
        return (tmp_path / "plan.engine").stat().st_size

    quantized = define(wide, weights, "int8", shape, calibration=ranges)
    assert size(quantized) < 0.35 * size(net)
    assert len(netdefs.to_onnx(quantized).SerializeToString()) < 0.26 * len(netdefs.to_onnx(net).SerializeToString())


def plan_of(net):
    return netdefs.build(net, target="tensorrt_rtx", compute_capabilities=("8.9",)).plan


@pytest.mark.parametrize("precision", ["int8", "int8+fp16", "fp8"])
def test_layers_that_differ_in_their_scales_share_a_kernel(precision):
    """TensorRT-RTX has 130 KB of code for each kernel, more than a layer of 64 channels has weights."""

    def size(count):
        names = [f"c{i}" for i in range(count)]
        rng = np.random.default_rng(0)
        weights = {f"{name}.weight": rng.standard_normal((64, 64, 3, 3), dtype=np.float32) for name in names}
        ranges = {name: 1.0 + i for i, name in enumerate(["input", *(f"{name}.relu" for name in names)])}
        net = netdefs.Network(weights, precision=precision, calibration=ranges)
        x = net.input("input", (1, 64, 16, 16))
        for name in names:
            x = net.relu(net.conv(x, name, 64, 3, padding=1, bias=False), f"{name}.relu")
        net.finish(net.output(x, "y"))
        assert len(set(net.info["scales"].values())) == count
        return len(plan_of(net))

    assert 4 * 64 * 64 * 9 < size(8) - size(4) < 4 * (64 * 64 * 9 + 20_000)


def test_a_scale_for_every_channel_is_one_in_onnx():
    weights, _, _, ranges = prepared(residual)
    net = define(residual, weights, "int8", calibration=ranges)
    kinds = {layer.name: layer for layer in layers(net) if layer.type.name == "QUANTIZE"}
    assert all(tuple(layer.get_input(1).shape) == (SHAPE[1],) for layer in kinds.values())
    model = netdefs.to_onnx(net)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    found = {node.name: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert found.keys() == kinds.keys()
    for name, node in found.items():
        assert constants[node.input[1]].shape == ()
        assert constants[node.input[1]] == np.float32(net.info["scales"][name.removesuffix(".q")])
        assert not [each for each in node.attribute if each.name == "axis"]


def test_what_quantize_is_moved_over_has_one_scale():
    weights, _, _, ranges = prepared(concat)
    net = define(concat, weights, "int8", calibration=ranges)
    shapes = {layer.name: tuple(layer.get_input(1).shape) for layer in layers(net) if layer.type.name == "QUANTIZE"}
    assert shapes == {"input.q": (8,), "a.relu.q": (8,), "concat.q": (), "e.q": ()}


def test_layers_by_pattern():
    weights, _, _, ranges = prepared(residual)
    net = define(residual, weights, {"*": "int8", "a.*": "fp16", "block.conv2": "fp32"}, calibration=ranges)
    assert set(net.info["quantized"]) == {"block.bn1", "block.add", "b.bn"}
    assert net.info["folded"].keys() == {"block.conv1", "b.conv"}, "the others stay two layers"
    dtype = {tensor.name: tensor.dtype.name for tensor in tensors_of(net.definition)}
    assert (dtype["a.conv"], dtype["block.bn1"], dtype["block.conv2"]) == ("HALF", "FLOAT", "FLOAT")
    netdefs.build(net, target="tensorrt_rtx")


def test_a_batch_norm_is_a_name_of_its_convolution_too():
    weights, _, _, ranges = prepared(in_a_row)
    net = define(in_a_row, weights, {"*": "int8", "b.bn": "fp32"}, calibration=ranges)
    assert list(net.info["quantized"]) == ["a.bn"]


def test_int8_and_fp8_of_one_tensor():
    weights, _, _, ranges = prepared(concat)
    net = define(concat, weights, {"*": "int8", "b.*": "fp8"}, calibration=ranges)
    assert {"input.q", "input.fp8.q"} <= set(net.names)
    netdefs.build(net, target="tensorrt_rtx")


def test_a_weight_that_several_layers_use():
    """As a gate that is used for several branches; in two precisions it is there twice."""
    weight = np.random.default_rng(0).standard_normal((8, 8, 1, 1), dtype=np.float32)

    def kernels(precision):
        net = netdefs.Network({"g.weight": weight}, "shared", precision, calibration={"input": 3.0, "a.relu": 4.0})
        x, kernel = net.input("input", SHAPE), net.weights.take("g.weight", weight.shape)
        x = net.relu(net.convolution(x, "a", 8, 1, kernel, None, key="g.weight"), "a.relu")
        net.finish(net.output(net.convolution(x, "b", 8, 1, kernel, None, key="g.weight"), "y"))
        netdefs.build(net, target="tensorrt_rtx")
        return [name for name in net.names if name.startswith("g.weight") and name.endswith(".dq")]

    assert kernels("int8") == ["g.weight.dq"]
    assert kernels({"*": "int8", "b": "int8+fp16"}) == ["g.weight.dq", "g.weight.int8.half.dq"]


def test_candidates_do_not_depend_on_the_precision():
    for pattern in PATTERNS:
        weights, _, net, ranges = prepared(pattern)
        assert set(PATTERNS[pattern]) <= set(net.activations)
        assert define(pattern, weights, "int8", calibration=ranges).activations == net.activations
        assert define(pattern, weights, "fp16").activations == net.activations


def test_fp8_needs_a_gpu_that_can():
    weights, _, _, ranges = prepared(in_a_row)
    net = define(in_a_row, weights, "fp8", calibration=ranges)
    with pytest.raises(
        netdefs.NetdefsError, match=r"in_a_row has layers in fp8, .* from compute capability 8.9 on.*8.6"
    ):
        netdefs.build(net, target="tensorrt_rtx", compute_capabilities=("8.6", "8.9"))
    netdefs.build(net, target="tensorrt_rtx")  # for all that can


class Calibration:
    """What core asks of a netdefs.Calibration."""

    def __init__(self, amax, refuse=False):
        self.amax, self.refuse = amax, refuse

    def check(self, network):
        assert network.weights.sha256
        if self.refuse:
            raise netdefs.NetdefsError(f"not for {network.name}")


def test_wrong_calibrations():
    weights, _, _, ranges = prepared(residual)

    def fails(words, precision="int8", **options):
        with pytest.raises(netdefs.NetdefsError, match=words):
            define(residual, weights, precision, **options)

    fails(r"residual with precision int8 needs a calibration.*\n  netdefs quantize residual --weights a dict")
    lacking = without(ranges, "input", "block")
    fails(r"no range for 2 of its 4 quantized tensors:\n  input\n  block.*\nCalibrate this", calibration=lacking)
    fails("gives 'input' the range nan: it must be > 0", calibration={**ranges, "input": np.nan})
    fails("gives 'block' the range 0.0", calibration={**ranges, "block": 0.0})
    fails("calibration is for int8 and fp8; precision='fp16' has neither", "fp16", calibration=ranges)
    fails("not list", calibration=[ranges])
    fails("not for residual", calibration=Calibration(ranges, refuse=True))
    assert define(residual, weights, "int8", calibration=Calibration(ranges)).info["scales"]


def without(ranges, *names):
    return {name: value for name, value in ranges.items() if name not in names}


def test_a_pattern_with_int8_alone_needs_few_scales():
    weights, _, _, ranges = prepared(residual)
    net = define(residual, weights, {"b.*": "int8"}, calibration={"block": ranges["block"]})
    assert net.info["precision"] == "int8" and list(net.info["quantized"]) == ["b.bn"]
