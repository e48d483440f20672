"""Cross-layer equalisation: channels of like ranges, by moving factors from one convolution into the next.

In a depthwise network single channels often have weights and values a hundred times larger than the rest. One scale for
all channels then leaves the others few steps.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import CalibrationError
from netdefs.core.network import Network
from netdefs.core.weights import Weights
from netdefs.debug.graph import Graph

ROUNDS = 20
ENOUGH = 1e-3  # factors closer to 1 than this change nothing any more
# What gives s times as much for s times as much, channel by channel, with s > 0.
HOMOGENEOUS = frozenset(["Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity"])


@dataclasses.dataclass(frozen=True)
class Link:
    """Two convolutions of which the second reads nothing but what the first gives, and nothing else reads that.

    Attributes:
        first, second: their names.
        norm: the batch norm between them, or "".
        groups: of the second one.
    """

    first: str
    second: str
    norm: str
    groups: int


def equalize(network: Network) -> Weights:
    """Weights with which a network computes the same, its channels' ranges being closer to each other.

    Between two convolutions with nothing but a batch norm, a ReLU or a pool, channel i of the first is divided, and
    that of the second multiplied, by s = sqrt(r1 / r2), where r1 and r2 are the largest magnitudes of the weights that
    give it and that read it: both are sqrt(r1 r2) then. This goes on until nothing changes.

    Args:
        network: float32, its batch norms not folded.

    Returns:
        What `define_network` takes in place of its weights.

    Raises:
        CalibrationError: the network has no two such convolutions, or its batch norms are folded.

    Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV 2019), section
    4.1. Biases are not absorbed, and a ReLU6, which is not homogeneous, is left alone.
    """
    from netdefs.export import to_onnx

    if network.folded:
        raise CalibrationError("Equalisation needs the batch norms as they are: define the network without fold_bn.")
    graph = Graph(to_onnx(network))
    links = links_of(graph)
    if not links:
        raise CalibrationError(
            f"{network.name} has no two convolutions with only a batch norm, a ReLU or a pool between them: there is "
            "nothing to equalise."
        )
    kernels = {name: _folded(graph, name) for link in links for name in (link.first, link.second)}
    factors = {link.first: np.ones(len(kernels[link.first])) for link in links}
    for _ in range(ROUNDS):
        changed = 0.0
        for link in links:
            found = _factors(link, kernels)
            factors[link.first] *= found
            changed = max(changed, float(np.abs(np.log(found)).max()))
        if changed < ENOUGH:
            break
    return network.weights.replaced(_changed(network.weights, links, factors))


def links_of(graph: Graph) -> list[Link]:
    """The pairs of convolutions that can be equalised, in execution order."""
    found = []
    for node in graph.nodes:
        if not _is_conv(graph, node):
            continue
        name, norm = node.output[0], ""
        while (reader := _only_reader(graph, name)) is not None:
            if _is_conv(graph, reader) and reader.input[0] == name:
                groups = next((a.i for a in reader.attribute if a.name == "group"), 1)
                found.append(Link(node.output[0], reader.output[0], norm, groups))
                break
            if reader.op_type == "BatchNormalization" and name == node.output[0]:
                norm = reader.output[0]
            elif reader.op_type not in HOMOGENEOUS:
                break
            name = reader.output[0]
    return found


def _only_reader(graph: Graph, name: str) -> Any:
    """The node that reads a tensor, if it is one and the tensor is no output."""
    readers = [node for node in graph.nodes if name in node.input]
    given = any(value.name == name for value in graph.model.graph.output)
    return readers[0] if len(readers) == 1 and not given else None


def _is_conv(graph: Graph, node: Any) -> bool:
    """Whether it is a convolution whose weights have its module's name."""
    named = node.op_type == "Conv" and node.input[1] == f"{node.output[0]}.weight"
    return named and graph.constant(node.input[1]) is not None


def _folded(graph: Graph, name: str) -> np.ndarray:
    """A convolution's kernel as it is quantized: the batch norm behind it folded in."""
    kernel = graph.constant(f"{name}.weight")
    assert kernel is not None  # _is_conv
    kernel = kernel.astype(np.float64)
    norm = _only_reader(graph, name)
    if norm is None or norm.op_type != "BatchNormalization":
        return kernel
    scale, variance = (graph.constant(norm.input[i]) for i in (1, 4))
    assert scale is not None
    assert variance is not None
    eps = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    gain = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + eps)
    return np.asarray(kernel * gain.reshape(-1, *(1,) * (kernel.ndim - 1)))


def _factors(link: Link, kernels: dict[str, np.ndarray]) -> np.ndarray:
    """What the first one's channels are divided by; both kernels are changed in place."""
    first, second = kernels[link.first], kernels[link.second]
    out, per_group = len(second) // link.groups, second.shape[1]
    grouped = second.reshape(link.groups, out, per_group, -1)  # channel i is at [i // per_group, :, i % per_group]
    given = np.abs(first.reshape(len(first), -1)).max(1)
    read = np.abs(grouped).max((1, 3)).reshape(-1)
    usable = (given > 0) & (read > 0)
    factors = np.sqrt(np.where(usable, given, 1.0) / np.where(usable, read, 1.0))
    first /= factors.reshape(-1, *(1,) * (first.ndim - 1))
    grouped *= factors.reshape(link.groups, 1, per_group, 1)
    return factors


def _changed(weights: Weights, links: list[Link], factors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The new values of all weights that change."""
    found: dict[str, np.ndarray] = {}

    def value(key: str) -> np.ndarray:
        return found[key] if key in found else weights[key].astype(np.float64).reshape(weights.taken[key])

    for link in links:
        factor = factors[link.first]
        # Where there is a batch norm, it has the factor: the convolution before it can stay.
        owner = link.norm or link.first
        for key in (f"{owner}.weight", f"{owner}.bias"):
            if key in weights.taken:
                array = value(key)
                found[key] = array / factor.reshape(-1, *(1,) * (array.ndim - 1))
        key = f"{link.second}.weight"
        array = value(key)
        grouped = array.reshape(link.groups, len(array) // link.groups, array.shape[1], -1)
        found[key] = (grouped * factor.reshape(link.groups, 1, array.shape[1], 1)).reshape(array.shape)
    return found
