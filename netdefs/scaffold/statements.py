"""The body of a function as lines of Python: which variable each value is in, and every statement."""

import itertools
import keyword
from collections.abc import Collection, Sequence
from typing import Any

from netdefs.core import blocks
from netdefs.scaffold.calls import Calls
from netdefs.scaffold.constants import Constants
from netdefs.scaffold.program import (
    TENSOR,
    Arg,
    Call,
    Column,
    Cond,
    Each,
    First,
    Function,
    Loop,
    Param,
    Turn,
    Value,
    counting,
    eaches,
    mapped,
)
from netdefs.scaffold.text import WIDTH, Text, fitted

# Layers that may be written around what they are given.
LIGHT = (
    {"relu", "relu6", "silu", "gelu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "leaky_relu", "mish", "elu"}
    | {"add", "sub", "mul", "div", "clamp", "softmax", "mean", "global_avg_pool"}
    | {"flatten", "reshape", "permute", "transpose", "squeeze", "unsqueeze"}
)
# Words that say no more of a value than that some layer gave it.
PLAIN = (
    {"conv", "cv", "bn", "norm", "relu", "act", "fc", "linear"}
    | {"layer", "layers", "block", "blocks", "stage", "m"}
    | {"model", "body", "features"}
)
COUNTERS = ("i", "j", "k", "m", "n")
# What an option is called as the variable of a loop. Arguments of functions have more such words: parameters.WORDS.
WORDS = {"out_channels": "channels", "out_features": "features"}
TAKEN = {"np", "input", "id", "type", "x_"}  # what no variable is called, besides Python's keywords


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
        self.names: dict[Value, str] = dict(zip(function.inputs, names, strict=True))
        self.bound: dict[str, Value] = {name: value for value, name in self.names.items()}  # what variables hold
        self.forced: dict[Value, str] = {}  # the variables in which a loop or a condition hands on what it makes
        self.inlined: set[Value] = set()  # what is written inside of the statement that uses it
        self.base: dict[Value, Value] = {}  # of what is inlined: the value that it is made from
        self.turns: dict[Turn, str] = {}
        self.varying: dict[Any, str] = {}
        self.text = Text(self.names, self.turns, self.varying, constants.text)
        self.calls = Calls(function.path, self.text, constants)
        self.lines: list[str] = []
        self.reserved = {"net", *function.parameters, *reserved, *dir(blocks)}
        self.position = 0  # of the statement that is being written
        self.last: dict[Value, int] = {}
        self.uses: dict[Value, int] = {}
        self.made: dict[Value, int] = {}
        self._measure(function.body, 0)
        for value in function.outputs:
            self.last[value] = 10**9
            self.uses[value] = self.uses.get(value, 0) + 1

    def write(self, indent: int = 4, final: bool = True) -> list[str]:
        """The lines; if `final`, with what the function returns."""
        self._block(self.function.body, indent, final)
        if final:
            self._emit(f"return {', '.join(map(self.text.of, self.function.outputs))}", indent)
        return self.lines

    # Which values are used when.

    def _measure(self, body: Sequence[Any], at: int) -> int:
        """Notes where values are made and last used, and how often; what is used twice is not inlined."""
        for item in body:
            at += 1
            self.made.update(dict.fromkeys(item.results, at))
            if not isinstance(item, Call):
                at = self._measure(item.body, at) + 1
                for value in _made_inside(item):
                    self._note_use(value, at, 2)
            for value in item.values():
                self._note_use(value, at, 1 if isinstance(item, Call) else 2)
        return at

    def _note_use(self, value: Value, at: int, times: int) -> None:
        self.last[value] = max(self.last.get(value, 0), at)
        self.uses[value] = self.uses.get(value, 0) + times

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
        text = self.calls.of(item)
        if len(item.results) == 1 and item.results[0] not in self.forced:
            (made,) = item.results
            if (last and self.function.outputs == [made]) or self._may_inline(item, following, text, indent):
                main = self._main(item)
                if main is not None:
                    self.base[made] = main
                self.inlined.difference_update(item.values())
                self.inlined.add(made)
                self.names[made] = text
                return
        self.inlined.difference_update(item.values())
        names = [self._variable(item, value) for value in item.results]
        self._emit(f"{', '.join(names)} = {text}", indent)

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
            if indent + len(text) >= WIDTH // 2:
                return False
        elif following.array or following.function not in LIGHT or isinstance(following.inputs[0], tuple):
            return False
        self.names[made] = text
        outer = self.calls.of(following)
        del self.names[made]
        return indent + len(outer) + 12 <= WIDTH

    def _loop(self, item: Loop, indent: int) -> None:
        turn = next(name for name in COUNTERS if name not in self.turns.values() and name not in self.reserved)
        self.turns[item.turn] = turn
        self._before_loop(item, indent)
        lists = self._empty_lists(item, indent)
        header, variables = self._header(item, turn)
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
        self.reserved.difference_update(variables)
        del self.turns[item.turn]

    def _before_loop(self, item: Loop, indent: int) -> None:
        """Has what a loop hands on from turn to turn in variables that it may overwrite."""
        end = self.position + _length(item.body) + 1
        for inner, before, made, left in item.carried:
            name = self.names[before]
            needed = self.last.get(before, 0) > end or any(before in list(each.values()) for each in item.body)
            if needed or not name.isidentifier() or name in self.function.parameters:
                name = self._fresh(self._word(inner))
                self._emit(f"{name} = {self.names[before]}", indent)
                self.bound[name] = inner
            self.names[inner] = self.names[left] = name
            self.forced[made] = name
            self.bound[name] = inner

    def _empty_lists(self, item: Loop, indent: int) -> list[tuple[Value, str]]:
        """The lists that a loop appends to: what of each turn, and what they are called."""
        lists = []
        for made, kept in item.collected:
            name = self._fresh(_plural(self._word(made)))
            self.bound[name] = kept[-1]
            self.last[kept[-1]] = max(self.last.get(value, 0) for value in kept)
            lists.append((made, name))
            self.calls.lists[name] = kept
            left = [value for _, _, _, value in item.carried]  # it has a name already
            self.names.update({value: f"{name}[{i}]" for i, value in enumerate(kept) if value not in left})
            self._emit(f"{name} = []", indent)
        return lists

    def _header(self, item: Loop, turn: str) -> tuple[str, list[str]]:
        """The line that begins a loop, and the variables in it."""
        columns: dict[Any, str] = {}
        for key, value in _varying(item.body, item.turn):
            columns.setdefault(value, key)
        if not columns and not item.listed:
            return f"for {turn} in range({self.text.of(item.count)}):", []
        names, sources = [], []
        for inner, values in item.listed:
            name = self._fresh(self._word(inner))
            self.names[inner] = name
            self.bound[name] = inner
            self.reserved.add(name)
            names.append(name)
            sources.append(self.calls.collected(values) or self.text.of(tuple(values)))
        for value, key in columns.items():
            name = self._fresh(self._element(value, key))
            self.reserved.add(name)
            self.varying[value] = name
            names.append(name)
            sources.append(self._source(value.sequence) if isinstance(value, Each) else self.text.of(value.values))
        if len(names) == 1:
            source = sources[0]
        elif not item.listed and all(isinstance(column, Column) for column in columns):
            source = self.text.of(tuple(zip(*(column.values for column in columns), strict=True)))
        else:
            source = f"zip({', '.join(sources)}, strict=True)"
        listed = ", ".join(names)
        if not any(_uses_turn(each, item.turn) for each in item.body):
            return f"for {listed} in {source}:", names
        return f"for {turn}, {f'({listed})' if len(names) > 1 else listed} in enumerate({source}):", names

    def _element(self, value: Column | Each, key: str) -> str:
        """What an element of a sequence is called."""
        if isinstance(value, Each):
            return _singular(self._source(value.sequence))
        word = WORDS.get(key, key)
        several = any(isinstance(each, tuple) for each in value.values) and key not in ("shape", "dims", "kernel")
        return _plural(word) if several else word

    def _source(self, sequence: Any) -> str:
        """A sequence: an argument, or what an outer loop has for this turn."""
        return sequence.name if isinstance(sequence, Param) else self.varying[sequence]

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
        """The variable that a statement's result is assigned to."""
        if len(item.results) > 1 and not self.uses.get(value) and value not in self.forced:
            return "_"
        layers = isinstance(item.function, str) and value is not item.results[0]  # further results have their own word
        word = self._word(value, None if layers else item.path)
        name = self.forced.get(value) or self._reusable(item, value) or self._fresh(word)
        self.names[value] = name
        self.bound[name] = value
        return name

    def _reusable(self, item: Call, value: Value) -> str | None:
        """The variable that a statement is given, where its one result may overwrite it."""
        main = self._main(item)
        if main is None or not self._dead(main) or len(item.results) != 1 or value.kind != TENSOR:
            return None
        name = self.names[main]
        return name if self.bound.get(name) is main and not self._is_overwritten(name, value) else None

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
            parts = [part for part in self.calls.below(path) if isinstance(part, str) and not part.isdigit()]
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
        if name in self.reserved or name in self.turns.values() or name in TAKEN or keyword.iskeyword(name):
            return False
        value = self.bound.get(name)
        return value is None or self._dead(value)


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
                if not item.listed and not _varying(item.body, item.turn):  # else a sequence has as many turns
                    note("blocks", item.count)
            else:
                note("more", item.flag)
            found += _varying(item.body, turn)
    return found


def _uses_turn(item: Any, turn: Turn) -> bool:
    """Whether a statement needs the number of the turn: it counts, or is another in the first turn."""
    if not isinstance(item, Call):
        return any(_uses_turn(each, turn) for each in item.body)
    return any(counting(item, turn)) or any(
        isinstance(value, First) and value.turn is turn for value in item.options.values()
    )


def _plural(word: str) -> str:
    return word if word.endswith("s") else f"{word}s"


def _singular(name: str) -> str:
    return name[:-1] if name.endswith("s") and len(name) > 3 else f"{name}_"


def _length(body: Sequence[Any]) -> int:
    return sum(1 if isinstance(item, Call) else 2 + _length(item.body) for item in body)


def _made_inside(item: Loop | Cond) -> list[Value]:
    """What the statements inside of a loop or a condition make for those after it."""
    if isinstance(item, Cond):
        return [item.made]
    return [made for _, _, made, _ in item.carried] + [made for made, _ in item.collected]
