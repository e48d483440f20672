"""Which layers the zoo leaves unquantized: heads, small linear layers but not large ones, depthwise convolutions."""

import numpy as np
import pytest

import netdefs
from netdefs.core.policy import depthwise_layers, kept_layers, last_layers


def classifier(channels, classes, kernel=1):
    """A convolution, a mean and a linear layer."""
    net = netdefs.Network(
        {
            "conv.weight": np.ones((channels, 8, kernel, kernel), np.float32),
            "fc.weight": np.ones((classes, channels), np.float32),
            "fc.bias": np.ones(classes, np.float32),
        }
    )
    x = net.conv(net.input("input", (1, 8, 8, 8)), "conv", channels, kernel, bias=False)
    return net, net.linear(net.flatten(net.global_avg_pool(x, "mean"), "flat", start_dim=1), "fc", classes)


@pytest.mark.parametrize(
    ("channels", "classes", "kernel", "kept"),
    [
        (512, 10, 1, []),  # 5120 of 9216 weights
        (511, 10, 1, ["fc"]),  # too few inputs to average out
        (512, 2, 5, ["fc"]),  # 1024 of 103424 weights, 1 %
        (512, 11, 5, []),  # 5632 of 108032, 5.2 %
        (512, 10, 5, ["fc"]),  # 5120 of 107520, 4.8 %
    ],
)
def test_a_last_linear_layer_is_kept_if_it_is_small(channels, classes, kernel, kept):
    net, x = classifier(channels, classes, kernel)
    assert last_layers(net.definition, net.output(x, "logits")) == kept


def test_last_convolutions_are_kept_whatever_their_size():
    net = netdefs.Network({f"{name}.weight": np.ones((512, 512, 1, 1), np.float32) for name in ("a", "b")})
    x = net.conv(net.input("input", (1, 512, 8, 8)), "a", 512, 1, bias=False)
    outputs = {"map": net.output(net.conv(x, "b", 512, 1, bias=False), "map"), "mean": net.global_avg_pool(x, "mean")}
    assert last_layers(net.definition, outputs) == ["b"]


def test_convolutions_of_small_groups_are_kept():
    """Integer kernels take four channels of a group."""
    counts = {"one": 16, "two": 8, "four": 4, "all": 1}
    weights = {f"{name}.weight": np.ones((16, 16 // groups, 1, 1), np.float32) for name, groups in counts.items()}
    net = netdefs.Network(weights)
    x = net.input("input", (1, 16, 8, 8))
    for name, groups in counts.items():
        x = net.conv(x, name, 16, 1, groups=groups, bias=False)
    y = net.output(net.global_avg_pool(x, "mean"), "y")
    assert depthwise_layers(net.definition) == ["one", "two"] == kept_layers(net.definition, y)


def test_products_of_activations_hold_no_weights():
    net, _ = classifier(512, 10)
    flat = net.tensor("flat")
    alike = net.matmul(flat, flat, "alike", transpose_b=True)
    assert last_layers(net.definition, net.output(alike, "similarity")) == ["alike"]


@pytest.mark.parametrize(("variant", "quantized"), [("resnet50", True), ("resnet18", False)])
def test_of_the_resnets(variant, quantized):
    """The fully connected layer of ResNet-50 is 8 % of it, and that of ResNet-18 4.4 %."""
    define = netdefs.resnet.define_network
    weights = zeros(variant)
    ranges = dict.fromkeys(define(weights, variant).activations, 1.0)
    net = define(weights, variant, precision="int8", calibration=ranges)
    assert ("fc" in net.info["quantized"]) is quantized
    given = define(weights, variant, precision={"*": "int8", "fc": "fp32"}, calibration=ranges)
    assert "fc" not in given.info["quantized"], "a pattern counts before the policy"


def zeros(variant):
    """All weights of a ResNet, none but variances other than 0; classes as in ImageNet."""
    net = netdefs.Network({})
    netdefs.resnet.define(net, net.input("input", (1, 3, 64, 64)), variant, num_classes=1000)
    return {key: np.full(shape, "var" in key, np.float32) for key, shape in net.weights.taken.items()}
