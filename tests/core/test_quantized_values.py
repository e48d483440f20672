"""What quantized networks and weights compute, against PyTorch and numpy, and scales that checkpoints bring along."""

import numpy as np
import pytest
import torch

import netdefs
from netdefs.core.quantize import E4M3, dequantize, fake_quantize, quantize, quantize_weight, scale_of
from tests.core.quantized_patterns import (
    PATTERNS,
    classified,
    deconvolved,
    define,
    downsampled,
    in_a_row,
    prepared,
    residual,
    split,
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_values_are_those_of_fake_quantization(pattern):
    """Every quantized tensor, and the output, against PyTorch's fake quantization of the float network's own layers."""
    weights, x, _, ranges = prepared(pattern)
    net = define(pattern, weights, "int8", calibration=ranges)
    scales = net.info["scales"]
    expected = Fake(weights, scales)(pattern, x)
    with netdefs.build(net, target="cpu") as engine:
        found = engine.run({"input": x}, outputs=[f"{name}.dq" for name in scales])
        alone = engine.run({"input": x})["y"]
    for name, scale in scales.items():
        steps = np.abs(found[f"{name}.dq"] - expected[name]) / scale
        assert steps.max() < 1.01, name
        assert (steps > 0.5).mean() < 0.01, "values on the brink only"
    error = np.linalg.norm(alone - expected["y"]) / np.linalg.norm(expected["y"])
    assert error < 5e-3


class Fake:
    """Stands in for a Network: computes with PyTorch what a definition adds, and quantizes with given scales."""

    def __init__(self, weights, scales, path="", found=None):
        self.w, self.scales, self.path = {k: torch.from_numpy(v) for k, v in weights.items()}, scales, path
        self.found = {} if found is None else found

    def __call__(self, pattern, x):
        y = pattern(self, self.named(torch.from_numpy(x), "input"))
        return {name: value.numpy() for name, value in self.found.items()} | {"y": y.numpy()}

    def __truediv__(self, child):
        made = Fake({}, self.scales, f"{self.path}{child}.", self.found)
        made.w = self.w
        return made

    def full(self, name):
        return self.path[:-1] if name is None else f"{self.path}{name}"

    def named(self, value, name):
        """A tensor that knows its name; what is quantized of it is remembered."""
        value = value.clone()
        value.label = name if name == "input" else self.full(name)
        if value.label in self.scales:
            self.found[value.label] = self.q(value)
        return value

    def q(self, x):
        return torch.fake_quantize_per_tensor_affine(x, self.scales[x.label], 0, -128, 127)

    def folds(self, *_):
        return True

    def _weight(self, weight, axis):
        amax = weight.abs().amax([i for i in range(weight.ndim) if i != axis])
        zeros = torch.zeros(len(amax), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight.float(), (amax / 127).float(), zeros, axis, -127, 127)

    def _folded(self, conv, bn, axis):
        terms = ("weight", "bias", "running_mean", "running_var")
        at = {key: self.w[f"{self.path}{bn}.{key}"].double() for key in terms}
        factor = at["weight"] / (at["running_var"] + 1e-5).sqrt()
        weight = self.w[f"{self.path}{conv}.weight"].double()
        shape = [-1 if i == axis else 1 for i in range(4)]
        shift = at["bias"] - at["running_mean"] * factor
        return self._weight(weight * factor.reshape(shape), axis), shift.float()

    def folded_conv(self, x, conv, bn, channels, kernel, stride, padding, *_):
        weight, shift = self._folded(conv, bn, 0)
        return self.named(torch.nn.functional.conv2d(self.q(x), weight, shift, stride, padding), bn)

    def folded_deconv(self, x, conv, bn, channels, kernel, stride, padding, *_):
        weight, shift = self._folded(conv, bn, 1)
        return self.named(torch.nn.functional.conv_transpose2d(self.q(x), weight, shift, stride, padding), bn)

    def conv(self, x, name, channels, kernel):
        weight, bias = self.w[f"{self.full(name)}.weight"], self.w[f"{self.full(name)}.bias"]
        return self.named(torch.nn.functional.conv2d(self.q(x), self._weight(weight, 0), bias), name)

    def linear(self, x, name, features):
        weight, bias = self.w[f"{self.full(name)}.weight"], self.w[f"{self.full(name)}.bias"]
        return self.named(self.q(x) @ self._weight(weight, 0).T + bias, name)

    def matmul(self, a, b, name, transpose_b=False):
        a, b = self.q(a), self.q(b)
        return self.named(a @ (b.mT if transpose_b else b), name)

    def add(self, a, b, name=None):
        """As the network does: the terms that have a scale are quantized."""
        a, b = (self.q(x) if x.label in self.scales else x for x in (a, b))
        return self.named(a + b, name)

    def relu(self, x, name=None):
        return self.named(x.relu(), name)

    def _activation(self, x, name, kind):
        return self.named({"SIGMOID": torch.sigmoid, "RELU": torch.relu}[kind](x), name)

    def silu(self, x, name):
        return self.named(torch.nn.functional.silu(x), name)

    def mul(self, a, b, name=None):
        return self.named(a * b, name)

    def softmax(self, x, name, dim):
        return self.named(x.softmax(dim), name)

    def concat(self, tensors, name, dim):
        return self.named(torch.cat(tensors, dim), name)

    def split(self, x, name, size, dim):
        return [self.named(part, f"{name}.{i}") for i, part in enumerate(x.split(size, dim))]

    def flatten(self, x, name, start_dim):
        return self.named(x.flatten(start_dim), name)

    def reshape(self, x, name, shape):
        return self.named(x.reshape(shape), name)

    def max_pool(self, x, name, kernel):
        return self.named(torch.nn.functional.max_pool2d(x, kernel), name)

    def avg_pool(self, x, name, kernel):
        return self.named(torch.nn.functional.avg_pool2d(self.q(x), kernel), name)

    def global_avg_pool(self, x, name):
        return self.named(x.mean((2, 3), keepdim=True), name)

    def upsample(self, x, name, scale_factor=None, size=None, mode="nearest"):
        x = self.q(x) if mode == "bilinear" else x
        return self.named(torch.nn.functional.interpolate(x, size, scale_factor, mode), name)


def test_dynamic_sizes():
    weights, x, _, ranges = prepared(residual)
    shape = ((1, 2, 4), 8, (8, 16, 32), (8, 16, 32))
    net = define(residual, weights, "int8", shape, calibration=ranges)
    netdefs.build(net, target="tensorrt_rtx", compute_capabilities=("8.9",))
    fixed = define(residual, weights, "int8", calibration=ranges)
    with netdefs.build(net, target="cpu") as engine, netdefs.build(fixed, target="cpu") as other:
        np.testing.assert_array_equal(engine.run({"input": x})["y"], other.run({"input": x})["y"])


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_weights_have_a_scale_for_each_channel(kind):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 5, 3, 3)) * np.exp(rng.standard_normal((6, 5, 1, 1)) * 3)
    weight[2], weight[:, 3] = 0, 0
    for axis in (0, 1):
        values, scales = quantize_weight(weight, axis, kind)
        for i in range(weight.shape[axis]):
            channel = weight.take(i, axis)
            largest = np.abs(channel).max()
            assert scales[i] == (np.float32(largest / (127 if kind == "int8" else 448)) if largest else 1)
            step = scales[i] / 2 if kind == "int8" else np.maximum(np.abs(channel) / 16, scales[i] * 2**-10)
            close = dequantize(values.take(i, axis), scales[i], kind)
            assert (np.abs(close - channel) <= step * 1.0001).all()
    with pytest.raises(netdefs.NetdefsError, match="w holds nan"):
        quantize_weight(np.array([[1.0, np.nan]]), 0, kind, name="w")


