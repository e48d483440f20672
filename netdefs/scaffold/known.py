"""Blocks of the library that a call of a module is: recognized by its statements, and proven layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netdefs.core.errors import NetdefsError
from netdefs.scaffold import candidates_ultralytics as ultralytics
from netdefs.scaffold.candidates import BLOCKS, Guess, Options, Parts
from netdefs.scaffold.program import TENSOR, Arg, Call, Dim, Math, Name, Unit, Value
from netdefs.scaffold.proof import Body

Found = tuple[str, Options]  # a block, and what it is given


class Known:
    """Finds the blocks that units are.

    Args:
        roots: the units of the whole modules, as they were traced: what is replaced in them later does not matter.
        inputs: the tensors that they were traced with, by name: they tell numbers for sizes that were left open.
    """

    def __init__(self, roots: Sequence[Unit], inputs: Mapping[str, Any]) -> None:
        self._sizes = _sizes(roots, inputs)
        self._bodies = {unit: tuple(unit.body) for root in roots for unit in _below(root)}
        self._blocks_of: dict[Unit, Call] = {}  # what was found already
        self._found: dict[Any, Found | None] = {}
        self._modules: dict[str, str] = {}  # a block's name -> the module of the library that it is taken from
        self._blocks = dict(BLOCKS)
        if any(ultralytics.is_made_of(body, unit.path) for unit, body in self._bodies.items()):
            self._blocks |= ultralytics.BLOCKS

    def __call__(self, unit: Unit) -> Call | None:
        """The call of the library's block that adds the layers of a unit; None if there is none."""
        calls = list(self._statements(unit))
        if any(call.function == "gap" for call in calls):
            return None
        if len(unit.inputs) != 1 or len(unit.outputs) != 1 or len(calls) < 2 or not unit.path:
            return None
        (given,), (made,) = unit.inputs, unit.outputs
        if given.kind != TENSOR or made.kind != TENSOR or given.dtype != "float32" or len(given.shape) != 4:
            return None
        if not isinstance(given.shape[1], int):
            return None  # no channels
        key = _identity(calls, unit, given, made)
        if key not in self._found:
            self._found[key] = self._proven(calls, unit, given, made)
        found = self._found[key]
        if found is None:
            return None
        options = {key: Name((*unit.path, *v.path)) if isinstance(v, Name) else v for key, v in found[1].items()}
        self._blocks_of[unit] = call = Call(found[0], [given], unit.path, options, [made], named=True)
        return call

    def _statements(self, unit: Unit, blocks: bool = False) -> Iterator[Call]:
        """The statements of a unit and of its children; if `blocks`, of these the blocks that they are."""
        for item in self._bodies[unit]:
            if isinstance(item, Call):
                yield item
            elif blocks and item in self._blocks_of:
                yield self._blocks_of[item]
            else:
                yield from self._statements(item, blocks)

    def _proven(self, calls: Sequence[Call], unit: Unit, given: Value, made: Value) -> Found | None:
        parts = Parts(calls, unit.path, given)
        body = None
        for function, guess in self._blocks.items():
            module, _, name = function.rpartition(".")
            options = _guessed(guess, parts)
            if options is None or self._modules.get(name, module) != module:
                continue  # of two blocks of one name a file can have one
            if body is None:
                shape = self._shape(given)
                if shape is None:
                    return None
                try:
                    body = Body(list(self._statements(unit, blocks=True)), unit.path, unit.module, shape, given, made)
                except NetdefsError:
                    return None  # it has weights of other modules, or can't be had: the check of the draft will tell
            if body.is_added_by(function, options):
                self._modules[name] = module
                return function, options
        return None

    def _shape(self, given: Value) -> tuple[int, ...] | None:
        """Numbers for a shape, of a map of 2 x 2 pixels or more if it can be; None if there are none."""
        shape: tuple[int, ...] = ()
        for factor in (1, 2, 4):
            numbers = {symbol: number * factor for symbol, number in self._sizes.items()}
            found = [size if isinstance(size, int) else size.subs(numbers) for size in given.shape]
            if not all(isinstance(size, int) or size.is_number for size in found):
                return None
            shape = tuple(map(int, found))
            if min(shape[2:], default=2) >= 2:
                break
        return shape


def _guessed(guess: Guess, parts: Parts) -> Options | None:
    """The arguments with which a module could be a block; None where it has no such parts."""
    try:
        return guess(parts)
    except (LookupError, ValueError, TypeError, ZeroDivisionError):
        return None


def _below(unit: Unit) -> Iterator[Unit]:
    for item in unit.body:
        if isinstance(item, Unit):
            yield from _below(item)
    yield unit


def _sizes(roots: Sequence[Unit], inputs: Mapping[str, Any]) -> dict[Any, int]:
    """A number for every open size: those of height and width differ."""
    found: dict[Any, int] = {}
    for root in roots:
        for value in root.inputs:
            if value.hint not in inputs:
                continue
            for axis, (size, number) in enumerate(zip(value.shape, inputs[value.hint].shape, strict=True)):
                if not isinstance(size, int) and size not in found:
                    found[size] = int(number) * (2 if axis == 3 else 1)
    return found


def _identity(calls: Sequence[Call], unit: Unit, given: Value, made: Value) -> Any:
    """What two units have in common if they are the same but for where they are."""
    numbers: dict[Value, int] = {given: 0}

    def of(arg: Arg) -> Any:
        if isinstance(arg, Value):
            return "value", numbers.setdefault(arg, len(numbers))
        if isinstance(arg, Dim):
            return "size", of(arg.value), arg.axis
        if isinstance(arg, Math):
            return arg.operator, of(arg.left), of(arg.right)
        if isinstance(arg, tuple | list):
            return tuple(map(of, arg))
        return arg.numpy().tobytes() if hasattr(arg, "numpy") else repr(arg)

    rows = []
    for call in calls:
        path = call.path
        if path is not None and path[: len(unit.path)] == unit.path:
            path = (".", *path[len(unit.path) :])
        options = tuple((key, of(value)) for key, value in sorted(call.options.items()))
        rows.append((call.function, of(call.inputs), path, options, of(call.results)))
    modules = tuple(name for name, _ in unit.module.named_modules())
    return tuple(rows), modules, str(given.shape), of(made)
