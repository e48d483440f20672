"""A small network with all that makes comparing hard, in PyTorch and in netdefs, and faults to plant there."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import netdefs
from netdefs.core.blocks import conv_bn, conv_bn_relu


class Block(nn.Module):
    """A residual block whose one ReLU works in place and is called twice."""

    def __init__(self, inputs, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Branches(nn.Module):
    """Two resolutions; returns a list."""

    def __init__(self):
        super().__init__()
        self.high = nn.Conv2d(16, 8, 1)
        self.low = nn.Conv2d(16, 8, 3, stride=2, padding=1)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return [self.high(x), self.low(x)]


class Net(nn.Module):
    """(N, 3, H, W) to (N, 10); H and W multiples of 8."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Block(8, 8), Block(8, 8))
        self.layer2 = nn.Sequential(Block(8, 16, stride=2), Block(16, 16))
        self.branches = Branches()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.mix = nn.Conv2d(16, 16, 3, padding=1)
        self.fc1 = nn.Linear(16, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        high, low = self.branches(x)
        x = F.relu(self.mix(torch.cat([high, self.up(low)], 1)))
        x = F.relu(self.fc1(x.mean((2, 3))))
        return self.fc2(x)


def block(net, x, channels, stride=1, fault="", skip=None):
    step = 1 if fault == "stride" else stride
    y = conv_bn_relu(net, x, "conv1", "bn1", channels, 3, stride=step)
    if fault == "padding":  # all of it on one side
        y = net.conv(net.pad(y, "pad", (2, 0, 2, 0)), "conv2", channels, 3, bias=False)
        y = net.batch_norm(y, "bn2")
    else:
        y = conv_bn(net, y, "conv2", "bn2", channels, 3)
    x = x if skip is None else skip
    if stride != 1 or int(x.shape[1]) != channels:
        x = conv_bn(net / "downsample", x, "0", "1", channels, 1, stride=step)
    if fault == "no relu":
        return net.add(y, x)
    return net.relu(net.add(y, x, "add"))


def define(net, x, fault=""):
    """The network; `fault` is what is wrong with it."""

    def only(kind):
        return kind if fault == kind else ""

    stem = conv_bn_relu(net, x, "conv1", "bn1", 8, 3, stride=2, relu="relu")
    x = block(net / "layer1" / 0, stem, 8, fault=only("no relu"))
    x = block(net / "layer1" / 1, x, 8, skip=stem if fault == "branch" else None)
    x = block(net / "layer2" / 0, x, 16, stride=2, fault=only("stride"))
    x = block(net / "layer2" / 1, x, 16, fault=only("padding"))
    high = net.conv(x, "branches.high", 8, 1)
    low = net.conv(x, "branches.low", 8, 3, stride=2, padding=1)
    up = net.upsample(low, "up", scale_factor=2, mode="bilinear" if fault == "upsample" else "nearest")
    x = net.concat([up, high] if fault == "order" else [high, up], "cat", dim=1)
    x = net.relu(net.conv(x, "mix", 16, 3, padding=1), "mix.relu")
    x = net.flatten(net.global_avg_pool(x, "mean"), "flatten", start_dim=1)
    x = net.relu(net.linear(x, "fc1", 16), "fc1.relu")
    return net.output(net.linear(x, "fc2", 10), "logits")


def seeded(module, seed=0):
    """Weights and statistics that keep values of order 1 and make mistakes show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.uniform_(0.5, 1.5, generator=generator)
                m.bias.normal_(0, 0.3, generator=generator)
                m.running_mean.normal_(0, 0.3, generator=generator)
                m.running_var.uniform_(0.3, 1.5, generator=generator)
            elif isinstance(m, nn.Conv2d | nn.Linear):
                m.weight.normal_(0, (2 / m.weight[0].numel()) ** 0.5, generator=generator)
                if m.bias is not None:
                    m.bias.normal_(0, 0.1, generator=generator)
    return module.eval()


def picture(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape or (2, 3, 32, 48), dtype=np.float32)


def build(define, weights, shape=(2, 3, 32, 48), **options):
    """A finished network with the input `input`."""
    net = netdefs.Network(weights, "net", **options)
    net.finish(define(net, net.input("input", shape)))
    return net


def network(module, fault="", eps=(), shape=(2, 3, 32, 48), **options):
    """Net rebuilt, with a fault; `eps` replaces that of batch norms."""
    weights = netdefs.Weights({key: value for key, value in module.state_dict().items() if "unused" not in key})
    weights.metadata["eps"] = dict(eps)
    return build(lambda net, x: define(net, x, fault), weights, shape, **options)
