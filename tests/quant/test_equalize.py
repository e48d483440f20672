"""Cross-layer equalisation: the network stays the same, and its channels come closer together."""

import numpy as np
import pytest
import torch

import netdefs
from examples.lenet_torch import LeNet5
from examples.seeded import seed_weights
from netdefs import NetdefsError, quant
from netdefs.debug.graph import Graph
from netdefs.quant.equalize import links_of
from tests.quant import nets


@pytest.fixture(scope="module")
def network():
    return nets.network(nets.module().state_dict())


def test_links_are_the_convolutions_that_follow_each_other(network):
    links = links_of(Graph(netdefs.to_onnx(network)))
    assert [(link.first, link.norm, link.second) for link in links] == [
        ("stem", "", "dw1"),
        ("dw1", "dw1_bn", "pw1"),
        ("pw1", "pw1_bn", "dw2"),
        ("dw2", "", "pw2"),
    ]


def test_the_network_computes_the_same(network):
    module = nets.module()
    equalized = quant.equalize(network)
    x = nets.pictures(1)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    with netdefs.build(nets.network(equalized), target="cpu") as engine:
        np.testing.assert_allclose(engine.run({"input": x})["logits"], expected, rtol=1e-3, atol=1e-4)


def test_all_ranges_of_a_channel_become_equal(network):
    """As the pairs of a chain share the depthwise kernel in their middle: with batch norms folded in, by hand here."""
    weights = quant.equalize(network)

    def folded(name, norm=None):
        kernel = weights[f"{name}.weight"].astype(np.float64)
        if norm:
            kernel = kernel * (weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + 1e-5)).reshape(
                -1, 1, 1, 1
            )
        return np.abs(kernel)

    dw1, pw1 = folded("dw1", "dw1_bn"), folded("pw1", "pw1_bn")
    np.testing.assert_allclose(folded("stem").max((1, 2, 3)), dw1.max((1, 2, 3)), rtol=0.02)
    np.testing.assert_allclose(dw1.max((1, 2, 3)), pw1.max((0, 2, 3)), rtol=0.02)
    np.testing.assert_allclose(pw1.max((1, 2, 3)), folded("dw2").max((1, 2, 3)), rtol=0.02)


def test_channels_that_are_read_elsewhere_too_stay(network):
    """A convolution whose result is an output, or is added to something, is no first one."""
    net = netdefs.Network({f"{c}.weight": np.ones((2, 2, 1, 1)) for c in "abcd"}, "forks")
    x = net.conv(net.input("input", (1, 2, 4, 4)), "a", 2, 1, bias=False)
    y = net.relu(net.conv(x, "b", 2, 1, bias=False), "b.relu")
    z = net.conv(net.add(x, y, "add"), "c", 2, 1, bias=False)
    w = net.conv(z, "d", 2, 1, bias=False)
    net.finish({"z": net.output(z, "z"), "w": net.output(w, "w")})
    with pytest.raises(NetdefsError, match="forks has no two convolutions"):
        quant.equalize(net)


def test_folded_batch_norms_are_refused():
    net = netdefs.Network(nets.module().state_dict(), "depthwise", fold_bn=True)
    net.finish(nets.define(net, net.input("input", (1, 3, 16, 16))))
    with pytest.raises(NetdefsError, match="without fold_bn"):
        quant.equalize(net)


def test_a_network_of_the_zoo():
    network = netdefs.lenet.define_network(seed_weights(LeNet5()).state_dict())
    again = netdefs.lenet.define_network(quant.equalize(network))
    x = nets.pictures(1)[:, :1].repeat(2, 2).repeat(2, 3)
    with netdefs.build(network, target="cpu") as one, netdefs.build(again, target="cpu") as other:
        np.testing.assert_allclose(
            other.run({"input": x})["logits"], one.run({"input": x})["logits"], rtol=1e-4, atol=1e-5
        )
