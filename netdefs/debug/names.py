"""Names for what has no module: an add, a concat, a functional ReLU, a part of what a module returns.

They follow from PyTorch's side alone:

- a function called in a module's forward is `<module>.<function>`: "layer1.0.add"; where it is called several times
  there, "stage2.0.add#1", "stage2.0.add#2": numbers that nobody writes by chance, and counts from elsewhere;
- a function of one tensor that a module returned is also `<that module>.<function>`: "bn1.relu", whether it is called
  as a function or as one of many calls of one nn.ReLU;
- what a module or function returns in a list or dict is `<name>.<index or key>`: "model.2.split.0".

A module's own name always stands for the module, and what two calls could claim is no name.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from netdefs.debug.scan import Call, Part, Seen, Who

DUNDERS = {
    f"__{prefix}{dunder}__": word
    for dunder, word in (
        ("add", "add"),
        ("sub", "sub"),
        ("mul", "mul"),
        ("truediv", "div"),
        ("div", "div"),
        ("matmul", "matmul"),
        ("pow", "pow"),
    )
    for prefix in ("", "i", "r")
}
# Names of PyTorch's for one and the same thing, the first of which counts; and other words that are used for it.
SAME = {
    "concat": "cat",
    "concatenate": "cat",
    "chunk": "split",
    "split_with_sizes": "split",
    "tensor_split": "split",
    "multiply": "mul",
    "subtract": "sub",
    "true_divide": "div",
    "divide": "div",
    "upsample": "interpolate",
}
ALSO = {"cat": ("concat",), "split": ("chunk",), "interpolate": ("upsample", "resize")}


@dataclasses.dataclass
class Made:
    """The result of a call of a function.

    Attributes:
        call: which.
        within: it was called by a layer of PyTorch's own, such as nn.ReLU: it is not named after that.
        sources: what returned the one tensor that it was given, if it was one.
        results: what it gave, "" if that is one tensor, or its parts.
    """

    call: Call
    within: bool
    sources: Sequence[Who]
    results: Mapping[str, Seen]


def word_of(function: object) -> str:
    """The plain word for a function: "add" for +, += and torch.add; empty for what is none on values."""
    name = getattr(function, "__name__", "")
    if name.startswith("__"):
        return DUNDERS.get(name, "")
    name = name.rstrip("_")
    return "" if name.startswith("_") else SAME.get(name, name)


def named(
    made: Iterable[Made],
    parts: Mapping[str, Mapping[str, Seen]],
    modules: Mapping[str, Seen],
    taken: Collection[str],
) -> dict[str, tuple[Part, Seen]]:
    """Every name of what has no module, with what it stands for.

    Args:
        made: the results of functions, in the order in which they were called.
        parts: module -> what it returned, by index or key.
        modules: those that ran.
        taken: the names of all modules.
    """
    made = list(made)
    repeated = {name for name, seen in modules.items() if seen.calls > 1}
    outer = [m for m in made if not m.within and not _inside(m.call.scope, repeated)]
    found: dict[str, tuple[Part, Seen]] = {}
    names: dict[Call, list[str]] = {}

    def give(name: str, maker: Who, results: Mapping[str, Seen]) -> None:
        for item, seen in results.items():
            full = f"{name}.{item}" if item else name
            if full not in taken:
                found.setdefault(full, (Part(maker, item), seen))

    times = Counter((m.call.scope, m.call.word) for m in outer)
    before: Counter[tuple[str, str]] = Counter()
    for m in outer:
        scope, word, _ = m.call
        before[scope, word] += 1
        number = f"#{before[scope, word]}" if times[scope, word] > 1 else ""
        names[m.call] = [_joined(scope, f"{each}{number}") for each in (word, *ALSO.get(word, ()))]
        for name in names[m.call]:
            give(name, m.call, m.results)
    for name, results in parts.items():
        if name not in repeated and not _inside(name, repeated):
            give(name, name, results)
    behind: dict[str, list[Made]] = {}
    for m in made:
        bases = {base for s in m.sources for base in (names.get(s, []) if isinstance(s, Call) else [s])}
        for base in bases - repeated:
            for word in (m.call.word, *ALSO.get(m.call.word, ())):
                behind.setdefault(f"{base}.{word}", []).append(m)
    for name, claims in behind.items():
        if len(claims) == 1 and not _inside(name, repeated):
            give(name, claims[0].call, claims[0].results)
    return found


def _inside(name: str, repeated: Collection[str]) -> bool:
    """Whether a name lies in a module that ran more than once."""
    parts = name.split(".")
    return any(".".join(parts[:i]) in repeated for i in range(1, len(parts) + 1))


def _joined(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name
