"""Writing the first draft of a network's module from any PyTorch module: `netdefs scaffold`."""

from netdefs.scaffold.verdict import Verdict
from netdefs.scaffold.writing import scaffold

__all__ = ["Verdict", "scaffold"]
