"""From units to functions: one for each class of modules, whose arguments are what differs between instances."""

import dataclasses
import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from netdefs.scaffold.fuse import fused
from netdefs.scaffold.loops import unrolled, with_loops
from netdefs.scaffold.optional import OptionalUnifier
from netdefs.scaffold.parameters import Parameters
from netdefs.scaffold.program import REQUIRED, Arg, Call, Function, Loop, Unit, count_statements, same_constant
from netdefs.scaffold.unify import Instance, Mismatch

RESERVED = ("define", "model", "net", "x", "define_network", "build_engine", "np", "partial")  # names in the file
HEAD = 4  # lines that a function has besides its body
FEW = 3  # instances of a class of two statements that are written out instead of being a function


def functions_of(
    roots: Sequence[Unit], known: Callable[[Unit], Call | None]
) -> tuple[list[Function], Function, list[dict[str, Arg]]]:
    """The functions of a draft, the one of the roots itself, and with which arguments each of the roots calls that.

    Args:
        roots: the units of the whole modules, one of each variant.
        known: gives the call of the library's block that a unit is, or None.

    Raises:
        Mismatch: the roots are not variants of one network.
    """
    return _Functions(roots, known).made()


@dataclasses.dataclass
class _Match:
    """Units that one pattern is of.

    Attributes:
        units: the first is the pattern of the others.
        unifier: what has matched them.
        body: the body of the first, with holes where the others differ.
    """

    units: list[Unit]
    unifier: OptionalUnifier
    body: list[Any]


@dataclasses.dataclass
class _Made:
    """A function, and the units that it was made of: what a call of it gives each of them."""

    function: Function
    units: list[Unit]
    inputs: list[list[Any]]
    arguments: list[dict[str, Arg]]


class _Functions:
    """Makes the functions: from the innermost units outwards, as units that are done become calls in others."""

    def __init__(self, roots: Sequence[Unit], known: Callable[[Unit], Call | None]) -> None:
        self.roots, self.known = roots, known
        self.functions: list[Function] = []
        self.names: set[str] = set(RESERVED)

    def made(self) -> tuple[list[Function], Function, list[dict[str, Arg]]]:
        """What `functions_of` gives."""
        while True:
            units = self._units()
            outer = {unit for unit in units if any(isinstance(item, Unit) for item in unit.body)}
            ready = [unit for unit in units if unit not in outer and unit not in self.roots]
            if not ready:
                break
            kinds = list(dict.fromkeys(unit.kind for unit in ready))
            waiting = {unit.kind for unit in outer}
            # Classes that are ready as a whole, so that one function may be made of each; else what there is.
            for kind in [kind for kind in kinds if kind not in waiting] or kinds:
                self._replace([unit for unit in ready if unit.kind is kind])
        for root in self.roots:
            _tidy(root)
        pattern = max(self.roots, key=lambda root: count_statements(root.body))
        found = self._made_of([pattern, *(root for root in self.roots if root is not pattern)], "define")
        if len(found) > 1:
            raise Mismatch
        (made,) = found
        return self.functions, made.function, [made.arguments[made.units.index(root)] for root in self.roots]

    def _units(self) -> list[Unit]:
        """All units that are left, each after those inside of it."""

        def below(unit: Unit) -> Iterator[Unit]:
            for item in unit.body:
                if isinstance(item, Unit):
                    yield from below(item)
            yield unit

        return [unit for root in self.roots for unit in below(root)]

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
        most = max((len(unit.body) for unit in rest), default=0)
        # A class whose calls do little is written out where it is called; so is a norm of its own class.
        if most <= 1 or (most <= 2 and len(rest) <= FEW) or all(_is_norm(unit) for unit in rest):
            for unit in rest:
                _put(parents[unit], unit, unit.body)
            return
        for unit in rest:
            _tidy(unit)
        found = self._made_of(rest, "")
        # What a container does depends on what is in it: written out where it is called it may be shorter.
        there = {}
        for unit in rest:
            parent = parents[unit]
            place = unit.path[len(parent.path) :]
            there[parent.kind, place, _skeleton(unit.body, unit.path)] = count_statements(unit.body)
        lines = sum(count_statements(made.function.body) + HEAD for made in found)
        if sum(there.values()) <= lines + len(there):
            for unit in rest:
                _put(parents[unit], unit, unit.body)
            return
        for made in found:
            made.function.name = self._name(made.function.kind.__name__)
            self.functions.append(made.function)
            for unit, inputs, arguments in zip(made.units, made.inputs, made.arguments, strict=True):
                _put(parents[unit], unit, [Call(made.function, inputs, unit.path, arguments, unit.outputs)])

    def _made_of(self, units: Sequence[Unit], name: str) -> list[_Made]:
        """Functions for units of one class: as few as can be."""
        alike: dict[Any, list[Unit]] = {}
        for unit in units:
            alike.setdefault(_skeleton(unit.body, unit.path), []).append(unit)
        joined: list[list[Unit]] = []
        for group in sorted(alike.values(), key=lambda group: -count_statements(group[0].body)):
            for other in joined:
                if _match([other[0], group[0]]) is not None and _match([*other, *group]) is not None:
                    other += group
                    break
            else:
                joined.append(group)
        return [_function(match, name) for group in joined for match in _matches(group)]

    def _name(self, kind: str) -> str:
        """A name that no function has, from that of a class: "BasicBlock" gives "basic_block"."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower().strip("_")
        name, number = words, 1
        while name in self.names or keyword.iskeyword(name):
            number += 1
            name = f"{words}_{number}"
        self.names.add(name)
        return name


def _tidy(unit: Unit) -> None:
    """Makes a unit's body as short as can be."""
    unit.body = with_loops(fused(unit.body, unit.outputs), unit.outputs)


