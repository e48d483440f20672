"""Finding the layer that is wrong: every tensor of a network against PyTorch's."""

from netdefs.debug.comparison import compare
from netdefs.debug.metrics import Metrics, Tolerance
from netdefs.debug.noise import random_inputs
from netdefs.debug.report import Report
from netdefs.debug.row import Row

__all__ = ["Metrics", "Report", "Row", "Tolerance", "compare", "random_inputs"]
