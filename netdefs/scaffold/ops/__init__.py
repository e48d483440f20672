"""What each of ATen's operators becomes: one statement of a draft."""

from netdefs.scaffold.ops import (
    arithmetic,
    arrays,
    attention,
    indexing,
    layers,
    norms,
    pointwise,
    pooling,
    recurrent,
    reductions,
    shaping,
    slicing,
    spatial,
)
from netdefs.scaffold.ops.table import ARRAYS, LOWERINGS

__all__ = [
    "ARRAYS",
    "LOWERINGS",
    "arithmetic",
    "arrays",
    "attention",
    "indexing",
    "layers",
    "norms",
    "pointwise",
    "pooling",
    "recurrent",
    "reductions",
    "shaping",
    "slicing",
    "spatial",
]
