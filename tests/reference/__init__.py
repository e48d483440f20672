"""PyTorch references of the zoo: our own definitions, with upstream's state_dict keys.

Every module of this package has a table `MODELS`: netdefs' variant name -> what builds it.
"""

import importlib
import pkgutil
from collections.abc import Callable

from torch import nn

MODELS: dict[str, Callable[..., nn.Module]] = {}
for _info in pkgutil.iter_modules(__path__):
    MODELS.update(importlib.import_module(f"{__name__}.{_info.name}").MODELS)
