"""From a traced graph to units: the body of every call of a module, each operator lowered to one statement."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from netdefs.core.errors import NetdefsError
from netdefs.scaffold.capture import Captured
from netdefs.scaffold.names import Names
from netdefs.scaffold.ops import ARRAYS, LOWERINGS
from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.table import Unsupported
from netdefs.scaffold.program import ARRAY, TENSOR, Call, Fixed, Unit, Value, values_in
from netdefs.scaffold.sizes import plain

CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")


@dataclasses.dataclass(frozen=True)
class Gap:
    """An operator that can't be expressed.

    Attributes:
        operator: as PyTorch calls it.
        path: the module that calls it.
        source: the line of PyTorch's source, if it is known.
        reason: why not.
    """

    operator: str
    path: str
    source: str
    reason: str


class GapsError(NetdefsError):
    """Operators can't be expressed."""

    def __init__(self, gaps: Sequence[Gap]) -> None:
        self.gaps = list(gaps)
        places: dict[tuple[str, str, str], list[str]] = {}
        for gap in gaps:
            places.setdefault((gap.operator, gap.source, gap.reason), []).append(gap.path or "the module itself")
        lines = [
            f"  {operator} in {paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}{source}: {reason}"
            for (operator, source, reason), paths in places.items()
        ]
        super().__init__(
            "These operators can't be expressed; --partial writes the draft with a gap at each:\n" + "\n".join(lines)
        )


