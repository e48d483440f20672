"""PyTorch's side: what every module of a network, and every function on tensors, gives.

One pass looks (`Reference.scan`): what runs, how often, and what shape it returns. With that the comparison is planned,
and a second pass (`Reference.stream`) copies exactly the values that are wanted and hands each over the moment it is
there. Where all values fit into memory the first pass keeps them, and the second is not run.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError, NetdefsError
from netdefs.core.optional import require
from netdefs.core.torch_module import first_float, is_script, taken_by
from netdefs.debug.arguments import checked
from netdefs.debug.effective import effective_state
from netdefs.debug.kept import Kept, copied
from netdefs.debug.scan import RETURNED, Given, Part, Scan, Seen, Sink, Who, items_of, returned_values
from netdefs.debug.survey import Survey, describe
from netdefs.debug.watch import Entered, Left, Origins, is_tensor, watch


class Reference:
    """A PyTorch module with its arguments, ready to be asked for its values.

    Args:
        module: evaluated in eval mode and without gradients; its training flags are restored afterwards.
        arguments: numpy arrays; they go to the module's device, and floating-point ones to its type.
        scan: what is known of it already, from arguments of the same shapes.

    Attributes:
        module: what has the names: without the wrapper of torch.compile.
        training: whether any part of it was in training mode.
        dtype: that of its weights.
        replayed: `stream` handed over values that the scan kept: the module ran only once so far.

    Raises:
        CompareError: `module` is not a torch.nn.Module, or one whose layers can't be seen.
    """

    def __init__(self, module: Any, arguments: Sequence[np.ndarray], scan: Scan | None = None) -> None:
        self.module = checked(module)
        self.training = any(m.training for m in self.module.modules())
        self._like = first_float(module)
        self.dtype = str(self._like.dtype).removeprefix("torch.") if self._like is not None else "float32"
        self._arrays = list(arguments)
        self._functions = scan is None or scan.functions
        self._parts = {} if scan is None else scan.parts  # what the names stand for that are no module's
        self._repeated = _repeated({} if scan is None else scan.modules)
        self._kept: Kept | None = None
        self._digest = ""
        self.replayed = False

    def state_dict(self) -> Mapping[str, Any]:
        """The module's weights and buffers."""
        return effective_state(self.module)

    def modules(self) -> Mapping[str, Any]:
        """The modules by name, the whole as ""."""
        return dict(self.module.named_modules())

    def scan(self, keep: int = 0) -> Scan:
        """Runs the module once and looks at what runs in it.

        Args:
            keep: if all values that it computes fit into so many bytes, and nothing in it is random, they are kept for
                the first `stream`, which then need not run it again.

        Raises:
            CompareError: the module can't run on these arguments.
        """
        try:
            survey, output, notes = self._survey(keep)
        except NetdefsError:
            raise
        except Exception as error:
            raise CompareError(
                f"The PyTorch module can't run on these inputs: {type(error).__name__}: {error}"
            ) from error
        operations, order = survey.operations()
        self._repeated = _repeated(survey.modules)
        self._parts = {**{name: part for name, (part, _) in operations.items()}, **survey.mains}
        seen = {name: seen for name, (_, seen) in operations.items()}
        found = {}
        for label, value in returned_values(output).items():
            found[label] = Seen(type(value).__name__)
            describe(found[label], value)
            if is_tensor(value):
                found[label].same_as = survey.maker(value, self._parts)
        names = {id(module): name for name, module in self.module.named_modules()}
        for name, module in self.module.named_modules(remove_duplicate=False):
            if name and name not in survey.modules:
                reason = self._absence(name, module, names)
                survey.modules[name] = Seen(type(module).__name__, reason=reason)
        self._digest = _digest(output)
        if self._kept is not None:
            self._kept.finish(returned_values(output), survey.origins)
        return Scan(survey.modules, found, self._digest, seen, order, self._parts, self._functions, notes)

    def stream(self, wanted: Collection[str], sink: Sink) -> str:
        """Runs the module and gives a copy of each wanted value to `sink(name, array)` as soon as it is computed.

        Args:
            wanted: names of modules and operations, and labels of returned values (`returned_values`).
            sink: gets float32, float64 or integer arrays.

        Returns:
            A hash of what the module returned, to tell whether it is the same as in the scan.
        """
        kept, self._kept = self._kept, None
        labels = [name for name in wanted if name.startswith(RETURNED)]
        self.replayed = kept is not None and kept.replay(self._by_maker(wanted), labels, sink)
        return self._digest if self.replayed else self.observe((), wanted, sink, lambda name, arrays: None)

    def observe(
        self,
        callers: Collection[str],
        wanted: Collection[str],
        sink: Sink,
        given: Callable[[str, list[np.ndarray]], None],
    ) -> str:
        """As `stream`; also hands over the tensors that some modules and operations are given.

        Args:
            callers: the modules and operations.
            wanted: as `stream`.
            sink: as `stream`.
            given: gets a caller's name and copies of the tensors that it is given, before it runs for the first time.
        """
        values, entries = self._by_maker(wanted), self._by_maker(callers)

        def take(who: Who, _: Any, output: Any) -> None:
            for item, name in values[who]:
                # At once: an in-place ReLU or += behind this module would change it.
                sink(name, copied(_item(output, item)))

        def enter(who: Who, tensors: list[Any]) -> None:
            for _, name in entries.pop(who, ()):
                given(name, [copied(tensor) for tensor in tensors])

        output = self._run(take, values.keys(), enter, entries.keys())
        for label, value in returned_values(output).items():
            if label in wanted:
                sink(label, copied(value))
        return _digest(output)

    def given(self, name: str, fed: Collection[str], inputs: Sequence[str]) -> Given:
        """Whether a module or operation is given what some others return, or the inputs, and nothing else.

        Args:
            name: of the module or operation.
            fed: names of such, or among `inputs`.
            inputs: names for the arguments, in their order.
        """
        torch = require("torch", "torch")
        origins = Origins()
        expected: dict[str, Any] = {}
        found: list[Given] = []
        makers = self._by_maker(fed)

        def enter(_: Who, tensors: list[Any]) -> None:
            if found:
                return
            strange = [t for t in tensors if not any(_same_values(t, e) for e in expected.values())]
            lacking = [n for n in fed if not any(n in expected and _same_values(t, expected[n]) for t in tensors)]
            source = next((s for t in strange if (s := origins.module(t, self._repeated))), "")
            found.append(Given(not strange and not lacking, source))

        def leave(who: Who, _: Any, output: Any) -> None:
            if is_tensor(output) and isinstance(who, str):
                origins.add(output, who)
            for item, path in makers.get(who, ()):
                if is_tensor(_item(output, item)):
                    expected[path] = _item(output, item).clone()  # an in-place layer behind it would change it

        with torch.no_grad():
            arguments = self._arguments()
            expected |= {n: t.clone() for n, t in zip(inputs, arguments, strict=True) if n in fed}
            self._run(leave, None, enter, self._by_maker([name]).keys())
        return found[0] if found else Given(True)

    def randomness(self) -> str:
        """In words, what does not give the same twice on one input: the first such module, if it is one."""
        one, other = self._digests(), self._digests()
        first = next((who for (who, a), (_, b) in zip(one, other, strict=False) if a != b), "")
        return f"{first} is the first module that is random" if first else "something in it is random"

    def _digests(self) -> list[tuple[str, str]]:
        """Every module that runs, with a hash of what it gives."""
        found: list[tuple[str, str]] = []
        self._run(lambda who, _, output: found.append((str(who), _digest(output))), self.modules().keys())
        return found

    def taken(self) -> list[np.ndarray]:
        """The arguments as the module gets them: of its own type."""
        return [copied(tensor) for tensor in self._arguments()]

    def _survey(self, keep: int) -> tuple[Survey, Any, list[str]]:
        """What runs, what the module returns, and a note if functions could not be watched."""
        survey = Survey(self.module)
        self._kept = kept = Kept(keep)

        def left(who: Who, called: Any, output: Any) -> None:
            kept.take(who, output, survey.origins)
            survey.left(who, called, output)

        try:
            return survey, self._run(left, None, survey.entered, None), []
        except Exception as error:
            self._functions, self._kept = False, None  # something that is called may not bear being watched
            survey, reason = Survey(self.module), f"{type(error).__name__}: {error}"
            output = self._run(survey.left, None, survey.entered, None)
        note = f"Only modules are compared: functions such as an add could not be watched in this module ({reason})."
        return survey, output, [note]

    def _by_maker(self, names: Collection[str]) -> dict[Who, list[tuple[str, str]]]:
        """Who makes the values of these names, with which part of its output each is."""
        found: dict[Who, list[tuple[str, str]]] = {}
        for name in names:
            if not name.startswith(RETURNED):
                part = self._parts.get(name, Part(name))
                found.setdefault(part.maker, []).append((part.item, name))
        return found

    def _arguments(self) -> list[Any]:
        """The arguments of one run, copied: a module may change its input in place."""
        torch = require("torch", "torch")
        return taken_by(self._like, (torch.tensor(array) for array in self._arrays))

    def _run(
        self,
        left: Left,
        leaving: Collection[Who] | None,
        entered: Entered | None = None,
        entering: Collection[Who] | None = None,
    ) -> Any:
        return watch(self.module, self._arguments(), left, leaving, entered, entering, self._functions)

    def _absence(self, name: str, module: Any, names: Mapping[int, str]) -> str:
        if names[id(module)] != name:
            return f"is the same module as another ({names[id(module)]})"
        if is_script(module):
            return "is TorchScript, whose modules can't be watched"
        if type(module).forward is require("torch", "torch").nn.Module.forward:
            return "is a list of modules"
        return "is never called"


def _repeated(modules: Mapping[str, Seen]) -> frozenset[str]:
    """The modules that run more than once: their names tell no tensor."""
    return frozenset(name for name, seen in modules.items() if seen.calls > 1)


def _item(output: Any, item: str) -> Any:
    """A part of what was returned; None where it is not there."""
    return items_of(output).get(item) if item else output


def _same_values(a: Any, b: Any) -> bool:
    """Whether two tensors hold the same values in the same order, whatever their shapes."""
    if a.numel() != b.numel() or a.dtype != b.dtype or a.is_sparse or b.is_sparse:
        return False
    a, b = a.reshape(-1), b.reshape(-1)
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _digest(output: Any) -> str:
    """A hash of the values that a module returned."""
    digest = hashlib.blake2b()
    for label, value in returned_values(output).items():
        digest.update(label.encode())
        if is_tensor(value) and not (value.is_sparse or value.is_quantized):
            array = value.detach().cpu().contiguous()
            digest.update(
                array.view(require("torch", "torch").uint8).numpy().data if array.dim() else repr(array).encode()
            )
    return digest.hexdigest()
