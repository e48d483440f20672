"""The references that are also examples."""

from examples import hrnet_torch
from examples.lenet_torch import lenet5

MODELS = {
    "lenet5": lenet5,
    **{name: getattr(hrnet_torch, name) for name in vars(hrnet_torch) if name.startswith("hrnet_w")},
}
