"""A PyTorch module as a graph of ATen operators: torch.export, and what makes its graph plain.

Sizes stay symbolic where the module lets them: first batch, height and width, then the batch alone; the batch of those
that fix it follows from two traces.
"""

import contextlib
import dataclasses
import functools
import io
import logging
import operator
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from netdefs.core.errors import NetdefsError
from netdefs.core.optional import require
from netdefs.core.torch_module import evaluating, is_script
from netdefs.scaffold.batches import LARGE, SMALL, merge, of_size
from netdefs.scaffold.choices import Choice, choices_of, is_own
from netdefs.scaffold.states import leave_zeros_out

LONGEST = 120  # operations in a size: above it nobody would write it, and working with it takes minutes
# Checks of sizes and types that a trace leaves behind; and switches that change no value.
IGNORED = (
    "aten._assert_scalar",
    "aten._assert_tensor_metadata",
    "aten._assert_async",
    "aten.sym_constrain_range",
    "_set_grad_enabled",
    "_enter_autocast",
    "_exit_autocast",
)
VIEWS = {
    *("view", "reshape", "_unsafe_view", "permute", "transpose", "t", "T", "mT", "select", "slice"),
    *("expand", "expand_as", "squeeze", "unsqueeze", "flatten", "unflatten", "chunk", "split"),
    *("split_with_sizes", "unbind", "narrow", "diagonal", "as_strided", "detach", "alias", "movedim"),
    *("swapaxes", "unfold", "numpy_T", "view_as", "reshape_as", "getitem"),
}


class ExportError(NetdefsError):
    """torch.export can't trace a module."""


@dataclasses.dataclass
class Captured:
    """A traced module.

    Attributes:
        module: the module itself.
        graph: a torch.fx.Graph of ATen operators; no operator changes a value that is used later.
        weights: placeholder -> the key of the parameter or persistent buffer.
        constants: placeholder -> the value of any other tensor.
        inputs: the placeholders of the module's own arguments, and what they are called.
        outputs: the structure that it returns, with the names of nodes.
        dynamic: which axes of the inputs are symbolic.
        batch: the symbols of batch sizes.
        choices: what its code asked of height and width: it may go another way at other sizes.
    """

    module: Any
    graph: Any
    weights: dict[str, str]
    constants: dict[str, Any]
    inputs: dict[str, str]
    outputs: Any
    dynamic: tuple[int, ...]
    batch: frozenset[Any]
    choices: list[Choice]


def capture(module: Any, inputs: Mapping[str, Any], open_sizes: bool = True) -> Captured:
    """Traces `module`, in eval mode.

    Args:
        module: a torch.nn.Module.
        inputs: what its arguments are called -> tensors (N, ...), N at least 2.
        open_sizes: height and width are left open, if the module lets them.

    Raises:
        ExportError: torch.export can't: the message has its reason.
    """
    torch = require("torch", "torch")
    if (scripted := next((name for name, each in module.named_modules() if is_script(each)), None)) is not None:
        raise ExportError(f"{scripted or 'it'} is TorchScript: give the Python module that it was made of.")
    errors: list[Exception] = []
    # Most modules take any batch; of those that turn it into a Python int two traces do; a fixed one comes last.
    ways = [((0, 2, 3), False), ((0,), False), ((2, 3), True), ((), True), ((), False)]
    ways = [(axes, twice) for axes, twice in ways if open_sizes or 2 not in axes]
    with warnings.catch_warnings(), evaluating(module), torch.no_grad(), _without_fast_path(torch), _quiet():
        warnings.simplefilter("ignore")
        while ways:
            axes, twice = ways.pop(0)
            try:
                if twice:
                    return _of_any_batch(torch, module, inputs, axes)
                found = _captured(module, _exported(torch, module, inputs, axes), inputs, axes)
            except Exception as error:  # whatever the module or torch.export raises is the reason
                errors.append(error)
                continue
            if found.batch or not ways:
                return found
            ways = [way for way in ways if way[0] != (0,)]  # it would fix the batch again
    raise ExportError(reason_of(errors[-1])) from errors[-1]


def _exported(torch: Any, module: Any, inputs: Mapping[str, Any], axes: Sequence[int]) -> Any:
    """The exported program, some axes of whose inputs may have any size."""
    auto = torch.export.Dim.AUTO
    dynamic = tuple({axis: auto for axis in axes if axis < value.dim()} or None for value in inputs.values())
    with _plain_sizes(torch), _without_dataclasses(module):
        exported = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=dynamic, strict=False)
    if _mutates_views(exported.graph) or any(_is_higher_order(node) for node in exported.graph.nodes):
        exported = exported.run_decompositions({})
    return exported


