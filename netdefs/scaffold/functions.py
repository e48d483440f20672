"""From units to functions: one for each class of modules, whose arguments are what differs between instances."""

import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from netdefs.scaffold.fuse import fused
from netdefs.scaffold.loops import unrolled, with_loops
from netdefs.scaffold.parameters import Parameters, same_constant
from netdefs.scaffold.program import (
    REQUIRED,
    Arg,
    Call,
    Function,
    Loop,
    Unit,
)
from netdefs.scaffold.unify import Instance, Mismatch, Unifier

Known = Callable[[Unit], "Call | None"]
HEAD = 4  # lines that a function has besides its body
FEW = 3  # instances of a class of two statements that are written out instead of being a function


def functions_of(roots: Sequence[Unit], known: Known) -> tuple[list[Function], Function, list[dict[str, Arg]]]:
    """The functions of a draft, the one of the roots itself, and with which arguments each of the roots calls that.

    Args:
        roots: the units of the whole modules, one of each variant.
        known: gives the call of the library's block that a unit is, or None.

    Raises:
        Mismatch: the roots are not variants of one network.
    """
    return _Functions(roots, known).made()


class _Functions:
    def __init__(self, roots: Sequence[Unit], known: Known) -> None:
        self.roots, self.known = roots, known
        self.functions: list[Function] = []
        self.names: set[str] = set(RESERVED)

    def made(self) -> tuple[list[Function], Function, list[dict[str, Arg]]]:
        while True:
            ready = [unit for unit in self._units() if not any(isinstance(item, Unit) for item in unit.body)]
            ready = [unit for unit in ready if unit not in self.roots]
            if not ready:
                break
            kinds = dict.fromkeys(unit.kind for unit in ready)
            inner = {u.kind for u in self._units() if any(isinstance(item, Unit) for item in u.body)}
            whole = [kind for kind in kinds if kind not in inner] or list(kinds)
            for kind in whole:
                self._replace([unit for unit in ready if unit.kind is kind])
        for root in self.roots:
            self._tidy(root)
        pattern = max(self.roots, key=lambda root: _size(root.body))
        order = [pattern, *(root for root in self.roots if root is not pattern)]
        found = self._unified(order, "define")
        if len(found) > 1:
            raise Mismatch
        ((function, group, arguments),) = found
        return self.functions, function, [arguments[group.index(root)] for root in self.roots]

    def _units(self) -> list[Unit]:
        def below(unit: Unit) -> Iterator[Unit]:
            for item in unit.body:
                if isinstance(item, Unit):
                    yield from below(item)
            yield unit

        return [unit for root in self.roots for unit in below(root)]

    def _tidy(self, unit: Unit) -> None:
        unit.body = with_loops(fused(unit.body, unit.outputs), unit.outputs)

    def _replace(self, units: list[Unit]) -> None:
        """Puts calls, or what they are made of, in place of the units of one class."""
        parents = {item: unit for unit in self._units() for item in unit.body if isinstance(item, Unit)}
        rest = []
        for unit in units:
            call = self.known(unit)
            if call is None:
                rest.append(unit)
            else:
                _put(parents[unit], unit, [call])
        for unit in rest:
            unit.body = fused(unit.body, unit.outputs)
        # A class whose calls do little is written out where it is called; so is a norm of its own class.
        short = all(len(unit.body) <= 1 for unit in rest) or (
            all(len(unit.body) <= 2 for unit in rest) and len(rest) <= FEW
        )
        if rest and (short or all(_is_norm(unit) for unit in rest)):
            for unit in rest:
                _put(parents[unit], unit, unit.body)
            return
        for unit in rest:
            self._tidy(unit)
        made = self._unified(rest, "")
        # What a container does depends on what is in it: written out where it is called it may be shorter.
        there = {
            (parents[u].kind, u.path[len(parents[u].path) :], _skeleton(u.body, u.path)): _size(u.body) for u in rest
        }
        if sum(there.values()) <= sum(_size(function.body) + HEAD for function, _, _ in made) + len(there):
            for unit in rest:
                _put(parents[unit], unit, unit.body)
            return
        for function, group, arguments in made:
            function.name = self._name(function.kind.__name__)
            self.functions.append(function)
            for unit, options in zip(group, arguments, strict=True):
                inputs = self._inputs[unit]
                _put(parents[unit], unit, [Call(function, inputs, unit.path, options, unit.outputs)])

    def _unified(self, units: list[Unit], name: str) -> list[tuple[Function, list[Unit], list[dict[str, Arg]]]]:
        """Functions for units of one class: as few as can be."""
        self._inputs: dict[Unit, list[Any]] = {}
        buckets: dict[Any, list[Unit]] = {}
        for unit in units:
            buckets.setdefault(_skeleton(unit.body, unit.path), []).append(unit)
        groups = sorted(buckets.values(), key=lambda group: -_size(group[0].body))
        joined: list[list[Unit]] = []
        for group in groups:
            for other in joined:
                if _pattern([other[0], group[0]]) is not None and _pattern([*other, *group]) is not None:
                    other += group
                    break
            else:
                joined.append(group)
        made = []
        for group in joined:
            for part in _fitting(group):
                found = _pattern(part)
                assert found is not None
                made.append(self._function(part, found, name))
        return made

    def _function(
        self, group: list[Unit], found: tuple[Unifier, list[Any]], name: str
    ) -> tuple[Function, list[Unit], list[dict[str, Arg]]]:
        unifier, body = found
        first = group[0]
        parameters = Parameters(unifier.instances, [v.hint for v in first.inputs])
        body = unrolled([parameters.filled(item) for item in body])
        outputs = [unifier.renamed.get(value, value) for value in first.outputs]
        inputs = list(first.inputs)
        arguments = parameters.arguments(len(group))
        own = [(unifier.instances[k].values, unit) for k, unit in enumerate(group)]
        given = [
            ([values.get(value) for value in inputs], [values[value] for value in first.outputs]) for values, _ in own
        ]
        for unit, (its_inputs, its_outputs) in zip(group, given, strict=True):
            self._inputs[unit] = its_inputs
            unit.outputs = its_outputs
        defaults = parameters.defaults()
        examples = {key: value for options in reversed(arguments) for key, value in options.items()}
        function = Function(name, first.kind, inputs, body, outputs, defaults, first.path, examples)
        for options in arguments:
            for key, usual in defaults.items():
                if key in options and usual is not REQUIRED and same_constant(options[key], usual):
                    del options[key]
        return function, group, arguments

    def _name(self, kind: str) -> str:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower().strip("_")
        name, number = words, 1
        while name in self.names or keyword.iskeyword(name):
            number += 1
            name = f"{words}_{number}"
        self.names.add(name)
        return name


