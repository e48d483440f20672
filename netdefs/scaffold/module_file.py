"""The file of a draft, as the modules of the zoo are: docstring, imports, VARIANTS, define, functions, model."""

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netdefs.core.preprocess import IMAGENET, Preprocess
from netdefs.scaffold.capture import Captured
from netdefs.scaffold.constants import Constants
from netdefs.scaffold.program import Arg, Call, Cond, Function, Loop, Raw, Unit, Value
from netdefs.scaffold.signatures import docstring, input_names, letters, signature
from netdefs.scaffold.sizes import resolve
from netdefs.scaffold.statements import Lines
from netdefs.scaffold.text import WIDTH, Text, fitted
from netdefs.scaffold.units import Gap

LONGEST = 100  # characters of a condition


@dataclasses.dataclass
class Variant:
    """A variant that was traced."""

    name: str
    module: Any
    captured: Captured
    root: Unit
    gaps: list[Gap]
    unused: list[str]  # patterns of weights that nothing is computed from
    inner: set[str]  # what layers are called inside of modules of their own, whose weights they have


class ModuleFile:
    """Writes the file.

    Args:
        variants: those that were traced, of which the first is the default.
        root: the function that becomes `define`.
        arguments: what each variant gives for the root's parameters.
        inputs: what the network's inputs are called -> tensors.
        source: where the modules are from, "" if that is not known.
        preprocess: variant -> what it wants done to a picture, where that is known.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        root: Function,
        arguments: Sequence[Mapping[str, Arg]],
        inputs: Mapping[str, Any],
        source: str,
        preprocess: Mapping[str, Preprocess],
    ) -> None:
        self.variants, self.root, self.arguments, self.inputs = variants, root, arguments, inputs
        self.source, self.preprocess = source, preprocess
        self.functions = _called(root)
        self.shape: tuple[int, ...] = tuple(next(iter(inputs.values())).shape)  # of the first input
        self.outputs = _outputs(root, variants[0].captured.outputs)
        self.constants = Constants()
        self.literals = Text({}, {}, {}, self.constants.text)

    def text(self) -> str:
        """All of it."""
        others = [line for function in self.functions for line in ["", "", *self._function(function)]]
        define = self._define(others)
        body = [*self._variants(), "", "", *define, *others, "", "", *self._model()]
        lines = [*self._docstring(), "", *self._imports(body), "", *body]
        return "\n".join(lines) + "\n"

    # Its parts.

    def _docstring(self) -> list[str]:
        kind = type(self.variants[0].module)
        size = " x ".join(map(str, self.shape[2:]))
        source = f" ({self.source})" if self.source else ""
        outputs = ", ".join(f"`{name}` {letters(value)}" for name, value in self.outputs)
        return [
            f'"""{kind.__name__}, from a draft of `netdefs scaffold`: TODO what it is, and for what.',
            "",
            *_wrapped(f"Upstream: {kind.__module__}.{kind.__qualname__}{source}; TODO its licence."),
            "",
            *_wrapped(
                f"Input: {self._input_shape()}{f'; {size} by default' if size else ''}. "
                f"{'Output' if len(self.outputs) == 1 else 'Outputs'}: {outputs}."
            ),
            '"""',
        ]

    def _input_shape(self) -> str:
        """The shape of the first input for a docstring."""
        if len(self.shape) == 4:
            return f"(N, {self.shape[1]}, H, W)"
        return f"(N, {', '.join(map(str, self.shape[1:]))})"

    def _imports(self, body: Sequence[str]) -> list[str]:
        text = "\n".join(body)
        groups = [[*(["from pathlib import Path"] if self.constants.arrays else []), "from typing import Any"]]
        if self.constants.numpy or self.constants.arrays:
            groups.append(["import numpy as np"])
        own: dict[str, set[str]] = {
            **({"netdefs.core.errors": {"NetworkError"}} if "raise NetworkError(" in text else {}),
            "netdefs.core.network": {"Network"},
            "netdefs.core.preprocess": {"Decode", "IMAGENET" if "=IMAGENET" in text else "Preprocess"},
            "netdefs.core.scope": {"Tensor"},
            "netdefs.core.zoo": {"Model", *(["config_of"] if "config_of(" in text else [])},
        }
        for used in self.constants.used:
            module, _, name = used.rpartition(".")
            own.setdefault(f"netdefs.core.{module}", set()).add(name)
        groups.append([line for module in sorted(own) for line in _fitted_import(module, own[module])])
        return [line for group in groups for line in [*group, ""]][:-1]

    def _variants(self) -> list[str]:
        lines = ["VARIANTS: dict[str, dict[str, Any]] = {"]
        for each, given in zip(self.variants, self.arguments, strict=True):
            pairs = ", ".join(f'"{key}": {self.literals.of(value)}' for key, value in given.items())
            lines += fitted(f'"{each.name}": {{{pairs}}},', 4)
        if len(lines) == 2 and len(lines[0]) + len(lines[1].strip()) < WIDTH:
            lines = [f"{lines[0]}{lines[1].strip().rstrip(',')}}}"]
        else:
            lines.append("}")
        if self.constants.arrays:
            lines.append('ARRAYS = np.load(Path(__file__).with_suffix(".npz"))  # constants of the module\'s')
        return lines

    def _define(self, others: Sequence[str]) -> list[str]:
        """The function `define`; `others` are the lines of all other functions."""
        counts = self._counts_classes()  # before the root is written: it changes a statement
        arguments = f'variant: str = "{self.variants[0].name}"{", num_classes: int | None = None" if counts else ""}'
        gives = "Tensor" if len(self.outputs) == 1 else "dict[str, Tensor]"
        names = dict(zip(self._root_inputs(), ["x", *list(self.inputs)[1:]], strict=False))
        writer = self._lines(self.root, [names.get(value, value.hint) for value in self.root.inputs])
        body = writer.write(final=False)
        return [
            *fitted(f"def define(net: Network, x: Tensor, {arguments}) -> {gives}:", 0),
            *self._define_docstring(counts),
            *self._configuration(),
            *self._unused(),
            *self._further_inputs(),
            *self._refusals(),
            *self._inner([*others, *body]),
            *body,
            *self._returns(writer.names),
        ]

    def _define_docstring(self, counts: bool) -> list[str]:
        made = f"`{self.outputs[0][0]}`" if len(self.outputs) == 1 else "outputs"
        return [
            f'    """Adds a {type(self.variants[0].module).__name__} to `net` and returns its {made}.',
            "",
            "    Args:",
            "        net: the place in a network where its modules are.",
            f"        x: {self._input_shape()}.",
            "        variant: one of `VARIANTS`.",
            *(["        num_classes: read off the weights when None."] if counts else []),
            '    """',
        ]

    def _configuration(self) -> list[str]:
        """The parameters of the root, which variants differ in."""
        if not self.root.parameters:
            return []
        values = [f'    {name} = config["{name}"]' for name in self.root.parameters]
        return ["    config = config_of(VARIANTS, variant)", *values]

    def _unused(self) -> list[str]:
        patterns = tuple(dict.fromkeys(pattern for each in self.variants for pattern in each.unused))
        if not patterns:
            return []
        if len(patterns) == 1:
            return [f'    net.ignore("{patterns[0]}")  # nothing is computed from it']
        loop = f"for unused in {self.literals.of(patterns)}:  # nothing is computed from these"
        return [*fitted(loop, 4), "        net.ignore(unused)"]

    def _further_inputs(self) -> list[str]:
        """The inputs after the first, which `define` is not given but adds."""
        lines = []
        modules = {path for each in self.variants for path, _ in each.module.named_modules()}
        first, *further = self.inputs
        for name in further:
            label = f"{name}_input" if name in modules else name  # layers have the modules' names
            shape = f"({', '.join(['-1', *self._sizes_of(name, first)])})"
            dtype = str(self.inputs[name].dtype).removeprefix("torch.")
            if dtype == "float32":
                call = f'net.input("{label}", {shape})'
            else:
                labels = ("",) * self.inputs[name].dim()
                call = f'net.raw_input("{label}", {shape}, net.trt.{dtype}, {labels})'
            lines += fitted(f"{name} = {call}", 4)
        return lines

    def _sizes_of(self, name: str, first: str) -> list[str]:
        """The sizes of an input behind the batch: those that follow from the first input's are told from these."""
        values = _by_name(self.variants[0].root)
        sizes: list[Any] = list(self.inputs[name].shape[1:])
        if not {name, first} <= set(values):
            return [str(size) for size in sizes]
        text = Text({values[first]: "x"}, {}, {}, self.constants.text)
        told = (resolve(size, [values[first]]) for size in values[name].shape[1:])
        return [text.of(size if found is None else found) for size, found in zip(sizes, told, strict=True)]

    def _refusals(self) -> list[str]:
        """Refuses sizes at which PyTorch's module goes another way than it went when it was traced."""
        asked: dict[str, dict[str, None]] = {}  # reason -> the conditions that it is given for
        for variant in self.variants:
            x = _by_name(variant.root).get(next(iter(self.inputs)))
            if x is None:
                continue
            text = Text({x: "x"}, {}, {}, self.constants.text)
            reason = f'f"This definition is for (N, {", ".join(map(str, self.shape[1:]))}), not {{tuple(x.shape)}}."'
            for axis, size in enumerate(x.shape):
                if axis > 1 and isinstance(size, int):
                    asked.setdefault(reason, {})[f"x.shape[{axis}] != {size}"] = None
            for choice in variant.captured.choices:
                reason = f'"PyTorch goes another way with such a size ({choice.where})."'
                sides = choice.sides(x)
                condition = f" {choice.otherwise} ".join(map(text.of, sides)) if sides is not None else ""
                if 0 < len(condition) <= LONGEST:
                    asked.setdefault(reason, {})[condition] = None
                    continue
                for axis in choice.axes(x):  # what nobody would read: only the size that was traced
                    asked.setdefault(reason, {})[f"x.shape[{axis}] != {self.shape[axis]}"] = None
        lines = []
        for reason, conditions in asked.items():
            lines += [*_condition(list(conditions)), *fitted(f"raise NetworkError({reason})", 8)]
        return lines

    def _inner(self, lines: Sequence[str]) -> list[str]:
        """Says which layers have the weights of the module around them."""
        words = sorted({word for each in self.variants for word in each.inner})
        return [
            f'    net.inner("{word}")  # its weights are those of the module around it'
            for word in words
            if any(f'{word}"' in line for line in lines)  # else a block has taken its place
        ]

    def _returns(self, names: Mapping[Value, str]) -> list[str]:
        texts = {name: f'net.output({names[value]}, "{name}")' for name, value in self.outputs}
        if len(texts) == 1:
            return fitted(f"return {next(iter(texts.values()))}", 4)
        pairs = ", ".join(f'"{name}": {text}' for name, text in texts.items())
        return fitted(f"return {{{pairs}}}", 4)

    def _root_inputs(self) -> list[Value]:
        order = list(self.inputs)
        return sorted(self.root.inputs, key=lambda value: order.index(value.hint) if value.hint in order else 0)

    def _counts_classes(self) -> bool:
        """Whether the network ends with a linear layer, whose size this then has read off the weights."""
        body, outputs = self.root.body, self.root.outputs
        last = body[-1] if body else None
        if len(outputs) != 1 or not isinstance(last, Call) or last.function != "linear" or "bias" in last.options:
            return False
        count = last.options["out_features"]
        if last.results != outputs or not isinstance(count, int) or last.path is None:
            return False
        key = ".".join(last.path)
        last.options["out_features"] = Raw(f'net.class_count(num_classes, "{key}.bias", default={count})')
        return True

    def _function(self, function: Function) -> list[str]:
        names = input_names(function)
        lines = signature(function, names, self.literals)
        self.constants.numpy |= any("np." in line for line in lines)
        return [*lines, docstring(function), *self._lines(function, names).write()]

    def _lines(self, function: Function, names: Sequence[str]) -> Lines:
        return Lines(function, names, self.constants, [each.name for each in self.functions])

    def _preprocess(self) -> str:
        known = next(iter(self.preprocess.values()), IMAGENET)
        if len(self.shape) == 4 and self.shape[1] == 1 and not self.preprocess:
            known = Preprocess("GRAY", mean=(0.0,), std=(1.0,))
        if known == IMAGENET:
            return "IMAGENET"
        usual = Preprocess("", (), ())
        options = [
            f"{key}={self.literals.of(value)}"
            for key, value in dataclasses.asdict(known).items()
            if value != getattr(usual, key) and key != "color"
        ]
        return f"Preprocess({self.literals.of(known.color)}, {', '.join(options)})"

    def _model(self) -> list[str]:
        picture = len(self.shape) == 4 and self.shape[1] == 3
        classes = picture and len(self.outputs) == 1 and len(self.outputs[0][1].shape) == 2
        options = {
            "input_shape": (1, *self.shape[1:]),
            "preprocess": self._preprocess(),
            "decode": 'Decode("classes")' if classes else 'Decode("unknown")',
        }
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        line = f"model = Model(__name__, define, VARIANTS, {given})"
        return [*fitted(line, 0), "define_network, build_engine = model.define_network, model.build_engine"]