class Builder:
    """Builds the units of a traced module.

    Args:
        captured: the trace.
        names: gives layers their paths.
        partial: an operator that can't be expressed becomes a gap, which is an input of the network.
    """

    def __init__(self, captured: Captured, names: Names, partial: bool = False) -> None:
        self.captured = captured
        self.names = names
        self.partial = partial
        self.gaps: list[Gap] = []
        self.flattened: set[str] = set()  # modules whose calls are no units: what they do is not in one piece
        self.modules: Mapping[str, Any] = dict(captured.module.named_modules())

    def build(self) -> Unit:
        """The unit of the whole module.

        Raises:
            GapsError: operators can't be expressed, and there may be no gaps.
        """
        while True:
            self.env: dict[Any, Any] = {}
            self.gaps.clear()
            self._units: dict[tuple[Any, ...], Unit] = {}
            self.root = Unit((), type(self.captured.module), self.captured.module, [], [], [])
            self.parents: dict[Unit, Unit] = {}
            self.parameters: dict[tuple[Unit, Value], Value] = {}
            self.complex: dict[Value, tuple[Value, ...]] = {}  # values of gaps -> what these take
            self.made: set[Value] = set()  # arrays that a statement gives
            self.names.restart()
            self._lower()
            torn = self._torn()
            if not torn:
                break
            self.flattened |= torn
        if self.gaps and not self.partial:
            raise GapsError(self.gaps)
        outputs = [self.env[node] for node in _leaves(self.captured.outputs)]
        connect(self.root, outputs)
        self.inner = name_results(self.root, self.names)
        return self.root

    def ancestors(self, unit: Unit) -> Iterator[Unit]:
        """A unit, the one around it, and so on."""
        yield unit
        while unit in self.parents:
            unit = self.parents[unit]
            yield unit

    def _lower(self) -> None:
        graph = self.captured.graph
        # What is no tensor is a size: where it is used, it is told from shapes at hand.
        nodes = [node for node in graph.nodes if node.op == "call_function" and _is_tensor(node.meta.get("val"))]
        for node in graph.nodes:
            if node.op == "placeholder":
                self.env[node] = self._placeholder(node)
        stacks = dict(zip(nodes, self._stacks(nodes), strict=True))
        for node in nodes:
            scope, leaf = self._owner(stacks[node])
            if leaf is None:
                self.names.count(scope, node)
        for node in nodes:
            unit = self._unit(stacks[node])
            before = len(unit.body)
            op = Op(self, node, unit, stacks[node])
            try:
                self.env[node] = self._result(op)
            except Unsupported as error:
                del unit.body[before:]
                self.gaps.append(Gap(str(node.target), stacks[node][-1][0], source_of(node), str(error)))
                self.env[node] = op.gap()

    def _result(self, op: Op) -> Any:
        name = str(op.node.target)
        if any(value in self.complex for value in values_in(op.arguments)):
            raise Unsupported("it takes complex numbers, which TensorRT does not have.")
        if op.is_known:
            lowering = ARRAYS.get(name)
            if lowering is None:
                if (found := op.folded()) is not None:
                    return found
                lowering = LOWERINGS.get(name)
        else:
            lowering = LOWERINGS.get(name)
        if lowering is None:
            raise Unsupported("there is no layer or block for it.")
        return lowering(op)

    def _placeholder(self, node: Any) -> Value:
        value = node.meta["val"]
        shape = tuple(plain(n) for n in value.shape)
        dtype = str(value.dtype).removeprefix("torch.")
        if node.name in self.captured.weights:
            return Value(ARRAY, shape, dtype, hint="weight", weight=self.captured.weights[node.name])
        if node.name in self.captured.constants:
            fixed = self.captured.constants[node.name].detach()
            return Value(ARRAY, shape, dtype, hint=_constant_word(node.name), fixed=fixed)
        value = Value(TENSOR, shape, dtype, hint=self.captured.inputs[node.name])
        self.root.inputs.append(value)
        return value

    def _stacks(self, nodes: Iterable[Any]) -> Iterator[list[tuple[str, int, Any]]]:
        """Of every node the calls of modules it is in, the outermost first: path, how many calls before, module."""
        last: list[tuple[str, int, Any]] = [("", 0, self.captured.module)]
        for node in nodes:
            found = [("", 0, self.captured.module)]
            for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
                path = path.split("@")[0]
                if not path or path not in self.modules:
                    continue
                number = re.search(r"@(\d+)$", key)
                found.append((path, int(number.group(1)) if number else 0, self.modules[path]))
            if len(found) == 1 and "nn_module_stack" not in node.meta:
                found = last
            last = found
            yield found

    def _is_unit(self, path: str, module: Any) -> bool:
        if path in self.flattened:
            return False
        if self.is_leaf(module):
            return any(True for _ in module.children())  # nn.MultiheadAttention and the like
        return not type(module).__module__.startswith("torch.nn.modules")

    def _unit(self, stack: Sequence[tuple[str, int, Any]]) -> Unit:
        unit = self.root
        key: tuple[tuple[str, int], ...] = ()
        for path, number, module in stack[1:]:
            if not self._is_unit(path, module):
                continue
            key = (*key, (path, number))
            if key not in self._units:
                inner = Unit(self.place(unit, path, number), type(module), module, [], [], [])
                self._units[key] = inner
                self.parents[inner] = unit
                unit.body.append(inner)
            unit = self._units[key]
        return unit

    def place(self, unit: Unit, path: str, number: int) -> tuple[str, ...]:
        """The path of a call inside of a unit, which may itself be one of several calls."""
        own = [part.split("@")[0] for part in unit.path]
        parts = path.split(".")
        rest = parts[len(own) :] if parts[: len(own)] == own else parts
        base = unit.path if parts[: len(own)] == own else ()
        # Of a module without weights the calls need not be told apart by place: its functions have names of their own.
        if number and rest and self.modules[path].state_dict():
            rest[-1] = f"{rest[-1]}@{number}"
        return (*base, *rest)

    def is_leaf(self, module: Any) -> bool:
        """Whether a module is a layer of PyTorch's own."""
        kind = type(module)
        return kind.__module__.startswith("torch.nn.modules") and kind.__name__ not in CONTAINERS

    def fetched(self, value: Value, unit: Unit, number: bool = True) -> Value | float | int:
        """An array that a statement of `unit` may use: weights are fetched by the module that has them.

        Args:
            value: the array.
            unit: the body.
            number: a constant of rank 0 is given as a number.
        """
        if number and value.fixed is not None and not value.shape and value not in self.made:
            found: float | int = value.fixed.item()
            return found
        if value in self.made or not (value.weight or value.fixed is not None):
            return value
        owner = unit
        if value.weight:
            key = value.weight.split(".")
            owner = next(u for u in self.ancestors(unit) if key[: len(u.path)] == _plain(u.path))
        if (owner, value) not in self.parameters:
            made = dataclasses.replace(value, weight="", hint=value.weight.rpartition(".")[2] or value.hint)
            self.made.add(made)
            self.parameters[owner, value] = made
            if value.weight:
                call = Call("parameter", [], tuple(value.weight.split(".")), {"shape": value.shape}, [made])
                if value.dtype != "float32":
                    call.options["dtype"] = value.dtype
            else:
                call = Call("fixed", [], None, {"value": Fixed(value.fixed.numpy())}, [made], array=True)
            place = len(owner.body)
            if owner is not unit:
                inner = next(u for u in self.ancestors(unit) if self.parents.get(u) is owner)
                place = owner.body.index(inner)
            owner.body.insert(place, call)
        return self.parameters[owner, value]

    def _owner(self, stack: Sequence[tuple[str, int, Any]]) -> tuple[str, Any]:
        """The module in whose forward a function is called, and the layer of PyTorch's that it is, or None."""
        path, _, module = stack[-1]
        return (path, module) if self.is_leaf(module) else (path, None)

    def _torn(self) -> set[str]:
        """Modules that use what is made outside of them after they have begun: their calls are not in one piece."""
        made: dict[Value, tuple[int, ...]] = {}
        used: list[tuple[tuple[int, ...], list[Unit], Call]] = []

        def visit(unit: Unit, prefix: tuple[int, ...], chain: list[Unit]) -> None:
            for i, item in enumerate(unit.body):
                if isinstance(item, Unit):
                    visit(item, (*prefix, i), [*chain, item])
                else:
                    made.update(dict.fromkeys(item.results, (*prefix, i)))
                    used.append(((*prefix, i), chain, item))

        visit(self.root, (), [self.root])
        found = set()
        for place, chain, call in used:
            for value in call.values():
                there = made.get(value, ())
                if there > place:
                    level = next(k for k, (a, b) in enumerate(zip(there, place, strict=False)) if a != b)
                    found.add(".".join(part.split("@")[0] for part in chain[level + 1].path))
        return found


