"""PyTorch references of the zoo: our own definitions, with upstream's state_dict keys."""

from collections.abc import Callable

from torch import nn

from examples.hrnet_torch import (
    hrnet_w18,
    hrnet_w18_small,
    hrnet_w18_small_v2,
    hrnet_w30,
    hrnet_w32,
    hrnet_w40,
    hrnet_w44,
    hrnet_w48,
    hrnet_w64,
)
from examples.lenet_torch import lenet5
from tests.reference.resnet import (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    resnext101_32x8d,
    wide_resnet50_2,
    wide_resnet101_2,
)

# netdefs' variant name -> what builds it; every one takes `num_classes`
MODELS: dict[str, Callable[..., nn.Module]] = {
    build.__name__: build
    for build in (
        *(resnet18, resnet34, resnet50, resnet101, resnet152),
        *(resnext50_32x4d, resnext101_32x8d, wide_resnet50_2, wide_resnet101_2),
        *(hrnet_w18_small, hrnet_w18_small_v2, hrnet_w18, hrnet_w30, hrnet_w32, hrnet_w40, hrnet_w44, hrnet_w48),
        *(hrnet_w64, lenet5),
    )
}
