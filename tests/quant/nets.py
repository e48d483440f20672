"""A small depthwise network, in PyTorch and in netdefs, some channels of which are much larger than the rest."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import netdefs
from examples.seeded import seed_weights
from netdefs.core.blocks import conv_bn_relu

CHANNELS = 16


class Depthwise(nn.Module):
    """(N, 3, H, W) to (N, 10): a convolution, two depthwise-separable ones, the mean, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.dw1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False)
        self.dw1_bn = nn.BatchNorm2d(CHANNELS)
        self.pw1 = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        self.pw1_bn = nn.BatchNorm2d(CHANNELS)
        self.dw2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
        self.pw2 = nn.Conv2d(CHANNELS, 2 * CHANNELS, 1)
        self.fc = nn.Linear(2 * CHANNELS, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.dw1_bn(self.dw1(x)))
        x = F.relu(self.pw1_bn(self.pw1(x)))
        x = F.relu(self.dw2(x))
        x = F.relu(self.pw2(F.max_pool2d(x, 2)))
        return self.fc(x.mean((2, 3)))


def define(net, x):
    x = net.relu(net.conv(x, "stem", CHANNELS, 3, padding=1), "stem.relu")
    x = conv_bn_relu(net, x, "dw1", "dw1_bn", CHANNELS, 3, groups=CHANNELS)
    x = conv_bn_relu(net, x, "pw1", "pw1_bn", CHANNELS, 1)
    x = net.relu(net.conv(x, "dw2", CHANNELS, 3, padding=1, groups=CHANNELS), "dw2.relu")
    x = net.relu(net.conv(net.max_pool(x, "pool", 2), "pw2", 2 * CHANNELS, 1), "pw2.relu")
    x = net.flatten(net.global_avg_pool(x, "mean"), "flatten", start_dim=1)
    return net.output(net.linear(x, "fc", 10), "logits")


def module():
    """Seeded; then every other channel of the convolutions is a hundred times larger, and the next layer undoes it."""
    torch.manual_seed(0)
    found = seed_weights(Depthwise(), input_shape=(4, 3, 16, 16))
    factor = torch.tensor([100.0, 1.0] * (CHANNELS // 2))
    with torch.no_grad():
        found.stem.weight *= factor.reshape(-1, 1, 1, 1)
        found.stem.bias *= factor
        found.dw1.weight /= factor.reshape(-1, 1, 1, 1)
        found.pw1_bn.weight *= factor
        found.pw1_bn.bias *= factor
        found.dw2.weight /= factor.reshape(-1, 1, 1, 1)
    return found


def network(weights, precision="fp32", calibration=None):
    options = {} if calibration is None else {"calibration": calibration}
    net = netdefs.Network(weights, "depthwise", precision, **options)
    net.finish(define(net, net.input("input", (1, 3, 16, 16))))
    return net


def pictures(count=12):
    return np.random.default_rng(5).standard_normal((count, 3, 16, 16)).astype(np.float32)
