"""The body of a function as lines of Python: which variable each value is in, and every statement."""

import inspect
import itertools
import re
from collections.abc import Collection, Sequence
from typing import Any

from netdefs.core import blocks
from netdefs.core.network import Network
from netdefs.scaffold.constants import Constants
from netdefs.scaffold.library import block_of
from netdefs.scaffold.program import (
    REQUIRED,
    TENSOR,
    Arg,
    Call,
    Column,
    Cond,
    Each,
    First,
    Function,
    Index,
    Loop,
    Name,
    Param,
    Turn,
    Value,
    eaches,
    mapped,
)
from netdefs.scaffold.text import WIDTH, Text, fitted

# Options that need no keyword where they have no default.
POSITIONAL = {
    "repeats",
    "areas",
    "nested",
    "squeeze_channels",
    "out_channels",
    "out_features",
    "shape",
    "dims",
    "channels",
    "size",
    "weight",
    "bias",
    "value",
    "split_size",
}
# Layers that may be written around what they are given.
LIGHT = {
    "relu",
    "relu6",
    "silu",
    "gelu",
    "sigmoid",
    "tanh",
    "hardswish",
    "hardsigmoid",
    "leaky_relu",
    "mish",
    "elu",
    "add",
    "sub",
    "mul",
    "div",
    "flatten",
    "permute",
    "transpose",
    "softmax",
    "squeeze",
    "unsqueeze",
    "global_avg_pool",
    "reshape",
    "clamp",
    "mean",
}
PLAIN = (
    "cv",
    "m",
    "model",
    "body",
    "conv",
    "bn",
    "norm",
    "relu",
    "act",
    "fc",
    "linear",
    "layer",
    "layers",
    "block",
    "blocks",
    "features",
    "stage",
)
# A power of simple operands, which ruff writes without spaces.
POWER = re.compile(r"(?<![\w.)\]])(-?[\w.]+) \*\* (-?[\w.]+)(?![\w.(\[])")
COUNTERS = ("i", "j", "k", "m", "n")


