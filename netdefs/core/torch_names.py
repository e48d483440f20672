"""Which tensor of an ONNX model is the output of which PyTorch module, as far as torch's exporters wrote that down."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"  # at a node: the modules it was called in, from the outermost, and its own name
RULES = "pkg.onnxscript.rewriter.rule_name"  # at a node that an optimization made of several
HARMLESS = {"", "FuseBatchNormIntoConv", "RemoveOptionalBiasFromConv", "RemoveOptionalBiasFromGemm"}


def module_outputs(model: Any) -> dict[str, str]:
    """Tensor -> path of the innermost module that returns it.

    What a module returns is the one tensor of its own that is used outside of it. Where there are several, or where the
    exporter may have fused a module's last step with what follows it, nothing is said.

    Args:
        model: the onnx.ModelProto, of either exporter of torch. For a model from elsewhere, the result is empty.
    """
    if model.producer_name != "pytorch":
        return {}
    nodes = list(model.graph.node)
    scopes = [_scopes(node) for node in nodes]
    readers = defaultdict(list)
    for i, node in enumerate(nodes):
        for tensor in _reads(node):
            readers[tensor].append(i)
    given_out = {value.name for value in model.graph.output}
    leaving: dict[str, set[str]] = defaultdict(set)  # module -> its tensors that are used outside of it
    unsure = _second_uses(nodes, scopes)
    for node, modules in zip(nodes, scopes, strict=True):
        owner = _owner_of_kernel(node)
        folded = owner is not None and owner not in modules  # the node gives what a batch norm did
        nameless = folded and not (owner and _is_exact(node))  # and it does not tell which
        unsure |= set(ancestry(owner or "")) - set(modules)  # whose own output is then nowhere
        for module in modules:
            for tensor in node.output:
                outside = [nodes[i] for i in readers[tensor] if module not in scopes[i]]
                if outside or tensor in given_out:
                    leaving[module].add(tensor)
                    if nameless or any(map(_is_fused, outside)):
                        unsure.add(module)
    found = {}
    for node, modules in zip(nodes, scopes, strict=True):
        for tensor in node.output:
            sure = [module for module in modules if leaving[module] == {tensor} and module not in unsure]
            if sure:
                found[tensor] = sure[-1]
    return found


def folded_convolutions(model: Any) -> dict[str, str]:
    """Convolution -> the batch norm that the exporter folded into it, as far as its nodes tell."""
    found = {}
    for node in model.graph.node:
        owner, modules = _owner_of_kernel(node), _scopes(node)
        if owner and modules and owner not in modules and "FuseBatchNormIntoConv" in _property(node, RULES):
            found[owner] = modules[-1]
    return found


def _scopes(node: Any) -> list[str]:
    """The modules that a node was called in, from the outermost."""
    if _is_exact(node):
        return [module for module in ast.literal_eval(_property(node, SCOPES))[:-1] if module]
    # The older exporter names nodes /layer1/layer1.0/conv1/Conv: the children of a Sequential repeat its name.
    path, last, modules = "", "", []
    for part in node.name.split("/")[1:-1]:
        own = part.removeprefix(f"{last}.") if last else part
        path = f"{path}.{own}" if path else own
        last = part
        modules.append(path)
    return modules


def _is_exact(node: Any) -> bool:
    """True if the exporter wrote the node's modules down, and did not just work them into its name."""
    return bool(_property(node, SCOPES))


def _is_fused(node: Any) -> bool:
    """True if the node may have swallowed the end of a module before it."""
    return not HARMLESS.issuperset(_property(node, RULES).split(", "))


def _owner_of_kernel(node: Any) -> str | None:
    """The module that a convolution's kernel belongs to; "" if it lost its name, None if this is no convolution."""
    return node.input[1].rpartition(".")[0] if node.op_type in ("Conv", "ConvTranspose") else None


def _second_uses(nodes: list[Any], scopes: list[list[str]]) -> set[str]:
    """What looks like a module and is the second use of one: the older exporter calls it relu_1, next to relu."""
    found = {module for node, modules in zip(nodes, scopes, strict=True) if not _is_exact(node) for module in modules}
    names = ((module, re.fullmatch(r"(.+)_\d+", path)) for module in found for path in ancestry(module))
    return {module for module, match in names if match and match[1] in found}


def ancestry(module: str) -> Iterator[str]:
    """A module's path, and those of the modules it is in."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _property(node: Any, key: str) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == key), "")


def _reads(node: Any) -> Iterator[str]:
    """The tensors a node reads, also in its inner graphs."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            for inner in graph.node:
                yield from _reads(inner)
