"""The layers of a `torch.nn.Module`, as they are drawn: what one run of it does.

The module runs once on the given inputs. Modules of torch.nn are layers; what happens between them (an add, a concat,
a reshape) is seen at PyTorch's own functions, so that nothing has to be traceable or exportable.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from netdefs.core.errors import InputError, NetworkError
from netdefs.core.optional import require
from netdefs.core.torch_module import evaluating, first_float, hooked, taken_by, version_of
from netdefs.draw.layers import each, times
from netdefs.draw.tree import Block, Layer, Value, grow

CALL = "()"  # behind a module's path: an operation in its forward, which no module of its own does
LIBRARIES = ("torch.nn.", "torchvision.ops.", "timm.layers.")
# What looks at a tensor, or returns it under another class: nothing is drawn for it.
SILENT = {"__get__", "detach", "requires_grad_", "as_subclass", "alias", "contiguous", "clone"}
SPELLED = {"cat": "concat", "getitem": "slice", "matmul": "matrix multiply", "mul": "multiply", "neg": "negative",
           "pow": "power", "sub": "subtract", "truediv": "divide", "div": "divide"}  # fmt: skip
# Other words that a network's layer may have for such an operation: it is found in a comparison by them.
ALSO = {"concat": ("cat",), "multiply": ("mul",), "subtract": ("sub",), "divide": ("div",),
        "interpolate": ("up", "upsample")}  # fmt: skip
REVERSED = {"__radd__", "__rmul__", "__rsub__", "__rtruediv__", "__rpow__", "__rmatmul__"}
INERT = ("Identity", "Dropout", "Flatten")  # that a network lacks one of these, is no mistake


def module_tree(module: Any, inputs: Any) -> Block:
    """The blocks and layers of a module, as it computes with these inputs.

    Args:
        module: a torch.nn.Module; it runs in eval mode and without gradients, and is as it was afterwards.
        inputs: an array or tensor, or a tuple of them; they go to its device, and floating-point ones to its type.

    Raises:
        InputError: no inputs.
        NetworkError: the module can't run on them.
        MissingPackageError: torch is not installed.
    """
    torch = require("torch", "torch")
    if inputs is None:
        raise InputError("To draw a module its inputs are needed: give an array, or a tuple of arrays, as inputs=.")
    given = [torch.as_tensor(x).clone() for x in (inputs if isinstance(inputs, tuple | list) else (inputs,))]
    given = taken_by(first_float(module), given)
    run = _Run(module)
    with torch.no_grad(), evaluating(module), run.watching():
        run.enter(given)
        try:
            output = module(*given)
        except Exception as error:
            raise NetworkError(
                f"The module {type(module).__name__} can't run on inputs of the shape "
                f"{', '.join(str(tuple(x.shape)) for x in given)}: {type(error).__name__}: {error}"
            ) from error
        run.leave(output)
    types = {name: type(child).__name__ for name, child in module.named_modules() if not _is_layer(child)}
    return grow(run.layers, types)


def is_module(value: Any) -> bool:
    """Whether this is a torch.nn.Module; torch is not imported for the answer."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" == "torch.nn.modules.module.Module" for kind in type(value).__mro__
    )