def _by_name(root: Unit) -> dict[str, Value]:
    """The inputs of a network that it uses."""
    return {value.hint: value for value in root.inputs}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _condition(either: Sequence[str]) -> list[str]:
    """The line of an `if`, or the lines where that is too long."""
    line = f"    if {' or '.join(either)}:"
    if len(line) <= WIDTH:
        return [line]
    return ["    if (", f"        {either[0]}", *(f"        or {each}" for each in either[1:]), "    ):"]


def _fitted_import(module: str, names: set[str]) -> list[str]:
    """An import of names, in several lines where it is too long for one."""
    listed = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(listed)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in listed), ")"]


def _called(root: Function) -> list[Function]:
    """All functions in the order in which they are first called, from the root on."""
    found: dict[int, Function] = {}

    def visit(body: Sequence[Any]) -> Iterator[Function]:
        for item in body:
            if isinstance(item, Call):
                for each in [item.function, *item.options.values()]:
                    if isinstance(each, Function):
                        yield each
            elif isinstance(item, Loop | Cond):
                yield from visit(item.body)

    waiting = [root]
    while waiting:
        following = []
        for function in waiting:
            for each in visit(function.body):
                if id(each) not in found:
                    found[id(each)] = each
                    following.append(each)
        waiting = following
    return list(found.values())


def _outputs(root: Function, structure: Any) -> list[tuple[str, Value]]:
    """The names of the outputs, and their values."""
    names = list(_output_names(structure))
    if names == [""] and root.outputs:
        return [("logits" if len(root.outputs[0].shape) == 2 else "output", root.outputs[0])]
    return list(dict(zip((name or "output" for name in names), root.outputs, strict=False)).items())


def _output_names(structure: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """What the outputs are called, by their places in what the module returns: "" where it returns just one."""
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from _output_names(value, (*path, str(key)))
    elif isinstance(structure, list | tuple):
        for i, value in enumerate(structure):
            yield from _output_names(value, (*path, str(i)))
    elif structure is not None:
        name = "_".join(path)
        yield f"output_{name}" if name[:1].isdigit() else name
