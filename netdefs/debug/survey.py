"""What a first pass over a PyTorch module finds out: which modules and functions run, and what they give."""

from collections.abc import Mapping
from typing import Any

from netdefs.core.optional import require
from netdefs.debug.names import Made, named
from netdefs.debug.scan import Call, Part, Seen, Who, items_of, parts_of
from netdefs.debug.watch import Origins, is_recurrent, is_tensor, is_torchs

FIRST = "0"  # the first part of what a module returns


class Survey:
    """Watches one run (`netdefs.debug.watch`).

    Args:
        module: what runs.

    Attributes:
        modules: those that ran, in the order in which they finished.
        origins: who returned which tensor.
        mains: of modules that return states as well, as an LSTM does: what has the module's name.
    """

    def __init__(self, module: Any) -> None:
        self.modules: dict[str, Seen] = {}
        self.origins = Origins()
        self.mains: dict[str, Part] = {}
        self._names = {name for name, _ in module.named_modules(remove_duplicate=False)}
        self._layers = {name for name, child in module.named_modules() if is_torchs(child)}
        self._parts: dict[str, dict[str, Seen]] = {}
        self._made: list[Made] = []
        self._sources: dict[Call, list[Who]] = {}
        self._finished: dict[Who, int] = {}
        self._events = 0

    def entered(self, who: Who, tensors: list[Any]) -> None:
        """Remembers what returned the one tensor that a function is given."""
        if isinstance(who, Call):
            parameter = require("torch", "torch").nn.Parameter
            values = [tensor for tensor in tensors if not isinstance(tensor, parameter)]
            self._sources[who] = list(self.origins.of(values[0])) if len(values) == 1 else []

    def left(self, who: Who, called: Any, output: Any) -> None:
        """Looks at what a module or function returned."""
        self._events += 1
        self._finished[who] = self._events
        if isinstance(who, str):
            parts = _parts(output, "")
            if FIRST in parts and is_recurrent(called):
                self.mains[who] = Part(who, FIRST)
                del parts[FIRST]
                output = output[0]
            self._module(who, called, output)
            if parts:
                self._parts[who] = parts
        else:
            found = {"": _seen(who.word, output)} if is_tensor(output) else _parts(output, who.word)
            if found:
                within = who.scope in self._layers
                self._made.append(Made(who, within, self._sources.pop(who, []), found))
        if is_tensor(output):
            self.origins.add(output, who)

    def _module(self, name: str, module: Any, output: Any) -> None:
        seen = self.modules.pop(name, None) or Seen(type(module).__name__)
        self.modules[name] = seen
        seen.calls += 1
        describe(seen, output)
        if seen.calls > 1:
            seen.reason = f"is called more than once ({seen.calls} times)"
        first = self.origins.module(output) if is_tensor(output) else ""
        seen.same_as = "" if first == name else first

    def maker(self, tensor: Any, parts: Mapping[str, Part]) -> str:
        """Who returned a tensor first: a module, or else an operation; "" if none did."""
        made_by = {Part(who) for who in self.origins.of(tensor)}
        return self.origins.module(tensor) or next((name for name, part in parts.items() if part in made_by), "")

    def operations(self) -> tuple[dict[str, tuple[Part, Seen]], list[str]]:
        """What has no module, by name, and the names of modules and of these in the order in which they finished."""
        found = named(self._made, self._parts, self.modules, self._names)
        first: dict[Part, str] = {}
        for name, (part, seen) in found.items():
            seen.same_as = first.setdefault(part, name)  # what has several names has one identity
        place = {name: self._finished.get(name, -1) for name in self.modules}
        place |= {name: self._finished[part.maker] for name, (part, _) in found.items()}
        return found, sorted(place, key=place.__getitem__)


def describe(seen: Seen, output: Any) -> None:
    """Notes the shape and size of an output, or why it can't be compared."""
    if is_tensor(output):
        seen.shape = tuple(int(n) for n in output.shape)
        seen.nbytes = output.numel() * max(output.element_size(), 4)  # half precision is copied as float32
        if output.is_sparse or output.is_complex() or output.is_quantized:
            seen.reason = f"returns an unusual tensor ({'sparse' if output.is_sparse else output.dtype})"
        return
    parts = parts_of(output)
    if parts is not None:
        seen.reason = f"returns several values (a {type(output).__name__} of {len(parts)})"
    else:
        seen.reason = f"returns no tensor ({type(output).__name__})"


def _parts(output: Any, kind: str) -> dict[str, Seen]:
    """The tensors in a container, by index or key."""
    found = {item: value for item, value in items_of(output).items() if is_tensor(value)}
    return {item: _seen(kind or type(output).__name__, value) for item, value in found.items()}


def _seen(kind: str, output: Any) -> Seen:
    seen = Seen(kind, 1)
    describe(seen, output)
    return seen