def test_fp8_is_that_of_ml_dtypes():
    import ml_dtypes

    halves = (E4M3[1:127].astype(np.float64) + E4M3[:126]) / 2
    rng = np.random.default_rng(0)
    x = np.concatenate([halves, -halves, E4M3[:127], rng.standard_normal(5000) * 10.0 ** rng.integers(-4, 3, 5000)])
    expected = np.clip(x, -448, 448).astype(ml_dtypes.float8_e4m3fn)
    np.testing.assert_array_equal(quantize(x, np.float32(1), "fp8"), expected.view(np.uint8))


@pytest.mark.parametrize("pattern", [residual, split, deconvolved])
def test_fp8_on_the_cpu(pattern):
    """What goes into the first convolution, and all of it: near to float, and as numpy quantizes it."""
    weights, x, net, ranges = prepared(pattern)
    low = define(pattern, weights, "fp8", calibration=ranges)
    with netdefs.build(net, target="cpu") as engine:
        expected = engine.run({"input": x})["y"]
    with netdefs.build(low, target="cpu") as engine:
        found = engine.run({"input": x}, outputs=["input.dq"])
    scale = scale_of(np.float64(ranges["input"]), "fp8")
    np.testing.assert_array_equal(found["input.dq"], fake_quantize(x, scale, "fp8"))
    assert 0.01 < np.linalg.norm(found["y"] - expected) / np.linalg.norm(expected) < 0.1


