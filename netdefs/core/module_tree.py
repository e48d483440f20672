"""What a whole module tells beyond its state_dict: the eps of each BatchNorm and the activation behind each conv.

All of it works by duck typing, on live `torch.nn.Module`s and on the stubs that an unpickled module becomes alike.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from netdefs.core.errors import CheckpointError

MOST_MODULES = 100_000  # a module can hold itself, or hold others so often that there is no end to the names
LONGEST_PATH = 1000  # characters

ACTIVATIONS = {
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "Threshold", "ELU", "CELU", "SELU", "GELU", "QuickGELU", "GLU"),
    *("SiLU", "Swish", "MemoryEfficientSwish", "Mish", "MemoryEfficientMish", "Hardswish", "Hardsigmoid", "Hardtanh"),
    *("Sigmoid", "LogSigmoid", "Tanh", "Softplus", "Softsign"),
}


def is_module(value: Any) -> bool:
    """True for a `torch.nn.Module` and for the stub of one."""
    return all(isinstance(getattr(value, name, None), Mapping) for name in ("_modules", "_parameters", "_buffers"))


def walk(module: Any) -> Iterator[tuple[str, Any]]:
    """Every module of a tree with its path, parents before children, in PyTorch's order; the root's path is empty.

    Raises:
        CheckpointError: there seems to be no end to them.
    """
    left = [("", module)]
    for _ in range(MOST_MODULES):
        if not left:
            return
        path, current = left.pop()
        if len(path) > LONGEST_PATH:
            break
        yield path, current
        left += [(join(path, name), child) for name, child in reversed(children(current))]
    raise CheckpointError("it holds a module that holds itself, or more modules than any network has")


def children(module: Any) -> list[tuple[str, Any]]:
    """The direct submodules of a module, by name."""
    return [(str(name), child) for name, child in module._modules.items() if is_module(child)]


def join(path: str, name: str) -> str:
    """The path of `name` in the module at `path`."""
    return f"{path}.{name}" if path else name


def tensors(module: Any) -> dict[str, Any]:
    """The parameters and persistent buffers of a tree, by the names that its state_dict gives them."""
    found = {}
    for path, current in walk(module):
        temporary = getattr(current, "_non_persistent_buffers_set", ())
        buffers = {name: value for name, value in current._buffers.items() if name not in temporary}
        for name, value in {**current._parameters, **buffers}.items():
            if value is not None:
                found[join(path, str(name))] = value
    return found


def batch_norm_eps(module: Any) -> dict[str, float]:
    """The eps of every BatchNorm of a tree, by module path."""
    found = {}
    for path, current in walk(module):
        eps = getattr(current, "eps", None)
        if _is_batch_norm(current) and isinstance(eps, int | float):
            found[path] = float(eps)
    return found


def conv_activations(module: Any) -> dict[str, str]:
    """The activation behind each conv where the tree tells, by the conv's path: `SiLU`, `LeakyReLU(0.1)`, `Identity`.

    The order of children is the order of computation in a Sequential, and in a module with a single conv (Ultralytics'
    conv, bn, act). In others it says nothing: a ResNet block has one `relu` and calls it three times.
    """
    found = {}
    for path, parent in walk(module):
        inside = children(parent)
        convs = [name for name, child in inside if _is_conv(child)]
        ordered = type(parent).__name__.endswith("Sequential") or len(convs) == 1
        if not ordered or type(parent).__name__ in ("ModuleList", "ModuleDict"):
            continue
        for position, (name, child) in enumerate(inside):
            activation = _activation_after(inside[position + 1 :]) if _is_conv(child) else None
            if activation:
                found[join(path, name)] = activation
    return found


def _is_batch_norm(module: Any) -> bool:
    name = type(module).__name__
    return name.startswith(("BatchNorm", "SyncBatchNorm")) or module._buffers.get("running_mean") is not None


def _is_conv(module: Any) -> bool:
    return hasattr(module, "kernel_size") and module._parameters.get("weight") is not None


def _activation_after(following: list[tuple[str, Any]]) -> str | None:
    """The first activation among the modules that follow a conv; Identity if that is what stands in its place."""
    identity = None
    for _, module in following:
        name = type(module).__name__
        if name in ACTIVATIONS:
            return _described(module)
        if name == "Identity":
            identity = name
        elif not _is_batch_norm(module):
            break
    return identity


def _described(activation: Any) -> str:
    """The class of an activation with the argument that its class does not fix."""
    name = type(activation).__name__
    argument = {"LeakyReLU": "negative_slope", "ELU": "alpha", "CELU": "alpha"}.get(name)
    if argument and isinstance(getattr(activation, argument, None), int | float):
        return f"{name}({getattr(activation, argument):g})"
    if name == "GELU" and getattr(activation, "approximate", "none") == "tanh":
        return "GELU(tanh)"
    return name