class _Run:
    """What a run of a module does, layer by layer."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.layers: list[Layer] = []
        self.inside: list[tuple[str, Any]] = []  # the modules being called now
        self.in_layer = 0
        self.made: dict[int, tuple[Any, str]] = {}  # id of a tensor -> it, which keeps the id its own, and its name
        self.calls: dict[str, int] = {}
        self.names: dict[int, list[str]] = {}
        for name, child in module.named_modules(remove_duplicate=False):
            self.names.setdefault(id(child), []).append(name)
        self.torch = require("torch", "torch")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, everything that the module does is written down."""
        seen = self

        class Watch(self.torch.overrides.TorchFunctionMode):  # type: ignore[name-defined]
            def __torch_function__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
                kwargs = kwargs or {}
                if seen.in_layer:
                    return function(*args, **kwargs)
                given = [(x, version_of(x)) for x in _tensors((args, kwargs))]
                result = function(*args, **kwargs)
                seen.called(function, given, args, result)
                return result

        with hooked(self.module.named_modules(), self.before, self.after), Watch():
            yield

    def enter(self, given: Sequence[Any]) -> None:
        """The inputs of the run."""
        for i, x in enumerate(given):
            name = "input" if len(given) == 1 else f"input.{i}"
            self.made[id(x)] = (x, name)
            self.layers.append(Layer(f"input:{name}", name, "Input", [], [], [self.value(x, name)], kind="input"))

    def leave(self, output: Any) -> None:
        """What the run returned."""
        found = [x for x in _tensors(output) if id(x) in self.made]
        for i, x in enumerate(found):
            name = "output" if len(found) == 1 else f"output.{i}"
            self.layers.append(Layer(f"output:{name}", name, "Output", [], [self.known(x)], [], kind="output"))

    def before(self, path: str, module: Any, args: Any, kwargs: Any) -> None:
        self.inside.append((path, module))
        self.in_layer += _is_layer(module)

    def after(self, path: str, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        self.inside.pop()
        if not _is_layer(module):
            return
        self.in_layer -= 1
        if self.in_layer:
            return
        path = self.called_as(path, module)
        weights = [(f"{path}.{key}".lstrip("."), tuple(value.shape)) for key, value in module.state_dict().items()]
        kind = "Batch norm" if "BatchNorm" in type(module).__name__ else type(module).__name__
        self.add(
            path or type(module).__name__, kind, _arguments(module), list(_tensors((args, kwargs))), output, weights
        )

    def called_as(self, path: str, module: Any) -> str:
        """The name that a module has where it is called: several modules may share one."""
        scope = self.inside[-1][0] if self.inside else ""
        own = [name for name in self.names[id(module)] if name.rpartition(".")[0] == scope]
        return own[0] if own else path

    def called(self, function: Any, given: Sequence[tuple[Any, int]], args: Any, result: Any) -> None:
        """A function of PyTorch's was called outside of any layer, with tensors of these versions."""
        known = [x for x, _ in given if id(x) in self.made]
        untouched = {id(x) for x, version in given if version_of(x) == version}
        made = [x for x in _tensors(result) if id(x) not in untouched]
        if not known or not made:
            return  # it tells a size, or works on weights, or did nothing
        name = getattr(function, "__name__", "")
        if name in SILENT:
            self.made.update((id(x), (x, self.made[id(known[0])][1])) for x in made)
            return
        word = name.strip("_")[1:] if name.startswith("__i") or name in REVERSED else name.strip("_")
        spelled = SPELLED.get(word, word.replace("_", " "))
        path = f"{self.inside[-1][0]}.{spelled.replace(' ', '_')}".lstrip(".") if self.inside else spelled
        self.add(path, spelled.capitalize(), _operands(name, args), known, result, [], function=True)

    def add(
        self,
        path: str,
        kind: str,
        params: list[str],
        given: Sequence[Any],
        output: Any,
        weights: list[tuple[str, tuple[int, ...]]],
        function: bool = False,
    ) -> None:
        """Writes one layer down. What is called again gets a number."""
        self.calls[path] = self.calls.get(path, 0) + 1
        again = self.calls[path]
        unique = path + (f"#{again}" if again > 1 else "") + (CALL if function else "")
        taken = [self.known(x) for x in given if id(x) in self.made]
        outputs = []
        for i, x in enumerate(_tensors(output)):
            name = unique if i == 0 else f"{unique}.{i}"
            self.made[id(x)] = (x, name)
            outputs.append(self.value(x, name))
        layer = Layer(unique, path, kind, params, taken, outputs, weights if again == 1 else [])
        layer.minor = function or kind.startswith(INERT)
        scope, _, word = path.rpartition(".")
        if len(taken) == 1:
            layer.also = [f"{taken[0].name}.{name}" for name in dict.fromkeys((word, kind.lower()))]
        if function:
            layer.also += [f"{path}{again}", *(f"{scope}.{name}".lstrip(".") for name in ALSO.get(word, ()))]
        if again > 1:
            layer.label = f"{word}.{again}" if function else f"{word} (call {again})"
        self.layers.append(layer)

    def known(self, x: Any) -> Value:
        return self.value(x, self.made[id(x)][1])

    def value(self, x: Any, name: str) -> Value:
        return Value(name, tuple(int(n) for n in x.shape), str(x.dtype).removeprefix("torch."))


def _is_layer(module: Any) -> bool:
    """A module that is drawn as one box: one of a library's, with no modules in it."""
    home = type(module).__module__
    return home.startswith(LIBRARIES) and not any(True for _ in module.children()) and not _holds(module)


def _holds(module: Any) -> bool:
    return type(module).__name__ in ("Sequential", "ModuleList", "ModuleDict")


def _arguments(module: Any) -> list[str]:
    """A module's arguments, in the words that the layers of networks have."""
    found = []
    if hasattr(module, "kernel_size"):
        kernel = module.kernel_size
        found.append(times(kernel) if isinstance(kernel, tuple) else f"{kernel}×{kernel}")
    if hasattr(module, "in_channels"):
        found.append(f"{module.in_channels} → {module.out_channels}")
    elif hasattr(module, "in_features"):
        found.append(f"{module.in_features} → {module.out_features}")
    elif hasattr(module, "num_features"):
        found += [f"{module.num_features} channels", f"eps {module.eps:g}"]
    pooling = "Pool" in type(module).__name__
    for name, usual in (("stride", None if pooling else 1), ("padding", 0), ("dilation", 1), ("output_padding", 0)):
        value = getattr(module, name, None)
        if isinstance(value, int | tuple) and hasattr(module, "kernel_size"):
            found += each(name.replace("_", " "), value if isinstance(value, tuple) else (value,), usual)
        elif isinstance(value, str):
            found.append(f"{name} {value}")
    if getattr(module, "groups", 1) != 1:
        found.append(f"groups {module.groups}")
    if getattr(module, "bias", None) is not None and hasattr(module, "kernel_size"):
        found.append("bias")
    if getattr(module, "ceil_mode", False):
        found.append("rounded up")
    for name, text in (("negative_slope", "slope"), ("scale_factor", "×"), ("output_size", "to"), ("dim", "axis"),
                       ("start_dim", "from axis"), ("alpha", "alpha"), ("mode", "")):  # fmt: skip
        value = getattr(module, name, None)
        if isinstance(value, int | float | str | tuple) and not isinstance(value, bool):
            value = f"{value:g}" if isinstance(value, float) else value
            found.append(f"{text} {value}".strip())
    return found


def _operands(name: str, args: Any) -> list[str]:
    """The numbers among a function's arguments."""
    numbers = [arg for arg in args if isinstance(arg, int | float | str) and not isinstance(arg, bool)]
    if name == "cat" and numbers:
        return [f"axis {numbers[0]}"]
    return [f"({', '.join(map(str, numbers))})"] if numbers else []


def _tensors(value: Any) -> Iterator[Any]:
    if hasattr(value, "requires_grad") and hasattr(value, "shape"):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
