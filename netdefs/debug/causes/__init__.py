"""Why a layer is wrong: hypotheses are tried until one explains the difference from PyTorch."""

from netdefs.debug.causes.search import Cause, Search

__all__ = ["Cause", "Search"]
