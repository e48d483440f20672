"""The networks that faults are planted in: a PyTorch module with weights, an input, and netdefs' definition of it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import netdefs
from examples.seeded import pictures, seed_weights
from netdefs.core.network import Network
from tests.faults import odds
from tests.faults.planting import Call, record
from tests.reference import MODELS

# name -> netdefs' module, the size of the input
ZOO = {
    "lenet5": ("lenet", (1, 1, 32, 32)),
    "resnet18": ("resnet", (1, 3, 64, 64)),
    "hrnet_w18_small": ("hrnet", (1, 3, 64, 64)),
    "pose_resnet50": ("simple_baseline", (1, 3, 64, 64)),
    "fastpose_res50": ("fastpose", (1, 3, 64, 64)),
    "higherhrnet_w32": ("higherhrnet", (1, 3, 64, 64)),
    "openpose_body": ("openpose", (1, 3, 64, 64)),
    "yolov3-tiny": ("yolov3", (1, 3, 64, 64)),
    "yolov8n": ("yolov8", (1, 3, 64, 64)),
}
MADE_UP = {"odds": (1, 3, 32, 48)}


@dataclasses.dataclass
class Subject:
    """A network to plant faults in.

    Attributes:
        name: of the network.
        module: PyTorch's.
        x: an input.
        define: makes netdefs' network in a precision.
        compared: the tensors that `compare` compares, in execution order.
        calls: the calls of primitives that the definition makes.
        readers: tensor -> the tensors that are computed from it at once, in execution order.
    """

    name: str
    module: Any
    x: np.ndarray
    define: Callable[[str], Network]
    compared: list[str]
    calls: list[Call]
    readers: dict[str, list[str]]

    def first_wrong(self, path: str, behind: bool) -> str:
        """The first compared tensor that is wrong if the call for `path` is; "" if there is none."""
        if path in self.compared and not behind:
            return path
        waiting, seen, found = list(self.readers.get(path, ())), set(), []
        for part in (name for name in self.readers if name.startswith(f"{path}.") and name[len(path) + 1 :].isdigit()):
            waiting += self.readers[part]  # a split's parts
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.compared:
                found.append(name)
            else:
                waiting += self.readers.get(name, ())
        return min(found, key=self.compared.index, default="")


@functools.cache
def subject(name: str) -> Subject:
    """The subject called `name`, made once."""
    if name in ZOO:
        package, shape = ZOO[name]
        module = seed_weights(MODELS[name](), input_shape=(2, *shape[1:]))

        def define(precision: str) -> Network:
            return getattr(netdefs, package).define_network(
                module.state_dict(), name, input_shape=shape, precision=precision
            )
    else:
        shape = MADE_UP[name]
        module = seed_weights(odds.Odds(), input_shape=(2, *shape[1:]))

        def define(precision: str) -> Network:
            net = Network(module.state_dict(), name, precision)
            net.finish(odds.define(net, net.input("input", shape)))
            return net

    x = pictures(shape, seed=1).numpy()
    net, calls = record(lambda: define("fp32"))
    report = netdefs.compare(net, module, x, mode="chained")
    assert report.ok, report.verdict
    return Subject(name, module, x, define, [row.name for row in report.rows], calls, _readers(net.definition))


def _readers(definition: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for i in range(definition.num_layers):
        layer = definition.get_layer(i)
        outputs = [layer.get_output(j).name for j in range(layer.num_outputs)]
        for j in range(layer.num_inputs):
            if layer.get_input(j) is not None:
                found.setdefault(layer.get_input(j).name, []).extend(outputs)
    return found
