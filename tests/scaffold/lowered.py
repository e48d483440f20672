"""Functions as small modules, lowered, executed and compared with PyTorch."""

import torch
from torch import nn

from tests.scaffold.executed import check

B, C, H, W = 2, 6, 8, 10


class Made(nn.Module):
    """A function as a module, with children."""

    def __init__(self, function, **children):
        super().__init__()
        self.function = function
        for name, child in children.items():
            if isinstance(child, torch.Tensor) and not isinstance(child, nn.Parameter):
                self.register_buffer(name, child)
            else:
                setattr(self, name, child)

    def forward(self, x):
        return self.function(self, x)


class Pair(Made):
    def forward(self, x, x1):
        return self.function(self, x, x1)


def picture(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*(shape or (B, C, H, W)), generator=generator) * 2 - 1


def randomized(module):
    """Norms whose statistics and weights tell something."""
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(noise + 0.5 if "var" in name or "weight" in name else noise)
    return module


def lowered(function, *inputs, **children):
    """What a function becomes, after it was checked against PyTorch."""
    kind = Made if len(inputs) < 2 else Pair
    return check(kind(function, **children), *(inputs or (picture(),)))


def flat(results):
    """Results of any structure as a list."""
    return [each for value in results for each in (flat(value) if isinstance(value, list | tuple) else [value])]
