"""Small networks, and the blocks of those that are large, without weights of their own."""

import functools

import numpy as np
import torch
from torch import nn

import netdefs
from tests.reference import constant, shapes_of


@functools.cache
def of_zoo(module, variant, **options):
    return getattr(netdefs, module).define_network(constant(shapes_of(variant)), variant, **options)


class Residual(nn.Module):
    """Two convolutions, a shared ReLU that is called twice, and a sum."""

    def __init__(self, channels=8):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.conv2(self.relu(self.conv1(x)))
        out += x
        return self.relu(out)


class Small(nn.Module):
    """A stem, two residual blocks, a concat and a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Residual(), Residual())
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        both = torch.cat([x, self.blocks(x)], 1)
        return self.fc(both.mean((2, 3)))


def small(lacking=()):
    """`Small` as a network; without the ReLU behind each conv1 if "relu" is among `lacking`."""
    torch.manual_seed(0)
    weights = {key: value.numpy() for key, value in Small().state_dict().items()}
    net = netdefs.Network(weights, "small")
    x = net.conv(net.input("input", (1, 3, 16, 16)), "stem", 8, 3, stride=2, padding=1, bias=True)
    y = x
    for i in range(2):
        place = net / "blocks" / i
        out = place.conv(y, "conv1", 8, 3, padding=1, bias=False)
        out = out if "relu" in lacking else place.relu(out, "conv1.relu")
        out = place.conv(out, "conv2", 8, 3, padding=1, groups=2, bias=True)
        y = place.relu(place.add(out, y, "add"))
    both = net.concat([x, y], "concat", 1)
    pooled = net.flatten(net.global_avg_pool(both, "pool"), "flatten", start_dim=1)
    net.finish(net.output(net.linear(pooled, "fc", 5), "logits"))
    return net


PICTURE = np.zeros((1, 3, 16, 16), np.float32)
