"""An operator of a traced module while it is lowered to a statement."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from netdefs.scaffold.batches import Size
from netdefs.scaffold.capture import is_in_place
from netdefs.scaffold.names import function_of
from netdefs.scaffold.ops.table import OpenSize, Unsupported
from netdefs.scaffold.program import ARRAY, SIZE, TENSOR, Arg, Call, Dim, Math, Name, Unit, Value, values_in
from netdefs.scaffold.sizes import plain, resolve

if TYPE_CHECKING:
    from netdefs.scaffold.units import Builder

# Methods any of whose inputs may be an array, as long as one is a tensor. Of others the first must be a tensor.
MIXED = {
    *("add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "minimum", "maximum"),
    *("eq", "ne", "gt", "lt", "ge", "le", "logical_and", "logical_or", "logical_xor", "where", "masked_fill"),
    *("concat", "stack", "matmul", "einsum", "slice_scatter", "select_scatter", "grid_sample"),
}
UNBACKED = ("u", "zuf")  # how torch.export's symbols begin that depend on values
ALONE = {"expand", "index"}  # methods whose first input may be an array: another argument is a tensor


class Op:
    """One operator.

    Args:
        builder: whose.
        node: its node in the trace.
        unit: the body that its statement goes to.
        stack: the calls of modules that it is in, the outermost first: path, how many calls before, module.
    """

    def __init__(self, builder: "Builder", node: Any, unit: Unit, stack: Sequence[tuple[str, int, Any]]) -> None:
        self.builder, self.node, self.unit, self.stack = builder, node, unit, stack
        schema = getattr(node.target, "_schema", None)
        self.given: dict[str, Any] = {}
        for i, argument in enumerate(schema.arguments if schema is not None else ()):
            if i < len(node.args) and not argument.kwarg_only:
                value = node.args[i]
            else:
                value = node.kwargs.get(argument.name, argument.default_value)
            self.given[argument.name] = self._seen(value)
        self.arguments = list(self.given.values()) if schema is not None else [self._seen(arg) for arg in node.args]

    def __getitem__(self, name: str) -> Any:
        """An argument by its name in ATen's schema: a `Value`, a number, a size, a list of these; or its default."""
        return self.given[name]

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of its result (of the first, if it has several): ints, and sympy expressions of the input's."""
        return self.shapes[0]

    @property
    def shapes(self) -> list[tuple[Any, ...]]:
        """The shapes of its results."""
        found = self.node.meta["val"]
        several = found if isinstance(found, tuple | list) else [found]
        return [tuple(plain(n) for n in each.shape) if hasattr(each, "shape") else () for each in several]

    @property
    def is_known(self) -> bool:
        """Whether all that it is given is known while the network is defined."""
        return all(value.kind != TENSOR for value in values_in(list(self.arguments)))

    def is_batch(self, size: Any) -> bool:
        """Whether a size depends on the batch, which is not known while the network is defined."""
        return not isinstance(size, int) and not self.builder.captured.batch.isdisjoint(size.free_symbols)

    def size(self, size: Any) -> Arg:
        """A size as an expression over shapes at hand.

        Raises:
            Unsupported: it depends on the batch, or on the values of a tensor.
            OpenSize: it can't be told from shapes.
        """
        if isinstance(size, int | Dim | Math):
            return size
        if any(symbol.name.startswith(UNBACKED) for symbol in getattr(size, "free_symbols", ())):
            raise Unsupported("it needs a number that is one of a tensor's values, as .item() gives it.")
        if self.is_batch(size):
            raise Unsupported("it needs the size of the batch as a number.")
        found = resolve(size, [value for value in self.near() if value not in self.builder.complex])
        if found is None:
            raise OpenSize(f"the size {size} can't be told from the shapes at hand.")
        return found

    def sizes(self, sizes: Sequence[Any]) -> tuple[Arg, ...]:
        """Several, as `size`."""
        return tuple(self.size(size) for size in sizes)

    def near(self) -> Iterator[Value]:
        """The values that a statement here may use, the nearest first; those that fetch a weight left out."""
        yield from (value for value in values_in(list(self.arguments)) if not value.weight)
        for unit in self.builder.ancestors(self.unit):
            for item in reversed(unit.body):
                if isinstance(item, Call):
                    yield from item.results
                    yield from (value for value in item.values() if not value.weight)
                elif last := _last(item):
                    yield from last.results  # most likely what it returns
            yield from unit.inputs

    def with_batch(self, size: Any, axis: int) -> Value:
        """A tensor that has a size of the batch along an axis, to take it from while the network runs.

        Raises:
            Unsupported: there is none.
        """
        for value in self.near():
            if value.kind == TENSOR and axis < len(value.shape) and value.shape[axis] == size:
                return value
        raise Unsupported(f"no tensor at hand has the size of the batch along axis {axis}.")

    def tensor(self, value: Value) -> Value:
        """A value as a tensor of the network: arrays become constants, floating-point ones of the network's type."""
        if value.kind == TENSOR:
            return value
        like = next((v for v in self.near() if v.kind == TENSOR and v.dtype.startswith("float")), None)
        return self.constant(value, like if value.dtype.startswith("float") else None)

    def shape_of(self, wanted: Sequence[Any], x: Value) -> tuple[Arg, ...]:
        """A shape as `Network.reshape` of x takes it: 0 where x has that size there, -1 for one that follows."""
        found: list[Arg] = []
        for axis, size in enumerate(wanted):
            if isinstance(size, int):
                found.append(size)
            elif axis < len(x.shape) and x.shape[axis] == size:
                found.append(0)
            elif self.is_batch(size):
                found.append(-1)
            else:
                found.append(self.size(size))
        if sum(isinstance(size, int) and size == -1 for size in found) > 1:
            several = "two axes of its shape depend on the batch."
            others = {each for size in wanted if self.is_batch(size) for each in size.free_symbols}
            raise (OpenSize if others - self.builder.captured.batch else Unsupported)(several)
        return tuple(found)

    # What a lowering ends with.

    def layer(
        self,
        method: str,
        *inputs: Any,
        path: tuple[str, ...] | None = None,
        results: int | None = None,
        part: str = "",
        sizes: Sequence[Any] | None = None,
        holds: str = "",
        **options: Arg,
    ) -> Any:
        """Adds `net.method(*inputs, name, **options)`; gives its value, or a tuple of `results` values.

        Args:
            method: a method of Network, or "blocks.NAME", a function of netdefs.core.blocks.
            inputs: what comes before the name: values, numbers or tuples of values. Arrays become tensors where the
                method takes no arrays.
            path: the layer's full path, for layers with weights: by default it is named as compare names the function.
            results: how many values it gives as a list, None for one that is no list.
            part: of an operator that takes several statements, what one before the last does: its name.
            sizes: of its results, if their shape is not that of the operator's.
            holds: the type of its results, if it is not that of the operator's.
            options: what comes behind the name; those at their default should be left out.
        """
        named = path is not None
        if part:
            path = self.builder.names.free((*self.unit.path, part))
        elif path is None:
            path, named = self._path()
        else:
            self.builder.names.reserve(path)
        made = self._values(TENSOR, results, sizes, holds)
        inputs = self._tensors(method, inputs, options)
        for value in made:
            value.maker = path if named else ()
            value.hint = _hint(path)
        inputs = tuple(self._ready(each) for each in inputs)
        options = {key: self._ready(each) for key, each in options.items()}
        self.unit.body.append(Call(method, list(inputs), path, options, made, named=named))
        return made[0] if results is None else tuple(made)

    def array(
        self,
        template: str,
        *inputs: Any,
        results: int | None = None,
        sizes: Sequence[Any] | None = None,
        holds: str = "",
        **options: Arg,
    ) -> Any:
        """Adds a statement of numpy's, such as "{0}.reshape({shape})": numbers are inputs, words are options.

        `results`, `sizes` and `holds` are as in `layer`.
        """
        made = self._values(ARRAY, results, sizes, holds)
        inputs = tuple(self._ready(each) for each in inputs)
        options = {key: self._ready(each) for key, each in options.items()}
        call = Call(template, list(inputs), None, options, made, array=True)
        self.unit.body.append(call)
        self.builder.made.update(made)
        found = None if sizes is not None or holds else self._evaluated()
        for value, fixed in zip(made, [found] if results is None else found or (), strict=False):
            value.fixed = fixed
        return made[0] if results is None else tuple(made)

    def constant(self, array: Value, like: Value | None) -> Value:
        """An array as a tensor of the network, in the type of the tensor `like`, or of its own."""
        path = self.builder.names.free((*self.unit.path, array.weight.rpartition(".")[2] or "constant"))
        made = Value(TENSOR, array.shape, array.dtype, hint=array.hint)
        ready = self.builder.fetched(array, self.unit, number=False)
        self.unit.body.append(Call("constant", [ready], path, {} if like is None else {"like": like}, [made]))
        return made

    def module_path(self, weight: Value) -> tuple[str, ...]:
        """The full path of the layer that has a weight, such as ("layer1", "0", "conv1")."""
        key = weight.weight.rpartition(".")[0]
        number = next((k for path, k, _ in reversed(self.stack) if path == key), 0)
        return self.builder.place(self.unit, key, number) if key else ()

    def ends(self, path: str) -> bool:
        """Whether its result is what a module that it is in returns: nothing inside uses it."""
        for user in self.node.users:
            stack = user.meta.get("nn_module_stack") or {}
            if any(inner.split("@")[0] == path for inner, _ in stack.values()):
                return False
        return True

    def gap(self) -> Any:
        """Stands for what can't be expressed: an input of the network, of its name and shape.

        TensorRT has no complex numbers: such a gap only passes on what it takes, to the gap that follows.
        """
        path, _ = self._path()
        several = isinstance(self.node.meta["val"], tuple | list)
        made = self._values(TENSOR, len(self.shapes) if several else None)
        given, takes = list(values_in(list(self.arguments))), self.builder.complex
        inputs = tuple(dict.fromkeys(x for value in given if value.kind == TENSOR for x in takes.get(value, (value,))))
        weights = list(dict.fromkeys(value.weight for value in given if value.weight))
        options: dict[str, Arg] = {}
        if weights:
            owner = weights[0].split(".")[:-1]
            options["weights"] = Name(tuple(weights[0].split(".") if len(weights) == 1 else (*owner, "*")))
        options["reason"] = f"{self.node.target}"
        for i, (value, sizes) in enumerate(zip(made, self.shapes, strict=True)):
            if value.dtype.startswith("complex"):
                takes[value] = inputs
                continue
            place = path if len(made) == 1 else (*path, str(i))
            kind = {} if value.dtype == "float32" else {"dtype": value.dtype}
            shape = tuple(self._gap_size(n) for n in sizes) if self.builder.partial else ()  # else no one will see it
            taken = inputs[0] if len(inputs) == 1 else inputs
            self.unit.body.append(Call("gap", [taken], place, {"shape": shape, **kind, **options}, [value]))
        return tuple(made) if several else made[0]

    def _gap_size(self, size: Any) -> Arg:
        """A size of a gap, whose batch is written -1, twice the batch -2."""
        if not self.is_batch(size):
            return self.size(size)
        factors = [size / symbol for symbol in size.free_symbols]
        if len(factors) != 1 or not factors[0].is_Integer:
            raise Unsupported(f"{self.node.target} can't be left out either: the size {size} depends on the batch.")
        return -int(factors[0])

    def folded(self) -> Value | None:
        """Its result as an array that is known already; None if it depends on weights or on the input's size."""
        value = self._evaluated()
        if value is None or not hasattr(value, "shape"):
            return None
        return Value(ARRAY, tuple(value.shape), str(value.dtype).removeprefix("torch."), hint="constant", fixed=value)

    # Inside.

    def _seen(self, arg: Any) -> Any:
        if hasattr(arg, "meta"):
            if arg in self.builder.env:
                return self.builder.env[arg]
            return plain(arg.meta["val"])
        if isinstance(arg, tuple | list):
            return [self._seen(each) for each in arg]
        return plain(arg)

    def _ready(self, arg: Any) -> Any:
        """An argument that may be used in this unit: weights are fetched, constants written, sizes told from shapes."""
        if isinstance(arg, Value) and arg.kind == ARRAY:
            return self.builder.fetched(arg, self.unit)
        if isinstance(arg, tuple | list):
            return tuple(self._ready(each) for each in arg)
        return self.size(arg) if hasattr(arg, "free_symbols") else arg

    def _tensors(self, method: str, inputs: tuple[Any, ...], options: dict[str, Arg]) -> tuple[Any, ...]:
        """Inputs of a method, arrays as tensors where it takes none."""
        values = list(values_in([list(inputs), list(options.values())]))
        if method in ALONE or (method in MIXED and any(value.kind == TENSOR for value in values)):
            return inputs
        place = next((i for i, each in enumerate(inputs) if any(True for _ in values_in(each))), None)
        if place is None:
            return inputs
        first = inputs[place]
        if isinstance(first, Value):
            made: Any = self.tensor(first)
        else:
            made = (self.tensor(first[0]), *first[1:])
        return (*inputs[:place], made, *inputs[place + 1 :])

    def _values(
        self, kind: str, results: int | None, sizes: Sequence[Any] | None = None, holds: str = ""
    ) -> list[Value]:
        found = self.node.meta["val"]
        several = list(found) if isinstance(found, tuple | list) else [found]
        shapes = self.shapes
        if len(several) < (results or 1):  # a part of what the statement gives
            several, shapes = several * (results or 1), shapes * (results or 1)
        made = []
        for each, own in list(zip(several, shapes, strict=True))[: results or 1]:
            word = holds or str(getattr(each, "dtype", "int64")).removeprefix("torch.")
            shape = own if sizes is None else tuple(sizes)
            made.append(Value(kind if hasattr(each, "shape") else SIZE, shape, word, hint=function_of(self.node)))
        return made

    def _path(self) -> tuple[tuple[str, ...], bool]:
        """The path of a layer without weights, and whether it is that of a module."""
        names, builder = self.builder.names, self.builder
        path, number, module = self.stack[-1]
        leaf = builder.is_leaf(module)
        if leaf and names.modules[path] == 1 and self.ends(path):
            place = builder.place(self.unit, path, 0)
            if names.reserve(place):
                return place, True
        given = [value for value in values_in(list(self.arguments)) if value.kind == TENSOR]
        if leaf and len(given) == 1 and given[0].maker:
            base = given[0].maker
            word = function_of(self.node)
            place = (*base, word) if "@" in base[-1] else (*base[:-1], f"{base[-1]}.{word}")
            if names.reserve(place):
                return place, False
        if leaf:
            if self.unit.module is module:
                return names.free((*self.unit.path, function_of(self.node))), False
            scope = next((p for p, _, m in reversed(self.stack[:-1]) if not builder.is_leaf(m)), "")
            return names.free((*self.unit.path, *_below(path, scope), function_of(self.node))), False
        inside = builder.place(self.unit, path, number) if path else ()
        inside = inside if inside[: len(self.unit.path)] == self.unit.path else self.unit.path
        return names.function(inside, path, self.node), False

    def _evaluated(self) -> Any:
        """Its result, if it depends on nothing but constants."""

        def known(arg: Any) -> Any:
            if hasattr(arg, "meta"):
                value = self.builder.env.get(arg)
                if not isinstance(value, Value) or value.fixed is None:
                    raise LookupError
                return value.fixed.contiguous()  # views of it may ask for that
            if isinstance(arg, Size):
                raise LookupError
            if isinstance(arg, tuple | list):
                return type(arg)(known(each) for each in arg)
            return arg

        try:
            args, kwargs = known(tuple(self.node.args)), {k: known(v) for k, v in self.node.kwargs.items()}
            if is_in_place(self.node):
                args = (args[0].clone(), *args[1:])
            return self.node.target(*args, **kwargs)
        except LookupError:
            return None


def _hint(path: tuple[str, ...]) -> str:
    word = next((part for part in reversed(path) if not part.isdigit()), "x")
    return word.split("#")[0].rpartition(".")[2].split("@")[0]


def _below(path: str, scope: str) -> tuple[str, ...]:
    parts, own = path.split("."), scope.split(".") if scope else []
    return tuple(parts[len(own) :]) if parts[: len(own)] == own else tuple(parts)


def _last(unit: Unit) -> Call | None:
    """The last statement of a unit."""
    for item in reversed(unit.body):
        found = item if isinstance(item, Call) else _last(item)
        if found is not None:
            return found
    return None
