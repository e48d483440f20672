"""Reproducible weights for a network that has none, chosen so that a mistake shows.

With random weights and batch norms left at mean 0 and variance 1, activations vanish or explode with depth and a wrong
eps or a swapped branch drowns. Here the batch norms' statistics are measured on the network itself.
"""

from typing import TypeVar
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def seed_weights(network: Network, seed: int = 0, input_shape: tuple[int, ...] = (4, 3, 224, 224)) -> Network:
    """Fills a float32 `network` with weights that follow from `seed` and parameter names; returns it, in eval mode.

    Activations are of order 1 at any depth: pictures of `input_shape` (N, C, H, W) run through the network once, to
    measure its batch norms. Without batch norms nothing runs.
    """
    for path, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            mean, deviation = _distribution(module, name)
            if "offset" in path.rpartition(".")[2]:
                # Where deformable convolutions read: half a pixel away. With two, what a layer reads is as good as
                # noise, which blows rounding errors up: PyTorch's own outputs are then 1e-3 away from float64's.
                deviation *= 0.3
            parameter.copy_(mean + deviation * _noise(f"{path}.{name}", parameter.shape, seed))
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if norms:
        _measure(network, norms, pictures(input_shape, seed))
    return network


def pictures(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Picture-like (N, C, H, W), float32: smooth blobs and blocks of several sizes; mean 0, standard deviation 1."""
    n, channels, height, width = shape
    x = torch.zeros(shape, dtype=torch.float64)  # float64 for the reason given in _measure
    for cells, mode in ((2, "bilinear"), (5, "nearest"), (11, "nearest"), (29, "nearest"), (67, "bilinear")):
        gray = _noise(f"gray {cells}", (n, 1, cells, cells), seed)
        color = _noise(f"color {cells}", (n, channels, cells, cells), seed)
        x += F.interpolate((gray + 0.4 * color).double(), size=(height, width), mode=mode)
    # Contrast and brightness differ as photographs' do; else a real one would be far from the measured statistics.
    x *= (0.5 * _noise("contrast", (n, 1, 1, 1), seed)).double().exp()
    x += _noise("brightness", (n, 1, 1, 1), seed)
    return ((x - x.mean()) / x.std()).float()


def _noise(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal float32 numbers; numpy's, since torch's differ from one processor to another."""
    rng = np.random.default_rng([seed, crc32(name.encode())])
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def _distribution(module: nn.Module, name: str) -> tuple[float, float]:
    """Mean and standard deviation of the parameter `name` of `module`."""
    if isinstance(module, _BatchNorm):
        # With biases around 0, the ReLUs would amplify rounding errors in deep networks a hundredfold.
        return (1.0, 0.15) if name == "weight" else (0.5, 0.3)
    if name == "bias":
        return 0.0, 0.1
    fan_in = getattr(module, name)[0].numel()
    # No bias: a batch norm follows. The smaller the variance it divides by, the more its eps matters.
    gain = 0.125 if getattr(module, "bias", None) is None else 2**0.5
    return 0.0, gain / fan_in**0.5


def _measure(network: nn.Module, norms: list[_BatchNorm], x: Tensor) -> None:
    """Sets the running statistics to those under `x`. Measured in float64, they round to the same float32 anywhere."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all calls
        norm.train()
    network.double()(x.double())
    network.float().eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