class Lines:
    """Writes the body of one function.

    Args:
        function: which.
        names: what its inputs are called.
        constants: writes constants.
        reserved: names that no variable may have, such as those of functions.
    """

    def __init__(
        self, function: Function, names: Sequence[str], constants: Constants, reserved: Collection[str] = ()
    ) -> None:
        self.function = function
        self.constants = constants
        self.names: dict[Value, str] = dict(zip(function.inputs, names, strict=True))
        self.bound: dict[str, Value] = {name: value for value, name in self.names.items()}
        self.forced: dict[Value, str] = {}
        self.inlined: dict[Value, str] = {}
        self.lists: dict[str, Sequence[Value]] = {}  # what loops have collected
        self.base: dict[Value, Value] = {}  # of what is written inside of other statements: the value it is made from
        self.turns: dict[Turn, str] = {}
        self.varying: dict[Any, str] = {}
        self.text = Text(self.names, self.turns, self.varying, constants.text)
        self.lines: list[str] = []
        self.used: set[str] = set()  # library functions
        self.reserved = {"net", *function.parameters, *reserved, *dir(blocks)}
        self.position = 0
        self.last: dict[Value, int] = {}
        self.uses: dict[Value, int] = {}
        self.made: dict[Value, int] = {}
        self._measure(function.body, 0)
        for value in function.outputs:
            self.last[value] = 10**9
            self.uses[value] = self.uses.get(value, 0) + 1

    def write(self, indent: int = 4, final: bool = True) -> list[str]:
        """The lines, with what the function returns."""
        body = self.function.body
        self._block(body, indent, final)
        outputs = self.function.outputs
        if final:
            if len(outputs) == 1 and outputs[0] in self.inlined:
                self._emit(f"return {self.inlined[outputs[0]]}", indent)
            else:
                self._emit(f"return {', '.join(self.text.of(value) for value in outputs)}", indent)
        return self.lines

    # Which values are used when.

    def _measure(self, body: Sequence[Any], at: int) -> int:
        for item in body:
            at += 1
            used = list(item.values())
            self.made.update(dict.fromkeys(item.results, at))
            if isinstance(item, Loop):
                inner = self._measure(item.body, at)
                for _, _, made, _ in item.carried:
                    self.last[made] = max(self.last.get(made, 0), inner + 1)
                    self.uses[made] = self.uses.get(made, 0) + 2
                for made, _ in item.collected:
                    self.last[made] = max(self.last.get(made, 0), inner + 1)
                    self.uses[made] = self.uses.get(made, 0) + 2
                at = inner + 1
            elif isinstance(item, Cond):
                inner = self._measure(item.body, at)
                self.last[item.made] = inner + 1
                self.uses[item.made] = self.uses.get(item.made, 0) + 2
                at = inner + 1
            for value in used:
                self.last[value] = max(self.last.get(value, 0), at)
                self.uses[value] = self.uses.get(value, 0) + (1 if isinstance(item, Call) else 2)
        return at

    def _dead(self, value: Value) -> bool:
        """Whether a value is not used after the statement that is being written."""
        return self.last.get(value, 0) <= self.position

    # Statements.

    def _block(self, body: Sequence[Any], indent: int, final: bool = False) -> None:
        for i, item in enumerate(body):
            self.position += 1
            following = body[i + 1] if i + 1 < len(body) else None
            if isinstance(item, Call):
                self._call(item, indent, following, final and following is None)
            elif isinstance(item, Loop):
                self._loop(item, indent)
            else:
                self._cond(item, indent)

    def _call(self, item: Call, indent: int, following: Any, last: bool) -> None:
        text = self._expression(item)
        if len(item.results) == 1 and item.results[0] not in self.forced:
            (made,) = item.results
            if (last and self.function.outputs == [made]) or self._may_inline(item, following, text, indent):
                main = self._main(item)
                if main is not None:
                    self.base[made] = main
                self._take(item)
                self.inlined[made] = text
                self.names[made] = text
                return
        self._take(item)
        names = [self._variable(item, value) for value in item.results]
        self._emit(f"{', '.join(names)} = {text}", indent)

    def _take(self, item: Call) -> None:
        """Notes that what was written into this statement's text needs no line of its own."""
        for value in item.values():
            self.inlined.pop(value, None)

    def _may_inline(self, item: Call, following: Any, text: str, indent: int) -> bool:
        (made,) = item.results
        if not isinstance(following, Call) or self.uses.get(made, 0) != 1:
            return False
        if item.array != following.array and item.function != "parameter":
            return False
        if made not in list(following.values()) or any(value in self.inlined for value in item.values()):
            return False
        if item.function == "parameter":
            return len(text) + indent < WIDTH // 2
        if item.array:
            return indent + len(text) < WIDTH // 2
        if following.array or following.function not in LIGHT or isinstance(following.inputs[0], tuple):
            return False
        self.names[made] = text
        outer = self._expression(following, note=False)
        del self.names[made]
        return indent + len(outer) + 12 <= WIDTH

    def _loop(self, item: Loop, indent: int) -> None:
        turn = next(name for name in COUNTERS if name not in self.turns.values() and name not in self.reserved)
        self.turns[item.turn] = turn
        end = self.position + _length(item.body) + 1
        for inner, before, made, left in item.carried:
            name = self.names[before]
            ends = self.last.get(before, 0) > end or not name.isidentifier() or name in self.function.parameters
            if ends or any(before in list(each.values()) for each in item.body):
                name = self._fresh(self._word(inner))
                self._emit(f"{name} = {self.names[before]}", indent)
                self.bound[name] = inner
            self.names[inner] = self.names[left] = name
            self.forced[made] = name
            self.bound[name] = inner
        lists = []
        for made, kept in item.collected:
            name = self._fresh(_plural(self._word(made)))
            self.bound[name] = kept[-1]
            self.last[kept[-1]] = max(self.last.get(value, 0) for value in kept)
            lists.append((made, name))
            self.lists[name] = kept
            self.names.update({value: f"{name}[{i}]" for i, value in enumerate(kept)})
            self._emit(f"{name} = []", indent)
        header, named = self._header(item, turn)
        self._emit(header, indent)
        held = dict(self.forced)
        self._block(item.body, indent + 4)
        self.forced = {k: v for k, v in held.items() if k not in {made for _, _, made, _ in item.carried}}
        self.position += 1
        for inner, _, made, left in item.carried:
            self.bound[self.names[inner]] = left
            if self.names.get(made) != self.names[inner]:
                self._emit(f"{self.names[inner]} = {self.text.of(made)}", indent + 4)
        for made, name in lists:
            self._emit(f"{name}.append({self.text.of(made)})", indent + 4)
        for name in named:
            self.reserved.discard(name)
        del self.turns[item.turn]

    def _header(self, item: Loop, turn: str) -> tuple[str, list[str]]:
        """The line that begins a loop, and the variables in it."""
        columns: dict[Any, str] = {}
        for key, value in _varying(item.body, item.turn):
            columns.setdefault(value, key)
        if isinstance(item.count, Column | Each) and item.count.turn is item.turn:
            columns.setdefault(item.count, "count")
        if not columns and not item.listed:
            return f"for {turn} in range({self.text.of(item.count)}):", []
        names, sources = [], []
        for inner, values in item.listed:
            name = self._fresh(self._word(inner))
            self.names[inner] = name
            self.bound[name] = inner
            self.reserved.add(name)
            names.append(name)
            sources.append(self._sequence(values))
        for value, key in columns.items():
            name = self._fresh(self._element(value, key))
            self.reserved.add(name)
            self.varying[value] = name
            names.append(name)
            sources.append(self._source(value.sequence) if isinstance(value, Each) else self.text.of(value.values))
        counts = _uses_turn(item.body, item.turn)
        if len(names) == 1:
            (source,) = sources
            return (
                f"for {turn}, {names[0]} in enumerate({source}):" if counts else f"for {names[0]} in {source}:"
            ), names
        listed = ", ".join(names)
        if not item.listed and all(isinstance(source, Column) for source in columns):
            source = self.text.of(tuple(zip(*(source.values for source in columns), strict=True)))
        else:
            source = f"zip({', '.join(sources)}, strict=True)"
        return (f"for {turn}, ({listed}) in enumerate({source}):" if counts else f"for {listed} in {source}:"), names

    def _element(self, value: Column | Each, key: str) -> str:
        """What an element of a sequence is called."""
        if isinstance(value, Each):
            return _singular(self._source(value.sequence))
        several = any(isinstance(each, tuple) for each in value.values) and key not in ("shape", "dims", "kernel")
        return _plural(WORDS.get(key, key)) if several else WORDS.get(key, key)

    def _source(self, sequence: Any) -> str:
        """A sequence: an argument, or what an outer loop has for this turn."""
        return sequence.name if isinstance(sequence, Param) else self.varying[sequence]

    def _sequence(self, values: Sequence[Value]) -> str:
        """Values as a list that they are in, or as a tuple."""
        for name, kept in self.lists.items():
            if tuple(values) == tuple(kept):
                return name
        return self.text.of(tuple(values))

    def _cond(self, item: Cond, indent: int) -> None:
        end = self.position + _length(item.body) + 1
        name = self.names[item.otherwise]
        used_inside = any(item.otherwise in list(each.values()) for each in item.body[1:])
        if self.last.get(item.otherwise, 0) > end or used_inside or not name.isidentifier():
            name = self._fresh(self._word(item.result))
            self._emit(f"{name} = {self.names[item.otherwise]}", indent)
        self.bound[name] = item.result
        self.names[item.result] = name
        self.forced[item.made] = name
        self._emit(f"if {self.text.of(item.flag)}:", indent)
        self._block(item.body, indent + 4)
        self.forced.pop(item.made, None)
        self.position += 1
        self.bound[name] = item.result
        if self.names.get(item.made) != name:
            self._emit(f"{name} = {self.text.of(item.made)}", indent + 4)

    def _emit(self, line: str, indent: int) -> None:
        self.lines += fitted(line, indent)

    # Variables.

    def _variable(self, item: Call, value: Value) -> str:
        if value in self.forced:
            name = self.forced[value]
        else:
            main = self._main(item)
            reusable = main is not None and self._dead(main) and len(item.results) == 1
            if reusable and main is not None and self.bound.get(self.names[main]) is main and value.kind == TENSOR:
                reusable = not self._is_overwritten(self.names[main], value)
            if reusable and main is not None and self.bound.get(self.names[main]) is main and value.kind == TENSOR:
                name = self.names[main]
            else:
                name = self._fresh(self._word(value, item.path))
        self.names[value] = name
        self.bound[name] = value
        return name

    def _is_overwritten(self, name: str, value: Value) -> bool:
        """Whether what a loop hands on takes this name while a value is still needed."""
        return any(
            name == taken and self.made.get(made, 0) < self.last.get(value, 0) for made, taken in self.forced.items()
        )

    def _main(self, item: Call) -> Value | None:
        """The first variable that a statement is given."""
        for value in item.values():
            value = self.base.get(value, value)
            if self.names.get(value, "").isidentifier():
                return value
        return None

    def _word(self, value: Value, path: Sequence[Any] | None = None) -> str:
        hint = value.hint
        if path is not None:
            parts = [part for part in self._relative(path) if isinstance(part, str) and not part.isdigit()]
            hint = parts[0].split("#")[0].rpartition(".")[2] if parts else hint
        word = "".join(sign if sign.isalnum() else "_" for sign in hint).strip("_").lower()
        plain = word.partition("_")[0].rstrip("0123456789")
        if not word or word[0].isdigit() or plain in PLAIN or not word.isidentifier():
            return "out"
        return word

    def _fresh(self, word: str) -> str:
        """A name that no value that is still needed has."""
        names = itertools.chain(
            ("x", "y", "z") if word == "out" else (), [word], (f"{word}_{i}" for i in itertools.count(2))
        )
        return next(name for name in names if self._is_free(name))

    def _is_free(self, name: str) -> bool:
        return not (name in self.reserved or name in self.turns.values() or name in KEYWORDS or self._busy(name))

    def _busy(self, name: str) -> bool:
        value = self.bound.get(name)
        return value is not None and not self._dead(value)

    # Expressions.

    def _expression(self, item: Call, note: bool = True) -> str:
        text = self.text
        if item.function == "parameter":
            assert item.path is not None
            name = text.name(self._relative(item.path))
            found = f"{self._net(item.path)}.parameter({name}, {text.of(item.options['shape'])})"
            dtype = item.options.get("dtype")
            self.constants.numpy |= dtype is not None
            return found if dtype is None else f"{found}.astype(np.{dtype})"
        if item.function == "fixed":
            return text.of(item.options["value"])
        inputs = [self._list(v) if isinstance(v, tuple) else text.of(v) for v in item.inputs]
        if item.array:
            options = {key: text.of(value) for key, value in item.options.items()}
            self.constants.numpy |= "np." in item.function
            if not item.function.startswith("np."):
                inputs = [each if _is_simple(each) else f"({each})" for each in inputs]
            return POWER.sub(r"\1**\2", item.function.format(*inputs, **options))
        assert item.path is not None
        path = self._relative(item.path)
        if isinstance(item.function, Function):
            required = [key for key, usual in item.function.parameters.items() if usual is REQUIRED]
            given = [text.of(item.options[key]) for key in required]
            named = [f"{key}={text.of(value)}" for key, value in item.options.items() if key not in required]
            return (
                f"{item.function.name}({', '.join([text.place(path, self._net(item.path)), *inputs, *given, *named])})"
            )
        if "." in item.function:
            return self._block_call(item, path, inputs, note)
        return self._method(item, path, inputs)

    def _list(self, values: Sequence[Any]) -> str:
        name = self._sequence(values) if all(isinstance(value, Value) for value in values) else ""
        return name if name in self.lists else f"[{', '.join(map(self.text.of, values))}]"

    def _method(self, item: Call, path: Sequence[Any], inputs: list[str]) -> str:
        again = next((i for i, part in enumerate(path) if isinstance(part, str) and "@" in part), None)
        net = self._net(item.path or ())
        if again is not None:
            net, path = self.text.place(path[: again + 1], net), path[again + 1 :]
            net = net if net.endswith(")") else f"({net})"
        name = self.text.name(path) if path else "None"
        method = getattr(Network, item.function, None)
        known = inspect.signature(method).parameters if method is not None else {}
        positional: list[str] = []
        named: list[str] = []
        for key, value in item.options.items():
            usual = known[key].default if key in known else None
            required = key in known and usual is inspect.Parameter.empty and known[key].kind.name != "KEYWORD_ONLY"
            if required and key in POSITIONAL and not named:
                positional.append(self.text.of(value))
            else:
                named.append(f"{key}={self.text.of(value)}")
        optional = "name" in known and known["name"].default is None
        middle = [] if name == "None" and optional and not positional else [name]
        return f"{net}.{item.function}({', '.join([*inputs, *middle, *positional, *named])})"

    def _block_call(self, item: Call, path: Sequence[Any], inputs: list[str], note: bool) -> str:
        name = item.function.rpartition(".")[2]
        if note:
            self.used.add(item.function)
        known = inspect.signature(block_of(item.function)).parameters
        named_first = "name" in known
        place, rest = (path[:-1], path[-1:]) if named_first and path else (path, ())
        parts = [self.text.place(place, self._net(item.path or ())), *inputs]
        if named_first:
            parts.append(self.text.name(rest) if rest else "None")
        for key, value in item.options.items():
            text = (
                self.text.name(self._relative(value.path, item.path)) if hasattr(value, "path") else self.text.of(value)
            )
            required = key in known and known[key].default is inspect.Parameter.empty
            positional = (
                required and (key in POSITIONAL or hasattr(value, "path")) and "=" not in parts[-1].split("(")[0]
            )
            parts.append(text if positional else f"{key}={text}")
        return f"{name}({', '.join(parts)})"

    def _relative(self, path: Sequence[Any], base: Sequence[Any] | None = None) -> tuple[Any, ...]:
        base = self.function.path if base is None else base
        if tuple(path[: len(base)]) == tuple(base):
            return tuple(path[len(base) :])
        plain = _without_calls(base)
        return tuple(path[len(plain) :]) if tuple(path[: len(plain)]) == plain else tuple(path)

    def _net(self, path: Sequence[Any]) -> str:
        """The scope that a path is below: the function's own, or for modules elsewhere the network's."""
        base = self.function.path
        inside = tuple(path[: len(base)]) in (tuple(base), _without_calls(base))
        return "net" if inside else "net.root"


