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
from netdefs.core.torch_module import evaluating, hooked, version_of
from netdefs.debug.names import word_of
from netdefs.debug.scan import Call, Who, returned_values

Entered = Callable[[Who, list[Any]], None]
Left = Callable[[Who, Any, Any], None]


def watch(
    module: Any,
    arguments: Sequence[Any],
    left: Left,
    leaving: Collection[Who] | None = None,
    entered: Entered | None = None,
    entering: Collection[Who] | None = None,
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

    def after(name: str, called: Any, _: Any, __: Any, output: Any) -> None:
        if observed.wants_exit(name):
            with stack.quiet():
                left(name, called, output)
        stack.pop(name)

    seen = [
        (name, child)
        for name, child in module.named_modules()
        if name and (functions or observed.wants_entry(name) or observed.wants_exit(name))
    ]
    functions_seen = _mode(stack, observed) if functions else contextlib.nullcontext()
    with hooked(seen, before, after, always=True), evaluating(module), torch.no_grad(), functions_seen:
        return module(*arguments)


class Origins:
    """Recognizes a tensor that was returned before: the same object, unchanged since."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int, list[Who]]] = {}

    def of(self, tensor: Any) -> list[Who]:
        """Who returned it, the first one first."""
        if tensor.is_inference():
            return []  # PyTorch does not count the changes of these
        # A dead tensor's id and memory are used again. Only a living one can be the same object.
        reference, version, names = self._known.get(id(tensor), (lambda: None, 0, []))
        return names if reference() is tensor and version == version_of(tensor) else []

    def add(self, tensor: Any, who: Who) -> None:
        """Remembers that `who` returned it."""
        if tensor.is_inference():
            return
        names = self.of(tensor)
        if not names:
            self._known[id(tensor)] = (weakref.ref(tensor), version_of(tensor), [who])
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
        leaving: Collection[Who] | None,
        entered: Entered | None,
        entering: Collection[Who] | None,
    ) -> None:
        self.left, self._leaving, self._entered = left, leaving, entered
        self._entering = () if entered is None else entering

    def wants_entry(self, who: Who) -> bool:
        return self._entering is None or who in self._entering

    def wants_exit(self, who: Who) -> bool:
        return self._leaving is None or who in self._leaving

    def enter(self, who: Who, values: Any) -> None:
        assert self._entered is not None
        self._entered(who, [value for value in returned_values(values).values() if is_tensor(value)])


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
            version = version_of(given) if is_tensor(given) else None
            output = function(*args, **kwargs)
            if output is given and is_tensor(given) and version == version_of(given):
                return output  # it did nothing
            if observed.wants_exit(call):
                observed.left(call, word, output)
            return output

    return Mode()


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of PyTorch's."""
    return isinstance(value, _tensor_class())


@functools.cache
def _tensor_class() -> Any:
    return require("torch", "torch").Tensor


def is_torchs(module: Any) -> bool:
    """Whether a module is one of PyTorch's own layers or containers."""
    return type(module).__module__.startswith("torch.nn.")


def is_recurrent(module: Any) -> bool:
    """Whether a module is an LSTM, GRU or RNN of PyTorch's, which returns its states behind its result."""
    return isinstance(module, require("torch", "torch").nn.RNNBase)


def _has_state(module: Any) -> bool:
    state = any(True for _ in [*module.parameters(recurse=False), *module.buffers(recurse=False)])
    return is_torchs(module) and state
