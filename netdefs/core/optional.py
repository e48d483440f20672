"""Optional packages: imported where they are used, with an error that names the extra to install."""

import importlib
from types import ModuleType

from netdefs.core.errors import MissingPackageError


def require(module: str, extra: str) -> ModuleType:
    """Imports `module`, which netdefs' optional dependency group `extra` installs.

    Raises:
        MissingPackageError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the package is there; something it needs is not, and its own message says so
        raise MissingPackageError(f"This needs the package {top!r}: pip install 'netdefs[{extra}]'.") from error
