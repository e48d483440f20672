"""PyTorch's side: what every module of a network gives, taken through forward hooks.

One pass only looks (`Reference.scan`): which modules run, how often, and what shape they return. With that the
comparison is planned, and a second pass (`Reference.stream`) copies exactly the values that are wanted and hands each
over the moment it is there.
"""

import contextlib
import dataclasses
import functools
import hashlib
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError, NetdefsError
from netdefs.core.optional import require

Sink = Callable[[str, np.ndarray], None]


@dataclasses.dataclass
class Seen:
    """What a pass told about the output of a module, or about a value that the whole module returned.

    Attributes:
        type: the module's class.
        calls: how often it ran.
        shape: of its output, if that is one tensor.
        nbytes: its size in memory.
        reason: why it can't be compared; empty if it can.
        same_as: the module that returned this very tensor before, as the last child of an nn.Sequential does; or empty.
    """

    type: str
    calls: int = 0
    shape: tuple[int, ...] = ()
    nbytes: int = 0
    reason: str = ""
    same_as: str = ""


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a pass told.

    Attributes:
        modules: every named module, in the order in which they finished.
        returned: each value that was returned, by its label (`returned_values`).
        digest: a hash of the returned values.
    """

    modules: dict[str, Seen]
    returned: dict[str, Seen]
    digest: str


@dataclasses.dataclass(frozen=True)
class Given:
    """What PyTorch gives a module: whether that is what was expected, and else which module returned it, if one did."""

    expected: bool
    source: str = ""


class Reference:
    """A PyTorch module with its arguments, ready to be asked for its values.

    Args:
        module: evaluated in eval mode and without gradients; its training flags are restored afterwards.
        arguments: numpy arrays; they go to the module's device, and floating-point ones to its type.

    Raises:
        CompareError: `module` is not a torch.nn.Module, or one whose layers can't be seen.
    """

    def __init__(self, module: Any, arguments: Sequence[np.ndarray]) -> None:
        torch = require("torch", "torch")
        if not isinstance(module, torch.nn.Module):
            raise CompareError(f"compare needs a torch.nn.Module to compare with, not {type(module).__name__}.")
        if isinstance(module, torch.jit.ScriptModule):
            raise CompareError(
                f"A traced or scripted module ({type(module).__name__}) can't be compared: forward hooks don't fire in "
                "it, so its layers can't be seen. Pass the nn.Module that it was made from."
            )
        self.module = getattr(module, "_orig_mod", module)  # what torch.compile wraps: its modules have hooks
        empty = next((n for n, t in self.module.state_dict().items() if t.device.type == "meta"), "")
        if empty:
            raise CompareError(
                f"The module has no values: {empty} is on the device 'meta'. Make it on the CPU and load its weights."
            )
        self.training = any(m.training for m in self.module.modules())
        first = next((t for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()), None)
        self.dtype = str(first.dtype).removeprefix("torch.") if first is not None else "float32"
        self._like = first
        self._arrays = list(arguments)

    def scan(self) -> Scan:
        """Runs the module once and looks at what its modules return, without keeping any of it.

        Raises:
            CompareError: the module can't run on these arguments.
        """
        identities = _Identities()
        order: dict[str, Seen] = {}

        def look(name: str, module: Any, _: Any, output: Any) -> None:
            seen = order.pop(name, None) or Seen(type(module).__name__)
            order[name] = seen
            seen.calls += 1
            _describe(seen, output)
            if seen.calls > 1:
                seen.reason = f"is called more than once ({seen.calls} times)"
            seen.same_as = identities.first(output, name) if _is_tensor(output) else ""

        try:
            output = self._run(look, None)
        except NetdefsError:
            raise
        except Exception as error:
            raise CompareError(
                f"The PyTorch module can't run on these inputs: {type(error).__name__}: {error}"
            ) from error
        found = {}
        for label, value in returned_values(output).items():
            found[label] = Seen(type(value).__name__)
            _describe(found[label], value)
            if _is_tensor(value):
                found[label].same_as = identities.first(value, "")
        for name, module in self.module.named_modules(remove_duplicate=False):
            if name and name not in order:
                order[name] = Seen(type(module).__name__, reason=self._absence(name, module, order))
        return Scan(order, found, _digest(output))

    def stream(self, wanted: Collection[str], sink: Sink) -> str:
        """Runs the module and gives a copy of each wanted value to `sink(name, array)` as soon as it is computed.

        Args:
            wanted: names of modules, and labels of returned values (`returned_values`).
            sink: gets float32, float64 or integer arrays.

        Returns:
            A hash of what the module returned, to tell whether it is the same as in the scan.
        """

        def take(name: str, module: Any, _: Any, output: Any) -> None:
            sink(name, _copy(output))  # at once: an in-place ReLU or += behind this module would change it

        output = self._run(take, {name for name in wanted if not name.startswith(RETURNED)})
        for label, value in returned_values(output).items():
            if label in wanted:
                sink(label, _copy(value))
        return _digest(output)

    def given(self, name: str, fed: Collection[str], inputs: Sequence[str]) -> Given:
        """Whether a module is given what some other modules return, or the inputs, and nothing else.

        Args:
            name: the module.
            fed: names of modules, or among `inputs`.
            inputs: names for the arguments, in their order.
        """
        torch = require("torch", "torch")
        identities = _Identities()
        expected: dict[str, Any] = {}
        found: list[Given] = []

        def enter(module: Any, arguments: Any, named: Any) -> None:
            tensors = [value for value in [*arguments, *named.values()] if _is_tensor(value)]
            strange = [t for t in tensors if not any(_same_values(t, e) for e in expected.values())]
            lacking = [n for n in fed if not any(n in expected and _same_values(t, expected[n]) for t in tensors)]
            source = next((s for t in strange if (s := identities.first(t, ""))), "")
            found.append(Given(not strange and not lacking, source))

        def leave(path: str, module: Any, _: Any, output: Any) -> None:
            if _is_tensor(output):
                identities.first(output, path)
                if path in fed:
                    expected[path] = output.clone()  # an in-place layer behind it would change it

        with torch.no_grad():
            arguments = self._arguments()
            expected |= {n: t.clone() for n, t in zip(inputs, arguments, strict=True) if n in fed}
            handle = self.module.get_submodule(name).register_forward_pre_hook(enter, with_kwargs=True)
            try:
                self._run(leave, None)
            finally:
                handle.remove()
        return found[0] if found else Given(True)

    def observe(self, callers: Collection[str], wanted: Collection[str], sink: Sink) -> dict[str, list[np.ndarray]]:
        """As `stream`; also copies the tensors that some modules are given.

        Args:
            callers: the modules.
            wanted: names of modules, and labels of returned values.
            sink: gets each wanted value.

        Returns:
            The tensors among each module's arguments, of its first call.
        """
        found: dict[str, list[np.ndarray]] = {}

        def enter(name: str, module: Any, arguments: Any, named: Any) -> None:
            values = returned_values([*arguments, *named.values()]).values()
            found.setdefault(name, [_copy(value) for value in values if _is_tensor(value)])

        with contextlib.ExitStack() as stack:
            for name in callers:
                module = self.module.get_submodule(name)
                hook = functools.partial(enter, name)
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            self.stream(wanted, sink)
        return found

    def _arguments(self) -> list[Any]:
        """The arguments of one run, copied: a module may change its input in place."""
        torch = require("torch", "torch")
        tensors = [torch.tensor(array) for array in self._arrays]
        if self._like is None:
            return tensors
        device, dtype = self._like.device, self._like.dtype
        return [tensor.to(device, dtype if tensor.is_floating_point() else None) for tensor in tensors]

    def _run(self, hook: Callable[[str, Any, Any, Any], None], names: Collection[str] | None) -> Any:
        torch = require("torch", "torch")
        with contextlib.ExitStack() as stack:
            for name, module in self.module.named_modules():
                if name and (names is None or name in names):
                    stack.callback(module.register_forward_hook(functools.partial(hook, name)).remove)
            stack.enter_context(_evaluating(self.module))
            stack.enter_context(torch.no_grad())
            return self.module(*self._arguments())

    def _absence(self, name: str, module: Any, order: Mapping[str, Seen]) -> str:
        for other, candidate in self.module.named_modules():
            if candidate is module and other != name:
                return f"is the same module as another ({other})"
        if type(module).forward is require("torch", "torch").nn.Module.forward:
            return "is a list of modules"
        return "is never called"


RETURNED = "()"  # labels of what the module as a whole returns start with this: no module's name does


def returned_values(output: Any) -> dict[str, Any]:
    """What a module returned, value by value: "()" for a tensor, "()[0]", "()['logits']" in containers."""
    found: dict[str, Any] = {}

    def walk(value: Any, label: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(item, f"{label}[{key!r}]")
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                walk(item, f"{label}[{i}]")
        else:
            found[label] = value

    walk(output, RETURNED)
    return found


class _Identities:
    """Recognizes a tensor that was returned before: the same object, unchanged since."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int, str]] = {}

    def first(self, tensor: Any, name: str) -> str:
        """The name that returned `tensor` before, or "" if none did; then it is remembered, unless `name` is empty."""
        if tensor.is_inference():
            return ""  # PyTorch does not count the changes of these
        # A dead tensor's id and memory are used again. Only a living one can be the same object.
        reference, version, first = self._known.get(id(tensor), (lambda: None, 0, ""))
        if reference() is tensor and version == tensor._version:
            return "" if first == name else first
        if name:
            self._known[id(tensor)] = (weakref.ref(tensor), tensor._version, name)
        return ""


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    flags = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, flag in flags:
            m.training = flag


