"""Running a PyTorch module while every call of its modules, and of functions on tensors, is seen.

Modules are seen through forward hooks, functions through a `TorchFunctionMode`: no tracing, so that any module that
runs can be watched, data-dependent control flow included.
"""

import contextlib
import functools
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from netdefs.core.optional import require
from netdefs.core.torch_module import evaluating
from netdefs.debug.names import word_of
from netdefs.debug.scan import Call, returned_values

Entered = Callable[["str | Call", list[Any]], None]
Left = Callable[["str | Call", Any, Any], None]


def watch(
    module: Any,
    arguments: Sequence[Any],
    left: Left,
    leaving: Collection["str | Call"] | None = None,
    entered: Entered | None = None,
    entering: Collection["str | Call"] | None = None,
    functions: bool = True,
) -> Any:
    """Runs `module(*arguments)` in eval mode without gradients, and returns what it returns.

    Args:
        module: a torch.nn.Module; its flags and hooks are left as they were.
        arguments: its arguments.
        left: called with who (a module's name, or a call of a function), the module or the function's name, and its
            output, as soon as that is there. Of a module that changes values in place it is called before the next.
        leaving: whose; None for all.
        entered: called with who and the tensors that it is given, before it runs.
        entering: whose; None for all.
        functions: whether functions are seen as well; the names of modules are all that is seen otherwise.
    """
    torch = require("torch", "torch")
    stack = _Stack(module)
    observed = _Observers(left, leaving, entered, entering)

    def before(name: str, _: Any, given: Any, named: Any) -> None:
        stack.push(name)
        if observed.wants_entry(name):
            with stack.quiet():
                observed.enter(name, [*given, *named.values()])

    def after(name: str, called: Any, _: Any, output: Any) -> None:
        if observed.wants_exit(name):
            with stack.quiet():
                left(name, called, output)
        stack.pop(name)

    with contextlib.ExitStack() as exits:
        for name, child in module.named_modules():
            if name and (functions or observed.wants_entry(name) or observed.wants_exit(name)):
                hook = functools.partial(before, name)
                exits.callback(child.register_forward_pre_hook(hook, with_kwargs=True).remove)
                exits.callback(child.register_forward_hook(functools.partial(after, name), always_call=True).remove)
        exits.enter_context(evaluating(module))
        exits.enter_context(torch.no_grad())
        if functions:
            exits.enter_context(_mode(stack, observed))
        return module(*arguments)


class Origins:
    """Recognizes a tensor that was returned before: the same object, unchanged since."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int, list[str | Call]]] = {}

    def of(self, tensor: Any) -> "list[str | Call]":
        """Who returned it, the first one first."""
        if tensor.is_inference():
            return []  # PyTorch does not count the changes of these
        # A dead tensor's id and memory are used again. Only a living one can be the same object.
        reference, version, names = self._known.get(id(tensor), (lambda: None, 0, []))
        return names if reference() is tensor and version == tensor._version else []

    def add(self, tensor: Any, who: "str | Call") -> None:
        """Remembers that `who` returned it."""
        if tensor.is_inference():
            return
        names = self.of(tensor)
        if not names:
            self._known[id(tensor)] = (weakref.ref(tensor), tensor._version, [who])
        elif who not in names:
            names.append(who)

    def module(self, tensor: Any, but: Collection[str] = ()) -> str:
        """The first module that returned it, one of those `but` if there is no other; "" if none did."""
        found = [who for who in self.of(tensor) if isinstance(who, str)]
        return next((name for name in found if name not in but), found[0] if found else "")


class _Observers:
    """Who wants to see what."""

    def __init__(
        self,
        left: Left,
        leaving: Collection["str | Call"] | None,
        entered: Entered | None,
        entering: Collection["str | Call"] | None,
    ) -> None:
        self.left, self._leaving, self._entered = left, leaving, entered
        self._entering = () if entered is None else entering

    def wants_entry(self, who: "str | Call") -> bool:
        return self._entering is None or who in self._entering

    def wants_exit(self, who: "str | Call") -> bool:
        return self._leaving is None or who in self._leaving

    def enter(self, who: "str | Call", values: Any) -> None:
        assert self._entered is not None
        kind = require("torch", "torch").Tensor
        self._entered(who, [value for value in returned_values(values).values() if isinstance(value, kind)])


class _Stack:
    """The modules whose forward is running."""

    def __init__(self, module: Any) -> None:
        self.names = [""]
        self.counts: Counter[tuple[str, str]] = Counter()
        self.busy = False
        self._opaque = {name for name, child in module.named_modules() if name and _has_state(child)}

    @property
    def opaque(self) -> bool:
        """Whether what runs is a layer of PyTorch's with weights: what it calls is its own affair."""
        return self.names[-1] in self._opaque

    def push(self, name: str) -> None:
        self.names.append(name)

    def pop(self, name: str) -> None:
        while len(self.names) > 1 and self.names.pop() != name:
            pass  # it was entered, and a hook of its own raised an error

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """While observers look at tensors, what they call is not PyTorch's."""
        self.busy = True
        try:
            with require("torch", "torch")._C.DisableTorchFunction():  # it costs, at every look at a shape
                yield
        finally:
            self.busy = False


def _mode(stack: _Stack, observed: _Observers) -> Any:
    """A TorchFunctionMode that tells the observers of functions."""
    torch = require("torch", "torch")
    overrides = require("torch.overrides", "torch")

    class Mode(overrides.TorchFunctionMode):  # type: ignore[name-defined]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            word = "" if stack.busy or stack.opaque else word_of(function)
            if not word:
                return function(*args, **kwargs)
            scope = stack.names[-1]
            stack.counts[scope, word] += 1
            call = Call(scope, word, stack.counts[scope, word])
            if observed.wants_entry(call):
                observed.enter(call, [*args, *kwargs.values()])
            given = args[0] if args else None
            version = _version(given)
            output = function(*args, **kwargs)
            if output is given and version == _version(given) and isinstance(given, torch.Tensor):
                return output  # it did nothing
            if observed.wants_exit(call):
                observed.left(call, word, output)
            return output

    return Mode()


def _version(value: Any) -> int:
    return int(value._version) if is_tensor(value) and not value.is_inference() else -1


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of PyTorch's."""
    return isinstance(value, _tensor_class())


@functools.cache
def _tensor_class() -> Any:
    return require("torch", "torch").Tensor


def is_torchs(module: Any) -> bool:
    """Whether a module is one of PyTorch's own layers or containers."""
    return type(module).__module__.startswith("torch.nn.")


def _has_state(module: Any) -> bool:
    state = any(True for _ in [*module.parameters(recurse=False), *module.buffers(recurse=False)])
    return is_torchs(module) and state
