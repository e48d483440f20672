"""Why a layer is wrong: hypotheses are tried until one explains the difference from PyTorch."""

from netdefs.debug.causes.best import Cause
from netdefs.debug.causes.search import Search

__all__ = ["Cause", "Search"]