@pytest.mark.parametrize("style", ["_{}_quantizer._amax", "{}_quantizer._amax"])
def test_ranges_of_a_checkpoint_trained_with_quantization(style):
    """They are taken as they are, those of weights times what the batch norm multiplies their channels by."""
    weights, x, _, ranges = prepared(in_a_row)
    amax = {name: np.linspace(0.5, 4, 8).reshape(-1, 1, 1, 1) for name in ("a.conv", "b.conv")}
    told = {f"{name}.{style.format('weight')}": value for name, value in amax.items()}
    told |= {f"a.conv.{style.format('input')}": 2.5, f"b.conv.{style.format('input')}": 1.5}
    told = {key: np.asarray(value, np.float32) for key, value in told.items()}
    net = define(in_a_row, weights | told, "int8")
    assert net.info["scales"] == {"input": float(np.float32(2.5 / 127)), "a.relu": float(np.float32(1.5 / 127))}
    factor = weights["b.bn.weight"] / np.sqrt(weights["b.bn.running_var"].astype(np.float64) + 1e-5)
    factor = factor.reshape(-1, 1, 1, 1)
    scale = (amax["b.conv"] / 127 * np.abs(factor)).astype(np.float32)
    expected = np.clip(np.rint(weights["b.conv.weight"] * factor / scale), -127, 127) * scale
    with netdefs.build(net, target="cpu") as engine:
        found = engine.run({"input": x}, outputs="b.conv.weight.dq")["b.conv.weight.dq"]
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())

    mixed = define(in_a_row, weights | told, {"*": "int8", "a.conv": "fp32"})
    assert list(mixed.info["scales"]) == ["a.relu"]
    with pytest.raises(netdefs.NetdefsError, match=r"not used by the network, 4 keys:\n  a.conv"):
        define(in_a_row, weights | told, "fp32")
    told[f"a.conv.{style.format('weight')}"] = np.ones(5, np.float32)
    with pytest.raises(netdefs.NetdefsError, match="one for each of 8 output channels; it holds 5"):
        define(in_a_row, weights | told, "int8", calibration=ranges)


def test_scales_of_pytorchs_fake_quantization():
    weights, _, _, ranges = prepared(classified)
    told = {
        "fc1.weight_fake_quant.scale": np.full(8, 0.02, np.float32),
        "fc1.weight_fake_quant.zero_point": np.zeros(8, np.float32),
        "fc1.weight_fake_quant.fake_quant_enabled": np.ones(1, np.float32),
        "fc1.weight_fake_quant.activation_post_process.min_val": np.ones(8, np.float32),
        "relu.activation_post_process.scale": np.full(1, 0.05, np.float32),
        "relu.activation_post_process.zero_point": np.zeros(1, np.float32),
    }
    net = define(classified, weights | told, "int8", calibration=ranges)
    assert net.info["scales"]["relu"] == pytest.approx(0.05)
    told["relu.activation_post_process.zero_point"] = np.full(1, 64, np.float32)
    with pytest.raises(netdefs.NetdefsError, match=r"relu.activation_post_process.zero_point is not 0"):
        define(classified, weights | told, "int8", calibration=ranges)


def test_a_residual_quantizer():
    weights, _, _, ranges = prepared(downsampled)
    told = {"block.residual_quantizer._amax": np.float32(9)}
    net = define(downsampled, weights | told, "int8", calibration=ranges)
    assert net.info["scales"]["block.downsample.1"] == float(np.float32(9 / 127))
