"""PyTorch references of the zoo: our own definitions, with upstream's state_dict keys.

Every module of this package has a table `MODELS`: netdefs' variant name -> what builds it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

MODELS: dict[str, Callable[..., nn.Module]] = {}
for _info in pkgutil.iter_modules(__path__):
    MODELS.update(importlib.import_module(f"{__name__}.{_info.name}").MODELS)


def shapes_of(name: str, **options: Any) -> dict[str, tuple[int, ...]]:
    """What a reference's state_dict holds, without allocating it."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in MODELS[name](**options).state_dict().items()}


def constant(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights that are all one, which no memory is spent on before they are taken."""
    return {key: np.broadcast_to(np.float32(1), shape) for key, shape in shapes.items()}
