"""netdefs: PyTorch vision networks rebuilt layer by layer in TensorRT, and proven layer by layer against PyTorch.

Importing it is cheap: torch, TensorRT and ONNX Runtime are imported by what needs them.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from netdefs.core.errors import NetdefsError
from netdefs.core.version import __version__

if TYPE_CHECKING:
    from netdefs.core.marks import mark
    from netdefs.core.network import Network
    from netdefs.core.parse import from_onnx
    from netdefs.core.weights import Weights
    from netdefs.core.wts import load_wts, save_wts
    from netdefs.debug import Report, compare, random_inputs
    from netdefs.debug.capture import capture
    from netdefs.engine import Engine, build, load_engine
    from netdefs.export import to_onnx
    from netdefs.quant import Calibration

_HOME = {
    "Calibration": "netdefs.quant",
    "Engine": "netdefs.engine",
    "Network": "netdefs.core.network",
    "Report": "netdefs.debug",
    "Weights": "netdefs.core.weights",
    "build": "netdefs.engine",
    "capture": "netdefs.debug.capture",
    "compare": "netdefs.debug",
    "from_onnx": "netdefs.core.parse",
    "load_engine": "netdefs.engine",
    "load_wts": "netdefs.core.wts",
    "mark": "netdefs.core.marks",
    "random_inputs": "netdefs.debug",
    "save_wts": "netdefs.core.wts",
    "to_onnx": "netdefs.export",
}

__all__ = [
    "Calibration",
    "Engine",
    "NetdefsError",
    "Network",
    "Report",
    "Weights",
    "__version__",
    "build",
    "capture",
    "compare",
    "from_onnx",
    "load_engine",
    "load_wts",
    "mark",
    "models",
    "random_inputs",
    "save_wts",
    "to_onnx",
]


def models() -> dict[str, list[str]]:
    """The whole zoo: module name -> its variants."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg and info.name != "cli"]
    return {name: list(importlib.import_module(f"netdefs.{name}").VARIANTS) for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if any(info.name == name for info in pkgutil.iter_modules(__path__)):
        return importlib.import_module(f"netdefs.{name}")
    raise AttributeError(f"netdefs has no {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(info.name for info in pkgutil.iter_modules(__path__))])