RESERVED = ("define", "model", "net", "x", "define_network", "build_engine", "np", "partial")


def _pattern(units: Sequence[Unit]) -> tuple[Unifier, list[Any]] | None:
    """One pattern for units; None if there is none."""
    instances = [Instance(unit.body, unit.inputs, unit.path, unit.outputs) for unit in units]
    if len(units) == 1:
        (unit,), (instance,) = units, instances
        instance.values = {value: value for value in [*unit.inputs, *unit.outputs]}
        return Unifier(instances), unit.body
    outputs = {len(unit.outputs) for unit in units}
    if len(outputs) != 1:
        return None
    unifier = Unifier(instances, outputs=units[0].outputs)
    try:
        body = unifier.body()
        for value in units[0].outputs:
            known = unifier.renamed.get(value, value)
            for unit, instance in zip(units, instances, strict=True):
                if instance.values.get(known, instance.values.get(value)) not in unit.outputs:
                    return None
                instance.values.setdefault(value, instance.values.get(known))  # type: ignore[arg-type]
    except Mismatch:
        return None
    return unifier, body


def _fitting(group: list[Unit]) -> list[list[Unit]]:
    """Units in as few parts as have a pattern each."""
    if _pattern(group) is not None:
        return [group]
    parts: list[list[Unit]] = []
    for unit in group:
        for part in parts:
            if _pattern([*part, unit]) is not None:
                part.append(unit)
                break
        else:
            parts.append([unit])
    return parts


def _skeleton(body: Sequence[Any], path: Sequence[Any]) -> Any:
    found: list[Any] = []
    for item in body:
        if isinstance(item, Call):
            rest = None if item.path is None else tuple(map(str, item.path[len(path) :]))
            found.append((item.function if isinstance(item.function, str) else id(item.function), rest))
        elif isinstance(item, Loop):
            found.append(("loop", tuple(_loop_skeleton(item.body))))
        else:
            found.append(("if", tuple(_loop_skeleton(item.body))))
    return tuple(found)


def _loop_skeleton(body: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for item in body:
        if isinstance(item, Call):
            found.append(item.function if isinstance(item.function, str) else id(item.function))
        else:
            found.append(tuple(_loop_skeleton(item.body)))
    return found


def _size(body: Sequence[Any]) -> int:
    return sum(1 if isinstance(item, Call) else 1 + _size(item.body) for item in body)


def _put(parent: Unit, unit: Unit, items: Sequence[Any]) -> None:
    if (
        len(items) == 1 and isinstance(items[0], Call) and items[0].path == unit.path
    ):  # one call in place of all that it does
        for value in unit.outputs:
            value.hint = next((part for part in reversed(unit.path) if not part.isdigit()), "out")
    at = parent.body.index(unit)
    parent.body[at : at + 1] = items


def _is_norm(unit: Unit) -> bool:
    """Whether a unit's class is a norm of PyTorch's with more behind it, as a batch norm with its activation is."""
    first = unit.body[0]
    return isinstance(first, Call) and first.path == unit.path and "norm" in str(first.function) and len(unit.body) <= 3