def _match(units: Sequence[Unit]) -> _Match | None:
    """One pattern for units; None if there is none."""
    first = units[0]
    unifier = OptionalUnifier([Instance(unit.body, unit.path, unit.outputs) for unit in units], first.outputs)
    if len(units) == 1:
        unifier.instances[0].values = {value: value for value in [*first.inputs, *first.outputs]}
        return _Match([first], unifier, first.body)
    if len({len(unit.outputs) for unit in units}) != 1:
        return None
    try:
        body = unifier.body()
    except Mismatch:
        return None
    for value in first.outputs:
        known = unifier.renamed.get(value, value)
        for instance in unifier.instances:
            if instance.values.get(known, instance.values.get(value)) not in instance.outputs:
                return None
            instance.values.setdefault(value, instance.values.get(known))  # type: ignore[arg-type]
    return _Match(list(units), unifier, body)


def _matches(group: Sequence[Unit]) -> list[_Match]:
    """Patterns for units: as few as can be."""
    whole = _match(group)
    if whole is not None:
        return [whole]
    found: list[_Match] = []
    for unit in group:
        for i, part in enumerate(found):
            larger = _match([*part.units, unit])
            if larger is not None:
                found[i] = larger
                break
        else:
            alone = _match([unit])
            assert alone is not None
            found.append(alone)
    return found


def _function(match: _Match, name: str) -> _Made:
    """The function that units of one pattern become."""
    units, instances = match.units, match.unifier.instances
    first = units[0]
    parameters = Parameters(instances, first.inputs, match.body)
    body = unrolled(parameters.body)
    outputs = [match.unifier.renamed.get(value, value) for value in first.outputs]
    inputs = [[instance.values.get(value) for value in first.inputs] for instance in instances]
    made = [[instance.values[value] for value in first.outputs] for instance in instances]
    for unit, values in zip(units, made, strict=True):
        unit.outputs = values  # in the order of the pattern's
    arguments = parameters.arguments(len(units))
    defaults = parameters.defaults()
    examples = {key: value for given in reversed(arguments) for key, value in given.items()}
    function = Function(name, first.kind, list(first.inputs), body, outputs, defaults, first.path, examples)
    for given in arguments:
        for key, usual in defaults.items():
            if key in given and usual is not REQUIRED and same_constant(given[key], usual):
                del given[key]
    return _Made(function, units, inputs, arguments)


def _skeleton(body: Sequence[Any], path: Sequence[Any]) -> Any:
    """What the statements of a body call and where: bodies that may differ in constants have the same."""
    found: list[Any] = []
    for item in body:
        if isinstance(item, Call):
            found.append((item.function, None if item.path is None else tuple(map(str, item.path[len(path) :]))))
        else:
            found.append(("loop" if isinstance(item, Loop) else "if", _functions_called(item.body)))
    return tuple(found)


def _functions_called(body: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(item.function if isinstance(item, Call) else _functions_called(item.body) for item in body)


def _put(parent: Unit, unit: Unit, items: Sequence[Any]) -> None:
    """Puts statements in place of a unit."""
    if len(items) == 1 and isinstance(items[0], Call) and items[0].path == unit.path:
        # One call in place of all that the unit does: what it gives is called after the unit.
        for value in unit.outputs:
            value.hint = next((part for part in reversed(unit.path) if not part.isdigit()), "out")
    at = parent.body.index(unit)
    parent.body[at : at + 1] = items


def _is_norm(unit: Unit) -> bool:
    """Whether a unit's class is a norm of PyTorch's with more behind it, as a batch norm with its activation is."""
    first = unit.body[0]
    return isinstance(first, Call) and first.path == unit.path and "norm" in str(first.function) and len(unit.body) <= 3