def _without_calls(path: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(part.split("@")[0] if isinstance(part, str) else part for part in path)


WORDS = {"out_channels": "channels", "out_features": "features", "with": "more"}
KEYWORDS = frozenset(
    [
        "as",
        "in",
        "is",
        "if",
        "for",
        "not",
        "or",
        "and",
        "def",
        "del",
        "from",
        "with",
        "lambda",
        "class",
        "return",
        "x_",
        "np",
        "input",
        "id",
        "type",
    ]
)


def _is_simple(text: str) -> bool:
    """Whether an expression needs no parentheses in another."""
    depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0 and sign == " ":
            return False
    return True


def _varying(body: Sequence[Any], turn: Turn) -> list[tuple[str, Any]]:
    """What differs from turn to turn of a loop, and what it is called."""
    found: list[tuple[str, Any]] = []

    def note(key: str, value: Arg) -> None:
        def leaf(each: Any) -> Any:
            if isinstance(each, Column) and each.turn is turn:
                found.append((key, each))
            return each

        mapped(value, leaf)
        found.extend((key, each) for each in eaches(value) if each.turn is turn)

    for item in body:
        if isinstance(item, Call):
            for value in item.inputs:
                note("value", value)
            for key, value in item.options.items():
                note(key, value)
        else:
            if isinstance(item, Loop):
                note("blocks", item.count)
            else:
                note("more", item.flag)
            found += _varying(item.body, turn)
    return found


def _uses_turn(body: Sequence[Any], turn: Turn) -> bool:
    """Whether statements need the number of the turn."""
    for item in body:
        if not isinstance(item, Call):
            if _uses_turn(item.body, turn):
                return True
            continue
        paths = [item.path or (), *(value.path for value in item.options.values() if isinstance(value, Name))]
        if any(isinstance(part, Index) and part.counts(turn) for path in paths for part in path):
            return True
        if any(isinstance(value, First) and value.turn is turn for value in item.options.values()):
            return True
    return False


def _plural(word: str) -> str:
    return word if word.endswith("s") else f"{word}s"


def _singular(name: str) -> str:
    return name[:-1] if name.endswith("s") and len(name) > 3 else f"{name}_"


def _length(body: Sequence[Any]) -> int:
    return sum(1 if isinstance(item, Call) else 2 + _length(item.body) for item in body)
