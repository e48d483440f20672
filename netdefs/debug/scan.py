"""What is known of a PyTorch module that ran: which modules and functions gave what, and what it returned."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Sink = Callable[[str, np.ndarray], None]
RETURNED = "()"  # labels of what the module as a whole returns start with this: no module's name does


class Call(NamedTuple):
    """A call of a function: the `number`th of that word in the forward of the module `scope`. Alike in every run."""

    scope: str
    word: str
    number: int


Who = str | Call  # what gives a value: a module, by its name, or a call of a function


class Part(NamedTuple):
    """What a module (by its name) or a call gave, or the part of it that is called `item`."""

    maker: Who
    item: str = ""


@dataclasses.dataclass
class Seen:
    """What a pass told about the output of a module or function, or about a value that the whole module returned.

    Attributes:
        type: the module's class; the name of a function.
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
        operations: what has no module: the results of functions, and parts of what modules return; by each of their
            names (`netdefs.debug.names`).
        order: the names of modules and operations as they finished.
        parts: what the names of operations stand for.
        functions: whether functions could be watched.
        notes: what else the reader should know.
    """

    modules: dict[str, Seen]
    returned: dict[str, Seen]
    digest: str
    operations: dict[str, Seen] = dataclasses.field(default_factory=dict)
    order: list[str] = dataclasses.field(default_factory=list)
    parts: dict[str, Part] = dataclasses.field(default_factory=dict)
    functions: bool = True
    notes: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        content = dataclasses.asdict(self)
        for table in ("modules", "returned", "operations"):
            content[table] = {name: _short(entry) for name, entry in content[table].items()}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scan":
        """What `to_dict` gave, after it was JSON."""
        tables = {
            table: {n: Seen(**{**entry, "shape": tuple(entry.get("shape", ()))}) for n, entry in content[table].items()}
            for table in ("modules", "returned", "operations")
        }
        parts = {n: Part(m if isinstance(m, str) else Call(*m), item) for n, (m, item) in content["parts"].items()}
        return cls(**{**content, **tables, "parts": parts})

    def seen(self, name: str) -> Seen:
        """What is known of a module or operation."""
        return self.modules[name] if name in self.modules else self.operations[name]


@dataclasses.dataclass(frozen=True)
class Given:
    """What PyTorch gives a module: whether that is what was expected, and else which module returned it, if one did."""

    expected: bool
    source: str = ""


def _short(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name == "type" or value}


def returned_values(output: Any) -> dict[str, Any]:
    """What a module returned, value by value.

    The label is "()" for a tensor, and "()[0]", "()['logits']", "().logits" in lists, dicts and dataclasses.
    """
    found: dict[str, Any] = {}

    def walk(value: Any, label: str) -> None:
        parts = parts_of(value)
        if parts is None:
            found[label] = value
            return
        for part, item in parts.items():
            walk(item, f"{label}{part}")

    walk(output, RETURNED)
    return found


def items_of(value: Any) -> dict[str, Any]:
    """What a container holds, by index, key or field as plain text; nothing if it is none."""
    return {label.strip("[].'"): item for label, item in (parts_of(value) or {}).items()}


def parts_of(value: Any) -> dict[str, Any] | None:
    """What a container holds, by what one appends to get it: "[0]", "['logits']", ".logits"; None if it is none."""
    if isinstance(value, Mapping):  # that of Hugging Face is a dataclass as well
        return {f"[{key!r}]": item for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f".{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f".{name}": getattr(value, name) for name in value._fields}
    if isinstance(value, list | tuple):
        return {f"[{i}]": item for i, item in enumerate(value)}
    return None