def connect(root: Unit, outputs: Sequence[Value]) -> None:
    """Tells every unit what it takes from outside, and what of it is used outside; removes what nobody uses."""
    _remove_unused(root, set(outputs))
    needed = list(outputs)

    def visit(unit: Unit, needed: set[Value]) -> None:
        inside = [value for item in unit.body for value in _made(item)]
        own = set(inside)
        unit.outputs = [value for value in inside if value in needed]
        for i, item in enumerate(unit.body):
            if isinstance(item, Unit):
                later = {value for other in unit.body[i + 1 :] for value in _used(other)}
                visit(item, later | needed)
        taken = dict.fromkeys(value for item in unit.body for value in _used(item) if value not in own)
        unit.inputs = list(taken)

    visit(root, set(needed))
    root.outputs = needed  # in the order in which the module returns them


def _made(item: Call | Unit) -> list[Value]:
    return item.results if isinstance(item, Call) else [value for each in item.body for value in _made(each)]


def _used(item: Call | Unit) -> Iterator[Value]:
    if isinstance(item, Call):
        yield from item.values()
        return
    own = {value for each in item.body for value in _made(each)}
    yield from (value for each in item.body for value in _used(each) if value not in own)


def _remove_unused(unit: Unit, needed: set[Value]) -> None:
    for i in reversed(range(len(unit.body))):
        item = unit.body[i]
        if isinstance(item, Unit):
            _remove_unused(item, needed)
            if not item.body:
                del unit.body[i]
        elif needed.isdisjoint(item.results):
            del unit.body[i]
        else:
            needed.update(item.values())


def name_results(unit: Unit, names: Names) -> set[str]:
    """Names what a module returns after the module, if that is the result of a function.

    A module of its own class may go on behind the layer whose weights it has, as a batch norm with its activation does:
    the layer is then called after its function, "bn1.batch_norm". Gives the words of such functions.
    """
    words = {word for item in unit.body if isinstance(item, Unit) for word in name_results(item, names)}
    if not unit.path:
        return words
    for item in unit.body:
        if isinstance(item, Call) and item.path == unit.path and item.named and item.results != unit.outputs:
            names.release(unit.path)
            item.path = names.free((*unit.path, item.function))
            words.add(item.path[-1])
    for item in unit.body:
        unnamed = isinstance(item, Call) and item.results == unit.outputs and not (item.named or item.array)
        if unnamed and names.reserve(unit.path):
            item.path = unit.path
    return words


def source_of(node: Any) -> str:
    """Where PyTorch's source calls an operator, for messages: " (file.py, line 12: `code`)"."""
    lines = re.findall(r'File "([^"]+)", line (\d+), in .*\n\s*(.*)', node.meta.get("stack_trace") or "")
    own = [line for line in lines if "/torch/nn/" not in line[0]]
    if not own:
        return ""
    file, number, code = own[-1]
    return f" ({file.rsplit('/', 1)[-1]}, line {number}: `{code.strip()}`)"


def _leaves(structure: Any) -> Iterator[Any]:
    if isinstance(structure, dict):
        for each in structure.values():
            yield from _leaves(each)
    elif isinstance(structure, list | tuple):
        for each in structure:
            yield from _leaves(each)
    elif structure is not None:
        yield structure


def _constant_word(placeholder: str) -> str:
    words = re.sub(r"^(c|b)_|_?lifted_tensor_\d+$", "", placeholder).split("_")
    return words[-1] if words and words[-1].isalpha() else "constant"


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") or (isinstance(value, tuple | list) and any(hasattr(v, "shape") for v in value))


def _plain(path: Sequence[str]) -> list[str]:
    """The path of the module, of any of its calls."""
    return [part.split("@")[0] for part in path]
