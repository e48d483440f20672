"""Weights for a module that has none, such that a mistake in its draft shows in the values.

As they are made, modules hide mistakes: batch norms have mean 0 and variance 1, whole branches are scaled by 0 or 1e-6,
biases and tables are zeros. Here these get values that follow from a seed and their names, and activations stay of
order 1 at any depth.
"""

import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.core.torch_module import evaluating

NORM = re.compile(r"norm|(^|\D)bn", re.IGNORECASE)  # in a class's name
FACTOR = re.compile(r"gamma|scale|gain|alpha|lambda|(^|_)ls\d*$", re.IGNORECASE)  # in the name of what scales a branch
SMALL, USUAL = 0.5, 1.0  # how much a layer with weights may weaken what it gets; what such a layer is made to do
TABLE = 0.2  # size of position embeddings and the like
LEAST_VARIANCE = 0.05  # of a batch norm's channel, against the mean of all: what never varies would blow rounding up


def seed_weights(module: Any, run: Callable[[], Any], seed: int = 0) -> None:
    """Fills what a module has in weights and statistics that tell nothing; others are only made large enough to count.

    Args:
        module: a torch.nn.Module of float32 on the CPU; changed in place.
        run: calls it on an input, to measure its batch norms.
        seed: the same gives the same values.
    """
    torch = require("torch", "torch")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        for path, part in module.named_modules():
            for name, parameter in part.named_parameters(recurse=False):
                if parameter.is_floating_point() and parameter.numel():
                    _fill(part, name, parameter, _noise(torch, f"{path}.{name}", parameter.shape, seed))
            if _has_statistics(part):
                _spread(torch, part, path, seed)
        with evaluating(module):
            _measure(torch, module, run)
            if not _finite(torch, run()):  # such weights don't suit it: those that it was made with do
                module.load_state_dict(before)


def _fill(part: Any, name: str, parameter: Any, noise: Any) -> None:
    """Gives a parameter values that tell, in place."""
    value = float(parameter.flatten()[0])
    if not bool((parameter == value).all()):
        _strengthen(part, name, parameter)
        return
    several = parameter.dim() > 1
    if NORM.search(type(part).__name__) and not several:
        # With biases around 0, the ReLUs behind batch norms would amplify rounding errors in deep networks.
        mean, deviation = (0.5, 0.3) if _has_statistics(part) else (0.0, 0.1)
        mean, deviation = (1.0, 0.15) if name == "weight" else (mean, deviation)
    elif (FACTOR.search(name) and abs(value) < 0.1) or (name == "weight" and not several and not value):
        mean, deviation = 0.5, 0.1
    elif abs(value) >= 0.1 or (parameter.numel() == 1 and value):
        mean, deviation = value, 0.15 * abs(value)
    elif several and name.endswith("weight"):
        mean, deviation = 0.0, USUAL / parameter[0].numel() ** 0.5
    else:
        mean, deviation = 0.0, TABLE if several else 0.1
    parameter.copy_(mean + deviation * noise)


def _strengthen(part: Any, name: str, parameter: Any) -> None:
    """Scales up what was made so small that nearly nothing follows from it."""
    if parameter.dim() < 2 or not parameter.requires_grad:  # such as a table of sines
        return
    size = float(parameter.square().mean().sqrt())
    wanted = TABLE
    if name.endswith("weight"):
        wanted = USUAL / parameter[0].numel() ** 0.5
        if _is_table(part):
            return
    if 0 < size < SMALL * wanted:
        parameter.mul_(wanted / size)


def _is_table(part: Any) -> bool:
    return "Embedding" in type(part).__name__


def _has_statistics(part: Any) -> bool:
    buffers = dict(part.named_buffers(recurse=False))
    return buffers.get("running_mean") is not None and buffers.get("running_var") is not None


def _spread(torch: Any, part: Any, path: str, seed: int) -> None:
    """Statistics for a norm that can't be measured."""
    shape = part.running_mean.shape
    part.running_mean.copy_(0.1 * _noise(torch, f"{path}.running_mean", shape, seed))
    part.running_var.copy_((0.3 * _noise(torch, f"{path}.running_var", shape, seed)).exp())


def _measure(torch: Any, module: Any, run: Callable[[], Any]) -> None:
    """Sets the statistics of batch norms to those of a run; leaves those that can't be measured."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    norms = [part for part in module.modules() if isinstance(part, kind) and _has_statistics(part)]
    before = [(part.momentum, part.running_mean.clone(), part.running_var.clone()) for part in norms]
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # the plain mean over all calls
        part.train()
    try:
        run()
    except Exception:  # of one value per channel there is no variance
        for part in norms:
            part.num_batches_tracked.zero_()
    for part, (momentum, mean, variance) in zip(norms, before, strict=True):
        part.eval()
        part.momentum = momentum
        counted = part.num_batches_tracked is not None and int(part.num_batches_tracked) > 0
        if not counted or not bool(part.running_var.isfinite().all()):
            part.running_mean.copy_(mean)
            part.running_var.copy_(variance)
        part.running_var.clamp_(min=max(LEAST_VARIANCE * float(part.running_var.mean()), 1e-3))


def _finite(torch: Any, output: Any) -> bool:
    tree = require("torch.utils._pytree", "torch")
    return all(
        bool(value.isfinite().all())
        for value in tree.tree_leaves(output)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    )


def _noise(torch: Any, name: str, shape: Any, seed: int) -> Any:
    """Standard normal numbers; numpy's, since torch's differ from one processor to another."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return torch.from_numpy(np.asarray(rng.standard_normal(tuple(shape), dtype=np.float32)))
