"""LeNet-5 on handwritten digits, in int8: as accurate as in float32, and what PyTorch gives with the same scales."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import netdefs
from examples.demo import digits
from examples.lenet_torch import LeNet5
from netdefs import quant
from netdefs.quant.methods import METHODS

POINTS = 0.005  # what int8 may lose


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.fixture(scope="module")
def module(data):
    train_x, _, train_y, _ = data
    torch.manual_seed(0)
    module = LeNet5()
    x, y = torch.from_numpy(train_x), torch.from_numpy(train_y)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    for _ in range(8):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(module(x[batch])["logits"], y[batch]).backward()
            optimizer.step()
    return module.eval()


def network(module, precision="fp32", calibration=None):
    shape = ((1, 16, 512), 1, 32, 32)
    return netdefs.lenet.define_network(
        module.state_dict(), input_shape=shape, precision=precision, calibration=calibration
    )


@pytest.fixture(scope="module")
def recording(module, data):
    return quant.record(network(module), data[0][:64])


def logits(module, data, precision="fp32", calibration=None):
    with netdefs.build(network(module, precision, calibration), target="cpu") as engine:
        return engine.run({"input": data[1]})["logits"]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "entropy"])
def test_accuracy_stays(module, data, recording, method):
    of_float = float((logits(module, data).argmax(1) == data[3]).mean())
    found = float((logits(module, data, "int8", recording.calibration(method)).argmax(1) == data[3]).mean())
    assert of_float > 0.95
    assert found >= of_float - POINTS


def test_entropy_cuts_digits_off_and_says_so(recording):
    """Most of a digit is background, whose one value says more to it than the strokes do."""
    (note,) = recording.calibration("entropy").notes
    assert "mse or max would not: input (" in note
    assert not recording.calibration("mse").notes


def test_values_are_those_of_pytorch_with_the_same_scales(module, data, recording):
    calibration = recording.calibration("mse")
    precision = {"*": "int8", "fc3": "int8"}  # also the last layer, which the policy leaves alone
    ours = logits(module, data, precision, calibration)

    def activation(x, name):
        return torch.fake_quantize_per_tensor_affine(x, float(np.float32(calibration.scale(name))), 0, -128, 127)

    def weight(layer):
        scales = layer.weight.flatten(1).abs().amax(1) / 127
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(layer.weight, scales, zeros, 0, -127, 127)

    net, x = network(module, precision, calibration), torch.from_numpy(data[1])
    names = {layer: entry["inputs"][0] for layer, entry in net.info["quantized"].items()}

    def operands(x, name):
        layer = getattr(module, name)
        kept = name not in names  # by the network's policy, its last layer
        return (x, layer.weight, layer.bias) if kept else (activation(x, names[name]), weight(layer), layer.bias)

    with torch.no_grad():
        for name in ("conv1", "conv2"):
            x = F.max_pool2d(F.relu(F.conv2d(*operands(x, name))), 2)
        x = x.flatten(1)
        for name in ("fc1", "fc2"):
            x = F.relu(F.linear(*operands(x, name)))
        expected = F.linear(*operands(x, "fc3")).numpy()
    assert {"conv1", "conv2", "fc1", "fc2"} <= names.keys()
    # Now and then a value falls to the next step.
    assert np.abs(ours - expected).max() <= 0.02 * np.abs(expected).max()
    assert np.abs(ours - expected).mean() <= 0.001 * np.abs(expected).max()