def _of_any_batch(torch: Any, module: Any, inputs: Mapping[str, Any], axes: tuple[int, ...]) -> Captured:
    """Traces a module that fixes the batch: twice."""
    small, large = (
        _captured(module, _exported(torch, module, given, axes), given, (0, *axes))
        for given in (of_size(inputs, SMALL), of_size(inputs, LARGE))
    )
    symbol = merge(small.graph, large.graph)
    return dataclasses.replace(small, batch=frozenset([symbol]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.export logs and prints of a way that it can't go: pages, and then another way is tried."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _without_fast_path(torch: Any) -> Iterator[None]:
    """torch's own attention as the operators that it consists of, also without gradients."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _without_dataclasses(module: Any) -> Iterator[None]:
    """Has a module return dicts in place of dataclasses, which torch.export does not know."""
    forward, own = module.forward, "forward" in vars(module)

    @functools.wraps(forward)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return _as_dicts(forward(*args, **kwargs))

    module.forward = plain
    try:
        yield
    finally:
        if own:
            module.forward = forward
        else:
            del module.forward


def _as_dicts(value: Any) -> Any:
    if isinstance(value, dict) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return value  # also Hugging Face's dataclasses, which are known
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_dicts(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return type(value)(map(_as_dicts, value)) if isinstance(value, list | tuple) else value


def reason_of(error: Exception) -> str:
    """The first lines of an error of torch.export's, which can be pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {' '.join(lines[:3])[:400]}"
    if found := re.search(r"Found <class '([^']*)'> in output", said):
        return f"it returns a {found[1].rpartition('.')[2]}: tensors, and tuples, lists, dicts and dataclasses do."
    if "data-dependent" not in said:
        return said
    return (
        f"which way the module goes depends on the data{_place(error)}, so one trace is not all of it. Give a part "
        f"of it that has no such choice, or write that by hand. (torch.export: {type(error).__name__})"
    )


def _place(error: Exception) -> str:
    """Where a module's own code was when an error was raised: " (file.py, line 12: `code`)"."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<") and is_own(frame.filename)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: `{own[-1].line}`)" if own else ""


def _plain_sizes(torch: Any) -> Any:
    """A mode that ends a trace in which sizes become long expressions."""

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for each in result if isinstance(result, tuple | list) else (result,):
                for size in each.shape if isinstance(each, torch.Tensor) else ():
                    if hasattr(size, "node") and size.node.expr.count_ops() > LONGEST:
                        raise ExportError(f"a size becomes the expression {size.node.expr}.")
            return result

    return Mode()


def _captured(module: Any, exported: Any, inputs: Mapping[str, Any], axes: tuple[int, ...]) -> Captured:
    graph, signature = exported.graph, exported.graph_signature
    for node in reversed(list(graph.nodes)):
        if any(word in str(node.target) for word in IGNORED) and not node.users:
            graph.erase_node(node)
    _rename_in_place(graph)
    leave_zeros_out(graph)
    weights, constants, own = {}, {}, []
    state = set(module.state_dict(keep_vars=True))
    for spec in signature.input_specs:
        name, target = spec.arg.name, spec.target
        if spec.kind.name == "USER_INPUT":
            own.append(name)
        elif target in state:
            weights[name] = target
        else:
            constants[name] = exported.constants[target]
    placeholders = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    batch: frozenset[Any] = frozenset()
    for name in own:
        batch |= _symbols(placeholders[name].meta["val"].shape[:1])
    (result,) = (node for node in graph.nodes if node.op == "output")
    returned = zip(signature.output_specs, result.args[0], strict=True)
    own_results = [arg for spec, arg in returned if spec.kind.name == "USER_OUTPUT"]
    flat = [arg if hasattr(arg, "meta") else None for arg in own_results]  # no numbers
    structure = require("torch.utils._pytree", "torch").tree_unflatten(flat, exported.call_spec.out_spec)
    _eliminate(graph, flat)
    choices = choices_of([placeholders[name].meta["val"] for name in own])
    names = dict(zip(own, inputs, strict=True))
    return Captured(module, graph, weights, constants, names, structure, axes, batch, choices)


def _eliminate(graph: Any, kept: Sequence[Any]) -> None:
    """Removes what no output needs."""
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and node not in kept:
            graph.erase_node(node)


def _symbols(shape: Sequence[Any]) -> frozenset[Any]:
    return frozenset(symbol for n in shape if hasattr(n, "node") for symbol in n.node.expr.free_symbols)


def _is_higher_order(node: Any) -> bool:
    return type(node.target).__module__.startswith("torch._higher_order_ops")


def word_of(node: Any) -> str:
    """The plain name of a node's operator, "relu_" for aten.relu_.default."""
    target = node.target
    return str(getattr(target, "_opname", getattr(target, "__name__", target)))


def is_in_place(node: Any) -> bool:
    """Whether an operator changes what it is given."""
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and schema.is_mutable


def _mutates_views(graph: Any) -> bool:
    """Whether an operator in place changes a value that is used later under another name."""
    base: dict[Any, Any] = {}
    order = {node: i for i, node in enumerate(graph.nodes)}
    groups: dict[Any, list[Any]] = {}
    for node in graph.nodes:
        of = node
        shares = word_of(node).rstrip("_") in VIEWS or is_in_place(node) or node.target is operator.getitem
        if node.op == "call_function" and node.args and shares and hasattr(node.args[0], "users"):
            of = base[node.args[0]]
        base[node] = of
        groups.setdefault(of, []).append(node)
    for node in graph.nodes:
        if not is_in_place(node):
            continue
        changed = node.args[0]
        if changed.op == "placeholder":
            continue
        for other in groups[base[changed]]:
            if other is changed or other is node or order[other] > order[node]:
                continue
            if any(order[user] > order[node] for user in other.users):
                return True
    return False


def _rename_in_place(graph: Any) -> None:
    """Lets what comes after an operator in place use its result instead of what it was given."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if is_in_place(node) and hasattr(node.args[0], "replace_all_uses_with"):
            node.args[0].replace_all_uses_with(
                node, delete_user_cb=lambda user, node=node: user is not node and order[user] > order[node]
            )