def _is_tensor(value: Any) -> bool:
    return isinstance(value, require("torch", "torch").Tensor)


def _same_values(a: Any, b: Any) -> bool:
    """Whether two tensors hold the same values in the same order, whatever their shapes."""
    if a.numel() != b.numel() or a.dtype != b.dtype or a.is_sparse or b.is_sparse:
        return False
    return bool(((a.reshape(-1) == b.reshape(-1)) | (a.isnan() & b.isnan()).reshape(-1)).all())


def _describe(seen: Seen, output: Any) -> None:
    if _is_tensor(output):
        seen.shape = tuple(int(n) for n in output.shape)
        seen.nbytes = output.numel() * max(output.element_size(), 4)  # half precision is copied as float32
        if output.is_sparse or output.is_complex() or output.is_quantized:
            seen.reason = f"returns an unusual tensor ({'sparse' if output.is_sparse else output.dtype})"
    elif isinstance(output, list | tuple | Mapping):
        seen.reason = f"returns several values (a {type(output).__name__} of {len(output)})"
    else:
        seen.reason = f"returns no tensor ({type(output).__name__})"


def _copy(tensor: Any) -> np.ndarray:
    torch = require("torch", "torch")
    small = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.detach().to("cpu", torch.float32 if small else tensor.dtype, copy=True).contiguous().numpy()


def _digest(output: Any) -> str:
    """A hash of the values that a module returned."""
    digest = hashlib.blake2b()
    for label, value in returned_values(output).items():
        digest.update(label.encode())
        if _is_tensor(value) and not (value.is_sparse or value.is_quantized):
            array = value.detach().cpu().contiguous()
            digest.update(
                array.view(require("torch", "torch").uint8).numpy().data if array.dim() else repr(array).encode()
            )
    return digest.hexdigest()
